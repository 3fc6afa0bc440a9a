//! Verifies an artifact in place: every byte is read and hashed, and nothing is kept.

use crate::{Modelpack, Place, Result, StoreError};
use async_trait::async_trait;
use modelpack_spec::{Descriptor, Digest, HashStates, Manifest, Selector};
use modelpack_transfer::{
    Begin, Body, Cancelled, Committed, Hashing, Piece, Sink, Source, Upload, VerifiedBlob, Verifier, blocking_cancellable, copy,
    verify_by_hash_states,
};
use serde::Serialize;
use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

/// The result of a successful verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Verified {
    /// The digest of the manifest.
    pub digest: Digest,
    /// The number of blobs that were read.
    pub blobs: usize,
    /// Their size in bytes.
    pub bytes: u64,
}

impl Modelpack {
    /// Reads every blob of an artifact and compares it with its digest and size. Fails at the first
    /// difference.
    ///
    /// ```
    /// # use modelpack::{Modelpack, Options, PackRequest};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// # std::fs::write(scratch.path().join("README.md"), "# Tiny")?;
    /// # let modelpack = Modelpack::new(Options::new(scratch.path().join("store")));
    /// # modelpack.pack(&PackRequest::new(scratch.path()), &"tiny:v1".parse()?).await?;
    /// let verified = modelpack.verify(&"tiny:v1".parse()?).await?;
    /// assert_eq!(verified.blobs, 2, "the config and one file");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn verify(&self, place: &Place) -> Result<Verified> {
        let opened = self.open(place).await?;
        let nowhere = Nowhere { source: opened.source.clone(), blobs: AtomicUsize::new(0), bytes: AtomicU64::new(0) };
        let at = Selector::Digest(opened.manifest.digest().clone());
        opened.place.blame(copy(opened.source.as_ref(), &opened.manifest, &nowhere, &at, &self.copy_options()).await)?;
        Ok(Verified { digest: opened.manifest.digest().clone(), blobs: nowhere.blobs.load(Relaxed), bytes: nowhere.bytes.load(Relaxed) })
    }
}

/// A sink that verifies the written bytes and keeps nothing.
struct Nowhere {
    /// What is verified. It may have hash states of a blob, by which all processors verify it.
    source: Arc<dyn Source>,
    blobs: AtomicUsize,
    bytes: AtomicU64,
}

#[async_trait]
impl Sink for Nowhere {
    fn wants_digest(&self) -> bool {
        false
    }

    async fn begin(&self, blob: Option<&Descriptor>) -> Result<Begin, StoreError> {
        let blob = blob.expect("a copy gives the descriptor of every blob");
        self.blobs.fetch_add(1, Relaxed);
        self.bytes.fetch_add(blob.size, Relaxed);
        let list = if blob.size >= HashStates::LEAST_SIZE { self.source.hash_states(blob).await } else { None };
        Ok(Begin::Upload(Box::new(Verification { blob: blob.clone(), list, verifier: Verifier::of(blob), verified: None })))
    }

    async fn put_manifest(&self, _: &Selector, _: &Manifest) -> Result<(), StoreError> {
        Ok(())
    }
}

struct Verification {
    blob: Descriptor,
    list: Option<HashStates>,
    verifier: Verifier,
    verified: Option<VerifiedBlob>,
}

impl Verification {
    async fn verify_in_order(&mut self, body: Body) -> Result<(), StoreError> {
        let (what, expected) = (format!("blob {}", self.blob.digest), self.blob.size);
        let take = move |hashing: &mut Hashing, piece: Piece<'_>| {
            hashing.update(&piece);
            let found = hashing.given();
            if found > expected { Err(StoreError::WrongSize { what: what.clone(), expected, found }) } else { Ok(()) }
        };
        let (hashing, read) = body.drain(Hashing::new(self.verifier.clone()), take).await;
        self.verifier = hashing.finish();
        read
    }
}

#[async_trait]
impl Upload for Verification {
    async fn write(&mut self, mut body: Body) -> Result<(), StoreError> {
        let Some((file, list)) = body.file().cloned().zip(self.list.take()) else { return self.verify_in_order(body).await };
        let (blob, progress, counted) = (self.blob.clone(), body.progress().cloned(), Arc::new(AtomicU64::new(0)));
        // If the list is not true, what was counted is not counted again.
        body = Body::from_file(file.clone());
        let rest = progress.clone().map(|progress| (progress, counted.clone()));
        let verify = move |cancelled: &Cancelled| {
            let count = |len| {
                cancelled.check(&file.path)?;
                counted.fetch_add(len, Relaxed);
                progress.iter().for_each(|progress| progress.moved(len));
                Ok(())
            };
            verify_by_hash_states(&file, &blob, list, &count)
        };
        self.verified = blocking_cancellable(verify).await?;
        if self.verified.is_none() {
            self.verify_in_order(body).await?;
            rest.iter().for_each(|(progress, counted)| progress.moved(self.blob.size.saturating_sub(counted.load(Relaxed))));
        }
        Ok(())
    }

    async fn commit(self: Box<Self>, expected: Option<&Descriptor>) -> Result<Committed, StoreError> {
        match self.verified {
            Some(verified) => Ok(verified.into()),
            None => Ok(self.verifier.finish_as(expected)?.into()),
        }
    }
}
