//! The files of archive layers: they are unpacked into the cache before anybody sees them.

use crate::blobs::{Blob, Blobs, Whole};
use modelpack_pack::{UnpackOptions, unpack_artifact};
use modelpack_spec::{Artifact, Descriptor, FilePath, Layer, Manifest, Selector};
use modelpack_store::CachedTree;
use modelpack_transfer::{Body, Error, FileRange, Result, Source, blocking};
use std::{
    fs,
    ops::Range,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A file of an archive, which is in the cache.
pub(crate) struct UnpackedFile {
    pub(crate) path: FilePath,
    pub(crate) size: u64,
    pub(crate) executable: bool,
    pub(crate) tree: Arc<CachedTree>,
}

impl UnpackedFile {
    /// Opens it; blocks.
    pub(crate) fn open(&self) -> Result<FileRange> {
        let path = self.tree.path().join(self.path.as_str());
        FileRange::open(&path).map_err(Error::io("open", path))
    }
}

/// Unpacks a layer into the cache, unless it is there. Returns its files.
pub(crate) async fn unpack_layer(
    blobs: &Arc<Blobs>,
    blob: &Blob,
    source: &Arc<dyn Source>,
    layer: &Layer,
) -> Result<Vec<UnpackedFile>, Arc<Error>> {
    let tree = match tree(blobs, &layer.descriptor).await? {
        Some(tree) => tree,
        None => {
            let whole = blob.arrived(source).await?;
            unpack_whole(blobs, whole, layer).await?
        }
    };
    let tree = Arc::new(tree);
    Ok(blocking(move || list(&tree)).await?)
}

async fn tree(blobs: &Arc<Blobs>, layer: &Descriptor) -> Result<Option<CachedTree>> {
    let (cache, digest) = (blobs.cache.clone(), layer.digest.clone());
    blocking(move || cache.tree(&digest)).await
}

async fn unpack_whole(blobs: &Arc<Blobs>, whole: Whole, layer: &Layer) -> Result<CachedTree> {
    let (cache, descriptor) = (blobs.cache.clone(), layer.descriptor.clone());
    let new = blocking(move || cache.begin_tree(&descriptor.digest, descriptor.size)).await?;
    // Another mount may have unpacked it while this one waited for its turn.
    if let Some(tree) = tree(blobs, &layer.descriptor).await? {
        return Ok(tree);
    }
    let artifact = Artifact { artifact_type: None, config: layer.descriptor.clone(), layers: vec![layer.clone()] };
    let options = UnpackOptions { progress: blobs.progress.clone(), connections: blobs.connections.clone(), ..UnpackOptions::default() };
    let unpacked = unpack_artifact(&OneBlob(whole.file), layer.descriptor.display_name(), &artifact, new.path(), &options, || ()).await;
    unpacked.map_err(|error| match error {
        modelpack_pack::Error::Store(error) => error,
        other => Error::Invalid { what: layer.descriptor.display_name(), why: other.to_string() },
    })?;
    blocking(move || new.commit()).await
}

/// The files of a tree; blocks.
fn list(tree: &Arc<CachedTree>) -> Result<Vec<UnpackedFile>> {
    let mut files = Vec::new();
    let mut directories: Vec<PathBuf> = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        let path = tree.path().join(&directory);
        for entry in fs::read_dir(&path).map_err(Error::io("list", &path))? {
            let entry = entry.map_err(Error::io("list", &path))?;
            let below = directory.join(entry.file_name());
            let metadata = entry.metadata().map_err(Error::io("look at", entry.path()))?;
            if metadata.is_dir() {
                directories.push(below);
            } else if let Some(path) = file_path(&below).filter(|_| metadata.is_file()) {
                let executable = metadata.permissions().mode() & 0o100 != 0;
                files.push(UnpackedFile { path, size: metadata.len(), executable, tree: tree.clone() });
            }
        }
    }
    Ok(files)
}

fn file_path(path: &Path) -> Option<FilePath> {
    path.to_str()?.parse().ok()
}

/// A blob that is a file of this machine.
struct OneBlob(FileRange);

#[async_trait::async_trait]
impl Source for OneBlob {
    async fn manifest(&self, at: &Selector) -> Result<Manifest> {
        Err(Error::not_found(format!("manifest {at}")))
    }

    async fn blob(&self, _: &Descriptor, range: Range<u64>) -> Result<Body> {
        let FileRange { file, path, offset, .. } = &self.0;
        let part = FileRange { file: file.clone(), path: path.clone(), offset: offset + range.start, len: range.end - range.start };
        Ok(Body::from_file(part))
    }
}
