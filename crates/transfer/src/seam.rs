//! The seam: where artifacts come from and where they go. Everything that moves an artifact is a [`Source`], a [`Sink`], or both.

use crate::{Body, Result};
use async_trait::async_trait;
use modelpack_spec::{Descriptor, Digest, Manifest, Selector};
use std::ops::Range;

/// A repository that is read.
///
/// A future that is dropped stops what it does and leaves nothing behind. Implementations are used by several tasks at once.
#[async_trait]
pub trait Source: Send + Sync {
    /// The manifest that `at` selects, its bytes verified against the digest if one is named.
    ///
    /// Of a tag and a digest together the digest decides, wherever the tag points to, and whether or not there is such a tag.
    /// Fails with [`NotFound`](crate::Error::NotFound) if there is no such manifest.
    async fn manifest(&self, at: &Selector) -> Result<Manifest>;

    /// The bytes `range` of a blob; `0..blob.size` is all of it. They are not verified here: whoever keeps them does.
    async fn blob(&self, blob: &Descriptor, range: Range<u64>) -> Result<Body>;
}

/// A repository that is written.
///
/// Callers write blobs before the manifest that names them. What is written is visible when `commit` or `put_manifest` has
/// returned, verified and durable, and not before; a future that is dropped leaves nothing visible.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Whether [`begin`](Sink::begin) should be told the digest even if the bytes must be read once more for it: true
    /// where moving bytes that are there already costs more than hashing them.
    fn wants_digest(&self) -> bool;

    /// Asks to write a blob. With a descriptor, the sink may answer that it holds the blob; without one, the digest is
    /// computed from what is written.
    async fn begin(&self, blob: Option<&Descriptor>) -> Result<Begin>;

    /// Writes a manifest and sets the tag, if `at` names one, whether or not the manifest was there before.
    ///
    /// Fails with [`WrongDigest`](crate::Error::WrongDigest) if `at` names another digest than the manifest's, and with
    /// [`MissingReference`](crate::Error::MissingReference) if a blob it needs is not held.
    async fn put_manifest(&self, at: &Selector, manifest: &Manifest) -> Result<()>;
}

/// The answer to [`Sink::begin`].
pub enum Begin {
    /// The sink holds the blob: nothing to do.
    Exists,
    /// The sink takes the bytes.
    Upload(Box<dyn Upload>),
}

/// A blob that is being written. Dropping it discards what was written.
#[async_trait]
pub trait Upload: Send {
    /// Appends all of `body`. A blob without bytes is written too, once, with an empty body.
    async fn write(&mut self, body: Body) -> Result<()>;

    /// Makes the blob visible, if what was written has the size and digest of `expected` and of the descriptor that
    /// [`Sink::begin`] was given, as far as there are any. Returns digest and size in bytes.
    async fn commit(self: Box<Self>, expected: Option<&Descriptor>) -> Result<(Digest, u64)>;
}
