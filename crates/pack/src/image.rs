//! Images: a model as an OCI image, for runtimes that mount images and no other artifacts.
//!
//! Each layer of the model becomes one layer of the image: an uncompressed tar archive with the same
//! files below a directory. Nothing of it is stored on the way: its bytes are
//! [produced](layer) while they are sent. An archive depends on the paths, bytes and executable
//! bits of its files alone, as the archives of packing do.
//!
//! A registry gets the digest of a layer before its bytes, so that it gets nothing if it has them.
//! Then the model's layer is read twice.

mod documents;
mod layer;
mod prefix;

pub use documents::image_annotations;
pub use prefix::{ImagePrefix, InvalidImagePrefix};

use crate::{
    Result,
    artifact_files::unnamed,
    pack::hash_body,
    unpack::{Allowance, Contents, name},
};
use documents::{Documents, platforms};
use layer::{ArchiveLayer, FileLayer, Limits, ModelLayer};
use modelpack_spec::{Artifact, Content, Descriptor, Digest, Layer, Manifest, Selector, media_type};
use modelpack_transfer::{Begin, Body, CopyOptions, Error, Progress, Sink, Source, for_each_concurrent, put_bytes};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// An image that was made of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// Its index.
    pub manifest: Manifest,
    /// The number of its layers.
    pub layers: usize,
    /// The platforms for which it has a manifest, such as `linux/amd64`. Their layers are the same.
    pub platforms: Vec<String>,
}

/// Writes an image with the files of `artifact` below `prefix` to `sink`, and sets `at` to it.
///
/// `source` has the blobs of the artifact, and `annotations` are those of the image
/// ([`image_annotations`]). Layers that the sink has are not transferred. The same artifact, prefix
/// and annotations always give the same image.
///
/// Fails before anything is read if a layer has no file name, if a path cannot be one in an image, or
/// if a manifest would be larger than readers accept. Archives are refused as
/// [`unpack`](crate::unpack) refuses them. After a failure `at` is as it was.
pub async fn image(
    source: &Arc<dyn Source>,
    artifact: &Artifact,
    annotations: &BTreeMap<String, String>,
    prefix: &ImagePrefix,
    sink: &dyn Sink,
    at: &Selector,
    options: &CopyOptions,
) -> Result<Image> {
    let (contents, paths) = check(artifact, prefix)?;
    let documents = |layers: Vec<Descriptor>| {
        let layers: Vec<_> = layers.into_iter().zip(paths.clone()).collect();
        let invalid = |e| Error::Invalid { what: "the artifact".to_owned(), why: format!("it cannot become an image: {e}") };
        Documents::new(&layers, annotations).map_err(invalid)
    };
    // Checks that the documents can be written before anything is transferred. For that, any digests
    // are sufficient.
    let stand_in = |layer: &Layer| Descriptor::new(media_type::IMAGE_LAYER, Digest::of(b""), layer.descriptor.size);
    documents(artifact.layers.iter().map(stand_in).collect())?;

    let packed = artifact.layers.iter().filter(|layer| !matches!(layer.content, Content::File(_)));
    let stored = packed.fold(0_u64, |sum, layer| sum.saturating_add(layer.descriptor.size));
    let limits = Limits { contents: Arc::new(Mutex::new(contents)), allowance: Allowance::of(stored) };
    let making = Making { source, prefix, sink, progress: &options.progress, limits };
    artifact.layers.iter().filter_map(|layer| making.file(layer)).for_each(|file| options.progress.expect(file.len()));
    let layers = for_each_concurrent(options.concurrency, &artifact.layers, |layer| making.layer(layer)).await?;
    let count = layers.len();
    let Documents { images, index } = documents(layers)?;
    for image in images {
        put_bytes(sink, media_type::IMAGE_CONFIG, image.config).await?;
        sink.put_manifest(&Selector::Digest(image.manifest.digest().clone()), &image.manifest).await?;
    }
    sink.put_manifest(at, &index).await?;
    Ok(Image { manifest: index, layers: count, platforms: platforms() })
}

/// Checks all that can be known of the files before a layer is read. Returns the paths of those that
/// are not in archives, and for each layer the absolute path of its file in the image, or of the
/// directory of its files.
fn check(artifact: &Artifact, prefix: &ImagePrefix) -> Result<(Contents, Vec<String>)> {
    if artifact.layers.is_empty() {
        let why = "it has no layers, so it has no files".to_owned();
        return Err(Error::Invalid { what: "the artifact".to_owned(), why }.into());
    }
    let mut contents = Contents::default();
    let path = |layer: &Layer| {
        let what = name(layer);
        Ok(match &layer.content {
            Content::File(path) => {
                contents.insert_file(&what, path)?;
                format!("/{}", prefix.place(&what, path)?)
            }
            // Its path is added when it is read.
            Content::Compressed(path, _) => format!("/{}", prefix.place(&what, path)?),
            Content::Archive(_) => prefix.to_string(),
            Content::Unnamed => return Err(unnamed(layer)),
        })
    };
    let paths = artifact.layers.iter().map(path).collect::<Result<_>>()?;
    Ok((contents, paths))
}

/// An image whose layers are written.
struct Making<'a> {
    source: &'a Arc<dyn Source>,
    prefix: &'a ImagePrefix,
    sink: &'a dyn Sink,
    progress: &'a Arc<Progress>,
    limits: Limits,
}

impl Making<'_> {
    /// Writes a layer of the image, unless the sink has it.
    async fn layer(&self, layer: &Layer) -> Result<Descriptor> {
        let written = if let Some(file) = self.file(layer) {
            let part = self.progress.part(layer.descriptor.display_name(), file.len());
            self.write(file.first(), |_| file.again(), part).await
        } else {
            // Its size is counted as the archive is made.
            let part = self.progress.part(layer.descriptor.display_name(), 0);
            let archive = self.archive(layer).await?;
            self.write(archive.first(self.limits.clone(), part.clone()), |size| archive.again(size), part).await
        };
        Ok(written?)
    }

    fn of_model(&self, layer: &Layer) -> ModelLayer {
        ModelLayer { source: self.source.clone(), blob: layer.descriptor.clone(), what: name(layer) }
    }

    /// A raw layer.
    fn file(&self, layer: &Layer) -> Option<FileLayer> {
        let Content::File(path) = &layer.content else { return None };
        let path = self.prefix.place(&name(layer), path).expect("it was checked");
        Some(FileLayer::new(self.of_model(layer), &path, layer.is_executable()))
    }

    /// Any other layer.
    async fn archive(&self, layer: &Layer) -> Result<ArchiveLayer> {
        let (of_model, prefix, limits) = (self.of_model(layer), self.prefix.clone(), self.limits.clone());
        Ok(match &layer.content {
            Content::Archive(encoding) => ArchiveLayer::archive(of_model, *encoding, prefix),
            Content::Compressed(path, encoding) => {
                ArchiveLayer::compressed_file(of_model, *encoding, path.clone(), layer.is_executable(), prefix, limits).await?
            }
            Content::File(_) | Content::Unnamed => return Err(unnamed(layer)),
        })
    }

    /// Writes the bytes of `first`, unless the sink has them. `again` returns the same bytes when
    /// their number is known.
    async fn write(&self, first: Body, again: impl FnOnce(u64) -> Body, progress: Arc<Progress>) -> Result<Descriptor, Error> {
        let of_layer = |digest: &Digest, size| Descriptor::new(media_type::IMAGE_LAYER, digest.clone(), size);
        let (promised, body) = if self.sink.wants_digest() {
            let hashed = hash_body(first, &progress).await?;
            (Some(of_layer(hashed.digest(), hashed.size())), again(hashed.size()))
        } else {
            (None, first)
        };
        match self.sink.begin(promised.as_ref()).await? {
            Begin::Exists => {
                let layer = promised.expect("only a blob with a known digest can exist");
                progress.skipped(layer.size);
                Ok(layer)
            }
            Begin::Upload(mut upload) => {
                upload.write(body.counted(progress)).await?;
                let committed = upload.commit(promised.as_ref()).await?;
                Ok(of_layer(&committed.digest, committed.size))
            }
        }
    }
}
