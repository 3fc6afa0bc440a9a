//! Upload sessions between their requests.

use super::leases::Held;
use modelpack_server::{Permitted, Push, Repositories};
use modelpack_spec::{Algorithm, Digest, RepositoryName};
use modelpack_transfer::{Body, Error, Mark, Result, UploadSession, blocking};
use std::{
    collections::HashMap,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{OwnedMutexGuard, watch};
use tracing::debug;

/// How many uploads may be open at the same time. Each uses some hundred bytes of memory and, once
/// it has bytes, two files. Beyond the limit, the upload that has been unused for longest is
/// discarded.
const MAX_OPEN: usize = 10_000;

/// An unfinished upload. Its bytes are in the store, where another process finds them after this
/// one has ended.
struct Session {
    algorithm: Algorithm,
    /// Whether the store has bytes of it.
    has_bytes: bool,
    used: Instant,
    _lease: Arc<Held>,
}

/// A session that one request uses exclusively. If another request wants the session, the body of
/// the current one is given up when it becomes idle: an upload has one client, so its earlier
/// connection may be dead without the registry knowing.
pub(super) struct Locked {
    /// Its bytes, if it has any. Closed before the next request may open them.
    bytes: Option<UploadSession>,
    session: OwnedMutexGuard<Option<Session>>,
    slot: Arc<Slot>,
    id: String,
}

impl Locked {
    /// How many bytes have been received.
    pub(super) fn len(&self) -> u64 {
        self.bytes.as_ref().map_or(0, UploadSession::len)
    }

    /// Whether bytes were received that the client may not know of.
    pub(super) fn is_cut(&self) -> bool {
        self.bytes.as_ref().is_some_and(UploadSession::is_cut)
    }

    /// Whether the received bytes can have `digest`. With another algorithm than that of the
    /// session, only reading them again would tell.
    pub(super) async fn may_be(&mut self, digest: &Digest) -> Result<bool> {
        let Some(mut bytes) = self.bytes.take() else { return Ok(true) };
        let (bytes, found) = blocking(move || {
            let found = bytes.digest();
            (bytes, found)
        })
        .await;
        self.bytes = Some(bytes);
        let found = found?;
        Ok(found.algorithm() != digest.algorithm() || found == *digest)
    }

    /// The current position of the upload.
    pub(super) fn mark(&self) -> Option<Mark> {
        self.bytes.as_ref().and_then(UploadSession::mark)
    }

    /// How many bytes have been received. The client learns this number with the response, so the
    /// session no longer counts as cut.
    pub(super) fn report_len(&mut self) -> u64 {
        if let Some(bytes) = &mut self.bytes {
            bytes.acknowledge();
        }
        self.len()
    }

    /// Appends `body` to the upload, which keeps the received bytes even if the rest does not
    /// arrive.
    pub(super) async fn write(&mut self, repository: &Permitted<Push>, body: Body) -> Result<()> {
        let session = self.session.as_mut().ok_or_else(gone)?;
        let mut bytes = match self.bytes.take() {
            Some(bytes) => bytes,
            None => repository.begin_session(&self.id, session.algorithm).await?,
        };
        session.has_bytes = true;
        let written = bytes.write(body).await;
        if written.is_ok() {
            bytes.acknowledge();
        }
        session.used = Instant::now();
        session.has_bytes = !bytes.is_empty();
        self.bytes = Some(bytes);
        written
    }

    /// Resets the upload to an earlier position; to its beginning without one. The client learns
    /// of it with the response.
    pub(super) async fn rewind(&mut self, mark: Option<Mark>) -> Result<()> {
        let Some(mut bytes) = self.bytes.take() else { return Ok(()) };
        let Some(mark) = mark else {
            blocking(move || bytes.discard()).await;
            self.session.as_mut().ok_or_else(gone)?.has_bytes = false;
            return Ok(());
        };
        let rewound = blocking(move || {
            bytes.rewind(mark)?;
            bytes.acknowledge();
            Ok(bytes)
        });
        self.bytes = Some(rewound.await?);
        Ok(())
    }

    /// Gives the session to the next request.
    pub(super) async fn unlock(self) {
        blocking(move || drop(self)).await;
    }

    /// Resolves when another request wants the session.
    pub(super) fn is_wanted(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut waiting = self.slot.waiting.subscribe();
        async move {
            // The sender lives as long as the slot. Without it, no request can want the session.
            if waiting.wait_for(|waiting| *waiting > 0).await.is_err() {
                pending().await
            }
        }
    }
}

fn gone() -> Error {
    Error::not_found("the upload")
}

/// An upload, and the number of requests that wait for it.
struct Slot {
    repository: RepositoryName,
    /// `None` after the upload is finished or its bytes are lost.
    session: Arc<tokio::sync::Mutex<Option<Session>>>,
    waiting: watch::Sender<usize>,
}

/// The open uploads by their identifiers, which cannot be guessed.
pub(super) struct Sessions {
    idle: Duration,
    repositories: Repositories,
    open: Mutex<HashMap<String, Arc<Slot>>>,
}

impl Sessions {
    /// The sessions of `repositories`. `idle` is how long an unused session is kept.
    pub(super) fn new(repositories: Repositories, idle: Duration) -> Self {
        Self { idle, repositories, open: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Arc<Slot>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an upload without bytes. Returns its identifier.
    pub(super) async fn insert(&self, repository: RepositoryName, algorithm: Algorithm, lease: Arc<Held>) -> String {
        let id = random_uuid();
        self.add(&id, repository, Session { algorithm, has_bytes: false, used: Instant::now(), _lease: lease }).await;
        id
    }

    /// Whether this process has the session `id`.
    pub(super) fn has(&self, id: &str) -> bool {
        self.open().contains_key(id)
    }

    /// Adds an upload that an earlier process began and whose bytes are in the store.
    pub(super) async fn adopt(&self, id: &str, repository: RepositoryName, algorithm: Algorithm, lease: Arc<Held>) {
        debug!(upload = id, "an upload continues that an earlier process began");
        self.add(id, repository, Session { algorithm, has_bytes: true, used: Instant::now(), _lease: lease }).await;
    }

    async fn add(&self, id: &str, repository: RepositoryName, session: Session) {
        let session = Arc::new(tokio::sync::Mutex::new(Some(session)));
        let slot = Arc::new(Slot { repository, session, waiting: watch::Sender::new(0) });
        let evicted = {
            let mut open = self.open();
            let evicted = if open.len() < MAX_OPEN { None } else { oldest(&open) };
            open.entry(id.to_owned()).or_insert(slot);
            evicted.inspect(|id| drop(open.remove(id)))
        };
        if let Some(evicted) = evicted {
            let repositories = self.repositories.clone();
            blocking(move || repositories.remove_session(&evicted)).await;
        }
    }

    /// Locks the session `id` of `repository` for this request, if this process has it.
    pub(super) async fn lock(&self, repository: &Permitted<Push>, id: &str) -> Result<Option<Locked>> {
        let slot = self.open().get(id).filter(|slot| slot.repository == *repository.name()).cloned();
        let Some(slot) = slot else { return Ok(None) };
        let mut session = {
            let _waits = Waits::new(&slot.waiting);
            slot.session.clone().lock_owned().await
        };
        let Some(Session { has_bytes, used, .. }) = session.as_mut() else { return Ok(None) };
        *used = Instant::now();
        let bytes = if *has_bytes { repository.open_session(id).await? } else { None };
        if *has_bytes && bytes.is_none() {
            *session = None;
            self.open().remove(id);
            return Ok(None);
        }
        Ok(Some(Locked { bytes, session, slot, id: id.to_owned() }))
    }

    /// Ends a session and returns its bytes.
    pub(super) async fn take(&self, mut locked: Locked, repository: &Permitted<Push>) -> Result<UploadSession> {
        let session = locked.session.take().ok_or_else(gone)?;
        self.open().remove(&locked.id);
        match locked.bytes.take() {
            Some(bytes) => Ok(bytes),
            None => repository.begin_session(&locked.id, session.algorithm).await,
        }
    }

    /// Discards the sessions that have been unused for the idle time before `now`, and those that
    /// earlier processes left. This call blocks.
    pub(super) fn reap(&self, now: Instant) {
        let is_over = |used: Option<Instant>| used.is_none_or(|used| now.saturating_duration_since(used) >= self.idle);
        let over: Vec<_> = self.open().extract_if(|_, slot| slot.used().is_some_and(is_over)).collect();
        over.iter().for_each(|(id, _)| self.repositories.remove_session(id));
        // Errors are ignored: the next run tries again.
        let left = self.repositories.expire_sessions(self.idle, |id| self.has(id)).unwrap_or_default();
        if over.len() + left.len() > 0 {
            debug!(uploads = over.len() + left.len(), "unused uploads are discarded");
        }
    }
}

impl Slot {
    /// When a request last used the session, if the session still exists; `None` while a request
    /// uses it.
    fn used(&self) -> Option<Option<Instant>> {
        self.session.try_lock().ok().map(|session| session.as_ref().map(|session| session.used))
    }
}

/// The session that has been unused for longest.
fn oldest(open: &HashMap<String, Arc<Slot>>) -> Option<String> {
    open.iter().filter_map(|(id, slot)| Some((slot.used()?, id))).min().map(|(_, id)| id.clone())
}

/// Counts a request as waiting until this is dropped.
struct Waits<'a>(&'a watch::Sender<usize>);

impl<'a> Waits<'a> {
    fn new(waiting: &'a watch::Sender<usize>) -> Self {
        waiting.send_modify(|waiting| *waiting += 1);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting -= 1);
    }
}

/// A random (version 4) UUID, as the specification requires.
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
    use crate::server::leases::Leases;
    use modelpack_server::{Everybody, Identity};
    use modelpack_store::{Store, Untagged};

    const HOUR: Duration = Duration::from_secs(3600);

    struct Opened {
        directory: tempfile::TempDir,
        repositories: Repositories,
        sessions: Sessions,
    }

    impl Opened {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let store = Store::open(directory.path(), Untagged::Keep).unwrap();
            let repositories = Repositories::new(store, Arc::new(Everybody), 1);
            Self { directory, sessions: Sessions::new(repositories.clone(), HOUR), repositories }
        }

        fn repository(&self, name: &str) -> Permitted<Push> {
            self.repositories.permit(&Identity::Anonymous, &RepositoryName::without_host(name).unwrap()).unwrap()
        }

        async fn insert(&self) -> String {
            let repository = self.repository("a/b");
            let lease = Leases::new(HOUR).hold(repository.leasable()).await.unwrap();
            self.sessions.insert(repository.name().clone(), Algorithm::Sha256, lease).await
        }

        async fn lock(&self, id: &str) -> Option<Locked> {
            self.sessions.lock(&self.repository("a/b"), id).await.unwrap()
        }

        async fn write(&self, locked: &mut Locked, bytes: &'static [u8]) {
            locked.write(&self.repository("a/b"), Body::from_bytes(bytes)).await.unwrap();
        }

        fn files(&self) -> usize {
            std::fs::read_dir(self.directory.path().join("partials")).map_or(0, Iterator::count)
        }
    }

    #[tokio::test]
    async fn a_session_ends_after_the_idle_time_unless_a_request_uses_it() {
        let opened = Opened::new();
        let id = opened.insert().await;
        let mut locked = opened.lock(&id).await.expect("the session is new");
        opened.write(&mut locked, b"bytes").await;
        locked.unlock().await;

        opened.sessions.reap(Instant::now() + HOUR / 2);
        let locked = opened.lock(&id).await.expect("the session is not old");
        opened.sessions.reap(Instant::now() + 2 * HOUR);
        drop(locked);
        assert!(opened.sessions.lock(&opened.repository("a/c"), &id).await.unwrap().is_none());
        assert!(opened.lock(&id).await.is_some());
        assert_eq!(opened.files(), 2);
        opened.sessions.reap(Instant::now() + HOUR);
        assert!(opened.lock(&id).await.is_none());
        assert_eq!(opened.files(), 0);
    }

    #[tokio::test]
    async fn a_session_of_an_earlier_process_ends_after_the_idle_time() {
        let opened = Opened::new();
        let id = opened.insert().await;
        let mut locked = opened.lock(&id).await.unwrap();
        opened.write(&mut locked, b"bytes").await;
        locked.unlock().await;
        let next = Sessions::new(opened.repositories.clone(), HOUR);
        next.reap(Instant::now());
        assert_eq!(opened.files(), 2);
        let path = opened.directory.path().join("partials").join(format!("upload-{id}"));
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(std::time::SystemTime::now() - HOUR).unwrap();
        opened.sessions.reap(Instant::now());
        assert_eq!(opened.files(), 2, "this process has used it later than it was written to");
        next.reap(Instant::now());
        assert_eq!(opened.files(), 0);
    }

    #[tokio::test]
    async fn no_file_is_open_for_a_session_between_its_requests() {
        let opened = Opened::new();
        let id = opened.insert().await;
        let partials = opened.directory.path().canonicalize().unwrap().join("partials");
        let links = || std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        let open_files = || links().filter(|path| path.starts_with(&partials)).count();
        let mut locked = opened.lock(&id).await.unwrap();
        opened.write(&mut locked, b"bytes").await;
        assert_ne!(open_files(), 0);
        locked.unlock().await;
        assert_eq!(open_files(), 0);
        let locked = opened.lock(&id).await.unwrap();
        assert_eq!((locked.len(), locked.is_cut()), (5, false));
    }

    #[tokio::test]
    async fn the_longest_unused_session_is_discarded_first() {
        let opened = Opened::new();
        let (first, second) = (opened.insert().await, opened.insert().await);
        assert_eq!(oldest(&opened.sessions.open()), Some(first.clone()));
        let _in_use = opened.lock(&first).await;
        assert_eq!(oldest(&opened.sessions.open()), Some(second));
    }

    #[tokio::test]
    async fn a_request_learns_that_another_one_waits_for_its_session() {
        let opened = Opened::new();
        let id = opened.insert().await;
        let locked = opened.lock(&id).await.unwrap();
        let wanted = locked.is_wanted();
        tokio::join!(async { assert!(opened.lock(&id).await.is_some()) }, async move {
            wanted.await;
            drop(locked);
        });
    }

    #[test]
    fn identifiers_are_random_uuids() {
        let id = random_uuid();
        assert_ne!(id, random_uuid());
        assert_eq!(id.len(), 36);
        assert_eq!(&id[14..15], "4");
    }
}
