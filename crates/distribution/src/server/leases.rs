//! Leases on repositories that somebody pushes to, so that collection takes nothing that the next request of a push will need.

use modelpack_spec::RepositoryName;
use modelpack_store::{Lease, Result, Store, blocking};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The leases that are held: as long as somebody uses one, and for some time after.
pub(super) struct Leases {
    store: Store,
    idle: Duration,
    held: Mutex<HashMap<RepositoryName, Held>>,
}

struct Held {
    lease: Arc<Lease>,
    used: Instant,
}

impl Leases {
    pub(super) fn new(store: Store, idle: Duration) -> Self {
        Self { store, idle, held: Mutex::default() }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<RepositoryName, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lease on a repository, in use until what is returned is dropped.
    pub(super) async fn hold(&self, name: &RepositoryName) -> Result<Arc<Lease>> {
        if let Some(held) = self.held().get_mut(name) {
            held.used = Instant::now();
            return Ok(held.lease.clone());
        }
        let (store, of) = (self.store.clone(), name.clone());
        let lease = Arc::new(blocking(move || store.lease(&of)).await?);
        self.held().insert(name.clone(), Held { lease: lease.clone(), used: Instant::now() });
        Ok(lease)
    }

    /// Drops the leases that nobody has used for the idle time before `now`.
    pub(super) fn reap(&self, now: Instant) {
        self.held().retain(|_, held| {
            if Arc::strong_count(&held.lease) > 1 {
                held.used = now;
            }
            now.saturating_duration_since(held.used) < self.idle
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use modelpack_store::Untagged;

    #[tokio::test]
    async fn collection_stays_away_while_a_lease_is_used_and_for_the_idle_time_after() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), Untagged::Keep).unwrap();
        let name = RepositoryName::without_host("a/b").unwrap();
        let hour = Duration::from_secs(3600);
        let leases = Leases::new(store.clone(), hour);
        let busy = || store.prune(true).unwrap().busy;

        let in_use = leases.hold(&name).await.unwrap();
        let start = Instant::now();
        leases.reap(start + 2 * hour);
        assert_eq!(busy(), std::slice::from_ref(&name));
        drop(in_use);
        leases.reap(start + 2 * hour + hour / 2);
        assert_eq!(busy(), std::slice::from_ref(&name));
        leases.reap(start + 3 * hour);
        assert_eq!(busy(), []);
    }
}
