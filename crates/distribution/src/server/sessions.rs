//! Upload sessions between their requests.

use super::leases::Held;
use modelpack_spec::{Digest, RepositoryName};
use modelpack_store::{BlobWriter, Mark, SuspendedWriter};
use modelpack_transfer::{Error, Result, blocking};
use std::{
    collections::HashMap,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{OwnedMutexGuard, watch};
use tracing::debug;

/// How many uploads may be open at the same time. Each uses some hundred bytes of memory and, once
/// it has bytes, a file. Beyond the limit, the upload that has been unused for longest is
/// discarded.
const MAX_OPEN: usize = 10_000;

/// An unfinished upload. Between two requests it has no open file.
struct Session {
    writer: SuspendedWriter,
    /// The last body was incomplete, so the client may believe that none of its bytes arrived.
    is_cut: bool,
    used: Instant,
    _lease: Arc<Held>,
}

/// A session that one request uses exclusively. If another request wants the session, the body of
/// the current one is given up when it becomes idle: an upload has one client, so its earlier
/// connection may be dead without the registry knowing.
pub(super) struct Locked {
    session: OwnedMutexGuard<Option<Session>>,
    slot: Arc<Slot>,
}

impl Locked {
    /// How many bytes have been received.
    pub(super) fn len(&self) -> u64 {
        self.session.as_ref().map_or(0, |session| session.writer.len())
    }

    /// Whether bytes were received that the client may not know of.
    pub(super) fn is_cut(&self) -> bool {
        self.len() > 0 && self.session.as_ref().is_some_and(|session| session.is_cut)
    }

    /// Whether the received bytes can have `digest`, judged without reading them again.
    pub(super) fn may_be(&self, digest: &Digest) -> bool {
        let found = self.session.as_ref().map(|session| session.writer.digest());
        found.is_none_or(|found| found.algorithm() != digest.algorithm() || found == *digest)
    }

    /// The current position of the upload.
    pub(super) fn mark(&self) -> Option<Mark> {
        self.session.as_ref().map(|session| session.writer.mark())
    }

    /// How many bytes have been received. The client learns this number with the response, so the
    /// session no longer counts as cut.
    pub(super) fn report_len(&mut self) -> u64 {
        if let Some(session) = self.session.as_mut() {
            session.is_cut = false;
        }
        self.len()
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
    open: Mutex<HashMap<String, Arc<Slot>>>,
}

impl Sessions {
    /// `idle` is how long an unused session is kept.
    pub(super) fn new(idle: Duration) -> Self {
        Self { idle, open: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Arc<Slot>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an upload without bytes. Returns its identifier.
    pub(super) async fn insert(&self, repository: RepositoryName, writer: BlobWriter, lease: Arc<Held>) -> Result<String> {
        let writer = blocking(move || writer.suspend()).await?;
        let id = random_uuid();
        let session = Session { writer, is_cut: false, used: Instant::now(), _lease: lease };
        let session = Arc::new(tokio::sync::Mutex::new(Some(session)));
        let slot = Arc::new(Slot { repository, session, waiting: watch::Sender::new(0) });
        let evicted = {
            let mut open = self.open();
            let evicted = if open.len() < MAX_OPEN { None } else { oldest(&open).and_then(|id| open.remove(&id)) };
            open.insert(id.clone(), slot);
            evicted
        };
        blocking(move || drop(evicted)).await;
        Ok(id)
    }

    /// Locks the session `id` of `repository` for this request, if it exists.
    pub(super) async fn lock(&self, repository: &RepositoryName, id: &str) -> Option<Locked> {
        let slot = self.open().get(id).filter(|slot| slot.repository == *repository)?.clone();
        let session = {
            let _waits = Waits::new(&slot.waiting);
            slot.session.clone().lock_owned().await
        };
        session.is_some().then_some(Locked { session, slot })
    }

    /// Lets `write` write to the upload, and suspends the upload afterwards, also if `write` fails.
    pub(super) async fn write<T>(&self, locked: &mut Locked, write: impl AsyncFnOnce(&mut BlobWriter) -> Result<T>) -> Result<T> {
        let gone = || Error::not_found("the upload");
        let Session { writer, _lease, .. } = locked.session.take().ok_or_else(gone)?;
        let mut writer = blocking(move || writer.resume()).await?;
        let written = write(&mut writer).await;
        let writer = blocking(move || writer.suspend()).await?;
        *locked.session = Some(Session { writer, is_cut: written.is_err(), used: Instant::now(), _lease });
        written
    }

    /// Resets an upload to an earlier position.
    pub(super) async fn rewind(&self, locked: &mut Locked, mark: Mark) -> Result<()> {
        let Session { writer, is_cut, _lease, .. } = locked.session.take().ok_or_else(|| Error::not_found("the upload"))?;
        let writer = blocking(move || writer.rewind(mark)).await?;
        *locked.session = Some(Session { writer, is_cut, used: Instant::now(), _lease });
        Ok(())
    }

    /// Ends a session and returns its upload.
    pub(super) fn remove(&self, id: &str, mut locked: Locked) -> Result<SuspendedWriter> {
        self.open().remove(id);
        locked.session.take().map(|session| session.writer).ok_or_else(|| Error::not_found("the upload"))
    }

    /// Discards the sessions that have been unused for the idle time before `now`. This call
    /// blocks.
    pub(super) fn reap(&self, now: Instant) {
        let is_over = |used: Option<Instant>| used.is_none_or(|used| now.saturating_duration_since(used) >= self.idle);
        let over: Vec<_> = self.open().extract_if(|_, slot| slot.used().is_some_and(is_over)).collect();
        if !over.is_empty() {
            debug!(uploads = over.len(), "unused uploads are discarded");
        }
        drop(over);
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
    use modelpack_server::{Everybody, Identity, Push, Repositories};
    use modelpack_spec::Algorithm;
    use modelpack_store::{Store, Untagged};
    use modelpack_transfer::{Body, Upload};

    const HOUR: Duration = Duration::from_secs(3600);

    struct Opened {
        directory: tempfile::TempDir,
        sessions: Sessions,
        name: RepositoryName,
    }

    impl Opened {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            Self { directory, sessions: Sessions::new(HOUR), name: RepositoryName::without_host("a/b").unwrap() }
        }

        async fn insert(&self) -> String {
            let store = Store::open(self.directory.path(), Untagged::Keep).unwrap();
            let all = Repositories::new(store, Arc::new(Everybody), 1);
            let repository = all.permit::<Push>(&Identity::Anonymous, &self.name).unwrap();
            let lease = Leases::new(HOUR).hold(repository.leasable()).await.unwrap();
            let writer = repository.begin_upload(Algorithm::Sha256).await.unwrap();
            self.sessions.insert(self.name.clone(), writer, lease).await.unwrap()
        }

        async fn lock(&self, id: &str) -> Option<Locked> {
            self.sessions.lock(&self.name, id).await
        }

        fn ingested(&self) -> usize {
            std::fs::read_dir(self.directory.path().join("ingest")).unwrap().count()
        }
    }

    #[tokio::test]
    async fn a_session_ends_after_the_idle_time_unless_a_request_uses_it() {
        let opened = Opened::new();
        let id = opened.insert().await;

        opened.sessions.reap(Instant::now() + HOUR / 2);
        let locked = opened.lock(&id).await.expect("the session is new");
        opened.sessions.reap(Instant::now() + 2 * HOUR);
        drop(locked);
        let elsewhere = RepositoryName::without_host("a/c").unwrap();
        assert!(opened.sessions.lock(&elsewhere, &id).await.is_none());
        assert!(opened.lock(&id).await.is_some());
        assert_eq!(opened.ingested(), 1);
        opened.sessions.reap(Instant::now() + HOUR);
        assert!(opened.lock(&id).await.is_none());
        assert_eq!(opened.ingested(), 0);
    }

    #[tokio::test]
    async fn no_file_is_open_for_a_session_between_its_requests() {
        let opened = Opened::new();
        let id = opened.insert().await;
        let ingest = opened.directory.path().join("ingest").canonicalize().unwrap();
        let links = || std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        let open_files = || links().filter(|path| path.starts_with(&ingest)).count();
        assert_eq!(open_files(), 0);
        let mut locked = opened.lock(&id).await.unwrap();
        let written = opened.sessions.write(&mut locked, async |writer: &mut BlobWriter| {
            assert_eq!(open_files(), 1);
            writer.write(Body::from_bytes(&b"bytes"[..])).await
        });
        written.await.unwrap();
        assert_eq!((open_files(), locked.len(), locked.is_cut()), (0, 5, false));
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
