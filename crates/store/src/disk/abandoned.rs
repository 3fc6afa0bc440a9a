//! Files that a writer left when it was killed.
//!
//! A writer holds a lock on its file. A file whose lock is free has lost its writer, unless its modification time lies in the future:
//! then it is an upload that waits until that time for its client to go on.

use super::{
    blobs::{files, is_absent},
    lock,
};
use crate::{Error, Result};
use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
};

/// How the name of a blob that is being written begins.
pub(super) const PREFIX: &str = ".ingest-";

/// Removes the abandoned files in `directory` whose names begin with `prefix`; with `dry_run`, only finds them. Returns them with their
/// sizes in bytes.
pub(super) fn sweep(directory: &Path, prefix: &str, dry_run: bool) -> Result<Vec<(PathBuf, u64)>> {
    let mut abandoned = Vec::new();
    for (path, size) in files(directory)? {
        if !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(prefix.as_bytes())) {
            continue;
        }
        // Writable, because network file systems grant exclusive locks on nothing else. Without O_CREAT: it may be gone by now.
        let Ok(file) = OpenOptions::new().write(true).open(&path) else { continue };
        if file.try_lock().is_err() || lock::is_ahead(&file).unwrap_or(true) {
            continue;
        }
        if !dry_run {
            match fs::remove_file(&path) {
                // Its writer finished or gave it up before the lock was free.
                Err(e) if is_absent(&e) => continue,
                removed => removed.map_err(Error::io("remove", &path))?,
            }
        }
        abandoned.push((path, size));
    }
    Ok(abandoned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::File,
        time::{Duration, SystemTime},
    };

    #[test]
    fn only_what_nobody_holds_and_nobody_waits_for_is_abandoned() {
        let directory = tempfile::tempdir().unwrap();
        let [dead, written, waiting, other] = [".ingest-dead", ".ingest-written", ".ingest-waiting", "other"].map(|name| {
            let path = directory.path().join(name);
            fs::write(&path, name).unwrap();
            path
        });
        let writer = File::open(&written).unwrap();
        writer.lock().unwrap();
        let hour = Duration::from_secs(3600);
        File::options().write(true).open(&waiting).unwrap().set_modified(SystemTime::now() + hour).unwrap();

        let sweep = |dry_run| sweep(directory.path(), PREFIX, dry_run).unwrap();
        assert_eq!(sweep(true), [(dead.clone(), 12)]);
        assert!(dead.exists(), "a dry run removes nothing");
        assert_eq!(sweep(false), [(dead.clone(), 12)]);
        assert!(!dead.exists() && written.exists() && waiting.exists() && other.exists());

        drop(writer);
        File::options().write(true).open(&waiting).unwrap().set_modified(SystemTime::now() - hour).unwrap();
        assert_eq!(sweep(false).len(), 2, "its writer has ended, and the time of the other is over");
        assert!(other.exists());
    }
}
