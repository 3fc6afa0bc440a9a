//! File locks. The operating system drops them when their holder ends, however it ends, so none is ever stale.

use crate::{Error, Result};
use std::{
    fs::{File, OpenOptions, TryLockError},
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::Path,
};

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct Lease {
    _file: File,
}

fn open(path: &Path) -> Result<File> {
    // A directory is locked as it is; anything else is a file made for locking. Writable, because network file systems
    // grant exclusive locks on nothing else.
    let file = if path.is_dir() { File::open(path) } else { OpenOptions::new().create(true).truncate(false).write(true).open(path) };
    file.map_err(Error::io("open the lock", path))
}

/// Waits until no one else holds `path` at all.
pub(super) fn exclusive(path: &Path) -> Result<Lease> {
    let file = open(path)?;
    file.lock().map_err(Error::io("lock", path))?;
    Ok(Lease { _file: file })
}

/// Holds `path` together with others who share it. It is opened to be read if it is there, so that a store that cannot be written can
/// be locked too.
///
/// A lock file that was removed while it was waited for locks nothing: `None`, and the caller begins anew.
pub(super) fn shared(path: &Path) -> Result<Option<Lease>> {
    let file = match File::open(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => open(path)?,
        opened => opened.map_err(Error::io("open the lock", path))?,
    };
    file.lock_shared().map_err(Error::io("lock", path))?;
    let held = file.metadata().map_err(Error::io("read the lock", path))?;
    Ok((held.nlink() > 0).then_some(Lease { _file: file }))
}

/// Holds `path` alone if no one holds it now.
pub(super) fn try_exclusive(path: &Path) -> Result<Option<Lease>> {
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lease { _file: file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(Error::io("lock", path)(e)),
    }
}
