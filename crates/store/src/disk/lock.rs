//! File locks. The operating system drops them when their holder ends, however it ends, so none is ever stale.

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

/// The longest time for which a lease may be held ahead.
const MAX_AHEAD: Duration = Duration::from_secs(24 * 3600);

fn open(path: &Path) -> Result<File> {
    // A directory is locked as it is; anything else is a file made for locking. Writable, because network file systems
    // grant exclusive locks on nothing else.
    let mut options = OpenOptions::new();
    if path.is_dir() {
        options.read(true)
    } else {
        options.create(true).truncate(false).write(true)
    };
    // A pipe in its place would be waited for.
    let nonblocking = OFlags::NONBLOCK.bits() as i32;
    match options.custom_flags(nonblocking).open(path) {
        // A store that may only be read is locked as far as it can be.
        Err(e) if matches!(e.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
            OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(|_| e)
        }
        opened => opened,
    }
    .map_err(Error::io("open the lock", path))
}

/// Waits until no one else holds `path` at all.
pub(super) fn exclusive(path: &Path) -> Result<Lease> {
    let file = open(path)?;
    file.lock().map_err(Error::io("lock", path))?;
    Ok(Lease { file })
}

/// Holds `path` together with others who share it. It is opened to be read if it is there, so that a store that cannot be written can
/// be locked too.
///
/// A lock file that was removed while it was waited for locks nothing: `None`, and the caller begins anew.
pub(super) fn shared(path: &Path) -> Result<Option<Lease>> {
    let read = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path);
    let file = match read {
        Err(e) if e.kind() == ErrorKind::NotFound => open(path)?,
        opened => opened.map_err(Error::io("open the lock", path))?,
    };
    file.lock_shared().map_err(Error::io("lock", path))?;
    let held = file.metadata().map_err(Error::io("read the lock", path))?;
    Ok((held.nlink() > 0).then_some(Lease { file }))
}

/// Lets `path` count as held until `until`, though nobody keeps it open; what was said before and is later stays.
///
/// The caller holds the lock, shared or alone. The time is kept as the modification time of the file, which a lock file that is only
/// locked never has in the future. So a server that holds very many leases needs no descriptor for each, and they outlive it.
pub(super) fn hold_until(lease: &Lease, path: &Path, until: SystemTime) -> Result<()> {
    let known = lease.file.metadata().and_then(|metadata| metadata.modified()).map_err(Error::io("read the lock", path))?;
    if known < until {
        lease.file.set_modified(until).map_err(Error::io("set the time of the lock", path))?;
    }
    Ok(())
}

/// Whether a lock that the caller holds alone counts as held until a time to come. A time that lies too far ahead is that of a clock
/// that was wrong, and does not count.
pub(super) fn is_held_on(lease: &Lease, path: &Path) -> Result<bool> {
    let until = lease.file.metadata().and_then(|metadata| metadata.modified()).map_err(Error::io("read the lock", path))?;
    Ok(until.duration_since(SystemTime::now()).is_ok_and(|ahead| ahead <= MAX_AHEAD))
}

/// Holds `path` alone if no one holds it now.
pub(super) fn try_exclusive(path: &Path) -> Result<Option<Lease>> {
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lease { file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(Error::io("lock", path)(e)),
    }
}
