//! The files of one model, and what each is to it.

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
    /// What it is to the model.
    pub kind: LayerKind,
    content: FilesReader,
}

impl ModelFile {
    /// The file, open, unless it changed since it was listed: then packing fails.
    pub(crate) fn open(&self) -> Option<FileReader> {
        self.content.open(&self.path, self.size).ok()
    }
}

/// The files of one model. Some files of their tree may be none of the model's.
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

    /// The first failure to read a file that is not on this machine. What was told since may be less than the files say.
    pub fn failure(&self) -> Result<(), Error> {
        self.content.failure()
    }

    pub(crate) fn origin(&self) -> Origin {
        self.content.files().origin()
    }

    /// Fetches the beginnings of weights and small files that are not on this machine, `concurrency` at once: what
    /// [`infer`](crate::infer()) and [`gaps`](crate::gaps()) read first.
    pub async fn fetch_headers(&self, concurrency: usize) {
        // Weights first: if there are more files than fit into memory, each of their headers is a round trip saved.
        let (weights, others): (Vec<_>, Vec<_>) = self.files.iter().partition(|file| file.kind == LayerKind::Weight);
        let files = weights.into_iter().chain(others).map(|file| (&file.path, file.size));
        self.content.fetch_beginnings(files, concurrency).await;
    }
}

/// Models for tests, whose files are in memory.
#[cfg(test)]
mod for_tests {
    use super::*;
    use crate::classify;
    use modelpack_transfer::MemoryFiles;
    use std::sync::Arc;

    /// What `work` makes of the model of these files.
    pub(crate) fn with_model<T>(files: &[(&str, Vec<u8>)], work: impl FnOnce(&ModelFiles) -> T) -> T {
        let content = MemoryFiles::new(files.iter().map(|(path, bytes)| (path.parse().unwrap(), bytes.clone().into(), false)));
        with(content, files.iter().map(|(path, bytes)| (*path, bytes.len() as u64)), work)
    }

    /// What `work` makes of the model of files that are listed, and cannot be opened.
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
