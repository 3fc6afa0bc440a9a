//! The blobs of all mounted models: each arrives once, whoever reads it.

use crate::{ReadError, patience::Patience};
use modelpack_spec::{Descriptor, Digest, HashStates};
use modelpack_store::{Cache, CacheBegin, CachedBlob};
use modelpack_transfer::{
    Attempt, Connections, Error, FileRange, Partial, Progress, RangedUpload, Result, Source, Unverified, blocking, fetch,
    retried_if_damaged,
};
use std::{
    collections::HashMap,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{runtime::Handle, sync::watch, task::AbortHandle, time::sleep};

/// How often it is looked whether another process has finished with a blob.
const POLL: Duration = Duration::from_millis(50);

/// What stands for how much of a blob has arrived before it begins to arrive. No blob is so large.
const NOT_BEGUN: u64 = u64::MAX;

/// How many bytes of a large file are fetched before those of others: the headers of most formats are shorter.
const HEADER: u64 = 1 << 20;

/// What all mounts of a process share.
pub(crate) struct Blobs {
    pub(crate) cache: Cache,
    pub(crate) connections: Arc<Connections>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) unverified: Unverified,
    /// A reader gets an error if for so long nothing arrives of what it waits for.
    pub(crate) patience: Duration,
    pub(crate) runtime: Handle,
    pub(crate) known: Mutex<HashMap<Digest, Weak<Blob>>>,
}

/// A blob that is here, is arriving, or arrives when somebody asks for it. It stops to arrive when it is dropped.
pub(crate) struct Blob {
    descriptor: Descriptor,
    blobs: Arc<Blobs>,
    state: Arc<watch::Sender<State>>,
    /// Whether all bytes are to arrive, and not only those that somebody reads.
    wants_all: Arc<AtomicBool>,
    /// Whether wrong bytes have arrived once. From then on, nothing is seen of it that is not verified.
    was_wrong: Arc<AtomicBool>,
    arriving: Mutex<Option<AbortHandle>>,
    patience: Patience,
}

#[derive(Clone)]
pub(crate) enum State {
    Absent,
    /// The cache makes room, or another process owns what is there.
    Opening,
    Arriving(Arc<Partial>),
    Whole(Whole),
    Failed(Arc<Error>),
}

/// All bytes of a blob, verified.
#[derive(Clone)]
pub(crate) struct Whole {
    pub(crate) file: FileRange,
    /// Keeps it in the cache.
    _held: Option<CachedBlob>,
}

impl From<CachedBlob> for Whole {
    fn from(blob: CachedBlob) -> Self {
        Self { file: blob.file().clone(), _held: Some(blob) }
    }
}

impl Blobs {
    /// The blob, which others may use already.
    pub(crate) fn blob(self: &Arc<Self>, descriptor: &Descriptor) -> Arc<Blob> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(blob) = known.get(&descriptor.digest).and_then(Weak::upgrade).filter(|blob| blob.descriptor.size == descriptor.size) {
            return blob;
        }
        let blob = Arc::new(Blob::new(self.clone(), descriptor.clone(), State::Absent));
        known.retain(|_, blob| blob.strong_count() > 0);
        known.insert(descriptor.digest.clone(), Arc::downgrade(&blob));
        blob
    }

    /// A blob in a file of this machine that was verified, and that is not copied.
    pub(crate) fn blob_in_place(self: &Arc<Self>, descriptor: &Descriptor, file: FileRange) -> Arc<Blob> {
        Arc::new(Blob::new(self.clone(), descriptor.clone(), State::Whole(Whole { file, _held: None })))
    }
}

impl Blob {
    fn new(blobs: Arc<Blobs>, descriptor: Descriptor, state: State) -> Self {
        Self {
            state: Arc::new(watch::Sender::new(state)),
            wants_all: Arc::default(),
            was_wrong: Arc::default(),
            arriving: Mutex::new(None),
            patience: Patience::new(blobs.patience),
            descriptor,
            blobs,
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.descriptor.size
    }

    /// Whether it can be read in part: it is large, and its layer names a list of hash states.
    pub(crate) fn has_list(&self) -> bool {
        self.size() >= HashStates::LEAST_SIZE && HashStates::named_by(&self.descriptor).is_some()
    }

    /// Lets its first bytes arrive, which engines read of all files before the rest of one.
    pub(crate) async fn read_header(&self, source: &Arc<dyn Source>) {
        // Whoever reads them learns why they cannot be had.
        let _ = self.readable(source, 0..HEADER.min(self.size())).await;
    }

    /// Its file, if all bytes are there.
    pub(crate) fn whole(&self) -> Option<Whole> {
        match &*self.state.borrow() {
            State::Whole(whole) => Some(whole.clone()),
            _ => None,
        }
    }

    /// Says that the bytes `range` will be read soon.
    pub(crate) fn will_read(&self, range: Range<u64>) {
        if let State::Arriving(partial) = &*self.state.borrow() {
            partial.demand().want(range);
        }
    }

    /// Its file, if these bytes may be read now.
    pub(crate) fn readable_now(&self, range: Range<u64>) -> Option<FileRange> {
        match &*self.state.borrow() {
            State::Whole(whole) => Some(whole.file.clone()),
            State::Arriving(partial) => partial.is_readable(range, self.unverified()).then(|| partial.file()),
            State::Absent | State::Opening | State::Failed(_) => None,
        }
    }

    /// Waits until these bytes may be read. They arrive before others. Returns the file that has them.
    pub(crate) async fn readable(&self, source: &Arc<dyn Source>, range: Range<u64>) -> Result<FileRange, ReadError> {
        let mut state = self.state.subscribe();
        let mut has_begun = false;
        loop {
            let present = state.borrow_and_update().clone();
            match present {
                State::Whole(whole) => return Ok(whole.file),
                State::Failed(error) if has_begun => return Err(ReadError::Failed(error)),
                State::Absent | State::Failed(_) => {
                    has_begun = true;
                    self.begin(source);
                }
                State::Opening => {
                    has_begun = true;
                    tokio::select! {
                        _ = state.changed() => {}
                        () = self.patience.ends(|| NOT_BEGUN) => return Err(self.stalled()),
                    }
                }
                State::Arriving(partial) => {
                    has_begun = true;
                    tokio::select! {
                        () = partial.readable(range.clone(), self.unverified()) => return Ok(partial.file()),
                        _ = state.changed() => {}
                        () = self.patience.ends(|| partial.present()) => return Err(self.stalled()),
                    }
                }
            }
        }
    }

    /// Waits until all bytes are there, or until they cannot be had.
    pub(crate) async fn arrived(&self, source: &Arc<dyn Source>) -> Result<Whole, Arc<Error>> {
        let mut state = self.state.subscribe();
        // First this, so that an arrival that begins now sees it.
        self.wants_all.store(true, SeqCst);
        self.begin(source);
        loop {
            match &*state.borrow_and_update() {
                State::Whole(whole) => return Ok(whole.clone()),
                State::Failed(error) => return Err(error.clone()),
                State::Arriving(partial) => partial.demand().want_all(),
                State::Absent | State::Opening => {}
            }
            // This holds the sender.
            let _ = state.changed().await;
        }
    }

    /// Waits until it cannot be had, and was not the last time that this was called.
    pub(crate) async fn failed(&self, last: &mut watch::Receiver<State>) {
        // This holds the sender.
        while last.changed().await.is_ok() {
            if matches!(*last.borrow_and_update(), State::Failed(_)) {
                return;
            }
        }
    }

    pub(crate) fn states(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    fn unverified(&self) -> Unverified {
        if self.was_wrong.load(SeqCst) { Unverified::Hidden } else { self.blobs.unverified }
    }

    fn stalled(&self) -> ReadError {
        ReadError::Stalled { what: self.descriptor.display_name(), patience: self.patience.time() }
    }

    /// Lets it arrive from `source`, unless it does or is there.
    fn begin(&self, source: &Arc<dyn Source>) {
        let begins = self.state.send_if_modified(|state| {
            let begins = matches!(state, State::Absent | State::Failed(_));
            if begins {
                *state = State::Opening;
            }
            begins
        });
        if !begins {
            return;
        }
        self.patience.renew();
        let arrival = Arrival {
            descriptor: self.descriptor.clone(),
            blobs: self.blobs.clone(),
            source: source.clone(),
            state: self.state.clone(),
            wants_all: self.wants_all.clone(),
            was_wrong: self.was_wrong.clone(),
        };
        let arriving = self.blobs.runtime.spawn(arrival.run());
        *self.arriving.lock().unwrap_or_else(PoisonError::into_inner) = Some(arriving.abort_handle());
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        if let Some(arriving) = self.arriving.get_mut().unwrap_or_else(PoisonError::into_inner) {
            arriving.abort();
        }
    }
}

/// A blob on its way into the cache.
struct Arrival {
    descriptor: Descriptor,
    blobs: Arc<Blobs>,
    source: Arc<dyn Source>,
    state: Arc<watch::Sender<State>>,
    wants_all: Arc<AtomicBool>,
    was_wrong: Arc<AtomicBool>,
}

impl Arrival {
    async fn run(self) {
        let name = self.descriptor.display_name();
        match retried_if_damaged(|| self.attempt()).await {
            Ok(whole) => {
                tracing::debug!("{name} is complete");
                self.state.send_replace(State::Whole(whole));
            }
            Err(error) => {
                tracing::error!("{name} ({}): {error}", self.descriptor.digest);
                self.state.send_replace(State::Failed(Arc::new(error)));
            }
        }
    }

    async fn attempt(&self) -> Attempt<Whole> {
        let partial = loop {
            let (cache, blob) = (self.blobs.cache.clone(), self.descriptor.clone());
            match blocking(move || cache.begin(&blob)).await.map_err(|error| (error, false))? {
                CacheBegin::Whole(blob) => return Ok(blob.into()),
                CacheBegin::Partial(partial) => break partial,
                CacheBegin::Owned => sleep(POLL).await,
            }
        };
        let resumed = partial.resumed() > 0;
        partial.allow_readers();
        if self.wants_all.load(SeqCst) {
            partial.demand().want_all();
        }
        self.state.send_replace(State::Arriving(partial.clone()));
        let upload: Arc<dyn RangedUpload> = Arc::new(partial.clone());
        let Blobs { connections, progress, cache, .. } = &*self.blobs;
        let fetched = fetch(self.source.as_ref(), &self.descriptor, upload, connections, progress).await;
        let cache = cache.clone();
        let committed = match fetched {
            Ok(()) => blocking(move || cache.commit(&partial)).await,
            Err(error) => Err(error),
        };
        // Nobody reads what was discarded.
        committed.map(Whole::from).map_err(|error| {
            self.was_wrong.fetch_or(matches!(error, Error::WrongDigest { .. }), SeqCst);
            self.state.send_replace(State::Opening);
            (error, resumed)
        })
    }
}
