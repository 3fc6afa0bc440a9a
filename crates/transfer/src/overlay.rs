//! An artifact that differs from another one in a few blobs: a source of the new blobs over the source of all others.

use crate::{Body, FileRange, Result, Source, named_hash_states, verify::verify_part};
use async_trait::async_trait;
use bytes::Bytes;
use modelpack_spec::{Descriptor, Digest, HashStates, Manifest, Selector, Tag};
use std::{collections::HashMap, ops::Range};

/// A [`Source`] with blobs of its own. All other blobs come from another source.
///
/// With it, [`copy`](crate::copy()) writes an artifact that was made from an existing one, and copies only what the sink does not hold.
pub struct Overlay<'a> {
    below: &'a dyn Source,
    blobs: HashMap<Digest, Blob>,
}

enum Blob {
    Bytes(Bytes),
    File(FileRange),
}

impl<'a> Overlay<'a> {
    /// An overlay over `below`, without blobs of its own yet.
    pub fn new(below: &'a dyn Source) -> Self {
        Self { below, blobs: HashMap::new() }
    }

    /// Adds a blob that is in memory, such as a config.
    pub fn bytes(&mut self, digest: Digest, bytes: impl Into<Bytes>) {
        self.blobs.insert(digest, Blob::Bytes(bytes.into()));
    }

    /// Adds a blob that is a file. The sink verifies its bytes, so it notices if the file changes.
    pub fn file(&mut self, digest: Digest, file: FileRange) {
        self.blobs.insert(digest, Blob::File(file));
    }
}

#[async_trait]
impl Source for Overlay<'_> {
    async fn manifest(&self, at: &Selector) -> Result<Manifest> {
        self.below.manifest(at).await
    }

    async fn blob(&self, blob: &Descriptor, range: Range<u64>) -> Result<Body> {
        let what = format!("blob {}", blob.digest);
        match self.blobs.get(&blob.digest) {
            Some(Blob::File(file)) => Ok(Body::from_file(file.clone().slice(range, blob, &what)?)),
            Some(Blob::Bytes(bytes)) => {
                verify_part(&range, blob, bytes.len() as u64, &what)?;
                let at = |offset| usize::try_from(offset).expect("not larger than a length in memory");
                Ok(Body::from_bytes(bytes.slice(at(range.start)..at(range.end))))
            }
            None => self.below.blob(blob, range).await,
        }
    }

    async fn hash_states(&self, blob: &Descriptor) -> Option<HashStates> {
        match named_hash_states(self, blob).await {
            Some(list) => Some(list),
            None => self.below.hash_states(blob).await,
        }
    }

    async fn referrers(&self, subjects: &[Digest]) -> Result<Option<Vec<Descriptor>>> {
        self.below.referrers(subjects).await
    }

    async fn tags(&self) -> Result<Option<Vec<Tag>>> {
        self.below.tags().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryStore, put_bytes};
    use std::{fs::File, io::Write, sync::Arc};

    #[tokio::test]
    async fn its_own_blobs_lie_over_those_below() {
        let below = MemoryStore::new();
        let low = put_bytes(&below, "x", b"below".to_vec()).await.unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"a file").unwrap();
        let (high, in_file) = (Descriptor::of("x", b"above"), Descriptor::of("x", b"a file"));
        let mut overlay = Overlay::new(&below);
        overlay.bytes(high.digest.clone(), &b"above"[..]);
        let range = FileRange { file: Arc::new(File::open(file.path()).unwrap()), path: file.path().into(), offset: 0, len: 6 };
        overlay.file(in_file.digest.clone(), range);
        for (blob, part, expected) in [(&low, 0..5, "below"), (&high, 0..5, "above"), (&high, 1..3, "bo"), (&in_file, 2..6, "file")] {
            assert_eq!(overlay.blob(blob, part).await.unwrap().collect(10, "x").await.unwrap(), expected.as_bytes());
        }
        assert!(overlay.blob(&high, 3..6).await.is_err());
        assert!(overlay.blob(&in_file, 3..7).await.is_err());
        assert!(overlay.blob(&Descriptor::of("x", b"nowhere"), 0..7).await.is_err());
    }
}
