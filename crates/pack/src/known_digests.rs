//! Files with cached digests.

use async_trait::async_trait;
use modelpack_spec::{Digest, HashStates};
use modelpack_store::{DigestCache, Remembered, Settled, Stamp};
use modelpack_transfer::{Body, Error, FileRange, OpenFile, Result, blocking};
use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

/// Wraps a file so that its digest is looked up in `cache` and stored there. A remote file is
/// returned unchanged.
pub(crate) fn with_cache(file: Arc<dyn OpenFile>, cache: Option<&DigestCache>) -> Arc<dyn OpenFile> {
    match cache {
        Some(cache) if file.here().is_some() => {
            Arc::new(CachedFile { file, cache: cache.clone(), settled: Mutex::default(), hash_states: Mutex::default() })
        }
        _ => file,
    }
}

struct CachedFile {
    file: Arc<dyn OpenFile>,
    cache: DigestCache,
    /// The state under which the cache may store the digest, if it does not have it.
    settled: Mutex<Option<Settled>>,
    /// The hash states that the cache has.
    hash_states: Mutex<Option<HashStates>>,
}

#[async_trait]
impl OpenFile for CachedFile {
    async fn digest(&self) -> Result<Option<Digest>> {
        let Some(range) = self.here() else { return self.file.digest().await };
        let (file, path, cache) = (range.file.clone(), range.path.clone(), self.cache.clone());
        let (known, settled) = blocking(move || {
            let stamp = Stamp::of(&file.metadata().map_err(Error::io("look at", path))?);
            // A large file is hashed again if its hash states are not known, so that its layer is always the same.
            let is_complete = |known: &Remembered| stamp.size() < HashStates::LEAST_SIZE || known.hash_states.is_some();
            let known = cache.lookup(&stamp).filter(is_complete);
            // A digest may be stored only if the file was settled before it was hashed.
            let settled = if known.is_none() { cache.prepare(&file) } else { None };
            Ok::<_, Error>((known, settled))
        })
        .await?;
        *self.settled.lock().unwrap_or_else(PoisonError::into_inner) = settled;
        let (digest, hash_states) = known.map(|known| (known.digest, known.hash_states)).unzip();
        *self.hash_states.lock().unwrap_or_else(PoisonError::into_inner) = hash_states.flatten();
        Ok(digest)
    }

    async fn hash_states(&self) -> Option<HashStates> {
        self.hash_states.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn read(&self, range: Range<u64>) -> Result<Body> {
        self.file.read(range).await
    }

    fn here(&self) -> Option<&FileRange> {
        self.file.here()
    }

    fn unchanged(&self) -> Result<()> {
        self.file.unchanged()
    }

    async fn remember(&self, digest: &Digest, hash_states: Option<&HashStates>) {
        let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(settled), Some(range)) = (settled, self.here()) else { return };
        let (file, cache, known) =
            (range.file.clone(), self.cache.clone(), Remembered { digest: digest.clone(), hash_states: hash_states.cloned() });
        // If the digest cannot be stored, the file is hashed again the next time.
        let _ = blocking(move || cache.remember(&file, &settled, &known)).await;
    }
}
