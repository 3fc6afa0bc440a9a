//! A read lease: the kernel's word that nobody has a file open or mapped for writing.
//!
//! The kernel grants one only then, and only to the owner of the file; whoever opens the file for writing while it is held waits until it is
//! given back. It is meant to be held for the moment of one look.
#![expect(unsafe_code, reason = "no crate that is among our dependencies has these commands of fcntl in a safe form")]

use libc::{F_RDLCK, F_SETLEASE, F_UNLCK, SIGURG, c_int};
use std::{fs::File, os::fd::AsRawFd};

/// Which signal is sent; `libc` does not have its number.
const F_SETSIG: c_int = 10;

/// A lease that is given back when it is dropped.
pub(super) struct ReadLease<'a>(&'a File);

impl<'a> ReadLease<'a> {
    /// Takes the lease, if somebody who may have one asks, the file system knows leases, and nobody could write to `file`.
    pub(super) fn take(file: &'a File) -> Option<Self> {
        // Who holds a lease that somebody waits for is told so by a signal. That of default would end the process; this one is ignored
        // unless somebody handles it.
        let taken = fcntl(file, F_SETSIG, SIGURG) && fcntl(file, F_SETLEASE, F_RDLCK);
        taken.then_some(Self(file))
    }
}

impl Drop for ReadLease<'_> {
    fn drop(&mut self) {
        // It would end with the descriptor, too.
        fcntl(self.0, F_SETLEASE, F_UNLCK);
    }
}

/// Whether `command`, one of those above, succeeded.
fn fcntl(file: &File, command: c_int, argument: c_int) -> bool {
    // SAFETY: the descriptor is open as long as `file` is borrowed. These commands take a number, and no memory of ours is read or written.
    unsafe { libc::fcntl(file.as_raw_fd(), command, argument) != -1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io, os::unix::fs::OpenOptionsExt};

    #[test]
    fn whoever_wants_to_write_meanwhile_waits_and_this_process_lives() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "x").unwrap();
        let file = File::open(&path).unwrap();
        let Some(lease) = ReadLease::take(&file) else {
            eprintln!("SKIPPED: the temporary directory's file system has no leases");
            return;
        };
        let write = || File::options().write(true).custom_flags(libc::O_NONBLOCK).open(&path);
        // It says that it would wait, and the kernel has sent the signal.
        assert_eq!(write().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(lease);
        write().unwrap();
    }
}
