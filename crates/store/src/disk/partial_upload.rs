//! Writing one known blob, in any order, so that what a killed process left is not written again.

use super::{blobs::Blobs, links::Links};
use async_trait::async_trait;
use modelpack_spec::Descriptor;
use modelpack_transfer::{Body, Committed, Partial, RangedUpload, Result, Upload, VerifiedBlob, blocking, verify_blob};
use std::sync::Arc;

/// A known blob that is being written to a store on disk.
pub(super) struct PartialUpload {
    blobs: Blobs,
    links: Option<Links>,
    partial: Arc<Partial>,
    /// How many bytes were [written](Upload::write) in order.
    position: u64,
}

impl PartialUpload {
    pub(super) fn new(blobs: Blobs, links: Option<Links>, partial: Partial) -> Self {
        Self { blobs, links, partial: Arc::new(partial), position: 0 }
    }

    fn commit_blocking(&self) -> Result<VerifiedBlob> {
        self.partial.commit(|file, blob| {
            let _collection_waits = self.blobs.guard()?;
            self.blobs.adopt(file, &self.partial.path(), blob)?;
            self.links.as_ref().map_or(Ok(()), |links| links.add(blob.digest()))
        })
    }
}

#[async_trait]
impl Upload for PartialUpload {
    fn ranged(&self) -> Option<Arc<dyn RangedUpload>> {
        Some(Arc::new(self.partial.clone()))
    }

    async fn write(&mut self, body: Body) -> Result<()> {
        self.position += self.partial.clone().write(self.position, body).await?;
        Ok(())
    }

    async fn commit(self: Box<Self>, expected: Option<&Descriptor>) -> Result<Committed> {
        let blob = self.partial.blob();
        if let Some(expected) = expected {
            verify_blob(&format!("blob {}", blob.digest), expected, &blob.digest, blob.size)?;
        }
        Ok(blocking(move || self.commit_blocking()).await?.into())
    }
}
