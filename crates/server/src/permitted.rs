//! A repository together with one permitted action.

use crate::access::Action;
use async_trait::async_trait;
use modelpack_spec::{Algorithm, Descriptor, Digest, Manifest, RepositoryName, Selector, Tag};
use modelpack_store::{BlobWriter, Referrers, ReferrersPage, Repository, StoredManifest};
use modelpack_transfer::{Body, Result, Source, UploadSession};
use std::{collections::BTreeSet, marker::PhantomData, ops::Range, time::SystemTime};

/// An [`Action`] as a type.
pub trait Permission: Send + Sync + 'static {
    /// The action.
    const ACTION: Action;
}

/// [`Action::Pull`].
pub enum Pull {}

/// [`Action::Push`].
pub enum Push {}

/// [`Action::Delete`].
pub enum Delete {}

impl Permission for Pull {
    const ACTION: Action = Action::Pull;
}

impl Permission for Push {
    const ACTION: Action = Action::Push;
}

impl Permission for Delete {
    const ACTION: Action = Action::Delete;
}

/// A repository, and the proof that the client may perform the action `P` on it. It has no methods
/// for other actions.
///
/// Only [`Repositories`](crate::Repositories) creates it, after [`Access`](crate::Access) has
/// allowed the action. It is valid for one request; do not store it.
pub struct Permitted<P> {
    repository: Repository,
    permission: PhantomData<fn() -> P>,
}

impl<P: Permission> Permitted<P> {
    /// The caller must have asked [`Access`](crate::Access).
    pub(crate) fn new(repository: Repository) -> Self {
        Self { repository, permission: PhantomData }
    }

    pub(crate) fn inner(&self) -> &Repository {
        &self.repository
    }

    /// The name of the repository.
    pub fn name(&self) -> &RepositoryName {
        self.repository.name()
    }

    /// Whether the repository exists: something was written to it before.
    pub fn exists(&self) -> bool {
        self.repository.exists()
    }

    /// A handle to protect the repository from garbage collection, also after this request.
    pub fn leasable(&self) -> Leasable {
        Leasable(self.repository.clone())
    }
}

impl Permitted<Pull> {
    /// See [`Repository::blob_size`].
    pub async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        self.repository.blob_size(digest).await
    }

    /// See [`Repository::check_held`].
    pub async fn check_held(&self, named: BTreeSet<Digest>) -> Result<()> {
        self.repository.check_held(named).await
    }

    /// See [`Repository::stored_manifest`].
    pub async fn stored_manifest(&self, at: &Selector) -> Result<StoredManifest> {
        self.repository.stored_manifest(at).await
    }

    /// See [`Repository::tags`].
    pub async fn tags(&self) -> Result<Vec<(Tag, Descriptor)>> {
        self.repository.tags().await
    }

    /// See [`Repository::referrers`].
    pub async fn referrers(&self, digest: &Digest, page: ReferrersPage) -> Result<Referrers> {
        self.repository.referrers(digest, page).await
    }
}

#[async_trait]
impl Source for Permitted<Pull> {
    async fn manifest(&self, at: &Selector) -> Result<Manifest> {
        self.repository.manifest(at).await
    }

    async fn blob(&self, blob: &Descriptor, range: Range<u64>) -> Result<Body> {
        self.repository.blob(blob, range).await
    }

    async fn referrers(&self, subjects: &[Digest]) -> Result<Option<Vec<Descriptor>>> {
        Source::referrers(&self.repository, subjects).await
    }

    async fn tags(&self) -> Result<Option<Vec<Tag>>> {
        Source::tags(&self.repository).await
    }
}

impl Permitted<Push> {
    /// See [`Repository::begin_upload`].
    pub async fn begin_upload(&self, algorithm: Algorithm) -> Result<BlobWriter> {
        self.repository.begin_upload(algorithm).await
    }

    /// See [`Repository::begin_session`].
    pub async fn begin_session(&self, id: &str, algorithm: Algorithm) -> Result<UploadSession> {
        self.repository.begin_session(id, algorithm).await
    }

    /// See [`Repository::open_session`].
    pub async fn open_session(&self, id: &str) -> Result<Option<UploadSession>> {
        self.repository.open_session(id).await
    }

    /// See [`Repository::commit_session`].
    pub async fn commit_session(&self, session: UploadSession, digest: &Digest) -> Result<u64> {
        self.repository.commit_session(session, digest).await
    }

    /// See [`Repository::spool`].
    pub async fn spool(&self, algorithm: Algorithm) -> Result<BlobWriter> {
        self.repository.spool(algorithm).await
    }

    /// See [`Repository::put_spooled`].
    pub async fn put_spooled(&self, at: &[Selector], manifest: &Manifest, spooled: BlobWriter) -> Result<()> {
        self.repository.put_spooled(at, manifest, spooled).await
    }
}

impl Permitted<Delete> {
    /// See [`Repository::delete_blob`].
    pub async fn delete_blob(&self, digest: &Digest) -> Result<bool> {
        self.repository.delete_blob(digest).await
    }

    /// See [`Repository::delete_manifest`].
    pub async fn delete_manifest(&self, digest: &Digest) -> Result<bool> {
        self.repository.delete_manifest(digest).await
    }

    /// See [`Repository::delete_tag`].
    pub async fn delete_tag(&self, tag: &Tag) -> Result<bool> {
        self.repository.delete_tag(tag).await
    }
}

/// A handle that can protect a repository from garbage collection. It can neither read nor write
/// the repository.
#[derive(Clone)]
pub struct Leasable(Repository);

impl Leasable {
    /// The name of the repository.
    pub fn name(&self) -> &RepositoryName {
        self.0.name()
    }

    /// See [`Repository::lease_until`]. This call blocks.
    pub fn lease_until(&self, until: SystemTime) -> Result<()> {
        self.0.lease_until(until)
    }
}
