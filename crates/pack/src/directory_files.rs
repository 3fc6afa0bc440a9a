//! The planned files of a directory as a tree. Each file is opened at its planned location, and
//! only if it has not changed.

use crate::{directory::Directory, git, plan::SourceFile};
use async_trait::async_trait;
use modelpack_spec::{Digest, FilePath};
use modelpack_store::Stamp;
use modelpack_transfer::{Body, Error, FileEntry, FileRange, Files, OpenFile, Origin, Result, blocking};
use std::{ops::Range, sync::Arc};

/// Local files.
pub(crate) struct DirectoryFiles {
    /// Sorted by path.
    entries: Vec<FileEntry>,
    /// The location of each entry.
    sources: Vec<SourceFile>,
    /// The directory, if its git work tree is used to find where the files were published.
    directory: Option<Arc<Directory>>,
}

impl DirectoryFiles {
    pub(crate) fn new(directory: Option<Arc<Directory>>, mut files: Vec<(FileEntry, SourceFile)>) -> Self {
        files.sort_unstable_by(|(a, _), (b, _)| a.path.cmp(&b.path));
        let (entries, sources) = files.into_iter().unzip();
        Self { entries, sources, directory }
    }

    fn source(&self, path: &FilePath) -> Result<(&SourceFile, u64)> {
        let at = self.entries.binary_search_by(|entry| entry.path.cmp(path)).map_err(|_| Error::not_found(path.as_str()))?;
        Ok((&self.sources[at], self.entries[at].size))
    }
}

#[async_trait]
impl Files for DirectoryFiles {
    fn entries(&self) -> &[FileEntry] {
        &self.entries
    }

    fn origin(&self) -> Origin {
        self.directory.as_deref().map(git::origin).unwrap_or_default()
    }

    async fn open(&self, path: &FilePath) -> Result<Arc<dyn OpenFile>> {
        let (source, size) = self.source(path)?;
        let source = source.clone();
        blocking(move || open(&source, size)).await
    }

    fn open_here(&self, path: &FilePath) -> Option<Result<Arc<dyn OpenFile>>> {
        Some(self.source(path).and_then(|(source, size)| open(source, size)))
    }
}

fn open(source: &SourceFile, size: u64) -> Result<Arc<dyn OpenFile>> {
    let (file, stamp) = source.open()?;
    Ok(Arc::new(OpenSource { range: FileRange { file: Arc::new(file), path: source.path(), offset: 0, len: size }, stamp }))
}

/// An open planned file.
struct OpenSource {
    range: FileRange,
    /// The stamp of the file when it was opened.
    stamp: Stamp,
}

#[async_trait]
impl OpenFile for OpenSource {
    async fn digest(&self) -> Result<Option<Digest>> {
        Ok(None)
    }

    async fn read(&self, range: Range<u64>) -> Result<Body> {
        let end = range.end.min(self.range.len);
        let start = range.start.min(end);
        Ok(Body::from_file(FileRange { offset: self.range.offset + start, len: end - start, ..self.range.clone() }))
    }

    fn here(&self) -> Option<&FileRange> {
        Some(&self.range)
    }

    fn unchanged(&self) -> Result<()> {
        let path = &self.range.path;
        let now = Stamp::of(&self.range.file.metadata().map_err(Error::io("look at", path))?);
        if now == self.stamp { Ok(()) } else { Err(Error::Changed { path: path.clone() }) }
    }
}
