//! System calls that not every operating system has, each with what is done where it is missing.
//!
//! Everything else in the workspace uses calls that every Unix has. `linux` is compiled on Linux, `portable` everywhere else. With
//! `RUSTFLAGS="--cfg modelpack_portable"`, `portable` is compiled on Linux too, so that CI can build and test it.

#[cfg(all(target_os = "linux", not(modelpack_portable)))]
mod linux;
#[cfg(not(all(target_os = "linux", not(modelpack_portable))))]
mod portable;

#[cfg(all(target_os = "linux", not(modelpack_portable)))]
use linux as system;
#[cfg(not(all(target_os = "linux", not(modelpack_portable))))]
use portable as system;

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Seek, SeekFrom},
    ops::Range,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    sync::LazyLock,
};

/// A kind of file system whose behaviour matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// Files in memory.
    Tmpfs,
    /// ext2, ext3 or ext4.
    Ext,
    /// XFS.
    Xfs,
    /// Btrfs, which copies on write.
    Btrfs,
    /// bcachefs, which copies on write.
    Bcachefs,
    /// ZFS, which copies on write.
    Zfs,
    /// A file system that a program in user space provides.
    Fuse,
    /// A network share of the SMB family.
    Smb,
}

/// The kind of file system that a file lies on; `None` if it is another kind, or if the operating system does not say.
pub fn file_system(file: &File) -> Option<FileSystem> {
    system::file_system(file)
}

/// Reads at most `buffer.len()` bytes at `offset` and returns how many, if no disk has to be waited for.
///
/// `None` if the read would wait, cannot be done without waiting, fails, or is at the end of the file: then an ordinary read says which.
pub fn read_cached(file: &File, buffer: &mut [u8], offset: u64) -> Option<usize> {
    system::read_cached(file, buffer, offset).filter(|n| *n > 0)
}

/// Whether the bytes `range` of a file are in memory, so that reading or sending them waits for no disk.
///
/// `false` if some are not, if there are none, or if the operating system does not say. It is only true for a moment: the kernel may need the
/// memory for something else.
pub fn is_cached(file: &File, range: Range<u64>) -> bool {
    !range.is_empty() && system::is_cached(file, range)
}

/// Lets the kernel send at most `len` bytes of a file, from `offset` on, to a socket. Returns how many it sent; 0 is the end of the file.
///
/// Waits for the disk if they are not in memory. Fails with [`ErrorKind::WouldBlock`] if a socket that does not block is full, and with
/// [`ErrorKind::Unsupported`] where the kernel cannot do that.
pub fn send_file(socket: BorrowedFd<'_>, file: &File, offset: u64, len: usize) -> io::Result<usize> {
    system::send_file(socket, file, offset, len)
}

/// Asks the kernel to begin to write the bytes `range` of a file to the disk. Returns at once.
///
/// This is advice. Without it the bytes are written by the next sync.
pub fn start_writeback(file: &File, range: Range<u64>) {
    system::start_writeback(file, range);
}

/// Lets `to`, which is empty, share all blocks of `from`; returns whether it does. If not, `to` is still empty.
///
/// Never possible where the file system has no copy on write, or the operating system cannot ask for it.
pub fn clone_file(from: &File, to: &File) -> bool {
    system::clone_file(from, to)
}

/// Allocates blocks for the bytes `range` of a file whose length is `range.start`. Its length is `range.end` then.
///
/// Where blocks cannot be allocated without writing, zeros are written.
///
/// Fails with the error of the operating system, for example if the disk is full. The file is as it was then.
pub fn allocate(file: &File, range: Range<u64>) -> io::Result<()> {
    let allocated = match system::allocate(file, range.clone()) {
        Err(e) if e.kind() == ErrorKind::Unsupported => append_zeros(file, range.clone()),
        allocated => allocated,
    };
    if allocated.is_err() {
        // What was allocated in part is given back.
        file.set_len(range.start)?;
    }
    allocated
}

/// Makes an empty file `len` bytes long, and reserves blocks for all of them, so that writing them cannot fail for want of room.
///
/// Where blocks cannot be reserved without writing, and in memory (tmpfs), where that takes as long as writing, only the free room of the file
/// system is looked at. Fails with
/// [`ErrorKind::StorageFull`] if it is too little. The file is empty then.
pub fn reserve(file: &File, len: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    let is_in_memory = file_system(file) == Some(FileSystem::Tmpfs);
    match if is_in_memory { Err(ErrorKind::Unsupported.into()) } else { system::allocate(file, 0..len) } {
        Err(e) if e.kind() == ErrorKind::Unsupported => {
            if free_room(file)? < len {
                return Err(rustix::io::Errno::NOSPC.into());
            }
            file.set_len(len)
        }
        Err(e) => {
            file.set_len(0)?;
            Err(e)
        }
        Ok(()) => Ok(()),
    }
}

/// How many bytes may still be written to the file system on which a file or directory lies.
pub fn free_room(file: impl AsFd) -> io::Result<u64> {
    let system = rustix::fs::fstatvfs(file)?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}

/// Identifies the present run of the machine: it is another one after each start. `None` if the operating system does not say.
pub fn boot_id() -> Option<String> {
    static ID: LazyLock<Option<String>> = LazyLock::new(|| {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(id.trim().to_owned()).filter(|id| !id.is_empty())
    });
    ID.clone()
}

fn append_zeros(mut file: &File, range: Range<u64>) -> io::Result<()> {
    file.seek(SeekFrom::Start(range.start))?;
    io::copy(&mut io::repeat(0).take(range.end - range.start), &mut file).map(drop)
}

/// Renames the file `new` to `old`, in one step, and the file `old` to `new`.
///
/// Where names cannot be exchanged, `new` replaces `old`, and no file has the name `new` then.
pub fn exchange(new: &Path, old: &Path) -> io::Result<()> {
    match system::exchange(new, old) {
        Err(e) if is_unsupported_rename(&e) => fs::rename(new, old),
        exchanged => exchanged,
    }
}

/// Renames the file `name` in the directory `from` to `new_name` in the directory `to`.
///
/// Fails with [`ErrorKind::AlreadyExists`] if something has that name. Where that cannot be one step, the name is looked up first, and what
/// appears between the two steps is replaced.
pub fn rename_without_replacing(from: BorrowedFd<'_>, name: &str, to: BorrowedFd<'_>, new_name: &str) -> io::Result<()> {
    use rustix::{
        fs::{AtFlags, renameat, statat},
        io::Errno,
    };
    match system::rename_without_replacing(from, name, to, new_name) {
        Err(e) if is_unsupported_rename(&e) => match statat(to, new_name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(renameat(from, name, to, new_name)?),
            Err(e) => Err(e.into()),
            Ok(_) => Err(ErrorKind::AlreadyExists.into()),
        },
        renamed => renamed,
    }
}

/// Whether an error says that the kernel or the file system has no such rename.
fn is_unsupported_rename(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported)
}

/// Returns when everything that was written to the file system of `directory` is on the disk.
pub fn sync_file_system(directory: &File) -> io::Result<()> {
    system::sync_file_system(directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::OpenOptions,
        os::{fd::AsFd, unix::fs::MetadataExt},
        path::PathBuf,
    };
    use tempfile::TempDir;

    const IS_PORTABLE: bool = cfg!(not(all(target_os = "linux", not(modelpack_portable))));

    /// A directory with a file for each content.
    fn files<const N: usize>(contents: [&[u8]; N]) -> (TempDir, [PathBuf; N]) {
        let directory = tempfile::tempdir().unwrap();
        let mut names = (b'a'..).map(char::from);
        let paths = contents.map(|content| {
            let path = directory.path().join(names.next().unwrap().to_string());
            fs::write(&path, content).unwrap();
            path
        });
        (directory, paths)
    }

    fn open(path: &Path) -> File {
        OpenOptions::new().read(true).write(true).open(path).unwrap()
    }

    #[test]
    fn what_is_read_without_waiting_are_the_bytes_of_the_file_and_the_end_is_none() {
        let content: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        let (_directory, [path]) = files([&content]);
        let mut buffer = vec![0; 1000];
        for at in [0, 99_500, 50_000] {
            match read_cached(&open(&path), &mut buffer, at as u64) {
                Some(n) => assert_eq!(buffer[..n], content[at..at + n]),
                None => assert!(IS_PORTABLE || file_system(&open(&path)).is_none(), "it was written just now, so it is in memory"),
            }
        }
        assert_eq!(read_cached(&open(&path), &mut buffer, 100_000), None);
    }

    /// Whether this kernel has `cachestat`.
    fn says_what_is_cached() -> bool {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
        !IS_PORTABLE && (numbers.next(), numbers.next()) >= (Some(6), Some(5))
    }

    #[test]
    fn a_file_is_in_memory_after_it_was_written_and_not_after_its_pages_were_dropped() {
        let (_directory, [path]) = files([&[7; 100_000]]);
        let file = open(&path);
        let system = file_system(&file);
        let expected = !IS_PORTABLE && (system == Some(FileSystem::Tmpfs) || says_what_is_cached());
        for range in [0..100_000, 0..1, 99_999..100_000, 4095..8193] {
            assert!(is_cached(&file, range.clone()) == expected || system.is_none(), "{range:?}");
        }
        assert!(!is_cached(&file, 5..5));
        file.sync_all().unwrap();
        start_writeback(&file, 0..100_000);
        assert!(!is_cached(&file, 0..100_000) || system.is_none_or(|system| system == FileSystem::Tmpfs));
    }

    #[test]
    fn the_kernel_sends_bytes_of_a_file_from_an_offset_on() {
        let (_directory, [path]) = files([b"0123456789"]);
        let (here, mut there) = std::os::unix::net::UnixStream::pair().unwrap();
        let send = |offset, len| send_file(here.as_fd(), &open(&path), offset, len);
        if IS_PORTABLE {
            assert_eq!(send(0, 1).unwrap_err().kind(), ErrorKind::Unsupported);
            return;
        }
        assert_eq!((send(3, 4).unwrap(), send(8, 100).unwrap(), send(10, 1).unwrap()), (4, 2, 0));
        let mut received = [0; 6];
        there.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"345689");
    }

    #[test]
    fn allocated_blocks_are_there_and_the_bytes_before_them_stay() {
        let (_directory, [path]) = files([b"kept"]);
        allocate(&open(&path), 4..100_000).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.len(), 100_000);
        assert!(metadata.blocks() * 512 >= 100_000, "{metadata:?}");
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.starts_with(b"kept") && bytes[4..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_cannot_be_allocated_leaves_the_file_as_it_was() {
        let (_directory, [path]) = files([b"kept"]);
        allocate(&File::open(&path).unwrap(), 4..100_000).expect_err("it is open for reading only");
        assert_eq!(fs::read(&path).unwrap(), b"kept");
    }

    #[test]
    fn a_clone_has_all_bytes_and_what_cannot_be_cloned_is_left_empty() {
        let (_directory, [from, to]) = files([&[7; 10_000], b""]);
        let is_cloned = clone_file(&open(&from), &open(&to));
        assert!(!(IS_PORTABLE && is_cloned));
        assert_eq!(fs::read(&to).unwrap(), if is_cloned { vec![7; 10_000] } else { Vec::new() });
    }

    #[test]
    fn after_an_exchange_the_new_file_has_the_old_name() {
        let (_directory, [new, old]) = files([b"new", b"old"]);
        exchange(&new, &old).unwrap();
        assert_eq!(fs::read(&old).unwrap(), b"new");
        match fs::read(&new) {
            Ok(other) => assert_eq!(other, b"old"),
            Err(e) => assert_eq!(e.kind(), ErrorKind::NotFound),
        }
    }

    #[test]
    fn a_rename_without_replacing_takes_a_free_name_alone() {
        let (directory, [one, other]) = files([b"one", b"other"]);
        std::os::unix::fs::symlink("nowhere", directory.path().join("link")).unwrap();
        let at = File::open(directory.path()).unwrap();
        let rename = |to| rename_without_replacing(at.as_fd(), "a", at.as_fd(), to);
        for taken in ["b", "link"] {
            assert_eq!(rename(taken).unwrap_err().kind(), ErrorKind::AlreadyExists, "{taken}");
        }
        assert_eq!((fs::read(&one).unwrap(), fs::read(&other).unwrap()), (b"one".to_vec(), b"other".to_vec()));
        rename("free").unwrap();
        assert!(!one.exists());
        assert_eq!(fs::read(directory.path().join("free")).unwrap(), b"one");
    }

    #[test]
    fn advice_and_a_sync_change_no_byte() {
        let (directory, [path]) = files([b"bytes"]);
        start_writeback(&open(&path), 0..5);
        sync_file_system(&File::open(directory.path()).unwrap()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"bytes");
        assert!(!(IS_PORTABLE && file_system(&open(&path)).is_some()));
    }
}
