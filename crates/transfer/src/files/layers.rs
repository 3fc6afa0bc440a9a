//! The layers of an artifact as files.

use super::{FileEntry, Files, OpenFile};
use crate::{Body, Error, Result, Source};
use async_trait::async_trait;
use modelpack_spec::{Artifact, Content, Descriptor, Digest, Encoding, FilePath, HashStates};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

/// The layers of an artifact, each a file with the bytes of its blob: an archive is one file.
pub struct LayerFiles {
    source: Arc<dyn Source>,
    entries: Vec<FileEntry>,
    layers: Vec<LayerFile>,
    /// Which of the layers has a path.
    by_path: BTreeMap<FilePath, usize>,
}

/// A layer as a file.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerFile {
    /// The path of the layer. A layer without one is called by its number, from 0.
    pub path: FilePath,
    /// Its descriptor.
    pub blob: Descriptor,
    /// How its bytes hold files. [`Encoding::Raw`] if they are one file, compressed or not.
    pub encoding: Encoding,
}

impl LayerFiles {
    /// The layers of `artifact`, whose blobs `source` has.
    pub fn new(source: Arc<dyn Source>, artifact: &Artifact) -> Self {
        let mut taken: BTreeSet<FilePath> = artifact.layers.iter().filter_map(|layer| layer.path.clone()).collect();
        let mut named = BTreeSet::new();
        let (mut entries, mut layers) = (Vec::new(), Vec::new());
        for (number, layer) in artifact.layers.iter().enumerate() {
            let path = layer.path.clone().filter(|path| named.insert(path.clone()));
            let path = path.unwrap_or_else(|| by_number(number, &mut taken));
            let encoding = match layer.content {
                Content::Archive(encoding) => encoding,
                Content::File(_) | Content::Compressed(..) | Content::Unnamed => Encoding::Raw,
            };
            entries.push(FileEntry { path: path.clone(), size: layer.descriptor.size, executable: layer.is_executable() });
            layers.push(LayerFile { path, blob: layer.descriptor.clone(), encoding });
        }
        Self::with(source, entries, layers)
    }

    /// One blob, whatever it holds.
    pub fn of_blob(source: Arc<dyn Source>, blob: &Descriptor) -> Self {
        let path: FilePath = format!("blob {}", blob.digest).parse().expect("a digest with a word before it is a path");
        let entry = FileEntry { path: path.clone(), size: blob.size, executable: false };
        Self::with(source, vec![entry], vec![LayerFile { path, blob: blob.clone(), encoding: Encoding::Raw }])
    }

    fn with(source: Arc<dyn Source>, mut entries: Vec<FileEntry>, layers: Vec<LayerFile>) -> Self {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let by_path = layers.iter().enumerate().map(|(at, layer)| (layer.path.clone(), at)).collect();
        Self { source, entries, layers, by_path }
    }

    /// The layers in the order of the manifest.
    pub fn layers(&self) -> &[LayerFile] {
        &self.layers
    }
}

/// A path for a layer that has none: its number, and where a file is called so, something behind it.
fn by_number(number: usize, taken: &mut BTreeSet<FilePath>) -> FilePath {
    let mut name = format!("layer {number}");
    loop {
        let path: FilePath = name.parse().expect("a number with a word before it is a path");
        if taken.insert(path.clone()) {
            return path;
        }
        name.push('+');
    }
}

#[async_trait]
impl Files for LayerFiles {
    fn entries(&self) -> &[FileEntry] {
        &self.entries
    }

    async fn open(&self, path: &FilePath) -> Result<Arc<dyn OpenFile>> {
        let at = *self.by_path.get(path).ok_or_else(|| Error::not_found(path.as_str()))?;
        Ok(Arc::new(BlobFile::new(self.source.clone(), self.layers[at].blob.clone())))
    }
}

/// A blob as an open file.
pub struct BlobFile {
    source: Arc<dyn Source>,
    blob: Descriptor,
}

impl BlobFile {
    /// The blob `blob` of `source`.
    pub fn new(source: Arc<dyn Source>, blob: Descriptor) -> Self {
        Self { source, blob }
    }
}

#[async_trait]
impl OpenFile for BlobFile {
    async fn digest(&self) -> Result<Option<Digest>> {
        Ok(Some(self.blob.digest.clone()))
    }

    async fn hash_states(&self) -> Option<HashStates> {
        if self.blob.size >= HashStates::LEAST_SIZE { self.source.hash_states(&self.blob).await } else { None }
    }

    async fn read(&self, range: Range<u64>) -> Result<Body> {
        self.source.blob(&self.blob, range).await
    }
}
