//! Writing an artifact into the cache.

use super::{
    Cache, CacheBegin, CachedArtifact, CachedBlob, locked,
    records::Record,
    room::{Need, Purpose},
};
use async_trait::async_trait;
use modelpack_spec::{Descriptor, Digest, Manifest, Selector};
use modelpack_transfer::{
    Begin, Body, Committed, Error, Partial, Progress, RangedUpload, Result, Sink, Upload, blocking, verify_blob, verify_selected,
    wait_for_owner,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// How many blobs are held at most until the artifact is complete, because each needs a descriptor. An artifact with more blobs relies on
/// them being those that were used last.
const MOST_HELD: usize = 256;

/// The cache as the place that an artifact is copied to. When the copy is complete, [`record`](Self::record) is called.
///
/// Until then, the blobs of the artifact are in use. Of what was pulled before and was not used yet, nothing is removed to make room.
pub struct CacheSink(Arc<Inner>);

struct Inner {
    cache: Cache,
    progress: Arc<Progress>,
    held: Mutex<Vec<CachedBlob>>,
    /// All blobs and manifests of the artifact.
    named: Mutex<BTreeMap<Digest, Descriptor>>,
}

impl CacheSink {
    /// The sink for one artifact. `progress` lists that a blob is waited for, while another process writes it.
    pub fn new(cache: Cache, progress: Arc<Progress>) -> Self {
        Self(Arc::new(Inner { cache, progress, held: Mutex::default(), named: Mutex::default() }))
    }

    /// Records that the artifact `digest`, all of which was written here, was pulled as `reference`, and pins it if `pin` is true. Another
    /// artifact that was pulled under this reference is in no record any more.
    pub async fn record(&self, reference: &str, digest: &Digest, pin: bool) -> Result<CachedArtifact> {
        let record = Record::new(reference, digest, pin, locked(&self.0.named).values().cloned());
        let cache = self.0.cache.clone();
        blocking(move || cache.write_record(record)).await
    }
}

impl Inner {
    /// A blob that is here is in use until the artifact is complete.
    fn hold(&self, blob: CachedBlob) {
        let mut held = locked(&self.held);
        if held.len() < MOST_HELD {
            held.push(blob);
        }
    }

    /// Fails with [`Error::MissingReference`] if a blob or manifest is not here.
    fn check_present(&self, manifest: &Manifest) -> Result<()> {
        for named in manifest.blobs().chain(manifest.manifests()) {
            if self.cache.find(named)?.is_none() {
                return Err(Error::MissingReference {
                    digest: named.digest.clone(),
                    repository: self.cache.directory().display().to_string(),
                });
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Sink for CacheSink {
    fn wants_digest(&self) -> bool {
        true
    }

    async fn check_room(&self, blobs: &[&Descriptor]) -> Result<()> {
        let (this, blobs) = (self.0.clone(), blobs.iter().map(|blob| (*blob).clone()).collect::<Vec<_>>());
        blocking(move || {
            let mut missing = Vec::new();
            for blob in &blobs {
                match this.cache.find(blob)? {
                    Some(here) => this.hold(here),
                    None => missing.push(blob),
                }
            }
            if missing.is_empty() {
                return Ok(());
            }
            let _alone = this.cache.lock()?;
            this.cache.make_room(&Need { blobs: &missing, bytes: 0, purpose: Purpose::Preparation, is_disk_full: false })
        })
        .await
    }

    async fn begin(&self, blob: Option<&Descriptor>) -> Result<Begin> {
        let Some(blob) = blob else {
            let why = "it takes only blobs whose digest and size are known".to_owned();
            return Err(Error::Invalid { what: format!("the cache {}", self.0.cache.directory().display()), why });
        };
        let begun = wait_for_owner(blob, &self.0.progress, || {
            let (this, blob) = (self.0.clone(), blob.clone());
            blocking(move || {
                Ok(match this.cache.begin_for(&blob, Purpose::Preparation)? {
                    CacheBegin::Whole(whole) => {
                        this.hold(whole);
                        Some(None)
                    }
                    CacheBegin::Partial(partial) => Some(Some(partial)),
                    CacheBegin::Owned => None,
                })
            })
        });
        Ok(match begun.await? {
            None => Begin::Exists,
            Some(partial) => Begin::Upload(Box::new(CacheUpload { sink: self.0.clone(), partial, position: 0 })),
        })
    }

    async fn put_manifest(&self, at: &Selector, manifest: &Manifest) -> Result<()> {
        verify_selected(at, manifest)?;
        let (this, named) = (self.0.clone(), manifest.clone());
        blocking(move || this.check_present(&named)).await?;
        let blob = manifest.descriptor();
        if let Begin::Upload(mut upload) = self.begin(Some(&blob)).await? {
            upload.write(Body::from_bytes(manifest.bytes().to_vec())).await?;
            upload.commit(Some(&blob)).await?;
        }
        let mut all = locked(&self.0.named);
        all.extend(manifest.blobs().chain([&blob]).map(|named| (named.digest.clone(), named.clone())));
        Ok(())
    }
}

/// A blob that is being written to the cache.
struct CacheUpload {
    sink: Arc<Inner>,
    partial: Arc<Partial>,
    /// How many bytes were [written](Upload::write) in order.
    position: u64,
}

#[async_trait]
impl Upload for CacheUpload {
    fn ranged(&self) -> Option<Arc<dyn RangedUpload>> {
        Some(Arc::new(self.partial.clone()))
    }

    async fn write(&mut self, body: Body) -> Result<()> {
        self.position += self.partial.clone().write(self.position, body).await?;
        Ok(())
    }

    async fn commit(self: Box<Self>, expected: Option<&Descriptor>) -> Result<Committed> {
        let blob = self.partial.blob().clone();
        if let Some(expected) = expected {
            verify_blob(&format!("blob {}", blob.digest), expected, &blob.digest, blob.size)?;
        }
        blocking(move || {
            let verified = self.sink.cache.adopt(&self.partial)?;
            // The file of the partial blob has a lock until this ends.
            if let Some(whole) = self.sink.cache.find(&blob)? {
                self.sink.hold(whole);
            }
            Ok(verified.into())
        })
        .await
    }
}
