//! Packing: writes planned layers, and the config and manifest of an artifact.

mod archive;
mod encode;
mod tar;

pub(crate) use tar::{TarWriter, archive_len, around};

use crate::{Description, PlannedFile, PlannedLayer, Result, StoredArchive, known_digests::with_cache, preview};
use archive::pack_archive;
use modelpack_spec::{
    Algorithm, ArtifactBuilder, BuiltArtifact, Config, ConfigBuilder, Descriptor, Encoding, FileMetadata, HashStates, LayerInput, Manifest,
    Selector, media_type,
};
use modelpack_store::{DigestCache, Remembered};
use modelpack_transfer::{
    Begin, Body, Committed, Connections, Error, FileRange, Hashing, LARGE_FILE, OpenFile, Piece, Progress, Sink, VerifiedBlob, Verifier,
    for_each_concurrent, hash_file, put_bytes,
};
use std::{num::NonZero, sync::Arc, thread::available_parallelism};
use tokio::sync::{Semaphore, SemaphorePermit};

/// The time of every file, so that the same files give the same digest.
pub(crate) const NO_TIME: &str = "1970-01-01T00:00:00Z";

/// Options for packing a directory.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// The number of files that are read concurrently; at least 1.
    pub concurrency: usize,
    /// The counter for the progress.
    pub progress: Arc<Progress>,
    /// The connections that all transfers share.
    pub connections: Arc<Connections>,
    /// The cache for digests of files.
    pub digest_cache: Option<DigestCache>,
    /// Whether large layers name the lists of their hash states.
    pub hash_states: bool,
}

impl Default for PackOptions {
    /// One file after the other, without a cache, with hash states.
    fn default() -> Self {
        Self { concurrency: 1, progress: Arc::default(), connections: Connections::default_limit(), digest_cache: None, hash_states: true }
    }
}

impl PackOptions {
    /// The same options with other counters.
    fn counting_in(&self, progress: Arc<Progress>) -> Self {
        Self { progress, ..self.clone() }
    }
}

/// Writes `layers` to `sink` as an artifact, and sets `at` to it.
///
/// The artifact depends only on the layers' encodings, on the files' paths, bytes, kinds and
/// executable bits, and on `description`. Fails with [`Error::Changed`] if a file changes while it
/// is read. Fails before anything is read if the specification does not allow a value of
/// `description`, or if the manifest would be larger than readers accept.
pub async fn pack(
    layers: &[PlannedLayer],
    description: &Description,
    sink: &dyn Sink,
    at: &Selector,
    options: &PackOptions,
) -> Result<Manifest> {
    preview(layers, description)?;
    layers.iter().for_each(|layer| options.progress.expect(layer.bytes_to_move()));
    let turns = &Turns::of(layers);
    let stored = for_each_concurrent(options.concurrency, layers, |layer| async move {
        let options = &options.counting_in(options.progress.part(layer.path.as_str(), layer.bytes_to_move()));
        match (&layer.stored, layer.encoding, &layer.files[..]) {
            (Some(archive), ..) => pack_stored(layer, archive, sink, options).await,
            (None, Encoding::Raw, [file]) => pack_file(layer, file, sink, options, turns).await,
            _ => pack_archive(layer, sink, options, turns).await,
        }
    });
    let (inputs, lists): (Vec<_>, Vec<_>) = stored.await?.into_iter().map(|stored| stored.named(options)).unzip();
    let built = artifact_of(description, inputs)?;
    put_bytes(sink, media_type::CONFIG, built.config_bytes).await?;
    sink.put_manifest(at, &built.manifest).await?;
    let lists: Vec<HashStates> = lists.into_iter().flatten().collect();
    if sink.wants_hash_states() && !lists.is_empty() {
        sink.put_hash_states(&built.manifest, &lists).await?;
    }
    Ok(built.manifest)
}

/// The artifact for stored layers.
pub(crate) fn artifact_of(description: &Description, layers: impl IntoIterator<Item = LayerInput>) -> Result<BuiltArtifact> {
    let config = Config { descriptor: description.descriptor.clone(), config: description.config.clone(), ..Config::default() };
    let builder = layers.into_iter().fold(ArtifactBuilder::new(ConfigBuilder::from(config)), ArtifactBuilder::layer);
    let annotations = description.annotations.iter();
    Ok(annotations.fold(builder, |builder, (key, value)| builder.annotation(key, value)).build()?)
}

/// A layer that the sink has, and its hash states, if they are known.
struct Stored {
    input: LayerInput,
    hash_states: Option<HashStates>,
}

impl Stored {
    /// The layer, which names the list of its hash states if `options` say so, and the list.
    fn named(mut self, options: &PackOptions) -> (LayerInput, Option<HashStates>) {
        let list = self.hash_states.filter(|_| options.hash_states);
        self.input.hash_states = list.as_ref().map(HashStates::descriptor);
        (self.input, list)
    }
}

/// The digest of a local file, its hash states, and the file.
pub(crate) async fn digest_of(file: &PlannedFile, options: &PackOptions) -> Result<(Remembered, FileRange)> {
    let open = open(file, options).await?;
    let known = match known(&open, options).await? {
        Some(known) => known,
        None => hash(&open, file.size, false, &options.progress.part(file.path.as_str(), file.size)).await?,
    };
    open.remember(&known.digest, known.hash_states.as_ref()).await;
    let range = open.here().cloned().ok_or_else(|| Error::not_found(format!("{} on this machine", file.path)))?;
    Ok((known, range))
}

/// What is known of the bytes of a file without reading them.
async fn known(file: &Arc<dyn OpenFile>, options: &PackOptions) -> Result<Option<Remembered>> {
    let Some(digest) = file.digest().await? else { return Ok(None) };
    let hash_states = if options.hash_states { file.hash_states().await } else { None };
    Ok(Some(Remembered { digest, hash_states }))
}

/// Writes the file of a raw layer, unless the sink has it.
async fn pack_file(layer: &PlannedLayer, file: &PlannedFile, sink: &dyn Sink, options: &PackOptions, turns: &Turns) -> Result<Stored> {
    let open = open(file, options).await?;
    let known = match known(&open, options).await? {
        None if sink.wants_digest() => {
            let _turn = turns.take().await;
            Some(hash(&open, file.size, turns.have_several_files, &options.progress).await?)
        }
        known => known,
    };
    let blob = known.as_ref().map(|known| Descriptor::new(layer.layer_type().to_string(), known.digest.clone(), file.size));
    let stored = match sink.begin(blob.as_ref()).await? {
        Begin::Exists => {
            options.progress.skipped(file.size);
            known.expect("only a blob with a known digest can exist")
        }
        Begin::Upload(mut upload) => {
            let body = open.read(0..file.size).await?.counted(options.progress.clone());
            let written = upload.write(body).await;
            // A registry refuses bytes with a wrong digest. If the file has changed, that is the
            // better error.
            open.unchanged()?;
            written?;
            let Committed { digest, hash_states, .. } = upload.commit(blob.as_ref()).await?;
            // What is known of the origin of a file does not depend on what the sink has.
            known.unwrap_or(Remembered { digest, hash_states })
        }
    };
    open.remember(&stored.digest, stored.hash_states.as_ref()).await;
    Ok(Stored { input: layer.input(stored.digest, None, file.size), hash_states: stored.hash_states })
}

/// Transfers an existing archive with the layer's files, unless the sink has it.
async fn pack_stored(layer: &PlannedLayer, archive: &StoredArchive, sink: &dyn Sink, options: &PackOptions) -> Result<Stored> {
    let blob = Descriptor::new(layer.layer_type().to_string(), archive.descriptor.digest.clone(), archive.descriptor.size);
    match sink.begin(Some(&blob)).await? {
        Begin::Exists => options.progress.skipped(blob.size),
        Begin::Upload(mut upload) => {
            upload.write(archive.read().await?.counted(options.progress.clone())).await?;
            upload.commit(Some(&blob)).await?;
        }
    }
    // Whether the archive is read depends on what the sink has, so it never gets hash states here.
    Ok(Stored { input: layer.input(blob.digest, archive.diff_id.clone(), blob.size), hash_states: None })
}

/// Who hashes bytes before they are sent. A file is sent as soon as it is hashed, while the next ones are hashed.
struct Turns {
    /// A processor hashes two files together.
    free: Semaphore,
    /// Whether several large files are to be hashed.
    have_several_files: bool,
}

impl Turns {
    fn of(layers: &[PlannedLayer]) -> Self {
        let processors = available_parallelism().map_or(1, NonZero::get);
        let large = layers.iter().filter(|layer| matches!(&layer.files[..], [file] if file.size >= LARGE_FILE));
        Self { free: Semaphore::new(2 * processors), have_several_files: large.count() > 1 }
    }

    async fn take(&self) -> SemaphorePermit<'_> {
        self.free.acquire().await.expect("nobody closes it")
    }
}

async fn open(file: &PlannedFile, options: &PackOptions) -> Result<Arc<dyn OpenFile>> {
    Ok(with_cache(file.open().await?, options.digest_cache.as_ref()))
}

/// Reads all bytes of a file. If it is one of `several` large files on this machine, it is hashed together with another one.
async fn hash(file: &Arc<dyn OpenFile>, size: u64, several: bool, progress: &Arc<Progress>) -> Result<Remembered> {
    let hashed = match file.here().filter(|_| several) {
        Some(here) => hash_file(here.clone(), Verifier::unknown(Algorithm::Sha256), progress.clone()).await?.finish()?,
        None => hash_body(file.read(0..size).await?, progress).await?,
    };
    file.unchanged()?;
    Ok((&hashed).into())
}

/// Reads a body to its end for its digest.
pub(crate) async fn hash_body(body: Body, progress: &Arc<Progress>) -> Result<VerifiedBlob, Error> {
    let hashing = Hashing::new(Verifier::unknown(Algorithm::Sha256));
    let progress = progress.clone();
    let take = move |hashing: &mut Hashing, piece: Piece<'_>| {
        hashing.update(&piece);
        progress.hashed(piece.len() as u64);
        Ok(())
    };
    let (hashing, read) = body.drain(hashing, take).await;
    read?;
    hashing.finish().finish()
}

/// The attributes of a file, without times and owners.
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
