//! Where a planned file lies, so that it can be opened later, and nothing else in its place.

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

/// A file as it was when it was planned: the directory that holds it open, the path below that, which has no links in it, and what
/// identifies its content.
#[derive(Clone, Debug)]
pub(crate) struct SourceFile {
    within: Arc<Directory>,
    below: PathBuf,
    stamp: Stamp,
}

impl SourceFile {
    /// The file `below` a directory, which was found to be this.
    pub(crate) fn new(within: Arc<Directory>, below: PathBuf, found: &Metadata) -> Self {
        Self { within, below, stamp: Stamp::of(found) }
    }

    /// What to call it in an error: an absolute path with every link followed.
    pub(crate) fn path(&self) -> PathBuf {
        self.within.path().join(&self.below)
    }

    /// Opens the file, and gives its stamp. Blocks.
    ///
    /// Fails with [`Error::Changed`] if this is not the file that was planned, or not as it was then. Nothing is opened
    /// through a link, whatever has been put in the place of the file or of a directory above it.
    pub(crate) fn open(&self) -> Result<(File, Stamp)> {
        let path = self.path();
        let file = self.within.file(&self.below).map_err(|obstacle| obstacle.since(&path))?;
        let stamp = Stamp::of(&file.metadata().map_err(Error::io("look at", &path))?);
        let is_planned = stamp == self.stamp || (stamp.is_renumbered(&self.stamp) && renumbers(&file));
        if is_planned { Ok((file, stamp)) } else { Err(Error::Changed { path }) }
    }
}

/// Whether the file system may give a file another inode number when the kernel has forgotten it: those in user space and of
/// Windows' servers do, when memory is short.
fn renumbers(file: &File) -> bool {
    matches!(file_system(file), Some(FileSystem::Fuse | FileSystem::Smb))
}
