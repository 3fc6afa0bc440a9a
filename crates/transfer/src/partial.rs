//! A blob of which some bytes are here.
//!
//! A partial blob is a file that has the length of the blob from the beginning, and a journal of the bytes that were written to
//! it. Bytes are written in any order and by several tasks at once. When all bytes are there and the digest is right, the file becomes the
//! blob. How they are hashed is in `partial/hashed.rs`.
//!
//! If the owner ends before that, the bytes stay, and the next one continues: after an orderly end with the state of the hash function,
//! otherwise by reading the bytes that are there. One process owns a partial blob at a time, which a lock on the file shows.

mod directory;
mod hashed;
mod journal;
mod reading;
mod session;
#[cfg(test)]
mod tests;

use crate::{
    Body, Demand, Error, FileRange, LARGE_FILE, Progress, RangedUpload, Ranges, Result, VerifiedBlob, Verifier, blocking,
    blocking_cancellable,
    hashing::{lock, try_lock},
    platform::{self, start_writeback},
    verifier::ChunkVerifier,
};
use async_trait::async_trait;
pub use directory::{Leftover, PartialDirectory};
use hashed::{HashedWrite, InOrder};
use journal::{Found, Journal};
use modelpack_spec::{Descriptor, Digest, HashStates};
use reading::Readers;
pub use reading::Unverified;
pub use session::{Mark, UploadSession};
use std::{
    fs::File,
    ops::Range,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt,
    },
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

/// After how many written bytes the journal says so. If the program is killed, no more than these are lost.
const RECORD: u64 = 512 << 10;
/// After how many written bytes they are synced to the disk. If the machine stops, no more than these are lost.
const SYNC: u64 = 256 << 20;
/// After how many written bytes the kernel is asked to begin to write them to the disk.
const WRITEBACK: u64 = 32 << 20;
/// How many bytes that others wrote a task hashes after each write of its own.
const CATCH_UP: u64 = 1 << 20;
/// How often a task that waits for the owner of a partial blob looks whether it has ended.
const POLL: Duration = Duration::from_millis(50);

/// Repeats `begin` until it returns something, which it does not while the partial blob has another owner. Lists this wait in `progress`.
pub async fn wait_for_owner<T, F>(blob: &Descriptor, progress: &Arc<Progress>, begin: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let mut wait = None;
    until_owned(begin, || {
        wait.get_or_insert_with(|| progress.waiting(format!("another process writes {}", blob.display_name()), None));
    })
    .await
}

/// Repeats `begin` until it returns something, which it does not while there is another owner. Calls `waits` before each wait.
async fn until_owned<T, F>(mut begin: impl FnMut() -> F, mut waits: impl FnMut()) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    loop {
        if let Some(begun) = begin().await? {
            return Ok(begun);
        }
        waits();
        // To wait for the lock itself could not be cancelled.
        tokio::time::sleep(POLL).await;
    }
}

impl PartialDirectory {
    /// Becomes the owner of the partial blob, with what an earlier owner left of it; blocks. `None` if it has an owner now. `what` is the
    /// name of the blob in errors.
    ///
    /// For a new one, the room on the disk is reserved. Fails with [`Error::Io`] if there is too little, and leaves nothing then.
    pub fn begin(&self, blob: &Descriptor, what: &str) -> Result<Option<Partial>> {
        let name = self.name(&blob.digest);
        let Some(file) = self.own(&name)? else { return Ok(None) };
        let (journal, Found { present, hashed, agreed, .. }) = match Journal::open(&self.0, &name, blob, &file)? {
            Some((journal, found)) => (Some(journal), found),
            None => {
                // A journal that was not for this file must not be found beside it later.
                journal::remove(&self.0, &name);
                let made = file.set_len(0).and_then(|()| platform::reserve(&file, blob.size));
                let made = made.map_err(Error::io("reserve room for", self.0.path.join(&name)));
                made.inspect_err(|_| self.remove(&name))?;
                (None, Found::default())
            }
        };
        let verifier = Verifier::named(what, blob).resumed(hashed);
        let kept = Kept {
            resumed: present.total(),
            present,
            writing: Ranges::new(),
            unrecorded: Ranges::new(),
            unsynced: 0,
            dirty: Ranges::new(),
            is_syncing: false,
            journal,
        };
        Ok(Some(Partial {
            place: self.clone(),
            name,
            what: what.to_owned(),
            blob: blob.clone(),
            file: Arc::new(file),
            kept: Mutex::new(kept),
            writing: Mutex::new(()),
            in_order: InOrder::new(verifier),
            chunks: OnceLock::new(),
            agreed,
            readers: Readers::default(),
            is_over: AtomicBool::new(false),
        }))
    }

    /// Like [`begin`](Self::begin), but waits while it has another owner, and lists this wait in `progress`.
    pub async fn begin_or_wait(&self, blob: &Descriptor, what: &str, progress: &Arc<Progress>) -> Result<Partial> {
        wait_for_owner(blob, progress, || {
            let (this, blob, what) = (self.clone(), blob.clone(), what.to_owned());
            blocking(move || this.begin(&blob, &what))
        })
        .await
    }
}

/// A blob of which some bytes are here, and which this process owns.
///
/// It is a file with the full length of the blob, and a journal of the bytes that were written to it. Bytes are written in any order. If it
/// is dropped, they stay for the next owner.
#[derive(Debug)]
pub struct Partial {
    place: PartialDirectory,
    name: String,
    /// The name of the blob in errors.
    what: String,
    blob: Descriptor,
    file: Arc<File>,
    kept: Mutex<Kept>,
    /// Held by the task that writes to the file.
    writing: Mutex<()>,
    /// Hashes the bytes in order, if there is no list of hash states or if it was refuted.
    in_order: InOrder,
    /// Verifies the bytes by a list of hash states.
    chunks: OnceLock<ChunkVerifier>,
    /// What an earlier owner found to agree with the list that has this digest.
    agreed: Option<(Digest, Ranges)>,
    /// Who reads it while its bytes arrive.
    readers: Readers,
    /// Whether it has become the blob, or was discarded.
    is_over: AtomicBool,
}

struct Kept {
    present: Ranges,
    /// What a task is writing now.
    writing: Ranges,
    /// Those of `present` that the journal does not say yet.
    unrecorded: Ranges,
    /// How many bytes were written since the last sync.
    unsynced: u64,
    /// What the kernel was not yet asked to write to the disk.
    dirty: Ranges,
    is_syncing: bool,
    /// How many bytes an earlier owner had left.
    resumed: u64,
    /// Created with the first record, so that a small blob needs none.
    journal: Option<Journal>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("present", &self.present).finish_non_exhaustive()
    }
}

impl Partial {
    /// The bytes that are not here.
    pub fn missing(&self) -> Ranges {
        self.kept().present.complement(self.blob.size)
    }

    /// How many bytes an earlier owner had left here.
    pub fn resumed(&self) -> u64 {
        self.kept().resumed
    }

    /// The blob.
    pub fn blob(&self) -> &Descriptor {
        &self.blob
    }

    /// Writes bytes at `offset`; blocks. Bytes that are here already are not written again.
    ///
    /// Fails with [`Error::WrongSize`] if they go beyond the end of the blob, and with [`Error::Invalid`] if another task is writing some of
    /// the same bytes.
    pub fn write_blocking(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut write = HashedWrite::new(offset);
        self.write_piece(&mut write, bytes.into())?;
        self.finish_write(&mut write);
        Ok(())
    }

    /// Writes all bytes of `body` at `offset`, like [`write_blocking`](Self::write_blocking). Returns how many these were.
    pub async fn write(self: Arc<Self>, offset: u64, body: Body) -> Result<u64> {
        let range = body.file().filter(|file| file.len >= LARGE_FILE).cloned();
        if let Some(range) = range.filter(|_| self.kept().present.is_empty()) {
            let progress = body.progress().cloned();
            let copied =
                blocking_cancellable(move |cancelled| self.copy_large(&range, offset, progress.as_deref(), cancelled).map(|()| range.len));
            return copied.await;
        }
        let this = self.clone();
        let (mut write, written) = body.drain_in_place(HashedWrite::new(offset), move |write, piece| this.write_piece(write, piece)).await;
        self.finish_write(&mut write);
        written.map(|()| write.end() - offset)
    }

    /// From now on, chunks of the blob are verified by `list`, in any order. To be called before the first write. If the list is not one of
    /// this blob, it is ignored; if it turns out to be wrong, the bytes are hashed in order after all.
    pub fn verify_by(&self, list: HashStates) {
        if let Some(chunks) = ChunkVerifier::new(&self.what, &self.blob, list) {
            if let Some((_, agreed)) = self.agreed.as_ref().filter(|(digest, _)| *digest == chunks.list_digest()) {
                chunks.restore(agreed);
            }
            let _ = self.chunks.set(chunks);
        }
    }

    /// Checks that all bytes are here and are those of the blob; blocks.
    ///
    /// Fails with [`Error::WrongSize`] if bytes are missing: then those that are here stay. Fails with [`Error::WrongDigest`] if the bytes
    /// are others: then all of them are discarded.
    pub fn verify(&self) -> Result<VerifiedBlob> {
        let present = self.kept().present.total();
        if present < self.blob.size {
            return Err(Error::WrongSize { what: self.what.clone(), expected: self.blob.size, found: present });
        }
        self.verify_present().inspect_err(|error| {
            if matches!(error, Error::WrongDigest { .. }) {
                self.discard();
            }
        })
    }

    /// All bytes of its file, those that are not here included.
    pub fn file(&self) -> FileRange {
        FileRange { file: self.file.clone(), path: self.path(), offset: 0, len: self.blob.size }
    }

    /// [Verifies](Self::verify) the bytes, syncs them, and lets `adopt` give the file its final name; blocks.
    pub fn commit(&self, adopt: impl FnOnce(&File, &VerifiedBlob) -> Result<()>) -> Result<VerifiedBlob> {
        let verified = self.verify()?;
        if verified.size() > 0 {
            self.file.sync_data().map_err(Error::io("sync", self.path()))?;
        }
        adopt(&self.file, &verified)?;
        self.is_over.store(true, Relaxed);
        journal::remove(&self.place.0, &self.name);
        Ok(verified)
    }

    /// The directory of its file.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.place.0.directory.as_fd()
    }

    /// The name of its file in the directory.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Removes it with all its bytes; blocks.
    pub fn discard(&self) {
        self.is_over.store(true, Relaxed);
        self.place.remove(&self.name);
    }

    /// Its file, until it becomes the blob.
    pub fn path(&self) -> PathBuf {
        self.place.0.path.join(&self.name)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        lock(&self.kept)
    }

    /// Writes the bytes that are not here yet. Returns whether none of them was here. If that is so and another task is writing, this task
    /// does something `meanwhile`: the kernel lets one task write to a file at a time, and lets the others spin.
    fn store(&self, offset: u64, bytes: &[u8], meanwhile: impl FnOnce()) -> Result<bool> {
        let range = offset..offset.saturating_add(bytes.len() as u64);
        if range.end > self.blob.size {
            return Err(Error::WrongSize { what: self.what.clone(), expected: self.blob.size, found: range.end });
        }
        let missing = self.claim(range.clone())?;
        let is_new = missing.total() == range.end - range.start;
        let turn = try_lock(&self.writing).unwrap_or_else(|| {
            if is_new {
                meanwhile();
            }
            lock(&self.writing)
        });
        let slice = |part: &Range<u64>| &bytes[(part.start - offset) as usize..(part.end - offset) as usize];
        let written = missing.iter().try_for_each(|part| self.file.write_all_at(slice(&part), part.start));
        drop(turn);
        self.release(&missing, written.is_ok());
        written.map_err(Error::io("write", self.path()))?;
        self.record()?;
        Ok(is_new)
    }

    /// Claims the missing bytes of a range for this task, so that what is hashed is what was written.
    fn claim(&self, range: Range<u64>) -> Result<Ranges> {
        let mut kept = self.kept();
        let mut missing = Ranges::new();
        if !range.is_empty() {
            missing.insert(range);
        }
        kept.present.iter().for_each(|present| missing.remove(present));
        if missing.iter().any(|part| kept.writing.intersects(part)) {
            let why = "two tasks write the same bytes of it at the same time".to_owned();
            return Err(Error::Invalid { what: self.what.clone(), why });
        }
        missing.iter().for_each(|part| kept.writing.insert(part));
        Ok(missing)
    }

    fn release(&self, claimed: &Ranges, are_written: bool) {
        let mut kept = self.kept();
        for part in claimed.iter() {
            kept.writing.remove(part.clone());
            if are_written {
                kept.unsynced += part.end - part.start;
                kept.present.insert(part.clone());
                kept.unrecorded.insert(part.clone());
                kept.dirty.insert(part);
            }
        }
    }

    /// Writes the journal if enough bytes were written since the last time, and syncs the file if many were.
    fn record(&self) -> Result<()> {
        let mut kept = self.kept();
        if kept.unrecorded.total() >= RECORD {
            self.record_now(&mut kept)?;
        }
        if kept.dirty.total() >= WRITEBACK {
            std::mem::take(&mut kept.dirty).iter().for_each(|range| start_writeback(&self.file, range));
        }
        if kept.unsynced < SYNC || kept.is_syncing {
            return Ok(());
        }
        (kept.is_syncing, kept.unsynced) = (true, 0);
        let present = kept.present.clone();
        drop(kept);
        let synced = self.file.sync_data().map_err(Error::io("sync", self.path()));
        let mut kept = self.kept();
        kept.is_syncing = false;
        synced?;
        kept.journal = Some(Journal::create(&self.place.0, &self.name, &self.blob, &present)?);
        // What was written meanwhile is in no journal now.
        kept.unrecorded = kept.present.clone();
        present.iter().for_each(|range| kept.unrecorded.remove(range));
        self.record_now(&mut kept).map(drop)
    }

    /// Adds what is not recorded yet to the journal, which is created if there is none. Returns the journal.
    fn record_now<'k>(&self, kept: &'k mut Kept) -> Result<&'k mut Journal> {
        let journal = match &mut kept.journal {
            Some(journal) => journal,
            none => none.insert(Journal::create(&self.place.0, &self.name, &self.blob, &Ranges::new())?),
        };
        journal.have(&std::mem::take(&mut kept.unrecorded)).map_err(Error::io("write the journal of", self.path()))?;
        Ok(journal)
    }
}

#[async_trait]
impl RangedUpload for Arc<Partial> {
    fn missing(&self) -> Ranges {
        Partial::missing(self)
    }

    fn verify_by(&self, list: HashStates) {
        Partial::verify_by(self, list);
    }

    fn wanted(&self) -> Option<&Demand> {
        self.readers()
    }

    async fn write_at(&self, offset: u64, body: Body) -> Result<()> {
        self.clone().write(offset, body).await.map(drop)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if *self.is_over.get_mut() {
            return;
        }
        let mut kept = self.kept();
        if kept.present.is_empty() {
            return self.place.remove(&self.name);
        }
        // Without these lines the next owner has to fetch or read a few bytes more.
        if let Ok(journal) = self.record_now(&mut kept) {
            let _ = self.suspend_hashing(journal);
        }
    }
}
