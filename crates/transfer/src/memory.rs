//! A store in memory: the reference implementation of the seam, for tests and for small artifacts.

use crate::{Begin, Body, Committed, Error, Result, Sink, Source, Upload, Verifier};
use crate::{
    referrers::referrers_by_tag,
    verify::{verify_part, verify_selected},
};
use async_trait::async_trait;
use bytes::Bytes;
use modelpack_spec::{Algorithm, Descriptor, Digest, Manifest, Selector, Tag};
use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
};

/// One repository in memory. Clones share their content.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    blobs: BTreeMap<Digest, Bytes>,
    manifests: BTreeMap<Digest, Manifest>,
    tags: BTreeMap<Tag, Digest>,
}

impl MemoryStore {
    /// An empty repository.
    pub fn new() -> Self {
        Self::default()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().expect("no one panics while holding the contents")
    }
}

#[async_trait]
impl Source for MemoryStore {
    async fn manifest(&self, at: &Selector) -> Result<Manifest> {
        let contents = self.contents();
        let digest = at.digest().or_else(|| contents.tags.get(at.tag()?));
        digest.and_then(|d| contents.manifests.get(d)).cloned().ok_or_else(|| Error::not_found(format!("{at} in memory")))
    }

    async fn blob(&self, blob: &Descriptor, range: Range<u64>) -> Result<Body> {
        let bytes = self.contents().blobs.get(&blob.digest).cloned();
        let bytes = bytes.ok_or_else(|| Error::not_found(format!("blob {} in memory", blob.digest)))?;
        verify_part(&range, blob, bytes.len() as u64, &format!("blob {}", blob.digest))?;
        let at = |offset| usize::try_from(offset).expect("not larger than a length in memory");
        Ok(Body::from_bytes(bytes.slice(at(range.start)..at(range.end))))
    }

    async fn referrers(&self, subjects: &[Digest]) -> Result<Option<Vec<Descriptor>>> {
        let refers = |manifest: &&Manifest| manifest.subject().is_some_and(|subject| subjects.contains(&subject.digest));
        let mut listed: Vec<_> = self.contents().manifests.values().filter(refers).map(Manifest::descriptor).collect();
        for subject in subjects {
            listed.extend(referrers_by_tag(self, subject).await?);
        }
        listed.iter_mut().for_each(|descriptor| descriptor.annotations.clear());
        listed.sort_by(|a, b| a.digest.cmp(&b.digest));
        listed.dedup_by(|a, b| a.digest == b.digest);
        Ok(Some(listed))
    }

    async fn tags(&self) -> Result<Option<Vec<Tag>>> {
        Ok(Some(self.contents().tags.keys().cloned().collect()))
    }
}

#[async_trait]
impl Sink for MemoryStore {
    fn wants_digest(&self) -> bool {
        false
    }

    async fn begin(&self, blob: Option<&Descriptor>) -> Result<Begin> {
        if blob.is_some_and(|b| self.contents().blobs.get(&b.digest).is_some_and(|bytes| bytes.len() as u64 == b.size)) {
            return Ok(Begin::Exists);
        }
        Ok(Begin::Upload(Box::new(MemoryUpload { store: self.clone(), bytes: Vec::new(), expected: blob.cloned() })))
    }

    async fn put_manifest(&self, at: &Selector, manifest: &Manifest) -> Result<()> {
        verify_selected(at, manifest)?;
        let mut contents = self.contents();
        let missing_blob = manifest.blobs().find(|b| !contents.blobs.contains_key(&b.digest));
        let missing = missing_blob.or_else(|| manifest.manifests().iter().find(|m| !contents.manifests.contains_key(&m.digest)));
        if let Some(missing) = missing {
            return Err(Error::MissingReference { digest: missing.digest.clone(), repository: "memory".into() });
        }
        contents.manifests.insert(manifest.digest().clone(), manifest.clone());
        if let Some(tag) = at.tag() {
            contents.tags.insert(tag.clone(), manifest.digest().clone());
        }
        Ok(())
    }
}

struct MemoryUpload {
    store: MemoryStore,
    bytes: Vec<u8>,
    expected: Option<Descriptor>,
}

#[async_trait]
impl Upload for MemoryUpload {
    async fn write(&mut self, body: Body) -> Result<()> {
        self.bytes.extend(body.collect(usize::MAX, "a blob").await?);
        Ok(())
    }

    async fn commit(self: Box<Self>, expected: Option<&Descriptor>) -> Result<Committed> {
        let named = self.expected.as_ref().or(expected);
        let mut verifier = named.map_or_else(|| Verifier::unknown(Algorithm::Sha256), Verifier::of);
        verifier.update(&self.bytes)?;
        let blob = verifier.finish_as(expected)?;
        self.store.contents().blobs.insert(blob.digest().clone(), self.bytes.into());
        Ok(blob.into())
    }
}
