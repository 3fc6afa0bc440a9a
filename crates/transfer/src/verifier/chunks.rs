//! Verifying the chunks of a blob in any order and on all processors, by a list of [hash states](HashStates).
//!
//! The list may be wrong, whoever made it. What agrees with it is known to be right only when all chunks agree, and the last one leads to
//! the digest. If one does not, nobody knows whether the list or a byte is wrong. Then the list counts no more, and the blob is hashed in
//! order.

use super::{Expected, VerifiedBlob, Verifier};
use crate::{CHUNK, FileRange, Ranges, Result, hashing::lock};
use modelpack_spec::{Algorithm, Descriptor, Digest, HashStates};
use std::{
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard,
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
        scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| self.verify_parts(file, &next, take))).collect();
            let verified = self.verify_parts(file, &next, take);
            let join =
                |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            others.into_iter().map(join).fold(verified, Result::and)
        })
    }

    /// Verifies parts, two at a time, until there are no more.
    fn verify_parts(
        &self,
        file: &FileRange,
        next: &(dyn Fn() -> Option<Range<u64>> + Sync),
        take: &(dyn Fn(u64, &[u8]) -> Result<()> + Sync),
    ) -> Result<()> {
        let begin = || next().map(|range| Part { verifier: self.verifier(range.start), range, buffer: vec![0; CHUNK], len: 0, used: 0 });
        let (mut one, mut other) = (begin(), begin());
        while !self.is_refuted() {
            for part in [&mut one, &mut other] {
                if part.as_ref().is_some_and(Part::is_finished) {
                    let finished = part.take().expect("it is finished");
                    self.took(finished.range.start, &finished.verifier);
                    *part = begin();
                }
                part.as_mut().map_or(Ok(()), |part| part.fill(file, take))?;
            }
            match (&mut one, &mut other) {
                (Some(one), Some(other)) => {
                    let len = one.unused().len().min(other.unused().len());
                    let (bytes, other_bytes) = (one.used..one.used + len, other.used..other.used + len);
                    Verifier::update_pair(&mut one.verifier, &one.buffer[bytes], &mut other.verifier, &other.buffer[other_bytes]);
                    (one.used, other.used) = (one.used + len, other.used + len);
                }
                (Some(part), None) | (None, Some(part)) => {
                    part.verifier.take(&part.buffer[part.used..part.len]);
                    part.used = part.len;
                }
                (None, None) => break,
            }
        }
        Ok(())
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

/// A part of a file that is being verified.
struct Part {
    range: Range<u64>,
    /// Has taken the bytes up to those that are not used.
    verifier: Verifier,
    buffer: Vec<u8>,
    /// How many bytes are in the buffer, and how many of them the verifier has taken.
    len: usize,
    used: usize,
}

impl Part {
    fn unused(&self) -> &[u8] {
        &self.buffer[self.used..self.len]
    }

    fn is_finished(&self) -> bool {
        self.unused().is_empty() && self.verifier.count() == self.range.end
    }

    /// Reads the next piece if the buffer is used up.
    fn fill(&mut self, file: &FileRange, take: &(dyn Fn(u64, &[u8]) -> Result<()> + Sync)) -> Result<()> {
        if self.unused().is_empty() {
            let at = self.verifier.count();
            let want = usize::try_from(self.range.end - at).map_or(CHUNK, |left| left.min(CHUNK));
            self.len = file.read_at(&mut self.buffer[..want], at)?;
            self.used = 0;
            take(at, &self.buffer[..self.len])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
