//! Verifies an artifact in place: every byte is read and hashed, and nothing is kept.

use crate::{Modelpack, Place, Result};
use async_trait::async_trait;
use modelpack_spec::{Descriptor, Digest, Manifest, Selector};
use modelpack_transfer::{Begin, Body, Sink, Upload, Verifier, copy};
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
        let blob = blob.expect("a copy gives the descriptor of every blob");
        self.blobs.fetch_add(1, Relaxed);
        self.bytes.fetch_add(blob.size, Relaxed);
        Ok(Begin::Upload(Box::new(Verification(Verifier::of(blob)))))
    }

    async fn put_manifest(&self, _: &Selector, _: &Manifest) -> Result<(), modelpack_transfer::Error> {
        Ok(())
    }
}

struct Verification(Verifier);

#[async_trait]
impl Upload for Verification {
    async fn write(&mut self, body: Body) -> Result<(), modelpack_transfer::Error> {
        let (verifier, read) = body.drain(self.0.clone(), |verifier, piece| verifier.update(&piece)).await;
        self.0 = verifier;
        read
    }

    async fn commit(self: Box<Self>, expected: Option<&Descriptor>) -> Result<(Digest, u64), modelpack_transfer::Error> {
        Ok(self.0.finish_as(expected)?.into_parts())
    }
}
