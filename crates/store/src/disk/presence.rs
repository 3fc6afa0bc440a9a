//! Which process a file in `ingest` belongs to while no process has it open.
//!
//! An upload that waits for the next request of its client needs no descriptor. The name of its file tells the process that it belongs to.
//! That process holds one lock for all these files. The lock ends with the process, and then the files may be removed.

use super::{abandoned::PREFIX, blobs::random_name};
use modelpack_transfer::{Error, Result};
use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// A process that writes blobs, as the names of its files tell it.
#[derive(Debug)]
pub(super) struct Presence {
    id: String,
    /// The locked file, as soon as one upload had to wait for its client.
    shown: Mutex<Option<(PathBuf, File)>>,
}

impl Presence {
    pub(super) fn new() -> Self {
        Self { id: random_name(), shown: Mutex::default() }
    }

    /// A random name for the file of a blob, which no other process uses.
    pub(super) fn name_file(&self) -> String {
        format!("{PREFIX}{}-{}", self.id, random_name())
    }

    /// Lets the files in `ingest` that have this process's names count as in use, until the last clone of this is dropped.
    pub(super) fn show(&self, ingest: &Path) -> Result<()> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        while shown.is_none() {
            let locks = locks(ingest);
            fs::create_dir_all(&locks).map_err(Error::io("create", &locks))?;
            let path = locks.join(&self.id);
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(Error::io("create", &path))?;
            file.lock().map_err(Error::io("lock", &path))?;
            // Before it was locked, it looked like the file of a dead process, and may have been removed.
            if file.metadata().map_err(Error::io("look at", &path))?.nlink() > 0 {
                *shown = Some((path, file));
            }
        }
        Ok(())
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if let Some((path, _)) = self.shown.get_mut().unwrap_or_else(PoisonError::into_inner) {
            // If it cannot be removed, it counts as abandoned from now on.
            let _ = fs::remove_file(path);
        }
    }
}

/// Whether the process in the name of a file in `ingest` is alive.
pub(super) fn is_shown(ingest: &Path, file: &OsStr) -> bool {
    let id = file.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|name| name.split_once('-'));
    // Without O_CREAT: the process may never have taken this lock.
    let lock = id.and_then(|(id, _)| OpenOptions::new().write(true).open(locks(ingest).join(id)).ok());
    lock.is_some_and(|lock| lock.try_lock().is_err())
}

/// The directory of the locks, next to `ingest`.
pub(super) fn locks(ingest: &Path) -> PathBuf {
    ingest.with_file_name("writers")
}
