//! Files that a killed writer left.
//!
//! A writer holds a lock on its file. If the lock is free, the writer is dead.

use super::blobs::{TEMPORARY, files, is_absent};
use modelpack_transfer::{Error, Result};
use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
};

/// The beginning of the name of a blob that is being written.
pub(super) const PREFIX: &str = ".ingest-";

/// Removes the abandoned files in `directory` whose names begin with `prefix`, and returns them with their sizes in bytes. With `dry_run`,
/// only finds them.
pub(super) fn sweep(directory: &Path, prefix: &str, dry_run: bool) -> Result<Vec<(PathBuf, u64)>> {
    let mut abandoned = Vec::new();
    for (path, size) in files(directory)? {
        let name = path.file_name().unwrap_or_default();
        if !name.as_encoded_bytes().starts_with(prefix.as_bytes()) {
            continue;
        }
        // Writable, because network file systems grant exclusive locks on nothing else. Without O_CREAT: it may be gone by now.
        let Ok(file) = OpenOptions::new().write(true).open(&path) else { continue };
        if file.try_lock().is_err() {
            continue;
        }
        if dry_run || is_removed(&path)? {
            abandoned.push((path, size));
        }
    }
    Ok(abandoned)
}

/// Removes the temporary files in `directory` that should replace others, and that a killed writer left. With `dry_run`, only finds them.
/// The caller holds a lock, so no process is writing such a file now.
pub(crate) fn sweep_temporaries(directory: &Path, dry_run: bool) -> Result<Vec<(PathBuf, u64)>> {
    let mut abandoned = Vec::new();
    for (path, size) in files(directory)? {
        let is_temporary = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes()));
        if is_temporary && (dry_run || is_removed(&path)?) {
            abandoned.push((path, size));
        }
    }
    Ok(abandoned)
}

/// Removes a file. Returns `false` if it is not there any more, because its writer has finished or discarded it.
fn is_removed(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if is_absent(&e) => Ok(false),
        Err(e) => Err(Error::io("remove", path)(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn only_what_nobody_holds_is_abandoned() {
        let directory = tempfile::tempdir().unwrap();
        let [dead, written, other] = [".ingest-dead", ".ingest-written", "other"].map(|name| {
            let path = directory.path().join(name);
            fs::write(&path, "four").unwrap();
            path
        });
        let writer = File::open(&written).unwrap();
        writer.lock().unwrap();

        let sweep = |dry_run| sweep(directory.path(), PREFIX, dry_run).unwrap();
        assert_eq!(sweep(true), [(dead.clone(), 4)]);
        assert!(dead.exists(), "a dry run removes nothing");
        assert_eq!(sweep(false), [(dead.clone(), 4)]);
        assert!(!dead.exists() && written.exists() && other.exists());

        drop(writer);
        assert_eq!(sweep(false), [(written, 4)], "its writer has ended");
        assert_eq!(files(directory.path()).unwrap(), [(other, 4)]);
    }
}
