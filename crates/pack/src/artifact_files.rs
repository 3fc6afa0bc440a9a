//! The files of an artifact as a tree, in any place.
//!
//! [`LayerFiles`](modelpack_transfer::LayerFiles) has one file for each stored layer.
//! [`ArtifactFiles`] has the files of the model, including those in archives.

mod archived;

use crate::{
    Error, Result,
    convert::is_untested,
    unpack::{Allowance, ArchiveReader, Contents, name as layer_name},
};
use archived::{Archived, Beginnings};
use async_trait::async_trait;
use modelpack_spec::{Artifact, Content, Descriptor, Digest, Encoding, FilePath, Layer, LayerKind};
use modelpack_transfer::{BlobFile, Body, Error as StoreError, FileEntry, Files, OpenFile, Progress, Source, for_each_concurrent};
use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex},
};

/// The files of an artifact. Archived and compressed files were listed and verified once.
pub struct ArtifactFiles {
    /// The name of the artifact in errors.
    name: String,
    source: Arc<dyn Source>,
    /// Sorted by path.
    entries: Vec<FileEntry>,
    places: Vec<Place>,
    archives: Vec<StoredArchive>,
}

/// The location of a file's bytes, and its kind according to its layer.
struct Place {
    bytes: Bytes,
    /// The kind of the file, and whether it was inferred from the file's name.
    kind: Option<(LayerKind, bool)>,
}

enum Bytes {
    Layer(Descriptor),
    Archived(Arc<Archived>),
}

/// A stored archive that contains files of a model.
#[derive(Clone)]
pub struct StoredArchive {
    pub(crate) descriptor: Descriptor,
    /// The digest of the uncompressed archive, if the archive is compressed.
    pub(crate) diff_id: Option<Digest>,
    pub(crate) encoding: Encoding,
    /// The path in the annotations of its layer.
    pub(crate) path: Option<FilePath>,
    pub(crate) files: BTreeSet<FilePath>,
    source: Arc<dyn Source>,
}

impl StoredArchive {
    /// Its bytes.
    pub(crate) async fn read(&self) -> Result<Body, StoreError> {
        self.source.blob(&self.descriptor, 0..self.descriptor.size).await
    }
}

impl PartialEq for StoredArchive {
    fn eq(&self, other: &Self) -> bool {
        self.descriptor == other.descriptor && self.files == other.files
    }
}

impl Eq for StoredArchive {}

impl fmt::Debug for StoredArchive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredArchive").field("descriptor", &self.descriptor).finish_non_exhaustive()
    }
}

impl ArtifactFiles {
    /// The files of `artifact`. `name` is its name in errors; `source` has its blobs. Archives are
    /// read to their end, `concurrency` at the same time. Only names, digests and the beginnings of
    /// files are kept, at most 64 MiB of these.
    ///
    /// Fails if a layer has no file name, or if the artifact could not be unpacked because of its
    /// paths.
    pub async fn list(
        name: impl Into<String>,
        source: Arc<dyn Source>,
        artifact: &Artifact,
        concurrency: usize,
        progress: &Arc<Progress>,
    ) -> Result<Self> {
        let (mut contents, mut packed, mut stored) = (Contents::default(), Vec::new(), 0_u64);
        let mut files: Vec<(FileEntry, Place)> = Vec::new();
        for layer in &artifact.layers {
            match &layer.content {
                Content::File(path) => {
                    contents.insert_file(&layer_name(layer), path)?;
                    let entry = FileEntry { path: path.clone(), size: layer.descriptor.size, executable: layer.is_executable() };
                    files.push((entry, Place { bytes: Bytes::Layer(layer.descriptor.clone()), kind: kind_of(layer) }));
                }
                Content::Archive(encoding) | Content::Compressed(_, encoding) => {
                    stored = stored.saturating_add(layer.descriptor.size);
                    packed.push((layer, *encoding));
                }
                Content::Unnamed => return Err(unnamed(layer)),
            }
        }
        progress.expect(stored);
        let (contents, allowance) = (Arc::new(Mutex::new(contents)), Allowance::of(stored));
        let beginnings = Beginnings::default();
        let reading = for_each_concurrent(concurrency, &packed, |(layer, encoding)| {
            let of = ArchiveReader {
                what: layer_name(layer),
                layer: layer.descriptor.clone(),
                encoding: *encoding,
                contents: contents.clone(),
                allowance: allowance.clone(),
            };
            archived::list(source.clone(), of, layer, beginnings.clone(), progress.clone())
        });
        let mut archives = Vec::new();
        for ((layer, encoding), (listed, diff_id)) in packed.iter().zip(reading.await?) {
            if let Content::Archive(_) = layer.content {
                archives.push(StoredArchive {
                    descriptor: layer.descriptor.clone(),
                    diff_id: diff_id.filter(|_| encoding.is_compressed()),
                    encoding: *encoding,
                    path: layer.path.clone(),
                    files: listed.iter().map(|file| file.path.clone()).collect(),
                    source: source.clone(),
                });
            }
            files.extend(listed.into_iter().map(|file| {
                let entry = FileEntry { path: file.path.clone(), size: file.size, executable: file.executable };
                (entry, Place { bytes: Bytes::Archived(Arc::new(file)), kind: kind_of(layer) })
            }));
        }
        files.sort_by(|(a, _), (b, _)| a.path.cmp(&b.path));
        let (entries, places) = files.into_iter().unzip();
        Ok(Self { name: name.into(), source, entries, places, archives })
    }

    /// The name of the artifact in errors.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The kind of the entry with this number, and whether it was inferred from the name; `None` if
    /// its layer does not tell.
    pub(crate) fn kind(&self, number: usize) -> Option<(LayerKind, bool)> {
        self.places[number].kind
    }

    /// The archives of the artifact.
    pub(crate) fn archives(&self) -> &[StoredArchive] {
        &self.archives
    }
}

#[async_trait]
impl Files for ArtifactFiles {
    fn entries(&self) -> &[FileEntry] {
        &self.entries
    }

    async fn open(&self, path: &FilePath) -> Result<Arc<dyn OpenFile>, StoreError> {
        let at = self.entries.binary_search_by(|entry| entry.path.cmp(path)).map_err(|_| StoreError::not_found(path.as_str()))?;
        Ok(match &self.places[at].bytes {
            Bytes::Layer(descriptor) => Arc::new(BlobFile::new(self.source.clone(), descriptor.clone())),
            Bytes::Archived(file) => file.clone(),
        })
    }
}

/// The kind of a layer's files, and whether it was inferred from their names.
fn kind_of(layer: &Layer) -> Option<(LayerKind, bool)> {
    layer.kind.map(|kind| (kind, is_untested(layer).unwrap_or(false)))
}

/// The error for a layer whose file has no name.
pub(crate) fn unnamed(layer: &Layer) -> Error {
    let what = format!("layer {} of the type {:?}", layer.descriptor.digest, layer.descriptor.media_type);
    StoreError::Invalid { what, why: "it has no file name, so it is not a file of a model".to_owned() }.into()
}
