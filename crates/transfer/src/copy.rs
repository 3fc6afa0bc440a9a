//! The copy engine: the only way from a source to a sink.

use crate::{Attempt, Begin, Body, Connections, Error, Progress, Result, Sink, Source, Verifier, fetch, retried_if_damaged};
use futures_util::{StreamExt, stream};
use modelpack_spec::{Descriptor, HashStates, MAX_CONFIG_BYTES, MAX_CONFIG_VALUES, Manifest, Selector, count_values};
use std::{collections::HashSet, sync::Arc};

/// How many levels of indexes an index may have below it.
const MAX_DEPTH: usize = 4;

/// Options of a copy.
#[derive(Clone, Debug)]
pub struct CopyOptions {
    /// How many blobs are copied at the same time. At least 1.
    pub concurrency: usize,
    /// Where the copied bytes are counted.
    pub progress: Arc<Progress>,
    /// The connections that all transfers share.
    pub connections: Arc<Connections>,
}

impl Default for CopyOptions {
    /// One blob after the other, with at most [`DEFAULT_CONNECTIONS`](crate::DEFAULT_CONNECTIONS).
    fn default() -> Self {
        Self { concurrency: 1, progress: Arc::default(), connections: Connections::default_limit() }
    }
}

/// Copies `manifest` with everything that it names, and sets the tag of `to`, if there is one, to it.
///
/// Layers are written before the config, the config before the manifest, and manifests before the index that names them. A blob that the
/// sink holds is not copied. After a failure no further blob is begun, those that were begun are finished, and the first error is
/// returned. A second attempt does not copy again what was finished.
pub async fn copy(source: &dyn Source, manifest: &Manifest, sink: &dyn Sink, to: &Selector, options: &CopyOptions) -> Result<()> {
    copy_tree(source, manifest, sink, to, options, 0).await
}

async fn copy_tree(
    source: &dyn Source,
    manifest: &Manifest,
    sink: &dyn Sink,
    to: &Selector,
    options: &CopyOptions,
    depth: usize,
) -> Result<()> {
    if depth > MAX_DEPTH {
        let why = format!("indexes name indexes more than {MAX_DEPTH} deep");
        return Err(Error::Invalid { what: format!("manifest {}", manifest.digest()), why });
    }
    for child in manifest.manifests() {
        let at = Selector::Digest(child.digest.clone());
        let child = source.manifest(&at).await?;
        Box::pin(copy_tree(source, &child, sink, &at, options, depth + 1)).await?;
    }
    let mut seen = HashSet::new();
    let mut blobs: Vec<&Descriptor> = manifest.blobs().filter(|d| seen.insert(&d.digest)).collect();
    if !blobs.is_empty() {
        // The config comes first in a manifest and goes last.
        blobs.rotate_left(1);
    }
    sink.check_room(&blobs).await?;
    blobs.iter().for_each(|d| options.progress.expect(d.size));
    let (layers, config) = blobs.split_at(blobs.len().saturating_sub(1));
    for_each_concurrent(options.concurrency, layers.iter().copied(), |blob| copy_blob(source, blob, sink, options)).await?;
    for blob in config {
        copy_blob(source, blob, sink, options).await?;
    }
    sink.put_manifest(to, manifest).await?;
    if sink.wants_hash_states() {
        let mut lists = Vec::new();
        for layer in layers {
            let Some(named) = HashStates::named_by(layer) else { continue };
            lists.extend(source.hash_states(layer).await.filter(|list| list.descriptor() == named));
        }
        if !lists.is_empty() {
            sink.put_hash_states(manifest, &lists).await?;
        }
    }
    Ok(())
}

async fn copy_blob(source: &dyn Source, blob: &Descriptor, sink: &dyn Sink, options: &CopyOptions) -> Result<()> {
    retried_if_damaged(|| copy_blob_once(source, blob, sink, options)).await
}

async fn copy_blob_once(source: &dyn Source, blob: &Descriptor, sink: &dyn Sink, options: &CopyOptions) -> Attempt<()> {
    let new = |error| (error, false);
    let mut upload = match sink.begin(Some(blob)).await.map_err(new)? {
        Begin::Exists => {
            options.progress.skipped(blob.size);
            return Ok(());
        }
        Begin::Upload(upload) => upload,
    };
    let part = options.progress.blob(blob);
    let Some(ranged) = upload.ranged() else {
        let body = source.blob(blob, 0..blob.size).await.map_err(new)?;
        upload.write(body.counted(part.clone())).await.map_err(new)?;
        return upload.commit(Some(blob)).await.map(drop).map_err(new);
    };
    let is_resumed = ranged.missing().total() < blob.size;
    fetch(source, blob, ranged, &options.connections, &part).await.map_err(new)?;
    upload.commit(Some(blob)).await.map(drop).map_err(|error| (error, is_resumed))
}

/// Reads and verifies a blob that is small enough to be kept in memory. `what` is its name in an error.
///
/// Fails with [`Error::Invalid`] if the blob has more than `limit` bytes, and with [`Error::WrongSize`] or [`Error::WrongDigest`] if its
/// bytes are not those of the descriptor.
pub async fn read_bytes<S: Source + ?Sized>(source: &S, blob: &Descriptor, limit: usize, what: &str) -> Result<Vec<u8>> {
    let bytes = source.blob(blob, 0..blob.size).await?.collect(limit, what).await?;
    let mut verifier = Verifier::named(what, blob);
    verifier.update(&bytes)?;
    verifier.finish()?;
    Ok(bytes)
}

/// Reads and verifies the config of an artifact that any tool may have written.
///
/// Fails with [`Error::Invalid`] if it has more than [`MAX_CONFIG_BYTES`] bytes, or so many values that they would need far more memory
/// than the bytes.
pub async fn read_config(source: &dyn Source, config: &Descriptor) -> Result<Vec<u8>> {
    let what = format!("config {}", config.digest);
    let bytes = read_bytes(source, config, MAX_CONFIG_BYTES, &what).await?;
    if count_values(&bytes) > MAX_CONFIG_VALUES {
        return Err(Error::Invalid { what, why: format!("it has more than {MAX_CONFIG_VALUES} values, so it is not read") });
    }
    Ok(bytes)
}

/// Writes bytes in memory as a blob, unless the sink holds that blob.
pub async fn put_bytes(sink: &dyn Sink, media_type: &str, bytes: Vec<u8>) -> Result<Descriptor> {
    let blob = Descriptor::of(media_type, &bytes);
    if let Begin::Upload(mut upload) = sink.begin(Some(&blob)).await? {
        upload.write(Body::from_bytes(bytes)).await?;
        upload.commit(Some(&blob)).await?;
    }
    Ok(blob)
}

/// Runs `work` on every item, on at most `limit` at the same time, and returns the results in the order of the items.
///
/// After a failure no further item is begun. Those that were begun are finished, and the first error is returned.
pub fn for_each_concurrent<I, T, E, F>(
    limit: usize,
    items: impl IntoIterator<Item = I>,
    mut work: impl FnMut(I) -> F,
) -> impl Future<Output = Result<Vec<T>, E>>
where
    F: Future<Output = Result<T, E>>,
{
    // Held across no wait: adaptors over borrowed items would keep the future from being `Send`.
    let items: Vec<I> = items.into_iter().collect();
    async move {
        let mut running = stream::FuturesUnordered::new();
        let mut items = items.into_iter().enumerate();
        let mut results = Vec::new();
        let mut failed = None;
        loop {
            while running.len() < limit.max(1) && failed.is_none() {
                let Some((at, item)) = items.next() else { break };
                let work = work(item);
                running.push(async move { work.await.map(|result| (at, result)) });
            }
            match running.next().await {
                Some(Ok(result)) => results.push(result),
                Some(Err(error)) => failed = failed.or(Some(error)),
                None => break,
            }
        }
        results.sort_unstable_by_key(|(at, _)| *at);
        failed.map_or_else(|| Ok(results.into_iter().map(|(_, result)| result).collect()), Err)
    }
}
