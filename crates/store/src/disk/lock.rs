//! File locks. The operating system releases them when their holder ends in any way, so no lock is ever stale.

use modelpack_transfer::{Error, Result};
use rustix::fs::OFlags;
use std::{
    fs::{File, OpenOptions, TryLockError},
    io::ErrorKind,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    time::{Duration, SystemTime},
};

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct Lease {
    file: File,
}

/// The longest time in the future until which a lease may be held.
const MAX_AHEAD: Duration = Duration::from_secs(24 * 3600);

fn open(path: &Path) -> Result<File> {
    // A directory is locked itself. Anything else is a file for locking only. It is opened for writing, because network file systems
    // grant exclusive locks on nothing else.
    let mut options = OpenOptions::new();
    if path.is_dir() {
        options.read(true)
    } else {
        options.create(true).truncate(false).write(true)
    };
    // Without this flag, opening a pipe would wait for its other end.
    let nonblocking = OFlags::NONBLOCK.bits() as i32;
    match options.custom_flags(nonblocking).open(path) {
        // A store that may only be read is locked as far as possible.
        Err(e) if matches!(e.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
            OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(|_| e)
        }
        opened => opened,
    }
    .map_err(Error::io("open the lock", path))
}

/// Waits until no other process holds the lock `path`, shared or exclusive, and takes it exclusively.
pub(crate) fn exclusive(path: &Path) -> Result<Lease> {
    let file = open(path)?;
    file.lock().map_err(Error::io("lock", path))?;
    Ok(Lease { file })
}

/// Takes the lock `path` shared with others. If it exists it is opened for reading, so that a store that cannot be written can be locked
/// too.
///
/// Returns `None` if the lock file was removed meanwhile. Then it locks nothing, and the caller tries again.
pub(crate) fn shared(path: &Path) -> Result<Option<Lease>> {
    let read = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path);
    let file = match read {
        Err(e) if e.kind() == ErrorKind::NotFound => open(path)?,
        opened => opened.map_err(Error::io("open the lock", path))?,
    };
    file.lock_shared().map_err(Error::io("lock", path))?;
    let held = file.metadata().map_err(Error::io("read the lock", path))?;
    Ok((held.nlink() > 0).then_some(Lease { file }))
}

/// Lets the lock `path` count as held until the time `until`, although no process keeps it open. A later time that was set before stays.
///
/// The caller holds the lock, shared or exclusive. The time is stored as the modification time of the file. A lock file that is only
/// locked never has a time in the future. So a server with very many leases needs no descriptor for each, and the leases outlive it.
pub(super) fn hold_until(lease: &Lease, path: &Path, until: SystemTime) -> Result<()> {
    let known = lease.file.metadata().and_then(|metadata| metadata.modified()).map_err(Error::io("read the lock", path))?;
    if known < until {
        lease.file.set_modified(until).map_err(Error::io("set the time of the lock", path))?;
    }
    Ok(())
}

/// Whether a lock that the caller holds exclusively counts as held until a time in the future. A time too far in the future comes from a
/// wrong clock, and does not count.
pub(super) fn is_held_on(lease: &Lease, path: &Path) -> Result<bool> {
    let until = lease.file.metadata().and_then(|metadata| metadata.modified()).map_err(Error::io("read the lock", path))?;
    Ok(until.duration_since(SystemTime::now()).is_ok_and(|ahead| ahead <= MAX_AHEAD))
}

/// Takes the lock `path` exclusively if no other process holds it now.
pub(crate) fn try_exclusive(path: &Path) -> Result<Option<Lease>> {
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lease { file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(Error::io("lock", path)(e)),
    }
}
