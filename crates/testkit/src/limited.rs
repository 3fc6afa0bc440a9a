//! A disk that is soon full.

use rustix::{
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount},
};
use std::{ffi::CString, fs::File, io, path::Path};
use tempfile::TempDir;

/// A small file system of its own, in memory, unmounted when dropped.
pub struct TinyDisk {
    directory: TempDir,
}

impl TinyDisk {
    /// Mounts a file system that holds `bytes` bytes, rounded up to whole pages.
    ///
    /// `None` if this process may not mount: the test then says that it was skipped.
    pub fn mount(bytes: u64) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let options = CString::new(format!("size={bytes},mode=0755")).expect("a number holds no NUL");
        match mount("tmpfs", directory.path(), "tmpfs", MountFlags::empty(), options.as_c_str()) {
            Ok(()) => Some(Self { directory }),
            Err(Errno::PERM | Errno::ACCESS) => None,
            Err(error) => panic!("cannot mount a disk of {bytes} bytes on {:?}: {error}", directory.path()),
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
        self.directory.path()
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        // Detached, because a file that is still open must not keep it mounted. If this fails, nobody is left to tell.
        let _ = unmount(self.directory.path(), UnmountFlags::DETACH);
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
}
