//! The files of one model and their kinds.

use modelpack_spec::{FilePath, LayerKind};
use modelpack_transfer::{Error, FileReader, FilesReader, Origin};

#[cfg(test)]
pub(crate) use for_tests::{with_absent_files, with_model};

/// A file of a model.
#[derive(Clone)]
pub struct ModelFile {
    /// Its path in the artifact.
    pub path: FilePath,
    /// Its size in bytes.
    pub size: u64,
    /// The kind of the file.
    pub kind: LayerKind,
    content: FilesReader,
}

impl ModelFile {
    /// Opens the file. `None` if it changed since it was listed; packing then fails.
    pub(crate) fn open(&self) -> Option<FileReader> {
        self.content.open(&self.path, self.size).ok()
    }
}

/// The files of one model. Other files of their tree need not belong to the model.
pub struct ModelFiles {
    pub(crate) files: Vec<ModelFile>,
    content: FilesReader,
}

impl ModelFiles {
    /// Files of the tree `content`, by path, size in bytes and kind.
    pub fn new(content: FilesReader, files: impl IntoIterator<Item = (FilePath, u64, LayerKind)>) -> Self {
        let file = |(path, size, kind)| ModelFile { path, size, kind, content: content.clone() };
        Self { files: files.into_iter().map(file).collect(), content }
    }

    /// The first failure to read a remote file. After a failure, results may be incomplete.
    pub fn failure(&self) -> Result<(), Error> {
        self.content.failure()
    }

    pub(crate) fn origin(&self) -> Origin {
        self.content.files().origin()
    }

    /// Fetches the beginnings of remote weights and small files, `concurrency` at the same time:
    /// the data that [`infer`](crate::infer()) and [`gaps`](crate::gaps()) read first.
    pub async fn fetch_headers(&self, concurrency: usize) {
        // Weights come first: if not all files fit into memory, each header of a weight that is
        // kept saves a round trip.
        let (weights, others): (Vec<_>, Vec<_>) = self.files.iter().partition(|file| file.kind == LayerKind::Weight);
        let files = weights.into_iter().chain(others).map(|file| (&file.path, file.size));
        self.content.fetch_beginnings(files, concurrency).await;
    }
}

/// Models for tests, with files in memory.
#[cfg(test)]
mod for_tests {
    use super::*;
    use crate::classify;
    use modelpack_transfer::MemoryFiles;
    use std::sync::Arc;

    /// The result of `work` for a model with these files.
    pub(crate) fn with_model<T>(files: &[(&str, Vec<u8>)], work: impl FnOnce(&ModelFiles) -> T) -> T {
        let content = MemoryFiles::new(files.iter().map(|(path, bytes)| (path.parse().unwrap(), bytes.clone().into(), false)));
        with(content, files.iter().map(|(path, bytes)| (*path, bytes.len() as u64)), work)
    }

    /// The result of `work` for a model whose files are listed but cannot be opened.
    pub(crate) fn with_absent_files<T>(paths: &[&str], work: impl FnOnce(&ModelFiles) -> T) -> T {
        with(MemoryFiles::default(), paths.iter().map(|path| (*path, 2)), work)
    }

    fn with<'a, T>(content: MemoryFiles, files: impl Iterator<Item = (&'a str, u64)>, work: impl FnOnce(&ModelFiles) -> T) -> T {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let _entered = runtime.enter();
        let listed = files.map(|(path, size)| {
            let path: FilePath = path.parse().unwrap();
            let kind = classify(&path, size).0;
            (path, size, kind)
        });
        work(&ModelFiles::new(FilesReader::new(Arc::new(content)), listed))
    }
}
