//! A disk that is soon full.

use rustix::{
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount},
};
use std::{
    ffi::CString,
    fs::File,
    io,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A small file system of its own, in memory, unmounted when dropped.
pub struct TinyDisk {
    path: PathBuf,
    /// The directory that was made for it, if it was.
    _made: Option<TempDir>,
}

impl TinyDisk {
    /// Mounts a file system that holds `bytes` bytes, rounded up to whole pages.
    ///
    /// `None` if this process may not mount: the test then says that it was skipped.
    pub fn mount(bytes: u64) -> Option<Self> {
        Self::mounted_at_a_new_directory(&format!("size={bytes}"))
    }

    /// Mounts a file system that holds so many files and directories, and as many bytes as half of the memory.
    pub fn mount_for_files(files: u64) -> Option<Self> {
        Self::mounted_at_a_new_directory(&format!("nr_inodes={files}"))
    }

    fn mounted_at_a_new_directory(limit: &str) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().to_owned();
        Self::mounted(path, limit, Some(directory))
    }

    /// Likewise over a directory, whose files are not seen as long as this lives.
    pub fn mount_over(directory: &Path, bytes: u64) -> Option<Self> {
        Self::mounted(directory.to_owned(), &format!("size={bytes}"), None)
    }

    fn mounted(path: PathBuf, limit: &str, made: Option<TempDir>) -> Option<Self> {
        let options = CString::new(format!("{limit},mode=0755")).expect("a number holds no NUL");
        match mount("tmpfs", &path, "tmpfs", MountFlags::empty(), options.as_c_str()) {
            Ok(()) => Some(Self { path, _made: made }),
            Err(Errno::PERM | Errno::ACCESS) => None,
            Err(error) => panic!("cannot mount a disk of {limit} on {path:?}: {error}"),
        }
    }

    /// Makes it as large as its files and `bytes` more, rounded up to whole pages.
    pub fn leave_room(&self, bytes: u64) {
        loop {
            let disk = rustix::fs::statvfs(self.path()).expect("a mounted disk can be looked at");
            let size = (disk.f_blocks - disk.f_bfree) * disk.f_frsize + bytes;
            // A size of zero would be no limit.
            let options = CString::new(format!("size={}", size.max(1))).expect("a number holds no NUL");
            match mount_remount(self.path(), MountFlags::empty(), options.as_c_str()) {
                Ok(()) => return,
                // The files have grown meanwhile, and need more than that.
                Err(Errno::INVAL) => {}
                Err(error) => panic!("a disk in memory can have another size: {error}"),
            }
        }
    }

    /// Fills what is left of it with a file `ballast`.
    pub fn fill(&self) {
        let mut ballast = File::create(self.path().join("ballast")).expect("a file needs no room as long as it is empty");
        let full = io::copy(&mut io::repeat(1), &mut ballast).expect_err("a disk has an end");
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    }

    /// Lets nobody write to it any more, not even root.
    pub fn make_read_only(&self) {
        mount_remount(self.path(), MountFlags::RDONLY, c"").expect("a disk that nobody writes to can be made read-only");
    }

    /// The directory where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        // Detached, because a file that is still open must not keep it mounted. If this fails, nobody is left to tell.
        let _ = unmount(&self.path, UnmountFlags::DETACH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_tiny_disk_fills_up_and_is_gone_when_dropped() {
        let Some(disk) = TinyDisk::mount(64 << 10) else {
            eprintln!("SKIPPED: this process may not mount a disk");
            return;
        };
        fs::write(disk.path().join("fits"), [1; 4096]).unwrap();
        let error = fs::write(disk.path().join("does not fit"), vec![1; 128 << 10]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        disk.fill();
        assert_eq!(fs::write(disk.path().join("one"), [1]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.make_read_only();
        assert_eq!(fs::remove_file(disk.path().join("fits")).unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
        let path = disk.path().to_owned();
        drop(disk);
        assert!(!path.exists());
    }
    #[test]
    fn a_disk_over_a_directory_has_as_much_room_as_told() {
        let directory = tempfile::tempdir().unwrap();
        let Some(disk) = TinyDisk::mount_over(directory.path(), 1 << 20) else {
            eprintln!("SKIPPED: this process may not mount a disk");
            return;
        };
        let file = directory.path().join("file");
        fs::write(&file, vec![1; 64 << 10]).unwrap();
        disk.leave_room(4096);
        assert_eq!(fs::write(directory.path().join("large"), vec![1; 8192]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.leave_room(8192);
        fs::write(directory.path().join("large"), vec![1; 8192]).unwrap();
        drop(disk);
        assert!(!file.exists() && directory.path().exists());
    }
}
