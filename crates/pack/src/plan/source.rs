//! The location of a planned file, so that exactly this file can be opened later.

use crate::directory::Directory;
use modelpack_store::Stamp;
use modelpack_transfer::{
    Error, Result,
    platform::{FileSystem, file_system},
};
use std::{
    fs::{File, Metadata},
    path::PathBuf,
    sync::Arc,
};

/// A file as it was planned: the directory, held open, the path below it, which contains no links,
/// and the stamp that identifies its content.
#[derive(Clone, Debug)]
pub(crate) struct SourceFile {
    within: Arc<Directory>,
    below: PathBuf,
    stamp: Stamp,
}

impl SourceFile {
    /// The file at `below` in a directory, with the metadata that was found.
    pub(crate) fn new(within: Arc<Directory>, below: PathBuf, found: &Metadata) -> Self {
        Self { within, below, stamp: Stamp::of(found) }
    }

    /// The path for errors: absolute, with all links resolved.
    pub(crate) fn path(&self) -> PathBuf {
        self.within.path().join(&self.below)
    }

    /// Opens the file, and returns its stamp. This call blocks.
    ///
    /// Fails with [`Error::Changed`] if this is not the planned file, or if it has changed. No link
    /// is followed, even if the file or a directory above it was replaced by one.
    pub(crate) fn open(&self) -> Result<(File, Stamp)> {
        let path = self.path();
        let file = self.within.file(&self.below).map_err(|obstacle| obstacle.since(&path))?;
        let stamp = Stamp::of(&file.metadata().map_err(Error::io("look at", &path))?);
        let is_planned = stamp == self.stamp || (stamp.is_renumbered(&self.stamp) && renumbers(&file));
        if is_planned { Ok((file, stamp)) } else { Err(Error::Changed { path }) }
    }
}

/// Whether the file system may give a file another inode number after the kernel has evicted it.
/// File systems in user space and Windows servers do this when memory is low.
fn renumbers(file: &File) -> bool {
    matches!(file_system(file), Some(FileSystem::Fuse | FileSystem::Smb))
}
