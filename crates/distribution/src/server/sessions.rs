//! Uploads between their requests.

use modelpack_spec::RepositoryName;
use modelpack_store::{BlobWriter, Lease};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::OwnedMutexGuard;

/// An upload that was begun and not yet finished.
pub(super) struct Session {
    pub(super) writer: BlobWriter,
    repository: RepositoryName,
    used: Instant,
    _lease: Arc<Lease>,
}

/// A session that one request has for itself; others wait for it. Empty once the upload is finished.
pub(super) struct Locked(OwnedMutexGuard<Option<Session>>);

impl Locked {
    /// The writer, while the upload goes on.
    pub(super) fn writer(&mut self) -> &mut BlobWriter {
        &mut self.0.as_mut().expect("a session is only locked while it is there").writer
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        if let Some(session) = self.0.as_mut() {
            session.used = Instant::now();
        }
    }
}

type Slot = Arc<tokio::sync::Mutex<Option<Session>>>;

/// The open uploads by their identifiers, which nobody can guess.
pub(super) struct Sessions {
    idle: Duration,
    open: Mutex<HashMap<String, Slot>>,
}

impl Sessions {
    /// `idle` is how long a session lives that no request continues.
    pub(super) fn new(idle: Duration) -> Self {
        Self { idle, open: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an upload; returns its identifier.
    pub(super) fn insert(&self, repository: RepositoryName, writer: BlobWriter, lease: Arc<Lease>) -> String {
        let id = random_uuid();
        let session = Session { writer, repository, used: Instant::now(), _lease: lease };
        self.open().insert(id.clone(), Arc::new(tokio::sync::Mutex::new(Some(session))));
        id
    }

    /// Waits for the session `id` of `repository`, if there is one.
    pub(super) async fn lock(&self, repository: &RepositoryName, id: &str) -> Option<Locked> {
        let slot = self.open().get(id)?.clone();
        let locked = slot.lock_owned().await;
        locked.as_ref().filter(|session| session.repository == *repository)?;
        Some(Locked(locked))
    }

    /// Ends a session and gives its upload away.
    pub(super) fn remove(&self, id: &str, mut locked: Locked) -> Session {
        self.open().remove(id);
        locked.0.take().expect("a session is only locked while it is there")
    }

    /// Discards the sessions that no request has used for the idle time before `now`; blocks.
    pub(super) fn reap(&self, now: Instant) {
        let is_over = |slot: &mut Slot| {
            // A slot that somebody else has too is in use.
            let session = Arc::get_mut(slot).and_then(|slot| slot.get_mut().as_ref());
            session.is_some_and(|session| now.saturating_duration_since(session.used) >= self.idle)
        };
        let over: Vec<_> = self.open().extract_if(|_, slot| is_over(slot)).collect();
        drop(over);
    }
}

/// A random (version 4) UUID, as the specification asks for.
fn random_uuid() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives random numbers");
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use modelpack_spec::Algorithm;
    use modelpack_store::{Store, Untagged};

    #[tokio::test]
    async fn a_session_ends_after_the_idle_time_unless_a_request_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), Untagged::Keep).unwrap();
        let name = RepositoryName::without_host("a/b").unwrap();
        let hour = Duration::from_secs(3600);
        let sessions = Sessions::new(hour);
        let writer = store.repository(&name).begin_upload(Algorithm::Sha256).await.unwrap();
        let id = sessions.insert(name.clone(), writer, Arc::new(store.lease(&name).unwrap()));
        let ingested = || std::fs::read_dir(directory.path().join("ingest")).unwrap().count();

        sessions.reap(Instant::now() + hour / 2);
        let locked = sessions.lock(&name, &id).await.expect("it is young");
        sessions.reap(Instant::now() + 2 * hour);
        drop(locked);
        let elsewhere = RepositoryName::without_host("a/c").unwrap();
        assert!(sessions.lock(&elsewhere, &id).await.is_none());
        assert!(sessions.lock(&name, &id).await.is_some());
        assert_eq!(ingested(), 1);
        sessions.reap(Instant::now() + hour);
        assert!(sessions.lock(&name, &id).await.is_none());
        assert_eq!(ingested(), 0);
    }

    #[test]
    fn identifiers_are_random_uuids() {
        let id = random_uuid();
        assert_ne!(id, random_uuid());
        assert_eq!(id.len(), 36);
        assert_eq!(&id[14..15], "4");
    }
}
