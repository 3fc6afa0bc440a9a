//! One after the other: who writes to a destination holds a lock on it, so that what another finds there is whole.

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

/// The file that is locked. It is removed when the lock is given back. A lock on the directory itself would be in the way of
/// whoever runs this under one of their own, and not every file system has those.
pub(super) const LOCK: &str = ".modelpack-lock";

/// How often whoever waits looks whether it may begin.
const POLL: Duration = Duration::from_millis(50);

/// The right to write to a destination, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    destination: Arc<Destination>,
    /// Nothing where the file system has no locks: there, what is in the way is found when it is.
    lock: Option<OwnedFd>,
}

impl Turn {
    /// Waits until nobody else writes to the destination; calls `waits` if somebody does.
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
            // A wait for the lock itself could not be given up.
            tokio::time::sleep(POLL).await;
        }
    }

    /// Removes the lock file of a process that was killed. One that cannot be removed stands in nobody's way.
    pub(super) fn remove_stale(destination: &Arc<Destination>) {
        if statat(destination, LOCK, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            // What is taken is given back at once, and removed.
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
            // Whoever held it may have removed it meanwhile: then it locks nothing.
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

/// Opens the lock file, which is made if need be; `None` if another made or removed it just now.
fn open(destination: &Destination) -> Result<Option<OwnedFd>> {
    let path = destination.path().join(LOCK);
    let open = |flags| openat(destination, LOCK, flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::from_raw_mode(0o666));
    // Writable, because network file systems grant exclusive locks on nothing else. That of another user may be only readable.
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

/// Whether this is the lock file that has the name.
fn is_at(destination: &Destination, lock: &impl AsFd) -> bool {
    let named = statat(destination, LOCK, AtFlags::SYMLINK_NOFOLLOW);
    named.is_ok_and(|named| fstat(lock).is_ok_and(|open| (named.st_dev, named.st_ino) == (open.st_dev, open.st_ino)))
}
