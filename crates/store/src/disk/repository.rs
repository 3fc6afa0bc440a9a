//! A repository of the local store: an OCI image layout whose blobs lie in the store's pool.

use super::{
    BlobWriter, Layout, StoredManifest,
    blobs::{Blobs, is_absent},
    layout::SMALL,
    links::Links,
    lock,
    referrers::{Referrers, ReferrersPage},
    reserve::is_full,
    store::Inner as StoreInner,
};
use async_trait::async_trait;
use modelpack_spec::{Algorithm, Descriptor, Digest, HashStates, Manifest, RepositoryName, Selector, Tag};
use modelpack_transfer::{Begin, Body, Error, Progress, Result, Sink, Source, Verifier, blocking};
use std::{collections::BTreeSet, fs, io, ops::Range, path::PathBuf, sync::Arc, time::SystemTime};

/// Whether an error says that something may be read but not written.
pub(super) fn is_read_only(error: &Error) -> bool {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(error, Error::Io { source, .. } if matches!(source.kind(), PermissionDenied | ReadOnlyFilesystem))
}

/// A repository of a [`Store`](super::Store).
///
/// A process that writes to it, or reads more than one thing of it, holds a [`Lease`](super::Lease) meanwhile, so that collection removes
/// nothing in between.
#[derive(Clone, Debug)]
pub struct Repository {
    name: RepositoryName,
    layout: Layout,
    store: Arc<StoreInner>,
}

impl Repository {
    pub(super) fn new(name: RepositoryName, layout: Layout, store: Arc<StoreInner>) -> Self {
        Self { name, layout, store }
    }

    /// The name.
    pub fn name(&self) -> &RepositoryName {
        &self.name
    }

    /// The OCI image layout that this repository is.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The same repository. See [`Layout::with_progress`].
    pub fn with_progress(&self, progress: Arc<Progress>) -> Self {
        Self { layout: self.layout.with_progress(progress), ..self.clone() }
    }

    pub(super) fn pool(&self) -> &Blobs {
        &self.store.pool
    }

    pub(super) fn links(&self) -> Links {
        Links::of(self.layout.path())
    }

    /// Whether anything was ever written to it.
    pub fn exists(&self) -> bool {
        self.layout.exists()
    }

    /// The size in bytes of a blob that this repository holds.
    pub async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        self.layout.blob_size(digest).await
    }

    /// Whether this repository has a link to a blob; blocks. The blob itself may be damaged or missing.
    pub fn links_to(&self, digest: &Digest) -> Result<bool> {
        self.links().contain(digest)
    }

    /// Fails with [`Error::MissingReference`] if this repository does not hold one of the blobs `named`, which a manifest names. See
    /// [`blob_size`](Self::blob_size).
    pub async fn check_held(&self, named: BTreeSet<Digest>) -> Result<()> {
        let layout = self.layout.clone();
        blocking(move || layout.check_held(&named)).await
    }

    /// Begins a blob whose digest is not known yet. It is hashed with `algorithm` while it is written.
    pub async fn begin_upload(&self, algorithm: Algorithm) -> Result<BlobWriter> {
        let layout = self.layout.clone();
        blocking(move || layout.begin_blocking(Verifier::unknown(algorithm))).await
    }

    /// Begins the bytes of a manifest. They are hashed with `algorithm` while they are written. Nothing of the repository is created or changed
    /// before [`put_spooled`](Self::put_spooled).
    pub async fn spool(&self, algorithm: Algorithm) -> Result<BlobWriter> {
        let layout = self.layout.clone();
        blocking(move || layout.spool_blocking(algorithm)).await
    }

    /// Writes a manifest whose bytes were [spooled](Self::spool), and sets each tag that `at` names, as
    /// [`Sink::put_manifest`] does.
    pub async fn put_spooled(&self, at: &[Selector], manifest: &Manifest, spooled: BlobWriter) -> Result<()> {
        let (layout, at, manifest) = (self.layout.clone(), at.to_vec(), manifest.clone());
        blocking(move || layout.put_spooled_blocking(&at, &manifest, spooled)).await
    }

    /// The manifest that `at` selects, to be sent as it is. Its bytes are verified and not parsed.
    pub async fn stored_manifest(&self, at: &Selector) -> Result<StoredManifest> {
        let (layout, at) = (self.layout.clone(), at.clone());
        blocking(move || layout.stored_manifest_blocking(&at)).await
    }

    /// Adds a link to a blob that the repository `from` holds. Without `from`, any repository of the store may hold it. Returns whether the blob
    /// was there.
    pub async fn mount(&self, digest: &Digest, from: Option<&Self>) -> Result<bool> {
        let (this, digest, from) = (self.clone(), digest.clone(), from.cloned());
        blocking(move || {
            let held = match &from {
                Some(from) => from.layout.blob_size_blocking(&digest)?,
                None => this.pool().held(&digest, SMALL)?,
            };
            // Collection may have removed it while it was read.
            let _collection_waits = this.pool().guard()?;
            let held = held.is_some() && this.pool().size(&digest)? == held;
            if held {
                this.layout.create()?;
                this.links().add(&digest)?;
            }
            Ok(held)
        })
        .await
    }

    /// Removes the link to a blob. Returns whether this repository held the blob.
    pub async fn delete_blob(&self, digest: &Digest) -> Result<bool> {
        let (links, digest) = (self.links(), digest.clone());
        blocking(move || links.remove(&digest)).await
    }

    /// Removes a manifest and all its tags. Returns whether the manifest was there.
    pub async fn delete_manifest(&self, digest: &Digest) -> Result<bool> {
        self.layout.delete_manifest(digest).await
    }

    /// Removes a tag. Returns whether it was there.
    pub async fn delete_tag(&self, tag: &Tag) -> Result<bool> {
        self.layout.delete_tag(tag).await
    }

    /// The sorted tags, and what they point to.
    pub async fn tags(&self) -> Result<Vec<(Tag, Descriptor)>> {
        self.layout.tags().await
    }

    /// All manifests, each once.
    pub async fn manifests(&self) -> Result<Vec<Descriptor>> {
        self.layout.manifests().await
    }

    /// The manifests whose subject is `digest`, and those that an index with the fallback tag lists, which clients write if they find no
    /// referrers API (OCI distribution specification, "Enabling the Referrers API"). Sorted by digest. Fails if one of them is damaged, because
    /// then it is not known what it refers to.
    ///
    /// The manifests are read one after the other, and no more is kept in memory than belongs to `page`.
    pub async fn referrers(&self, digest: &Digest, page: ReferrersPage) -> Result<Referrers> {
        let (layout, digest) = (self.layout.clone(), digest.clone());
        blocking(move || layout.referrers_blocking(&digest, &page)).await
    }

    /// The file that is locked for a lease.
    pub(super) fn lease_path(&self) -> PathBuf {
        self.layout.path().join("_lease")
    }

    /// Prevents collection in this repository while it is read and the result is held. `None` if the repository is not there, or if the lock
    /// file does not exist and cannot be created, as in a read-only store.
    pub fn lease_to_read(&self) -> Result<Option<super::Lease>> {
        while self.exists() {
            match lock::shared(&self.lease_path()) {
                Ok(Some(lease)) => return Ok(Some(lease)),
                // Collection is removing the repository.
                Ok(None) => {}
                Err(Error::Io { source, .. }) if is_absent(&source) => {}
                Err(e) if is_full(&e) || is_read_only(&e) => return Ok(None),
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }

    /// Prevents collection in this repository while the result is held. Creates the repository if it is not there.
    pub fn lease(&self) -> Result<super::Lease> {
        let directory = self.layout.path();
        loop {
            fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
            // Collection may be removing the directory: then this tries again.
            match lock::shared(&self.lease_path()) {
                Ok(Some(lease)) => {
                    self.layout.create()?;
                    return Ok(lease);
                }
                Ok(None) => {}
                Err(Error::Io { source, .. }) if is_absent(&source) => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Prevents collection in this repository until the time `until`, even if this process ends before. Creates the repository if it is not
    /// there; blocks. A later time that was set before stays. A time more than a day in the future does not count.
    pub fn lease_until(&self, until: SystemTime) -> Result<()> {
        lock::hold_until(&self.lease()?, &self.lease_path(), until)
    }
}

#[async_trait]
impl Source for Repository {
    async fn manifest(&self, at: &Selector) -> Result<Manifest> {
        self.layout.manifest(at).await
    }

    async fn blob(&self, blob: &Descriptor, range: Range<u64>) -> Result<Body> {
        self.layout.blob(blob, range).await
    }

    async fn hash_states(&self, blob: &Descriptor) -> Option<HashStates> {
        self.layout.hash_states(blob).await
    }

    async fn referrers(&self, subjects: &[Digest]) -> Result<Option<Vec<Descriptor>>> {
        Source::referrers(&self.layout, subjects).await
    }

    async fn tags(&self) -> Result<Option<Vec<Tag>>> {
        Source::tags(&self.layout).await
    }
}

#[async_trait]
impl Sink for Repository {
    fn wants_digest(&self) -> bool {
        self.layout.wants_digest()
    }

    async fn check_room(&self, blobs: &[&Descriptor]) -> Result<()> {
        self.layout.check_room(blobs).await
    }

    async fn begin(&self, blob: Option<&Descriptor>) -> Result<Begin> {
        self.layout.begin(blob).await
    }

    async fn put_manifest(&self, at: &Selector, manifest: &Manifest) -> Result<()> {
        self.layout.put_manifest(at, manifest).await
    }
}
