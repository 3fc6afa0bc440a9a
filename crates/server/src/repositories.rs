//! The view's access to the store: every access to a repository is checked by the policy.

use crate::{
    access::{Access, Action, Denied, Identity},
    permitted::{Permission, Permitted, Pull, Push},
};
use modelpack_spec::{Digest, RepositoryName};
use modelpack_store::{Repository, Store};
use modelpack_transfer::{Result, blocking};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// The repositories of a store, with access control. Cloning is cheap.
///
/// This is the only code that asks [`Access`], and the only way from a view to the store.
#[derive(Clone)]
pub struct Repositories {
    store: Store,
    access: Arc<dyn Access>,
    storing: Arc<Semaphore>,
}

impl Repositories {
    /// The repositories of `store`. At most `storing` requests may wait for a lock of the store at
    /// the same time.
    pub fn new(store: Store, access: Arc<dyn Access>, storing: usize) -> Self {
        Self { store, access, storing: Arc::new(Semaphore::new(storing)) }
    }

    /// The repository with this name, whether or not it exists, if `who` may perform `P` on it.
    pub fn permit<P: Permission>(&self, who: &Identity, name: &RepositoryName) -> Result<Permitted<P>, Denied> {
        if self.access.may(who, P::ACTION, name) {
            Ok(Permitted::new(self.store.repository(name)))
        } else {
            Err(Denied { action: P::ACTION, repository: name.clone() })
        }
    }

    /// The names of the repositories that `who` may pull from, sorted.
    pub async fn names(&self, who: &Identity) -> Result<Vec<RepositoryName>> {
        let (this, who) = (self.clone(), who.clone());
        blocking(move || this.readable(&who)).await
    }

    /// Links a blob into `to` from the repository `from` or, without one, from any other
    /// repository. Returns whether the blob was found.
    ///
    /// For `who`, the blob exists only in repositories that they may pull from. This call waits
    /// like [`storing`](Self::storing).
    pub async fn mount(&self, who: &Identity, digest: &Digest, from: Option<&RepositoryName>, to: &Permitted<Push>) -> Result<bool> {
        self.storing(self.mount_now(who, digest, from, to)).await
    }

    async fn mount_now(&self, who: &Identity, digest: &Digest, from: Option<&RepositoryName>, to: &Permitted<Push>) -> Result<bool> {
        let source = match from {
            Some(from) => match self.permit::<Pull>(who, from) {
                Ok(from) => Some(from.inner().clone()),
                Err(_) => return Ok(false),
            },
            None if self.access.may_everywhere(who, Action::Pull) => None,
            None => match self.holder(who, digest).await? {
                Some(holder) => Some(holder),
                None => return Ok(false),
            },
        };
        to.inner().mount(digest, source.as_ref()).await
    }

    /// A repository that has the blob and that `who` may pull from. This looks at the disk once for
    /// each such repository, until one has the blob.
    ///
    /// It does not first check whether the store has the blob at all, because the response time
    /// would reveal that.
    async fn holder(&self, who: &Identity, digest: &Digest) -> Result<Option<Repository>> {
        let (this, who, digest) = (self.clone(), who.clone(), digest.clone());
        blocking(move || {
            for name in this.readable(&who)? {
                let repository = this.store.repository(&name);
                // A repository that cannot be read does not hide the others.
                if matches!(repository.links_to(&digest), Ok(true)) {
                    return Ok(Some(repository));
                }
            }
            Ok(None)
        })
        .await
    }

    /// This call blocks.
    fn readable(&self, who: &Identity) -> Result<Vec<RepositoryName>> {
        let mut names = self.store.repositories()?;
        if !self.access.may_everywhere(who, Action::Pull) {
            names.retain(|name| self.access.may(who, Action::Pull, name));
        }
        Ok(names)
    }

    /// Runs `work`, which may have to wait for a lock of the store. `work` must not wait for a
    /// client, and calls must not be nested.
    pub async fn storing<T>(&self, work: impl Future<Output = T>) -> T {
        let _permit = self.storing.acquire().await.expect("the semaphore is never closed");
        work.await
    }

    /// See [`Store::remove_abandoned`]. This call blocks.
    pub fn remove_abandoned(&self) -> Result<Vec<(PathBuf, u64)>> {
        self.store.remove_abandoned()
    }

    /// See [`Store::remove_session`]. This call blocks.
    pub fn remove_session(&self, id: &str) {
        self.store.remove_session(id);
    }

    /// See [`Store::expire_sessions`]. This call blocks.
    pub fn expire_sessions(&self, idle: Duration, keep: impl Fn(&str) -> bool) -> Result<Vec<(PathBuf, u64)>> {
        self.store.expire_sessions(idle, keep)
    }

    /// See [`Store::check_readable`]. This call blocks.
    pub(crate) fn check_readable(&self) -> Result<()> {
        self.store.check_readable()
    }
}
