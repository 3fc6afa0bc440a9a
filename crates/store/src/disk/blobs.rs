//! A directory of blobs named by their digests: `<algorithm>/<hex>`.

use super::lock::{self, Lease};
use crate::{Error, FileRange, Result};
use modelpack_spec::{Algorithm, Digest};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Blobs on disk, and where new ones are written before they are verified. Both are on one file system.
#[derive(Clone, Debug)]
pub(super) struct Blobs {
    pub(super) directory: PathBuf,
    pub(super) ingest: PathBuf,
    /// Held shared while a blob is added or linked, alone while blobs are collected; `None` where nothing is ever collected.
    pub(super) lock: Option<PathBuf>,
}

impl Blobs {
    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.algorithm().name()).join(digest.hex())
    }

    /// The size in bytes of a blob that is here.
    pub(super) fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let path = self.path(digest);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(Error::io("look at", path)(e)),
        }
    }

    /// The whole of a blob that is here.
    pub(super) fn open(&self, digest: &Digest) -> Result<Option<FileRange>> {
        let path = self.path(digest);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if is_absent(&e) => return Ok(None),
            Err(e) => return Err(Error::io("open", path)(e)),
        };
        let len = file.metadata().map_err(Error::io("look at", &path))?.len();
        Ok(Some(FileRange { file: Arc::new(file), path, offset: 0, len }))
    }

    /// Keeps collection away while the result is held.
    pub(super) fn guard(&self) -> Result<Option<Lease>> {
        self.lock.as_deref().map(lock::shared).transpose().map(Option::flatten)
    }

    /// Makes a written, verified and synced file the blob `digest`, durably. A blob that is here already is left as it is.
    pub(super) fn adopt(&self, file: &Path, digest: &Digest) -> Result<()> {
        let path = self.path(digest);
        if self.size(digest)?.is_some() {
            return Ok(());
        }
        let parent = self.directory.join(digest.algorithm().name());
        if digest.algorithm() != Algorithm::Sha256 {
            fs::create_dir_all(&parent).map_err(Error::io("create", &parent))?;
        }
        fs::rename(file, &path).map_err(Error::io("rename into place", &path))?;
        sync_directory(&parent)
    }
}

pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Makes the names in a directory as durable as the files.
pub(super) fn sync_directory(path: &Path) -> Result<()> {
    // The parent of a relative name without a slash is empty.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path).and_then(|d| d.sync_all()).map_err(Error::io("sync", path))
}

/// Replaces the file at `path` by `bytes`, so that readers see the old or the new one whole, durably.
pub(super) fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let temporary = directory.join(format!(".{}", random_name()));
    let write = || {
        use io::Write;
        let mut file = File::create_new(&temporary).map_err(Error::io("create", &temporary))?;
        file.write_all(bytes).map_err(Error::io("write", &temporary))?;
        file.sync_all().map_err(Error::io("sync", &temporary))?;
        fs::rename(&temporary, path).map_err(Error::io("rename into place", path))
    };
    let written = write();
    if written.is_err() {
        // The error that matters is the first one; what is left of the temporary file is harmless.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    sync_directory(directory)
}

/// A name that nobody else chooses.
pub(super) fn random_name() -> String {
    let number = getrandom::u64().expect("the operating system has random numbers");
    format!("{number:016x}")
}
