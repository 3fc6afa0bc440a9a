//! The bytes of a blob, hashed and counted as they come, and compared at the end with what was promised.

mod chunks;
mod files;
mod pairs;

pub(crate) use chunks::ChunkVerifier;
pub use chunks::verify_by_hash_states;
pub use files::hash_file;

use crate::{CHUNK, Committed, Error, FileRange, Result, verify::verify_blob};
use modelpack_spec::{Algorithm, Descriptor, Digest, HashStates, Hasher};
use std::sync::Arc;

/// Hashes and counts the bytes of one blob on their way to the place where they are kept.
///
/// Every sink gives each byte that it keeps to a verifier. Digest and size come out of it only together, as a [`VerifiedBlob`], and only if
/// they are those that were promised. So no sink can forget to compare one of them.
#[derive(Clone)]
pub struct Verifier {
    expected: Option<Arc<Expected>>,
    hasher: Hasher,
    count: u64,
}

#[derive(Debug)]
struct Expected {
    /// What the blob is called in an error.
    what: String,
    blob: Descriptor,
}

impl Verifier {
    /// For a blob that is known. It is called by its digest in an error.
    pub fn of(blob: &Descriptor) -> Self {
        Self::named(format!("blob {}", blob.digest), blob)
    }

    /// For a blob that is known. It is called `what` in an error.
    pub fn named(what: impl Into<String>, blob: &Descriptor) -> Self {
        let expected = Arc::new(Expected { what: what.into(), blob: blob.clone() });
        Self { expected: Some(expected), ..Self::unknown(blob.digest.algorithm()) }
    }

    /// For a blob of which nothing is known yet. Its bytes are hashed with `algorithm`.
    pub fn unknown(algorithm: Algorithm) -> Self {
        Self { expected: None, hasher: Hasher::recording(algorithm), count: 0 }
    }

    /// The same, after a hash function has taken so many of the first bytes, if there is one that has.
    pub(crate) fn resumed(self, hashed: Option<(u64, Hasher)>) -> Self {
        match hashed {
            Some((count, hasher)) => Self { hasher, count, ..self },
            None => self,
        }
    }

    /// Reads and takes at most `limit` of the bytes of `range` that come next; blocks. `buffer` is used to read.
    pub(crate) fn catch_up(&mut self, range: &FileRange, limit: u64, buffer: &mut Vec<u8>) -> Result<()> {
        let mut left = range.len.saturating_sub(self.count).min(limit);
        while left > 0 {
            buffer.resize(CHUNK, 0);
            let want = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            let n = range.read_at(&mut buffer[..want], self.count)?;
            self.update(&buffer[..n])?;
            left -= n as u64;
        }
        Ok(())
    }

    /// The state of the hash function.
    pub(crate) fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// Takes the next bytes.
    ///
    /// Fails with [`Error::WrongSize`] as soon as there are more than promised, so that a sender without end fills no disk.
    pub fn update(&mut self, bytes: &[u8]) -> Result<()> {
        self.count += bytes.len() as u64;
        if let Some(Expected { what, blob }) = self.expected.as_deref()
            && self.count > blob.size
        {
            return Err(Error::WrongSize { what: what.clone(), expected: blob.size, found: self.count });
        }
        self.hasher.update(bytes);
        Ok(())
    }

    /// Takes the next bytes. That there are more than promised is found at the end.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.count += bytes.len() as u64;
        self.hasher.update(bytes);
    }

    /// The same for two blobs, which takes less time than one after the other.
    pub(crate) fn update_pair(one: &mut Self, bytes: &[u8], other: &mut Self, other_bytes: &[u8]) {
        Hasher::update_pair(&mut one.hasher, bytes, &mut other.hasher, other_bytes);
        one.count += bytes.len() as u64;
        other.count += other_bytes.len() as u64;
    }

    /// How many bytes it was given.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        self.hasher.algorithm()
    }

    /// The digest of the bytes that it was given until now.
    pub fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// The blob, if its bytes are those that were promised. Where nothing was promised, whatever was written is the blob.
    ///
    /// Fails with [`Error::WrongSize`] or [`Error::WrongDigest`].
    pub fn finish(self) -> Result<VerifiedBlob> {
        let hash_states = if self.count >= HashStates::LEAST_SIZE { self.hasher.hash_states() } else { None };
        let blob = VerifiedBlob { digest: self.hasher.finish(), size: self.count, hash_states };
        match self.expected.as_deref() {
            Some(Expected { what, blob: promised }) => blob.compare(what, promised),
            None => Ok(blob),
        }
    }

    /// Like [`finish`](Self::finish), and the bytes must be those of `blob` too, if that is given: what was promised when a blob is
    /// committed counts as much as what was promised when it was begun.
    pub fn finish_as(self, blob: Option<&Descriptor>) -> Result<VerifiedBlob> {
        let verified = self.finish()?;
        match blob {
            Some(blob) => verified.compare(&format!("blob {}", blob.digest), blob),
            None => Ok(verified),
        }
    }
}

/// Digest and size of bytes that were verified to their end: by a [`Verifier`], or chunk by chunk. Nothing else makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedBlob {
    digest: Digest,
    size: u64,
    /// True ones, of a blob of at least [`HashStates::LEAST_SIZE`].
    hash_states: Option<HashStates>,
}

impl VerifiedBlob {
    fn compare(self, what: &str, promised: &Descriptor) -> Result<Self> {
        verify_blob(what, promised, &self.digest, self.size)?;
        Ok(self)
    }

    /// The digest of its bytes.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The number of its bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hash states of its bytes, which are true, if they are [many](HashStates::LEAST_SIZE) and nothing interrupted the hash function.
    pub fn hash_states(&self) -> Option<&HashStates> {
        self.hash_states.as_ref()
    }
}

impl From<VerifiedBlob> for Committed {
    fn from(VerifiedBlob { digest, size, hash_states }: VerifiedBlob) -> Self {
        Self { digest, size, hash_states }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(mut verifier: Verifier, pieces: &[&[u8]]) -> Result<Verifier> {
        pieces.iter().try_for_each(|piece| verifier.update(piece))?;
        Ok(verifier)
    }

    #[test]
    fn the_promised_bytes_in_any_pieces_are_the_blob() {
        let blob = Descriptor::of("x/x", b"promised");
        for pieces in [&[&b"promised"[..]][..], &[b"", b"prom", b"ised"], &[b"p", b"romised", b""]] {
            for (begun, committed) in [(true, false), (false, true), (true, true)] {
                let verifier = if begun { Verifier::of(&blob) } else { Verifier::unknown(Algorithm::Sha256) };
                let verified = given(verifier, pieces).unwrap().finish_as(committed.then_some(&blob)).unwrap();
                assert_eq!((verified.digest(), verified.size()), (&blob.digest, 8));
            }
        }
        let unknown = given(Verifier::unknown(Algorithm::Sha512), &[b"whatever"]).unwrap().finish().unwrap();
        assert_eq!(*unknown.digest(), Algorithm::Sha512.digest(b"whatever"));
    }

    #[test]
    fn too_few_bytes_too_many_and_others_are_refused_whenever_they_were_promised() {
        let blob = Descriptor::of("x/x", b"promised");
        for (pieces, is_size) in [(&[&b"promise"[..]][..], true), (&[], true), (&[b"prom", b"ised!"], true), (&[b"PROMISED"], false)] {
            let begun = given(Verifier::named("layer 1", &blob), pieces).and_then(Verifier::finish).unwrap_err();
            let committed = given(Verifier::unknown(Algorithm::Sha256), pieces).unwrap().finish_as(Some(&blob)).unwrap_err();
            for (error, name) in [(begun, "layer 1".to_owned()), (committed, format!("blob {}", blob.digest))] {
                let refused = match &error {
                    Error::WrongSize { what, expected: 8, .. } => is_size && *what == name,
                    Error::WrongDigest { what, .. } => !is_size && *what == name,
                    _ => false,
                };
                assert!(refused, "{error}");
            }
        }
    }

    #[test]
    fn a_sender_without_end_is_refused_at_the_first_byte_too_many() {
        let mut verifier = Verifier::of(&Descriptor::of("x/x", b"ab"));
        verifier.update(b"ab").unwrap();
        assert!(matches!(verifier.update(b"c"), Err(Error::WrongSize { expected: 2, found: 3, .. })));
    }

    #[test]
    fn another_promise_at_the_end_does_not_replace_that_of_the_beginning() {
        let (one, other) = (Descriptor::of("x/x", b"one"), Descriptor::of("x/x", b"two"));
        let verifier = given(Verifier::of(&one), &[b"two"]).unwrap();
        assert!(matches!(verifier.finish_as(Some(&other)), Err(Error::WrongDigest { .. })));
    }
}
