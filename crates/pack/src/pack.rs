//! Packing: the files of a plan become the layers, config and manifest of an artifact.

use crate::{Description, Plan, PlannedFile, Result};
use modelpack_spec::{
    Algorithm, Config, ConfigBuilder, Descriptor, Digest, Encoding, FileMetadata, Hasher, ImageManifest, LayerType, Manifest, ModelFs,
    Selector, annotation, media_type,
};
use modelpack_store::{Begin, Body, DigestCache, Error, FileRange, Progress, Sink, Stamp, blocking, for_each_concurrent, put_bytes};
use std::{collections::BTreeMap, fs::File, path::Path, sync::Arc};

/// The time that every file gets, so that packing the same files gives the same digest.
const NO_TIME: &str = "1970-01-01T00:00:00Z";

/// How a directory is packed.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// How many files are read at once; at least 1.
    pub concurrency: usize,
    /// Counts the bytes.
    pub progress: Arc<Progress>,
    /// Digests of files that were read before.
    pub digest_cache: Option<DigestCache>,
}

/// Writes the files of `plan` to `sink` as an artifact, one raw layer a file, and lets `at` point to it.
///
/// The artifact depends on the files' paths, bytes, kinds and executable bits, and on `description`, and on nothing else. Fails with
/// [`Error::Changed`] if a file changes while it is read, and before anything is read if the specification does not allow what
/// `description` says.
pub async fn pack(plan: &Plan, description: &Description, sink: &dyn Sink, at: &Selector, options: &PackOptions) -> Result<Manifest> {
    ConfigBuilder::from(config_of(description, Vec::new())).check()?;
    plan.files.iter().for_each(|file| options.progress.expect(file.size));
    let layers = for_each_concurrent(options.concurrency, &plan.files, |file| pack_file(file, sink, options)).await?;
    let (image, config) = image_of(description, layers);
    put_bytes(sink, media_type::CONFIG, config).await?;
    let manifest = Manifest::from_image(image)
        .map_err(|source| Error::InvalidManifest { what: format!("the manifest of {}", plan.directory.display()), source })?;
    sink.put_manifest(at, &manifest).await?;
    Ok(manifest)
}

/// The manifest of these layers, and the config that it names.
pub(crate) fn image_of(description: &Description, layers: Vec<Descriptor>) -> (ImageManifest, Vec<u8>) {
    let config = config_of(description, layers.iter().map(|layer| layer.digest.clone()).collect()).to_bytes();
    let image = ImageManifest {
        schema_version: 2,
        media_type: Some(media_type::IMAGE_MANIFEST.to_owned()),
        artifact_type: Some(media_type::ARTIFACT.to_owned()),
        config: Descriptor::of(media_type::CONFIG, &config),
        layers,
        subject: None,
        annotations: description.annotations.clone(),
        other: BTreeMap::new(),
    };
    (image, config)
}

fn config_of(description: &Description, diff_ids: Vec<Digest>) -> Config {
    Config {
        descriptor: description.descriptor.clone(),
        config: description.config.clone(),
        modelfs: ModelFs { diff_ids, ..ModelFs::default() },
        ..Config::default()
    }
}

/// The digest of a file, and the file.
pub(crate) async fn digest_of(file: &PlannedFile, options: &PackOptions) -> Result<(Digest, FileRange)> {
    let (range, stamp, known) = open(file, options.digest_cache.clone()).await?;
    let digest = match known {
        Some(digest) => digest,
        None => hash(&range, &stamp, &options.progress).await?,
    };
    Ok((digest, range))
}

/// Writes one file as a raw layer, unless the sink holds it, and returns the layer's descriptor.
async fn pack_file(file: &PlannedFile, sink: &dyn Sink, options: &PackOptions) -> Result<Descriptor> {
    let layer_type = LayerType { kind: file.kind, encoding: Encoding::Raw }.to_string();
    let (range, stamp, known) = open(file, options.digest_cache.clone()).await?;
    let was_known = known.is_some();
    let known = match known {
        None if sink.wants_digest() => Some(hash(&range, &stamp, &options.progress).await?),
        known => known,
    };
    let blob = known.map(|digest| Descriptor::new(layer_type.clone(), digest, range.len));
    let digest = match sink.begin(blob.as_ref()).await? {
        Begin::Exists => {
            options.progress.skipped(range.len);
            blob.expect("only a blob that was named exists").digest
        }
        Begin::Upload(mut upload) => {
            let written = upload.write(Body::from_file(range.clone()).counted(options.progress.clone())).await;
            // A registry refuses bytes that are not those it was promised; that the file changed is why.
            unchanged(&range, &stamp)?;
            written?;
            upload.commit(blob.as_ref()).await?.0
        }
    };
    if let (Some(cache), false) = (options.digest_cache.clone(), was_known) {
        let (file, digest) = (range.file, digest.clone());
        // What cannot be remembered is only hashed again.
        let _ = blocking(move || cache.remember(&file, &stamp, &digest)).await;
    }
    let mut layer = Descriptor::new(layer_type, digest, range.len);
    layer.annotations = annotations(file);
    Ok(layer)
}

async fn open(file: &PlannedFile, cache: Option<DigestCache>) -> Result<(FileRange, Stamp, Option<Digest>)> {
    let (path, size) = (file.source.clone(), file.size);
    blocking(move || {
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let stamp = stamp(&file, &path)?;
        if stamp.size() != size {
            return Err(Error::Changed { path }.into());
        }
        let known = cache.and_then(|cache| cache.lookup(&stamp));
        Ok((FileRange { file: Arc::new(file), path, offset: 0, len: size }, stamp, known))
    })
    .await
}

fn stamp(file: &File, path: &Path) -> Result<Stamp> {
    Ok(Stamp::of(&file.metadata().map_err(Error::io("look at", path))?))
}

/// Fails if the file is not what it was when it was opened.
fn unchanged(range: &FileRange, before: &Stamp) -> Result<()> {
    if stamp(&range.file, &range.path)? == *before { Ok(()) } else { Err(Error::Changed { path: range.path.clone() }.into()) }
}

async fn hash(range: &FileRange, stamp: &Stamp, progress: &Arc<Progress>) -> Result<Digest> {
    let hasher = Hasher::new(Algorithm::Sha256);
    let progress = progress.clone();
    let (hasher, read) = Body::from_file(range.clone())
        .drain(hasher, move |hasher, piece| {
            hasher.update(piece);
            progress.hashed(piece.len() as u64);
            Ok(())
        })
        .await;
    read?;
    unchanged(range, stamp)?;
    Ok(hasher.finish())
}

pub(crate) fn annotations(file: &PlannedFile) -> BTreeMap<String, String> {
    let metadata = FileMetadata {
        name: file.path.file_name().to_owned(),
        mode: if file.executable { 0o755 } else { 0o644 },
        uid: 0,
        gid: 0,
        size: file.size,
        mtime: NO_TIME.to_owned(),
        typeflag: 0,
    };
    let metadata = serde_json::to_string(&metadata).expect("metadata has string keys only, so it always serialises");
    BTreeMap::from([
        (annotation::FILEPATH.to_owned(), file.path.to_string()),
        (annotation::TITLE.to_owned(), file.path.to_string()),
        (annotation::FILE_METADATA.to_owned(), metadata),
        (annotation::MEDIATYPE_UNTESTED.to_owned(), file.inferred.to_string()),
    ])
}
