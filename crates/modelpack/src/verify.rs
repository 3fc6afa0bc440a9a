//! Verifies an artifact in place: every byte is read and hashed, and nothing is kept.

use crate::{Modelpack, Place, Result};
use async_trait::async_trait;
use modelpack_spec::{Descriptor, Digest, Hasher, Manifest, Selector};
use modelpack_transfer::{Begin, Body, Sink, Upload, copy, verify_blob};
use serde::Serialize;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

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
        let nowhere = Nowhere::default();
        let at = Selector::Digest(opened.manifest.digest().clone());
        opened.place.blame(copy(opened.source.as_ref(), &opened.manifest, &nowhere, &at, &self.copy_options()).await)?;
        Ok(Verified { digest: opened.manifest.digest().clone(), blobs: nowhere.blobs.load(Relaxed), bytes: nowhere.bytes.load(Relaxed) })
    }
}

/// A sink that verifies the written bytes and keeps nothing.
#[derive(Default)]
struct Nowhere {
    blobs: AtomicUsize,
    bytes: AtomicU64,
}

#[async_trait]
impl Sink for Nowhere {
    fn wants_digest(&self) -> bool {
        false
    }

    async fn begin(&self, blob: Option<&Descriptor>) -> Result<Begin, modelpack_transfer::Error> {
        let blob = blob.expect("a copy gives the descriptor of every blob").clone();
        self.blobs.fetch_add(1, Relaxed);
        self.bytes.fetch_add(blob.size, Relaxed);
        Ok(Begin::Upload(Box::new(Verification { hasher: Some(Hasher::new(blob.digest.algorithm())), len: 0, blob })))
    }

    async fn put_manifest(&self, _: &Selector, _: &Manifest) -> Result<(), modelpack_transfer::Error> {
        Ok(())
    }
}

struct Verification {
    blob: Descriptor,
    hasher: Option<Hasher>,
    len: u64,
}

#[async_trait]
impl Upload for Verification {
    async fn write(&mut self, body: Body) -> Result<(), modelpack_transfer::Error> {
        let hasher = self.hasher.take().unwrap_or_else(|| Hasher::new(self.blob.digest.algorithm()));
        let ((hasher, len), read) = body
            .drain((hasher, self.len), |(hasher, len), piece| {
                hasher.update(piece);
                *len += piece.len() as u64;
                Ok(())
            })
            .await;
        (self.hasher, self.len) = (Some(hasher), len);
        read
    }

    async fn commit(self: Box<Self>, _: Option<&Descriptor>) -> Result<(Digest, u64), modelpack_transfer::Error> {
        let hasher = self.hasher.unwrap_or_else(|| Hasher::new(self.blob.digest.algorithm()));
        let found = hasher.finish();
        verify_blob(&format!("blob {}", self.blob.digest), &self.blob, &found, self.len)?;
        Ok((found, self.len))
    }
}
