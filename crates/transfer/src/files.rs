//! A tree of files that is listed and read in ranges: a model before it is packed, and after.
//!
//! A directory is one, an artifact is another. Whatever looks at the files of a model takes [`Files`],
//! so that it does not matter where they are.

pub mod contract;
mod layers;
mod memory;
mod reader;

pub use layers::{BlobFile, LayerFile, LayerFiles};
pub use memory::MemoryFiles;
pub use reader::{FileReader, FilesReader};

use crate::{Body, FileRange, Result};
use async_trait::async_trait;
use modelpack_spec::{Digest, FilePath, HashStates};
use std::{ops::Range, sync::Arc};

/// A file of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Its path in the tree.
    pub path: FilePath,
    /// Its size in bytes.
    pub size: u64,
    /// Whether its owner may execute it.
    pub executable: bool,
}

/// A tree of files.
///
/// The bytes are not verified here. Whoever keeps them verifies them. A future that is dropped stops
/// what it does. Implementations are used by several tasks at once.
#[async_trait]
pub trait Files: Send + Sync {
    /// All files, sorted by their paths. No path occurs twice.
    fn entries(&self) -> &[FileEntry];

    /// Where the tree was published, if something says so.
    fn origin(&self) -> Origin {
        Origin::default()
    }

    /// Opens a file. Reads nothing of it, as far as that can be avoided.
    ///
    /// Fails with [`NotFound`](crate::Error::NotFound) if the tree has no such file, and with
    /// [`Changed`](crate::Error::Changed) if the file is not the one that was listed any more.
    async fn open(&self, path: &FilePath) -> Result<Arc<dyn OpenFile>>;

    /// The same for a tree that is on this machine. Blocks on its disks and on nothing else.
    /// `None` if the tree is elsewhere.
    fn open_here(&self, path: &FilePath) -> Option<Result<Arc<dyn OpenFile>>> {
        let _ = path;
        None
    }
}

/// A file of a tree that is open.
#[async_trait]
pub trait OpenFile: Send + Sync {
    /// The digest of all bytes, if it is known without reading them.
    ///
    /// A caller that computes the digest itself and calls [`remember`](Self::remember) asks this first.
    async fn digest(&self) -> Result<Option<Digest>>;

    /// The hash states of all bytes, if they are known like the digest.
    async fn hash_states(&self) -> Option<HashStates> {
        None
    }

    /// The bytes `range`, which ends at the size of the file or before.
    async fn read(&self, range: Range<u64>) -> Result<Body>;

    /// The file, if it is one of this machine.
    fn here(&self) -> Option<&FileRange> {
        None
    }

    /// Fails with [`Changed`](crate::Error::Changed) if the file changed since it was opened.
    /// Whoever has read all bytes asks before the bytes are kept.
    fn unchanged(&self) -> Result<()> {
        Ok(())
    }

    /// Notes the digest and the hash states of all bytes, which the caller computed, so that they are known next time.
    async fn remember(&self, digest: &Digest, hash_states: Option<&HashStates>) {
        let _ = (digest, hash_states);
    }
}

/// Where a tree of files was published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The address of the repository.
    pub url: Option<Stated>,
    /// The commit or revision.
    pub revision: Option<Stated>,
}

/// A value, and what states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated {
    /// The value.
    pub value: String,
    /// What states it, in words for a person.
    pub by: &'static str,
}
