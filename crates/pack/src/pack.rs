//! Packing: planned layers are written, and the config and manifest of an artifact with them.

mod archive;
mod encode;
mod tar;

pub(crate) use tar::archive_len;

use crate::{Description, PlannedFile, PlannedLayer, Result, preview};
use archive::pack_archive;
use modelpack_spec::{
    Algorithm, ArtifactBuilder, BuiltArtifact, Config, ConfigBuilder, Descriptor, Digest, Encoding, FileMetadata, Hasher, LayerInput,
    Manifest, Selector, media_type,
};
use modelpack_store::{DigestCache, Settled, Stamp};
use modelpack_transfer::{Begin, Body, Error, FileRange, Progress, Sink, blocking, for_each_concurrent, put_bytes};
use std::{fs::File, path::Path, sync::Arc};

/// The time that every file gets, so that packing the same files gives the same digest.
pub(crate) const NO_TIME: &str = "1970-01-01T00:00:00Z";

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

/// Writes `layers` to `sink` as an artifact, and lets `at` point to it.
///
/// The artifact depends on the layers' encodings, on the files' paths, bytes, kinds and executable bits, and on `description`, and on nothing
/// else. Fails with [`Error::Changed`] if a file changes while it is read, and before anything is read if the specification does not allow
/// what `description` says, or if the manifest would be larger than anybody reads.
pub async fn pack(
    layers: &[PlannedLayer],
    description: &Description,
    sink: &dyn Sink,
    at: &Selector,
    options: &PackOptions,
) -> Result<Manifest> {
    preview(layers, description)?;
    layers.iter().for_each(|layer| options.progress.expect(layer.bytes()));
    let stored = for_each_concurrent(options.concurrency, layers, |layer| async move {
        match (layer.encoding, &layer.files[..]) {
            (Encoding::Raw, [file]) => pack_file(layer, file, sink, options).await,
            _ => pack_archive(layer, sink, options).await,
        }
    });
    let built = artifact_of(description, stored.await?)?;
    put_bytes(sink, media_type::CONFIG, built.config_bytes).await?;
    sink.put_manifest(at, &built.manifest).await?;
    Ok(built.manifest)
}

/// The artifact of layers that are stored.
pub(crate) fn artifact_of(description: &Description, layers: impl IntoIterator<Item = LayerInput>) -> Result<BuiltArtifact> {
    let config = Config { descriptor: description.descriptor.clone(), config: description.config.clone(), ..Config::default() };
    let builder = layers.into_iter().fold(ArtifactBuilder::new(ConfigBuilder::from(config)), ArtifactBuilder::layer);
    let annotations = description.annotations.iter();
    Ok(annotations.fold(builder, |builder, (key, value)| builder.annotation(key, value)).build()?)
}

/// The digest of a file, and the file.
pub(crate) async fn digest_of(file: &PlannedFile, options: &PackOptions) -> Result<(Digest, FileRange)> {
    let Opened { range, stamp, known, settled } = open(file, options.digest_cache.clone()).await?;
    let digest = match known {
        Some(digest) => digest,
        None => hash(&range, &stamp, &options.progress).await?,
    };
    remember(&range, settled, &digest, options).await;
    Ok((digest, range))
}

/// Writes the file of a raw layer, unless the sink holds it.
async fn pack_file(layer: &PlannedLayer, file: &PlannedFile, sink: &dyn Sink, options: &PackOptions) -> Result<LayerInput> {
    let Opened { range, stamp, known, settled } = open(file, options.digest_cache.clone()).await?;
    let known = match known {
        None if sink.wants_digest() => Some(hash(&range, &stamp, &options.progress).await?),
        known => known,
    };
    let blob = known.map(|digest| Descriptor::new(layer.layer_type().to_string(), digest, range.len));
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
    remember(&range, settled, &digest, options).await;
    Ok(layer.input(digest, None, file.size))
}

/// A planned file that is open.
struct Opened {
    range: FileRange,
    stamp: Stamp,
    /// Its digest, if the cache knows it.
    known: Option<Digest>,
    /// By what the cache may know it from now on, if it does not.
    settled: Option<Settled>,
}

async fn open(file: &PlannedFile, cache: Option<DigestCache>) -> Result<Opened> {
    let (source, size) = (file.source.clone(), file.size);
    blocking(move || {
        let (file, stamp) = source.open()?;
        let known = cache.as_ref().and_then(|cache| cache.lookup(&stamp));
        let settled = cache.filter(|_| known.is_none()).and_then(|cache| cache.prepare(&file));
        Ok(Opened { range: FileRange { file: Arc::new(file), path: source.path(), offset: 0, len: size }, stamp, known, settled })
    })
    .await
}

/// Remembers the digest of a file that was hashed since it was opened.
async fn remember(range: &FileRange, settled: Option<Settled>, digest: &Digest, options: &PackOptions) {
    let (Some(cache), Some(settled)) = (options.digest_cache.clone(), settled) else { return };
    let (file, digest) = (range.file.clone(), digest.clone());
    // What cannot be remembered is only hashed again.
    let _ = blocking(move || cache.remember(&file, &settled, &digest)).await;
}

fn stamp(file: &File, path: &Path) -> Result<Stamp, Error> {
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

/// What is said of a file: nothing of when it was written, or by whom.
pub(crate) fn metadata_of(file: &PlannedFile) -> FileMetadata {
    FileMetadata {
        name: file.path.file_name().to_owned(),
        mode: if file.executable { 0o755 } else { 0o644 },
        uid: 0,
        gid: 0,
        size: file.size,
        mtime: NO_TIME.to_owned(),
        typeflag: 0,
    }
}
