//! Hashing the bytes of several blobs, two blobs at a time.
//!
//! To hash two streams together takes 30 % less time than one after the other ([`Hasher::update_pair`](modelpack_spec::Hasher)). So what
//! was received or read of a blob waits a moment in memory for bytes of another blob, and the task that brings these hashes both. No task
//! waits for another blob: it goes on, and if no other blob comes, it hashes what waits with the next bytes of its own blob, or at the end.
//! While there are two processors for each blob, a thread of its own hashes what waits, so that bytes are received and written meanwhile.

use crate::{
    FileRange, Result, Verifier,
    blocking::{has_background, in_background},
    body::Piece,
};
use bytes::Bytes;
use std::{
    collections::VecDeque,
    num::NonZero,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{AcqRel, Relaxed, Release},
        },
    },
    thread,
};

/// How many bytes of a blob wait for bytes of another one.
const PATIENCE: usize = 512 << 10;
/// If so many bytes of a blob wait, the task that brings more waits until it can hash them. This bounds the memory of a blob.
const MOST_WAITING: usize = 1 << 20;

/// Blobs that are hashed together.
#[derive(Debug, Default)]
struct Blobs {
    /// How many there are.
    count: AtomicUsize,
    /// Those of which bytes wait, and perhaps some of which no bytes wait any more.
    waiting: Mutex<Vec<Arc<Stream>>>,
}

/// The blobs that are being hashed in this process.
static ALL: Blobs = Blobs { count: AtomicUsize::new(0), waiting: Mutex::new(Vec::new()) };

impl Blobs {
    fn are_several(&self) -> bool {
        self.count.load(Relaxed) > 1
    }

    /// Whether there are two processors for each of them. A thread that hashes for two of them takes longer than one for each.
    fn have_idle_processors(&self) -> bool {
        static PROCESSORS: LazyLock<usize> = LazyLock::new(|| thread::available_parallelism().map_or(1, NonZero::get));
        self.count.load(Relaxed) * 2 <= *PROCESSORS
    }

    /// Whether another thread can hash while the one that has received bytes receives the next ones.
    fn can_be_helped(&self) -> bool {
        self.have_idle_processors() && has_background()
    }

    /// Those of which bytes wait, without `stream`.
    fn waiting_besides(&self, stream: &Arc<Stream>) -> Vec<Arc<Stream>> {
        let mut all = lock(&self.waiting);
        all.retain(|stream| lock(&stream.waiting).len > 0);
        all.iter().filter(|other| !Arc::ptr_eq(stream, other)).cloned().collect()
    }
}

/// Whether bytes of several blobs are hashed together.
pub(crate) fn has_several() -> bool {
    ALL.are_several()
}

/// Whether there are two processors for each blob that is hashed in this process.
pub(crate) fn has_idle_processors() -> bool {
    ALL.have_idle_processors()
}

/// The hash of the first bytes of a blob, of which more come. Bytes that can be kept are hashed together with those of another blob, if there
/// is one.
#[derive(Debug)]
pub struct Hashing(Arc<Stream>);

#[derive(Debug)]
struct Stream {
    all: &'static Blobs,
    hashed: Mutex<Hashed>,
    /// How many bytes were hashed.
    count: AtomicU64,
    /// Pieces without a gap between them, of which the first begins where hashing goes on, or before.
    waiting: Mutex<Waiting>,
    /// Whether a thread of its own hashes what waits.
    is_helped: AtomicBool,
}

/// What has taken the bytes until now.
pub(crate) struct Hashed {
    verifier: Verifier,
    /// For bytes that are read once more.
    buffer: Vec<u8>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Each with its offset in the blob.
    pieces: VecDeque<(u64, Bytes)>,
    /// How many bytes they have.
    len: usize,
    /// Where the last one that was added ends.
    end: u64,
}

impl std::fmt::Debug for Hashed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hashed").field("count", &self.verifier.count()).finish_non_exhaustive()
    }
}

impl Hashing {
    /// Continues after the bytes that `verifier` has taken.
    pub fn new(verifier: Verifier) -> Self {
        Self::among(&ALL, verifier)
    }

    fn among(all: &'static Blobs, verifier: Verifier) -> Self {
        let count = verifier.count().into();
        let hashed = Mutex::new(Hashed { verifier, buffer: Vec::new() });
        all.count.fetch_add(1, Relaxed);
        Self(Arc::new(Stream { all, hashed, count, waiting: Mutex::default(), is_helped: AtomicBool::new(false) }))
    }

    /// How many bytes were hashed.
    pub(crate) fn count(&self) -> u64 {
        self.0.count.load(Relaxed)
    }

    /// How many bytes it was given. Some of them may not be hashed yet.
    pub fn given(&self) -> u64 {
        self.0.given()
    }

    /// Takes the next bytes: at once, or later together with those of another blob. Of those that are taken later, it keeps at most 1 MiB and
    /// one piece. That there are more than promised is found at the end.
    pub fn update(&self, piece: &Piece<'_>) {
        match piece.shared() {
            Some(_) => self.offer(self.given(), piece),
            None => {
                let mut hashed = self.settle();
                let count = hashed.verifier.count();
                self.0.take(&mut hashed, count, piece);
            }
        }
    }

    /// What has taken all bytes.
    pub fn finish(self) -> Verifier {
        self.settle().verifier.clone()
    }

    /// Takes bytes that are in the file of the blob at `offset`: at once, or together with those of another blob. Only bytes that come next
    /// are taken. Others must be [read](Self::catch_up) later, and so must these if another task is hashing and they cannot be kept.
    pub(crate) fn offer(&self, offset: u64, piece: &Piece<'_>) {
        let shared = piece.shared();
        let can_wait = shared.is_some() && (self.0.all.are_several() || self.0.all.can_be_helped());
        let hashed = if can_wait { None } else { self.try_lock() };
        match (hashed, shared) {
            (Some(mut hashed), _) => {
                self.0.hash_all(&mut hashed);
                self.0.take(&mut hashed, offset, piece);
            }
            (None, Some(bytes)) => {
                if self.0.wait(offset, bytes) {
                    self.0.hash_waiting();
                }
            }
            (None, None) => {}
        }
    }

    /// Reads and hashes at most `limit` of the bytes that come next, of the `len` first bytes of the file, unless they wait in memory.
    pub(crate) fn catch_up(&self, hashed: &mut Hashed, file: &FileRange, limit: u64) -> Result<()> {
        if lock(&self.0.waiting).pieces.is_empty() {
            let Hashed { verifier, buffer } = hashed;
            verifier.catch_up(file, limit, buffer)?;
            self.0.count.store(verifier.count(), Relaxed);
        }
        Ok(())
    }

    /// Hashes all that waits, and returns what has taken it.
    pub(crate) fn settle(&self) -> MutexGuard<'_, Hashed> {
        let mut hashed = self.lock();
        self.0.hash_all(&mut hashed);
        hashed
    }

    /// What has taken the bytes until now, as soon as no other task uses it.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Hashed> {
        lock(&self.0.hashed)
    }

    /// The same; `None` if another task uses it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, Hashed>> {
        try_lock(&self.0.hashed)
    }
}

impl Drop for Hashing {
    fn drop(&mut self) {
        // Nobody hashes what waits of it any more.
        let _hashed = self.lock();
        *lock(&self.0.waiting) = Waiting::default();
        lock(&self.0.all.waiting).retain(|stream| !Arc::ptr_eq(stream, &self.0));
        self.0.all.count.fetch_sub(1, Relaxed);
    }
}

impl Hashed {
    /// The verifier.
    pub(crate) fn verifier(&self) -> &Verifier {
        &self.verifier
    }
}

impl Stream {
    /// Where the bytes end that it has taken or keeps.
    fn given(&self) -> u64 {
        let waiting = lock(&self.waiting);
        waiting.end.max(self.count.load(Relaxed))
    }

    /// Keeps a piece until it is hashed. Returns whether it comes next.
    fn wait(self: &Arc<Self>, offset: u64, piece: &Bytes) -> bool {
        let mut waiting = lock(&self.waiting);
        let next = waiting.end.max(self.count.load(Relaxed));
        let is_next = (offset..offset + piece.len() as u64).contains(&next);
        if is_next {
            waiting.len += piece.len();
            waiting.end = offset + piece.len() as u64;
            waiting.pieces.push_back((offset, piece.clone()));
            drop(waiting);
            self.is_waiting();
        }
        is_next
    }

    /// Lets other blobs know that bytes of this one wait.
    fn is_waiting(self: &Arc<Self>) {
        let mut all = lock(&self.all.waiting);
        if !all.iter().any(|stream| Arc::ptr_eq(stream, self)) {
            all.push(self.clone());
        }
    }

    /// The bytes that wait and come after the `count` first ones, up to the end of a piece.
    fn next(&self, count: u64) -> Option<Bytes> {
        let mut waiting = lock(&self.waiting);
        loop {
            let (offset, mut piece) = waiting.pieces.pop_front()?;
            waiting.len -= piece.len();
            // Others may have read them from the file.
            let known = usize::try_from(count - offset).unwrap_or(usize::MAX).min(piece.len());
            if known < piece.len() {
                return Some(piece.split_off(known));
            }
        }
    }

    /// Lets the rest of a piece, which begins after the `count` first bytes, wait again.
    fn put_back(self: &Arc<Self>, count: u64, rest: Bytes) {
        if !rest.is_empty() {
            let mut waiting = lock(&self.waiting);
            waiting.len += rest.len();
            waiting.pieces.push_front((count, rest));
            drop(waiting);
            self.is_waiting();
        }
    }

    /// Hashes what waits, together with what waits of other blobs. A little of it may wait longer.
    fn hash_waiting(self: &Arc<Self>) {
        loop {
            let len = lock(&self.waiting).len;
            let mut hashed = match try_lock(&self.hashed) {
                _ if len == 0 => return,
                Some(hashed) => hashed,
                None if len < MOST_WAITING => return,
                None => lock(&self.hashed),
            };
            if self.all.can_be_helped() && len < MOST_WAITING {
                // To begin it costs time, so it gets more than a little to do.
                if len >= PATIENCE / 2 {
                    self.hash_on_another_thread();
                }
                return;
            }
            let others = self.all.waiting_besides(self);
            match others.iter().find_map(|other| Some((other, try_lock(&other.hashed)?))) {
                Some((other, mut other_hashed)) => self.hash_pair(&mut hashed, other, &mut other_hashed),
                // One piece, so that the others are there when bytes of another blob come.
                None if len > PATIENCE => {
                    let count = hashed.verifier.count();
                    self.take(&mut hashed, count, &self.next(count).unwrap_or_default());
                }
                None => return,
            }
        }
    }

    /// Lets a thread of its own hash what waits, and what comes while it does.
    fn hash_on_another_thread(self: &Arc<Self>) {
        if self.is_helped.swap(true, AcqRel) {
            return;
        }
        let this = self.clone();
        in_background(move || {
            loop {
                this.hash_all(&mut lock(&this.hashed));
                this.is_helped.store(false, Release);
                // Whoever added bytes before that may have relied on this thread.
                if lock(&this.waiting).len == 0 || this.is_helped.swap(true, AcqRel) {
                    return;
                }
            }
        });
    }

    /// Hashes what waits of two blobs, as far as both have bytes.
    fn hash_pair(self: &Arc<Self>, hashed: &mut Hashed, other: &Arc<Self>, other_hashed: &mut Hashed) {
        let (mut piece, mut other_piece) = (Bytes::new(), Bytes::new());
        loop {
            for (stream, hashed, piece) in [(self, &*hashed, &mut piece), (other, &*other_hashed, &mut other_piece)] {
                if piece.is_empty() {
                    *piece = stream.next(hashed.verifier.count()).unwrap_or_default();
                }
            }
            let len = piece.len().min(other_piece.len());
            if len == 0 {
                break;
            }
            Verifier::update_pair(&mut hashed.verifier, &piece.split_to(len), &mut other_hashed.verifier, &other_piece.split_to(len));
            self.count.store(hashed.verifier.count(), Relaxed);
            other.count.store(other_hashed.verifier.count(), Relaxed);
        }
        self.put_back(hashed.verifier.count(), piece);
        other.put_back(other_hashed.verifier.count(), other_piece);
    }

    /// Hashes all that waits.
    fn hash_all(&self, hashed: &mut Hashed) {
        while let Some(piece) = self.next(hashed.verifier.count()) {
            self.take(hashed, hashed.verifier.count(), &piece);
        }
    }

    /// Takes those of the bytes at `offset` that come next.
    fn take(&self, hashed: &mut Hashed, offset: u64, bytes: &[u8]) {
        let count = hashed.verifier.count();
        if (offset..offset + bytes.len() as u64).contains(&count) {
            hashed.verifier.take(&bytes[(count - offset) as usize..]);
            self.count.store(hashed.verifier.count(), Relaxed);
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

#[cfg(test)]
mod tests;
