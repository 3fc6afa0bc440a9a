//! Symbolic links: which of them may be followed.

use crate::{Error, Result};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Where the links of a directory may lead.
pub(super) struct Bounds {
    root: PathBuf,
    /// The files of the cached Hugging Face repository of which `root` is a snapshot.
    blobs: Option<PathBuf>,
}

impl Bounds {
    /// The bounds of `root`, which has no links in it.
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), blobs: cache_blobs(root) }
    }

    /// Fails if `target`, to which `link` leads and which has no links in it, may not be taken.
    pub(super) fn check(&self, link: PathBuf, target: &Path) -> Result<()> {
        if target.starts_with(&self.root) || (self.blobs.is_some() && target.parent() == self.blobs.as_deref()) {
            return Ok(());
        }
        Err(Error::LinkOutside { link, target: target.to_owned(), directory: self.root.clone() })
    }
}

/// `<repository>/blobs`, if `root` is `<repository>/snapshots/<revision>` or below it, in a cache of Hugging Face.
fn cache_blobs(root: &Path) -> Option<PathBuf> {
    root.ancestors().find_map(|revision| {
        let snapshots = revision.parent()?;
        let repository = snapshots.parent()?;
        let name = repository.file_name()?.to_str()?;
        let is_cached = ["models--", "datasets--", "spaces--"].iter().any(|prefix| name.starts_with(prefix));
        (is_cached && snapshots.file_name()? == "snapshots").then(|| repository.join("blobs"))
    })
}

/// Where the link `source` leads, with every link on the way followed; `None` if nothing is there.
pub(super) fn follow(source: &Path, shown: &Path) -> Result<Option<PathBuf>> {
    match fs::canonicalize(source) {
        Ok(target) => Ok(Some(target)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(modelpack_store::Error::io("follow the link", shown)(e).into()),
    }
}
