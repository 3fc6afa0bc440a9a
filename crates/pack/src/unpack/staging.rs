//! Where files lie until they are whole and verified: a hidden directory in the destination, so that a rename puts them in place.

use super::{
    destination::Destination,
    turn::{LOCK, Turn},
};
use crate::directory::{DIRECTORY, failed};
use modelpack_spec::FilePath;
use modelpack_transfer::{Error, Result};
use rustix::{
    fs::{AtFlags, Dir, FlockOperation, Mode, OFlags},
    io::Errno,
};
use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

const PREFIX: &str = ".modelpack-";

/// Whether a file or directory with this name may be taken for what unpacking itself puts into a destination.
pub(super) fn is_reserved(name: &str) -> bool {
    is_staging_name(name) || name == LOCK
}

fn is_staging_name(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|id| id.len() == 16 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// A staging directory. It is removed with everything in it when dropped.
///
/// Its owner holds a lock on it. The system drops the lock when the owner ends, so one that can be locked belongs to nobody.
#[derive(Debug)]
pub(super) struct Staging {
    destination: Arc<Destination>,
    name: String,
    directory: OwnedFd,
    next: AtomicU64,
    /// Given back when nothing is staged any more, whoever still works for a moment when all is given up.
    _turn: Turn,
}

/// A file in the staging directory.
#[derive(Debug)]
pub(super) struct StagedFile {
    pub(super) file: File,
    pub(super) name: String,
}

impl Staging {
    /// A directory in the destination, to which it is `turn` to write.
    pub(super) fn create(destination: Arc<Destination>, turn: Turn) -> Result<Self> {
        // Whoever was waited for may have been killed.
        Self::remove_stale(&destination);
        loop {
            let id = getrandom::u64().expect("the system has random numbers");
            let name = format!("{PREFIX}{id:016x}");
            let path = destination.path().join(&name);
            rustix::fs::mkdirat(&destination, &name, Mode::RWXU).map_err(failed("create the directory", &path))?;
            if let Some(directory) = claim(&destination, &name).map_err(failed("open", path))? {
                return Ok(Self { destination, name, directory, next: AtomicU64::new(0), _turn: turn });
            }
        }
    }

    /// Removes the staging directories of processes that were killed.
    ///
    /// One that cannot be removed is left, and stands in nobody's way.
    pub(super) fn remove_stale(destination: &Destination) {
        for name in names(destination.as_fd()).filter(|name| is_staging_name(name)) {
            let Ok(directory) = rustix::fs::openat(destination, &name, DIRECTORY, Mode::empty()) else { continue };
            if rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
                remove(destination, &name, directory.as_fd());
            }
        }
    }

    /// A new file, which its owner may execute or not. The names are short, whatever the file's own is.
    pub(super) fn create_file(&self, executable: bool) -> Result<StagedFile> {
        let name = self.next.fetch_add(1, Relaxed).to_string();
        let mode = Mode::from_raw_mode(if executable { 0o755 } else { 0o644 });
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, &name, flags, mode);
        let file = file.map_err(failed("create a file in", self.destination.path().join(&self.name)))?.into();
        Ok(StagedFile { file, name })
    }

    /// Puts a file that is whole and verified, and will have `path`, on the disk.
    pub(super) fn sync(&self, staged: &StagedFile, path: &FilePath) -> Result<()> {
        staged.file.sync_data().map_err(Error::io("sync", self.destination.locate(path)))
    }

    /// Gives a file that is on the disk its own name; see [`Destination::place`].
    pub(super) fn rename(&self, name: &str, path: &FilePath, replace: bool) -> Result<()> {
        self.destination.place(self.directory.as_fd(), name, path, replace)
    }

    /// The destination that this is a part of.
    pub(super) fn destination(&self) -> &Destination {
        &self.destination
    }

    /// A file that was created here and closed, for reading.
    pub(super) fn open_file(&self, name: String) -> Result<StagedFile> {
        let file = rustix::fs::openat(&self.directory, &name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        let file = file.map_err(failed("open", self.destination.path().join(&self.name).join(&name)))?.into();
        Ok(StagedFile { file, name })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        remove(&self.destination, &self.name, self.directory.as_fd());
    }
}

/// Opens and locks a directory that was just made; `None` if somebody took it for a stale one before it was locked.
fn claim(destination: &Destination, name: &str) -> rustix::io::Result<Option<OwnedFd>> {
    let directory = match rustix::fs::openat(destination, name, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        directory => directory?,
    };
    // Where directories cannot be locked, nobody can, so nobody takes it for a stale one either.
    if rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
        return Ok(None);
    }
    match rustix::fs::statat(destination, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(None),
        found => Ok((found?.st_ino == rustix::fs::fstat(&directory)?.st_ino).then_some(directory)),
    }
}

/// Removes a staging directory. It holds only files; if anything else is in it, that stays.
fn remove(destination: &Destination, name: &str, directory: BorrowedFd<'_>) {
    for file in names(directory) {
        let _ = rustix::fs::unlinkat(directory, file, AtFlags::empty());
    }
    let _ = rustix::fs::unlinkat(destination, name, AtFlags::REMOVEDIR);
}

/// The names in a directory, as far as they can be read and are UTF-8, which all of ours are.
fn names(directory: BorrowedFd<'_>) -> impl Iterator<Item = String> {
    let entries = Dir::read_from(directory).into_iter().flatten().filter_map(|entry| entry.ok());
    entries.filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned)).filter(|name| name != "." && name != "..")
}
