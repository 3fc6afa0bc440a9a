//! How the bytes of a partial blob are hashed while they are written.
//!
//! With a list of hash states, each task verifies the chunks that it writes, in any order. What no task has verified, because it was there
//! before or came in pieces, is read and verified at the end, on all processors.
//!
//! Without a list, or with one that turned out to be wrong, bytes are hashed in order: by the task that wrote them if they are next, and
//! otherwise they are read once more by whoever writes next. One task hashes while the others receive and write; none of them runs far ahead
//! of it.

use super::{CATCH_UP, Partial, journal::Journal};
use crate::{
    Cancelled, Error, FileRange, Progress, Result, VerifiedBlob, Verifier,
    body::Piece,
    copy_hashed,
    hashing::{Hashed, Hashing, lock},
    platform::{self, clone_file},
    verifier::ChunkVerifier,
};
use std::{
    io,
    sync::{Mutex, OnceLock},
};

/// If more bytes than these could be hashed already, tasks wait until they can hash, so that what is read once more is still in memory.
pub(super) const FAR_BEHIND: u64 = 64 << 20;
/// After how many bytes a task notes which chunks it has verified.
const NOTE: u64 = 8 << 20;

/// The hash of the first bytes of the blob. It takes part in nothing before it is used.
pub(super) struct InOrder {
    begins: Mutex<Option<Box<Verifier>>>,
    hashing: OnceLock<Hashing>,
}

impl std::fmt::Debug for InOrder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("InOrder").field(&self.hashing.get()).finish()
    }
}

impl InOrder {
    /// Continues after the bytes that `verifier` has taken.
    pub(super) fn new(verifier: Verifier) -> Self {
        Self { begins: Mutex::new(Some(Box::new(verifier))), hashing: OnceLock::new() }
    }

    pub(super) fn get(&self) -> &Hashing {
        self.hashing.get_or_init(|| {
            let verifier = lock(&self.begins).take();
            Hashing::new(*verifier.expect("this runs once"))
        })
    }
}

/// One call that writes bytes from some offset on.
pub(super) struct HashedWrite {
    /// Where the next bytes belong.
    at: u64,
    /// Verifies chunks by a list, from this offset on.
    chunks: Option<(u64, Hashing)>,
    /// Up to where it was noted what was verified.
    noted: u64,
}

impl HashedWrite {
    pub(super) fn new(at: u64) -> Self {
        Self { at, chunks: None, noted: at }
    }

    /// Up to where bytes were written.
    pub(super) fn end(&self) -> u64 {
        self.at
    }
}

impl Partial {
    /// The list by which the chunks are verified, unless it was refuted.
    pub(super) fn chunks(&self) -> Option<&ChunkVerifier> {
        self.chunks.get().filter(|chunks| !chunks.is_refuted())
    }

    /// Writes and hashes the next piece.
    pub(super) fn write_piece(&self, write: &mut HashedWrite, piece: Piece<'_>) -> Result<()> {
        let (offset, mut is_hashed) = (write.at, false);
        let stored = self.store(offset, &piece, || is_hashed = self.hash_in_chunks(write, offset, &piece));
        // What was hashed counts only if it was written.
        let is_new = stored.inspect_err(|_| write.chunks = None)?;
        write.at += piece.len() as u64;
        let Some(chunks) = self.chunks() else {
            // Also those who waited for chunks, if the list was refuted.
            self.readers.wake();
            return self.hash(is_new.then_some((offset, piece)), CATCH_UP);
        };
        if !is_new {
            // What was there before may differ from what came now.
            self.finish_write(write);
        } else if !is_hashed {
            self.hash_in_chunks(write, offset, &piece);
        }
        if let Some((start, hashing)) = &write.chunks {
            // Somebody who waits gets each chunk at once, also if no bytes follow for a while.
            let ends_chunk = write.at == self.blob.size || chunks.next_chunk(offset + 1) <= write.at;
            let hashed = if ends_chunk && self.readers.are_waiting() {
                Some(hashing.settle())
            } else if write.at - write.noted >= NOTE {
                hashing.try_lock()
            } else {
                None
            };
            if let Some(hashed) = hashed {
                chunks.took(*start, hashed.verifier());
                write.noted = write.at;
                self.readers.wake();
            }
        }
        Ok(())
    }

    /// Hashes a piece by the list, as far as it does not come before the first chunk of this call. Returns whether there is a list.
    fn hash_in_chunks(&self, write: &mut HashedWrite, offset: u64, piece: &Piece<'_>) -> bool {
        let Some(chunks) = self.chunks() else { return false };
        let start = chunks.next_chunk(offset);
        if write.chunks.is_none() && start < offset + piece.len() as u64 {
            write.chunks = Some((start, Hashing::new(chunks.verifier(start))));
        }
        if let Some((_, hashing)) = &write.chunks {
            hashing.offer(offset, piece);
        }
        true
    }

    /// Ends a call that wrote, or begins it anew after the bytes that it wrote.
    pub(super) fn finish_write(&self, write: &mut HashedWrite) {
        if let Some((start, hashing)) = write.chunks.take()
            && let Some(chunks) = self.chunks()
        {
            chunks.took(start, hashing.settle().verifier());
            self.readers.wake();
        }
    }

    /// Verifies the bytes, which are all here.
    pub(super) fn verify_present(&self) -> Result<VerifiedBlob> {
        if let Some(chunks) = self.chunks() {
            chunks.verify(&self.file(), &|_, _| Ok(()))?;
            if let Some(verified) = chunks.finish() {
                return Ok(verified);
            }
        }
        let hashing = self.in_order.get();
        let mut hashed = hashing.settle();
        self.catch_up(hashing, &mut hashed, u64::MAX)?;
        hashed.verifier().clone().finish()
    }

    /// Tells the journal what the next owner needs to continue here.
    pub(super) fn suspend_hashing(&self, journal: &mut Journal) -> io::Result<()> {
        let hashed = self.in_order.get().settle();
        if hashed.verifier().count() > 0 {
            journal.hashed(hashed.verifier().count(), hashed.verifier().hasher(), &self.file)?;
        }
        match self.chunks() {
            Some(chunks) => journal.agreed(&chunks.list_digest(), &chunks.verified(), &self.file),
            None => Ok(()),
        }
    }

    /// Hashes bytes that were just written, if they are the next ones, and at most `limit` that others wrote. If another task hashes, nothing
    /// is done, unless hashing is far behind.
    fn hash(&self, written: Option<(u64, Piece<'_>)>, limit: u64) -> Result<()> {
        let hashing = self.in_order.get();
        if let Some((offset, piece)) = written {
            hashing.offer(offset, &piece);
        }
        let mut hashed = match hashing.try_lock() {
            Some(hashed) => hashed,
            None if self.kept().present.end_of_prefix() > hashing.count() + FAR_BEHIND => hashing.lock(),
            None => return Ok(()),
        };
        self.catch_up(hashing, &mut hashed, limit)
    }

    /// Reads and hashes at most `limit` of the bytes that are here and come next.
    fn catch_up(&self, hashing: &Hashing, hashed: &mut Hashed, limit: u64) -> Result<()> {
        let len = self.kept().present.end_of_prefix();
        if hashed.verifier().count() >= len {
            return Ok(());
        }
        hashing.catch_up(hashed, &FileRange { len, ..self.file() }, limit)
    }

    /// Writes a large file, or shares its blocks. With a list of hash states, all processors copy and hash; otherwise this thread reads and
    /// writes, and a second one hashes.
    pub(super) fn copy_large(&self, range: &FileRange, offset: u64, progress: Option<&Progress>, cancelled: &Cancelled) -> Result<()> {
        let is_all = offset == 0 && range.len == self.blob.size;
        if is_all && range.is_whole() && clone_file(&range.file, &self.file) {
            let is_cloned = self.file.metadata().is_ok_and(|metadata| metadata.len() == range.len);
            if is_cloned {
                let whole = self.claim(0..range.len)?;
                self.release(&whole, true);
            } else {
                self.file
                    .set_len(0)
                    .and_then(|()| platform::reserve(&self.file, self.blob.size))
                    .map_err(Error::io("reserve room for", self.path()))?;
            }
        }
        // A clone is hashed, and not its original: the clone is what is kept, and the original may change.
        let is_cloned = self.missing().is_empty();
        let source = if is_cloned { self.file() } else { range.clone() };
        let take = |at: u64, piece: &[u8]| {
            cancelled.check(&range.path)?;
            let is_new = is_cloned || self.store(offset + at, piece, || ())?;
            if let Some(progress) = progress.filter(|_| is_new) {
                progress.moved(piece.len() as u64);
            }
            Ok(())
        };
        if let Some(chunks) = self.chunks().filter(|_| is_all) {
            chunks.verify(&source, &take)?;
            // If they do not agree with the list, verifying hashes the file in order.
            if is_cloned || !chunks.is_refuted() {
                return Ok(());
            }
        }
        copy_hashed(&source, take, |at, piece| self.hash(Some((offset + at, piece)), 0))
    }
}
