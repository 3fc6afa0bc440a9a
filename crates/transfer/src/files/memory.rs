//! Files in memory.

use super::{FileEntry, Files, OpenFile};
use crate::{Body, Error, Result};
use async_trait::async_trait;
use bytes::Bytes;
use modelpack_spec::{Digest, FilePath};
use std::{collections::BTreeMap, ops::Range, sync::Arc};

/// A tree of small files that are in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryFiles {
    entries: Vec<FileEntry>,
    bytes: BTreeMap<FilePath, Bytes>,
}

impl MemoryFiles {
    /// A tree of these files: path, bytes, and whether the owner may execute it. Of two files with one path the later one counts.
    pub fn new(files: impl IntoIterator<Item = (FilePath, Bytes, bool)>) -> Self {
        let files: BTreeMap<FilePath, (Bytes, bool)> =
            files.into_iter().map(|(path, bytes, executable)| (path, (bytes, executable))).collect();
        let entries = files.iter().map(|(path, (bytes, executable))| FileEntry {
            path: path.clone(),
            size: bytes.len() as u64,
            executable: *executable,
        });
        Self { entries: entries.collect(), bytes: files.into_iter().map(|(path, (bytes, _))| (path, bytes)).collect() }
    }

    fn find(&self, path: &FilePath) -> Result<Arc<dyn OpenFile>> {
        let bytes = self.bytes.get(path).ok_or_else(|| Error::not_found(path.as_str()))?;
        Ok(Arc::new(MemoryFile(bytes.clone())))
    }
}

#[async_trait]
impl Files for MemoryFiles {
    fn entries(&self) -> &[FileEntry] {
        &self.entries
    }

    async fn open(&self, path: &FilePath) -> Result<Arc<dyn OpenFile>> {
        self.find(path)
    }
}

struct MemoryFile(Bytes);

#[async_trait]
impl OpenFile for MemoryFile {
    async fn digest(&self) -> Result<Option<Digest>> {
        Ok(None)
    }

    async fn read(&self, range: Range<u64>) -> Result<Body> {
        let at = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(self.0.len());
        Ok(Body::from_bytes(self.0.slice(at(range.start)..at(range.end))))
    }
}
