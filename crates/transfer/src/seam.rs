//! The seam: where artifacts are read from and written to. Every place of artifacts is a [`Source`], a [`Sink`], or both.

use crate::{Body, Demand, Ranges, Result, copy::read_bytes};
use async_trait::async_trait;
use modelpack_spec::{Descriptor, Digest, HashStates, Manifest, Selector, Tag};
use std::{ops::Range, sync::Arc};

/// A repository that is read.
///
/// If a future is dropped, its work stops and leaves nothing behind. Several tasks use an implementation at the same time.
#[async_trait]
pub trait Source: Send + Sync {
    /// The manifest that `at` selects. If `at` names a digest, the bytes are verified against it.
    ///
    /// If `at` names a tag and a digest, only the digest counts: it does not matter where the tag points to, or whether it exists.
    /// Fails with [`NotFound`](crate::Error::NotFound) if there is no such manifest.
    async fn manifest(&self, at: &Selector) -> Result<Manifest>;

    /// Whether a part of a blob can be read without the bytes before it. A source may find out only when it is asked for one.
    fn gives_ranges(&self) -> bool {
        true
    }

    /// The bytes `range` of a blob. `0..blob.size` is all of it. A source does not verify them: the sink does.
    async fn blob(&self, blob: &Descriptor, range: Range<u64>) -> Result<Body>;

    /// The list of hash states of a blob: the one that the annotations of `blob` name, if the source has that. `None` if there is none, or if it
    /// cannot be read, because nothing depends on it.
    ///
    /// It has the digest that the annotation names. Whether it is true is not known.
    async fn hash_states(&self, blob: &Descriptor) -> Option<HashStates> {
        named_hash_states(self, blob).await
    }

    /// The manifests that are listed as referrers of one of `subjects`, each once, without annotations. `None` if the source has no lists.
    ///
    /// Listed are the manifests whose `subject` is one of them, and what is in an index under [`Tag::of_referrers`]. The list is not verified:
    /// a caller reads each manifest, and compares its subject. Many subjects are given at once, because a source on disk reads all of its
    /// manifests to answer. A subject need not exist.
    async fn referrers(&self, _subjects: &[Digest]) -> Result<Option<Vec<Descriptor>>> {
        Ok(None)
    }

    /// All tags, sorted if the source sorts them. `None` if the source has no list of them.
    async fn tags(&self) -> Result<Option<Vec<Tag>>> {
        Ok(None)
    }
}

/// The list of hash states that the annotations of `blob` name, if `source` has it as a blob.
pub async fn named_hash_states<S: Source + ?Sized>(source: &S, blob: &Descriptor) -> Option<HashStates> {
    let list = HashStates::named_by(blob)?;
    let what = format!("the hash states of blob {}", blob.digest);
    let bytes = read_bytes(source, &list, usize::try_from(list.size).ok()?, &what).await.ok()?;
    HashStates::read(blob.size, &bytes)
}

/// A repository that is written.
///
/// Callers write blobs before the manifest that names them. When `commit` or `put_manifest` returns, what was written is verified, durable
/// and visible. It is not visible before that. If a future is dropped, nothing becomes visible.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Whether callers should give [`begin`](Sink::begin) the descriptor even if they must read the bytes once more to know the digest. True
    /// if sending bytes that the sink holds already costs more than hashing them.
    fn wants_digest(&self) -> bool;

    /// Fails if the sink knows that it has too little room for these blobs. To be asked before the first of them is begun.
    async fn check_room(&self, _blobs: &[&Descriptor]) -> Result<()> {
        Ok(())
    }

    /// Begins to write a blob. If there is a descriptor, the sink may answer that it holds the blob. Without a descriptor, the digest is
    /// computed from what is written.
    async fn begin(&self, blob: Option<&Descriptor>) -> Result<Begin>;

    /// Whether the lists of hash states of an artifact should be given to [`put_hash_states`](Sink::put_hash_states).
    fn wants_hash_states(&self) -> bool {
        false
    }

    /// Keeps the lists of hash states of an artifact that was written, for readers who ask for them by their digests.
    async fn put_hash_states(&self, artifact: &Manifest, lists: &[HashStates]) -> Result<()> {
        let _ = (artifact, lists);
        Ok(())
    }

    /// Writes a manifest, and sets the tag if `at` names one. The tag is set even if the sink holds the manifest already.
    ///
    /// Fails with [`WrongDigest`](crate::Error::WrongDigest) if `at` names another digest than the manifest's, and with
    /// [`MissingReference`](crate::Error::MissingReference) if the sink does not hold a blob that the manifest names.
    async fn put_manifest(&self, at: &Selector, manifest: &Manifest) -> Result<()>;
}

/// The answer to [`Sink::begin`].
pub enum Begin {
    /// The sink holds the blob. There is nothing to write.
    Exists,
    /// The sink needs the bytes.
    Upload(Box<dyn Upload>),
}

/// A blob that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its hash states, if it has at least [`HashStates::LEAST_SIZE`], and if its bytes were hashed here without an interruption.
    pub hash_states: Option<HashStates>,
}

/// A blob that is being written.
///
/// If it is dropped, nothing of it is visible. A sink that takes [ranges](Upload::ranged) keeps the bytes of a known blob, and the next
/// upload of that blob continues with them. Every other sink discards them.
#[async_trait]
pub trait Upload: Send {
    /// The same upload, for bytes in any order and from several tasks. `None` if the sink takes bytes only from the beginning to the end,
    /// or if the blob is not known.
    fn ranged(&self) -> Option<Arc<dyn RangedUpload>> {
        None
    }

    /// Writes all bytes of `body` after those of earlier calls; the first call begins at the beginning of the blob. A blob without bytes
    /// needs one write with an empty body.
    async fn write(&mut self, body: Body) -> Result<()>;

    /// Makes the blob visible.
    ///
    /// Fails if the size or digest of what was written differs from `expected`, or from the descriptor that [`Sink::begin`] was given. What
    /// was written is discarded then, unless it is only too short and the sink keeps what it has.
    async fn commit(self: Box<Self>, expected: Option<&Descriptor>) -> Result<Committed>;
}

/// An upload of a known blob whose bytes may come in any order, from several tasks at the same time.
#[async_trait]
pub trait RangedUpload: Send + Sync {
    /// The bytes that the sink lacks. It may have some from an earlier upload.
    fn missing(&self) -> Ranges;

    /// Gives a list of hash states, which need not be true, to verify the bytes by. To be called before the first write.
    fn verify_by(&self, list: HashStates);

    /// What somebody waits for who reads the blob while it arrives. `None` if nobody can.
    fn wanted(&self) -> Option<&Demand> {
        None
    }

    /// Writes all bytes of `body` at `offset`. If it fails or its future is dropped, the bytes that were written before stay.
    ///
    /// Two tasks must not write the same bytes at the same time.
    async fn write_at(&self, offset: u64, body: Body) -> Result<()>;
}
