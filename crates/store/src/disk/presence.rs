//! Whose a file in `ingest` is while nobody has it open.
//!
//! An upload that waits for its client's next request costs no descriptor. Its file is known by the process that it belongs to, which holds
//! one lock for all of them. The lock ends with the process, and with it the file's claim to be kept.

use super::{abandoned::PREFIX, blobs::random_name};
use modelpack_transfer::{Error, Result};
use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// A process that writes blobs, as the names of their files tell.
#[derive(Debug)]
pub(super) struct Presence {
    id: String,
    /// The locked file, once a blob was left to wait.
    shown: Mutex<Option<(PathBuf, File)>>,
}

impl Presence {
    pub(super) fn new() -> Self {
        Self { id: random_name(), shown: Mutex::default() }
    }

    /// A name for the file of a blob, that nobody else chooses.
    pub(super) fn name_file(&self) -> String {
        format!("{PREFIX}{}-{}", self.id, random_name())
    }

    /// Lets the files in `ingest` with its names count as held, until the last user of this is gone.
    pub(super) fn show(&self, ingest: &Path) -> Result<()> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        while shown.is_none() {
            let locks = locks(ingest);
            fs::create_dir_all(&locks).map_err(Error::io("create", &locks))?;
            let path = locks.join(&self.id);
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(Error::io("create", &path))?;
            file.lock().map_err(Error::io("lock", &path))?;
            // Before it was locked, it looked like that of a process that has ended, and may have been removed.
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
            // What cannot be removed is abandoned from now on.
            let _ = fs::remove_file(path);
        }
    }
}

/// Whether the process that a file in `ingest` is named after shows that it is there.
pub(super) fn is_shown(ingest: &Path, file: &OsStr) -> bool {
    let id = file.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|name| name.split_once('-'));
    // Without O_CREAT: the process may never have shown itself.
    let lock = id.and_then(|(id, _)| OpenOptions::new().write(true).open(locks(ingest).join(id)).ok());
    lock.is_some_and(|lock| lock.try_lock().is_err())
}

/// The directory of the locks, beside `ingest`.
pub(super) fn locks(ingest: &Path) -> PathBuf {
    ingest.with_file_name("writers")
}
