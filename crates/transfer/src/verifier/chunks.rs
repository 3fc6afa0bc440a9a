//! Verifying the chunks of a blob in any order and on all processors, by a list of [hash states](HashStates).
//!
//! The list may be wrong, whoever made it. What agrees with it is known to be right only when all chunks agree, and the last one leads to
//! the digest. If one does not, nobody knows whether the list or a byte is wrong. Then the list counts no more, and the blob is hashed in
//! order.

use super::{
    Expected, VerifiedBlob, Verifier,
    pairs::{Part, hash_in_pairs},
};
use crate::{Error, FileRange, Ranges, Result, hashing::lock};
use modelpack_spec::{Algorithm, Descriptor, Digest, HashStates};
use std::{
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{available_parallelism, scope},
};

/// How many bytes of a file a processor verifies before it takes others.
const PART: u64 = 8 << 20;

/// Verifies the chunks of one blob by a list.
pub(crate) struct ChunkVerifier {
    expected: Arc<Expected>,
    list: HashStates,
    /// What agrees with the list: whole chunks.
    verified: Mutex<Ranges>,
    is_refuted: AtomicBool,
}

impl ChunkVerifier {
    /// For a blob that is called `what` in an error. `None` if the list is not one of this blob.
    pub(crate) fn new(what: &str, blob: &Descriptor, list: HashStates) -> Option<Self> {
        let is_possible = list.size() == blob.size && blob.size > 0 && blob.digest.algorithm() == Algorithm::Sha256;
        let expected = Arc::new(Expected { what: what.to_owned(), blob: blob.clone() });
        is_possible.then(|| Self { expected, list, verified: Mutex::default(), is_refuted: AtomicBool::new(false) })
    }

    /// The digest of the list.
    pub(crate) fn list_digest(&self) -> Digest {
        self.list.descriptor().digest
    }

    /// Whether some bytes did not agree. Then nothing counts that agreed.
    pub(crate) fn is_refuted(&self) -> bool {
        self.is_refuted.load(Relaxed)
    }

    /// What agrees with the list.
    pub(crate) fn verified(&self) -> MutexGuard<'_, Ranges> {
        lock(&self.verified)
    }

    /// Notes what an earlier process found to agree with the list.
    pub(crate) fn restore(&self, agreed: &Ranges) {
        agreed
            .iter()
            .map(|range| self.list.chunks_in(range))
            .filter(|range| !range.is_empty())
            .for_each(|range| self.verified().insert(range));
    }

    /// Where the next chunk begins, at `offset` or later.
    pub(crate) fn next_chunk(&self, offset: u64) -> u64 {
        self.list.next_chunk(offset)
    }

    /// Takes bytes from `offset` on, where a chunk begins. To be given to [`took`](Self::took).
    pub(crate) fn verifier(&self, offset: u64) -> Verifier {
        Verifier { expected: Some(self.expected.clone()), hasher: self.list.hasher(offset), count: offset }
    }

    /// Notes what `verifier` has verified, which began at `offset`.
    pub(crate) fn took(&self, offset: u64, verifier: &Verifier) {
        match verifier.hasher.agrees_up_to(&self.expected.blob.digest) {
            Some(up_to) if up_to > offset => self.verified().insert(offset..up_to),
            Some(_) => {}
            None => self.is_refuted.store(true, Relaxed),
        }
    }

    /// Reads the bytes of `file`, which has all of the blob, as far as they are not verified yet, and verifies them on all processors; blocks.
    /// `take` gets each piece with its offset first, from several threads. Stops as soon as the list is refuted; then some pieces were
    /// not taken.
    ///
    /// Fails with the error of `take`, or if the file cannot be read.
    pub(crate) fn verify(&self, file: &FileRange, take: &(dyn Fn(u64, &[u8]) -> Result<()> + Sync)) -> Result<()> {
        let unverified = self.verified().complement(self.list.size());
        let mut parts = Vec::new();
        for range in unverified.iter() {
            let mut at = range.start;
            while at < range.end {
                let end = if range.end - at < 2 * PART { range.end } else { self.list.next_chunk(at + PART) };
                parts.push(at..end);
                at = end;
            }
        }
        // Each thread verifies two at a time.
        let threads = available_parallelism().map_or(1, usize::from).min(parts.len().div_ceil(2));
        let parts = Mutex::new(parts.into_iter());
        let next = || lock(&parts).next();
        let failed = Mutex::new(None);
        let verify = || {
            hash_in_pairs(|_| {
                let range = if self.is_refuted() || lock(&failed).is_some() { None } else { next() }?;
                Some(Chunks { of: self, file, verifier: self.verifier(range.start), range, take, failed: &failed })
            });
        };
        scope(|scope| {
            (1..threads).for_each(|_| drop(scope.spawn(verify)));
            verify();
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// The blob, if all chunks agree with the list.
    pub(crate) fn finish(&self) -> Option<VerifiedBlob> {
        let Expected { blob, .. } = &*self.expected;
        let is_whole = !self.is_refuted() && self.verified().complement(blob.size).is_empty();
        is_whole.then(|| VerifiedBlob { digest: blob.digest.clone(), size: blob.size, hash_states: Some(self.list.clone()) })
    }
}

impl std::fmt::Debug for ChunkVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkVerifier").field("verified", &self.verified()).field("is_refuted", &self.is_refuted).finish_non_exhaustive()
    }
}

/// Reads all bytes of `file`, which should be `blob`, and verifies them on all processors by a list of hash states, which need not be true;
/// blocks. `count` is called from several threads with the number of bytes of each piece.
///
/// `None` if the bytes do not agree with the list, or if it is not one of this blob. Then it is not known whether they are those of the blob.
/// Fails with the error of `count`, or if the file cannot be read.
pub fn verify_by_hash_states(
    file: &FileRange,
    blob: &Descriptor,
    list: HashStates,
    count: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<Option<VerifiedBlob>> {
    let Some(chunks) = ChunkVerifier::new(&format!("blob {}", blob.digest), blob, list).filter(|_| file.len == blob.size) else {
        return Ok(None);
    };
    chunks.verify(file, &|_, piece| count(piece.len() as u64))?;
    Ok(chunks.finish())
}

/// Some chunks of a file that are being verified.
struct Chunks<'a> {
    of: &'a ChunkVerifier,
    file: &'a FileRange,
    range: Range<u64>,
    verifier: Verifier,
    take: &'a (dyn Fn(u64, &[u8]) -> Result<()> + Sync),
    /// The first error.
    failed: &'a Mutex<Option<Error>>,
}

impl Part for Chunks<'_> {
    fn source(&self) -> (&FileRange, u64) {
        (self.file, self.range.end)
    }

    fn verifier(&mut self) -> &mut Verifier {
        &mut self.verifier
    }

    fn read(&mut self, at: u64, piece: &[u8]) -> Result<()> {
        (self.take)(at, piece)
    }

    fn finish(self, read: Result<()>) {
        match read {
            Ok(()) => self.of.took(self.range.start, &self.verifier),
            Err(error) => {
                lock(self.failed).get_or_insert(error);
            }
        }
    }
}

#[cfg(test)]
mod tests;
