//! Turns: a process that writes to a destination holds a lock on it, so that the next process finds
//! complete files.

use super::destination::{Destination, conflict};
use crate::directory::failed;
use modelpack_transfer::{Error, Result, blocking};
use rustix::{
    fs::{AtFlags, FlockOperation, Mode, OFlags, flock, fstat, openat, statat, unlinkat},
    io::Errno,
};
use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

/// The lock file. It is removed when the lock is released. A lock on the directory itself could
/// conflict with a lock of the caller, and not every file system supports it.
pub(super) const LOCK: &str = ".modelpack-lock";

/// How often a waiting process checks whether it may start.
const POLL: Duration = Duration::from_millis(50);

/// The right to write to a destination, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    destination: Arc<Destination>,
    /// `None` if the file system has no locks. Conflicts are then found only when they occur.
    lock: Option<OwnedFd>,
}

impl Turn {
    /// Waits until no other process writes to the destination. Calls `waits` if it has to wait.
    pub(super) async fn take(destination: &Arc<Destination>, waits: impl FnOnce()) -> Result<Self> {
        let mut waits = Some(waits);
        loop {
            let destination = destination.clone();
            if let Some(turn) = blocking(move || Self::try_take(destination)).await? {
                return Ok(turn);
            }
            if let Some(waits) = waits.take() {
                waits();
            }
            // Polling, because a blocking wait for the lock could not be cancelled.
            tokio::time::sleep(POLL).await;
        }
    }

    /// Removes the lock file of a killed process. A file that cannot be removed does no harm.
    pub(super) fn remove_stale(destination: &Arc<Destination>) {
        if statat(destination, LOCK, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            // A successful lock is released at once, which removes the file.
            let _ = Self::try_take(destination.clone());
        }
    }

    fn try_take(destination: Arc<Destination>) -> Result<Option<Self>> {
        loop {
            let Some(lock) = open(&destination)? else { continue };
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(_) => {
                    let _ = unlinkat(&destination, LOCK, AtFlags::empty());
                    return Ok(Some(Self { destination, lock: None }));
                }
            }
            // The previous holder may have removed the file meanwhile. Then the lock has no effect.
            if is_at(&destination, &lock) {
                return Ok(Some(Self { destination, lock: Some(lock) }));
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(lock) = self.lock.take()
            && is_at(&self.destination, &lock)
        {
            let _ = unlinkat(&self.destination, LOCK, AtFlags::empty());
        }
    }
}

/// Opens the lock file, and creates it if necessary; `None` if another process just created or
/// removed it.
fn open(destination: &Destination) -> Result<Option<OwnedFd>> {
    let path = destination.path().join(LOCK);
    let open = |flags| openat(destination, LOCK, flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::from_raw_mode(0o666));
    // The file is opened for writing, because network file systems require it for exclusive locks.
    // The lock file of another user may be read-only.
    let opened = match open(OFlags::RDWR) {
        Err(Errno::ACCESS) => open(OFlags::RDONLY),
        opened => opened,
    };
    let opened = match opened {
        Err(Errno::NOENT) => match open(OFlags::RDWR | OFlags::CREATE | OFlags::EXCL) {
            Err(Errno::EXIST) => return Ok(None),
            made => made.map_err(failed("create the lock", &path))?,
        },
        Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => return Err(no_lock(path)),
        opened => opened.map_err(failed("open the lock", &path))?,
    };
    let lock = File::from(opened);
    match lock.metadata().map_err(Error::io("look at", &path))?.is_file() {
        true => Ok(Some(lock.into())),
        false => Err(no_lock(path)),
    }
}

fn no_lock(path: std::path::PathBuf) -> Error {
    conflict(path, "it is not a regular file, and the lock for unpacking has this name")
}

/// Whether this is the lock file that currently has the name.
fn is_at(destination: &Destination, lock: &impl AsFd) -> bool {
    let named = statat(destination, LOCK, AtFlags::SYMLINK_NOFOLLOW);
    named.is_ok_and(|named| fstat(lock).is_ok_and(|open| (named.st_dev, named.st_ino) == (open.st_dev, open.st_ino)))
}
