//! Leases on repositories during a push, so that garbage collection removes nothing that the next
//! request of the push needs.
//!
//! A lease is an expiry time that is stored in the repository, not a lock that is kept open. So any
//! number of repositories may be pushed to, and the answers given to clients stay true after a
//! restart.

use modelpack_server::Leasable;
use modelpack_spec::RepositoryName;
use modelpack_transfer::{Result, blocking};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

/// The leases that are held: while a request uses one, and for some time after that.
pub(super) struct Leases {
    idle: Duration,
    held: Mutex<HashMap<RepositoryName, Arc<Held>>>,
}

/// A lease that is in use while a clone of this exists.
pub(super) struct Held {
    repository: Leasable,
    /// The code that writes the expiry time keeps it locked, so that only one thread waits for a
    /// running collection, whatever the number of requests.
    until: tokio::sync::Mutex<SystemTime>,
}

impl Leases {
    pub(super) fn new(idle: Duration) -> Self {
        Self { idle, held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<RepositoryName, Arc<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lease on a repository. It is in use until the result is dropped.
    pub(super) async fn hold(&self, repository: Leasable) -> Result<Arc<Held>> {
        let name = repository.name().clone();
        let new = || Arc::new(Held { repository, until: tokio::sync::Mutex::new(SystemTime::UNIX_EPOCH) });
        let held = self.held().entry(name).or_insert_with(new).clone();
        self.renew(&held, SystemTime::now()).await?;
        Ok(held)
    }

    /// Renews the lease if half of its time has passed.
    async fn renew(&self, held: &Held, now: SystemTime) -> Result<()> {
        let mut until = held.until.lock().await;
        if *until < now + self.idle / 2 {
            let (repository, later) = (held.repository.clone(), now + self.idle);
            blocking(move || repository.lease_until(later)).await?;
            *until = later;
        }
        Ok(())
    }

    /// Renews the leases that are in use, and removes expired ones.
    pub(super) async fn reap(&self, now: SystemTime) {
        let in_use: Vec<_> = {
            let mut held = self.held();
            held.retain(|_, held| Arc::strong_count(held) > 1 || held.until.try_lock().is_ok_and(|until| *until > now));
            held.values().filter(|held| Arc::strong_count(held) > 1).cloned().collect()
        };
        for held in in_use {
            // The renewal is retried before the lease expires.
            let _ = self.renew(&held, now).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use modelpack_server::{Everybody, Identity, Push, Repositories};
    use modelpack_store::{Store, Untagged};

    fn leasable(store: &Store, name: &RepositoryName) -> Leasable {
        let all = Repositories::new(store.clone(), Arc::new(Everybody), 1);
        all.permit::<Push>(&Identity::Anonymous, name).unwrap().leasable()
    }

    #[tokio::test]
    async fn a_lease_is_renewed_while_in_use_and_removed_when_expired() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), Untagged::Keep).unwrap();
        let name = RepositoryName::without_host("a/b").unwrap();
        let hour = Duration::from_secs(3600);
        let leases = Leases::new(hour);
        let until = || std::fs::metadata(directory.path().join("repositories/a/b/_lease")).unwrap().modified().unwrap();

        let start = SystemTime::now();
        let in_use = leases.hold(leasable(&store, &name)).await.unwrap();
        assert!(until() >= start + hour);
        leases.reap(start + 2 * hour).await;
        assert_eq!(until(), start + 3 * hour, "a push that takes longer than a lease keeps it");
        drop(in_use);
        leases.reap(start + 2 * hour + hour / 2).await;
        assert_eq!((until(), leases.held().len()), (start + 3 * hour, 1));
        leases.reap(start + 3 * hour).await;
        assert_eq!((until(), leases.held().len()), (start + 3 * hour, 0));
    }

    #[tokio::test]
    async fn collection_respects_a_lease_of_any_process() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), Untagged::Keep).unwrap();
        let name = RepositoryName::without_host("a/b").unwrap();
        drop(Leases::new(Duration::from_secs(3600)).hold(leasable(&store, &name)).await.unwrap());
        assert_eq!(store.prune(true).unwrap().busy, std::slice::from_ref(&name));

        let over = RepositoryName::without_host("a/c").unwrap();
        drop(Leases::new(Duration::ZERO).hold(leasable(&store, &over)).await.unwrap());
        assert_eq!(store.prune(true).unwrap().busy, [name]);
    }
}
