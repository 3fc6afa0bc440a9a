//! The states of SHA-256 inside a blob, by which a part of the blob is verified without the rest.
//!
//! SHA-256 is a chain: from its state after some bytes, the next bytes lead to the next state. A list of the states after each chunk of a
//! blob is made while the blob is hashed. With it, each chunk is verified alone: if hashing the chunk from the state before it leads to the
//! state after it. If this is so for all chunks, from the first state, which is fixed, to the last one, which is the digest, then the bytes
//! are those of the digest, whoever made the list. So nobody has to trust a list: one that is not true verifies nothing.

use crate::{Algorithm, Digest, Hasher};
use std::{ops::Range, sync::Arc};

/// The size of a state in bytes.
const STATE: usize = 32;

/// The shortest length of a chunk in bytes.
const SHORTEST_CHUNK: u64 = 1 << 20;

/// How many states a list has at most. It has at most 2 MiB.
const MOST_STATES: u64 = 65_536;

/// The states of SHA-256 between the chunks of a blob: those after the first chunk, after the second one, and so on, but not after the last
/// one, whose state is the digest. A state is 32 bytes, eight big-endian words, as in a digest.
///
/// All chunks but the last one have the [same length](Self::chunk_len).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashStates {
    size: u64,
    states: Arc<[u8]>,
}

impl HashStates {
    /// The length of the chunks of a blob of `size` bytes: 1 MiB, doubled until there are at most 65,536 whole ones.
    pub fn chunk_len(size: u64) -> u64 {
        let mut len = SHORTEST_CHUNK;
        while size / len > MOST_STATES {
            len *= 2;
        }
        len
    }

    /// The size in bytes of the list of a blob of `size` bytes.
    pub fn list_len(size: u64) -> u64 {
        size.div_ceil(Self::chunk_len(size)).saturating_sub(1) * STATE as u64
    }

    /// The list of a blob of `size` bytes. `None` if it has another length than [`list_len`](Self::list_len). Whether it is true is not known
    /// before all chunks were verified by it.
    pub fn read(size: u64, list: &[u8]) -> Option<Self> {
        (list.len() as u64 == Self::list_len(size)).then(|| Self { size, states: list.into() })
    }

    /// The list.
    pub fn bytes(&self) -> &[u8] {
        &self.states
    }

    /// The size of the blob in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many chunks the blob has.
    pub fn chunks(&self) -> u64 {
        self.size.div_ceil(Self::chunk_len(self.size))
    }

    /// The bytes of the chunk `index`, which is less than [`chunks`](Self::chunks).
    pub fn range(&self, index: u64) -> Range<u64> {
        let len = Self::chunk_len(self.size);
        index * len..self.size.min((index + 1) * len)
    }

    /// A hasher that continues at the beginning of the chunk `index`, according to the list.
    pub fn hasher(&self, index: u64) -> Hasher {
        match index.checked_sub(1) {
            None => Hasher::new(Algorithm::Sha256),
            Some(before) => Hasher::at(self.state(before), self.range(index).start),
        }
    }

    /// Whether `hasher`, which has taken all bytes up to the end of the chunk `index`, is in the state that the list says. For the last
    /// chunk, whether the digest is `digest`.
    pub fn ends(&self, index: u64, hasher: Hasher, digest: &Digest) -> bool {
        if index + 1 == self.chunks() { hasher.finish() == *digest } else { hasher.chain_state().as_ref() == Some(self.state(index)) }
    }

    /// The state after the chunk `index`.
    fn state(&self, index: u64) -> &[u8; STATE] {
        &self.states.as_chunks::<STATE>().0[index as usize]
    }
}

/// Notes the states of a blob while it is hashed. How long the blob is need not be known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder {
    /// The states after each chunk of `chunk` bytes, and no byte more.
    states: Vec<u8>,
    doubled: u32,
}

impl Recorder {
    /// How many of the bytes after the `count` first ones come before the next state that is noted.
    pub(crate) fn until_next(&self, count: u64) -> u64 {
        let chunk = self.chunk();
        chunk - count % chunk
    }

    /// Whether a chunk ends after the `count` first bytes.
    pub(crate) fn is_end(&self, count: u64) -> bool {
        count > 0 && count.is_multiple_of(self.chunk())
    }

    /// Notes the state after the end of a chunk.
    pub(crate) fn note(&mut self, state: &[u8; STATE]) {
        self.states.extend(state);
        if self.states.len() as u64 > MOST_STATES * STATE as u64 {
            // Every second one is the end of a chunk that is twice as long.
            let every_second = self.states.as_chunks::<STATE>().0.iter().skip(1).step_by(2);
            self.states = every_second.flatten().copied().collect();
            self.doubled += 1;
        }
    }

    /// The list of the blob, which has `size` bytes. `None` if states are missing.
    pub(crate) fn finish(self, size: u64) -> Option<HashStates> {
        let len = usize::try_from(HashStates::list_len(size)).ok()?;
        (self.chunk() == HashStates::chunk_len(size)).then_some(())?;
        // If the last chunk is a whole one, its end was noted too.
        HashStates::read(size, self.states.get(..len)?)
    }

    fn chunk(&self) -> u64 {
        SHORTEST_CHUNK << self.doubled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn content(len: usize) -> Vec<u8> {
        (0..len as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
    }

    fn states(content: &[u8], piece: usize) -> HashStates {
        let mut hasher = Hasher::recording(Algorithm::Sha256);
        content.chunks(piece).for_each(|piece| hasher.update(piece));
        assert_eq!(hasher.clone().finish(), Digest::of(content));
        hasher.hash_states().expect("all were noted")
    }

    fn is_verified(states: &HashStates, index: u64, content: &[u8]) -> bool {
        let mut hasher = states.hasher(index);
        let range = states.range(index);
        hasher.update(&content[range.start as usize..range.end as usize]);
        states.ends(index, hasher, &Digest::of(content))
    }

    #[test]
    fn each_chunk_is_verified_alone_and_a_wrong_byte_or_state_is_found() {
        for len in [1, MIB - 1, MIB, MIB + 1, 3 * MIB, 3 * MIB + 17] {
            let mut bytes = content(len);
            let states = states(&bytes, 100_000);
            assert_eq!(states.chunks(), len.div_ceil(MIB) as u64);
            assert_eq!(states.bytes().len() as u64, 32 * (states.chunks() - 1));
            for index in 0..states.chunks() {
                assert!(is_verified(&states, index, &bytes), "chunk {index} of {len}");
            }
            let digest = Digest::of(&bytes);
            let last = len - 1;
            bytes[last] ^= 1;
            let (index, range) = (states.chunks() - 1, states.range(states.chunks() - 1));
            let mut hasher = states.hasher(index);
            hasher.update(&bytes[range.start as usize..]);
            assert!(!states.ends(index, hasher, &digest));
            bytes[last] ^= 1;
            if states.chunks() > 1 {
                let mut lie = states.bytes().to_vec();
                lie[5] ^= 1;
                let lie = HashStates::read(len as u64, &lie).unwrap();
                assert_eq!([0, 1].map(|index| is_verified(&lie, index, &bytes)), [false, false], "before and after it");
            }
        }
    }

    #[test]
    fn a_list_has_exactly_one_length() {
        let size = 3 * MIB as u64 + 5;
        assert_eq!(HashStates::list_len(size), 96);
        for wrong in [0, 32, 64, 95, 97, 128] {
            assert!(HashStates::read(size, &vec![0; wrong]).is_none(), "{wrong}");
        }
        assert_eq!([0, 1, MIB as u64].map(HashStates::list_len), [0; 3]);
    }

    #[test]
    fn a_list_has_at_most_two_mebibytes_and_is_the_same_however_it_is_made() {
        const GIB: u64 = 1 << 30;
        for size in [64 * GIB - 1, 64 * GIB, 64 * GIB + 1, 65 * GIB, 128 * GIB, 128 * GIB + 1, 1 << 40, 15 << 40] {
            assert!(HashStates::list_len(size) <= 2 << 20, "{size}");
            // The states are numbers here; no byte is hashed.
            let mut recorder = Recorder::default();
            let mut count = 0;
            while size - count >= recorder.until_next(count) {
                count += recorder.until_next(count);
                let mut state = [0; STATE];
                state[..8].copy_from_slice(&count.to_be_bytes());
                recorder.note(&state);
            }
            let states = recorder.finish(size).expect("none is missing");
            for index in [1, 2, states.chunks() / 2, states.chunks() - 1] {
                assert_eq!(states.state(index - 1)[..8], states.range(index).start.to_be_bytes(), "{size}");
            }
        }
    }

    #[test]
    fn a_pair_notes_the_states_of_both() {
        let (one, other) = (content(3 * MIB + 1), content(2 * MIB + 77));
        let (mut first, mut second) = (Hasher::recording(Algorithm::Sha256), Hasher::recording(Algorithm::Sha256));
        first.update(&one[..1000]);
        Hasher::update_pair(&mut first, &one[1000..], &mut second, &other);
        assert_eq!((first.hash_states(), second.hash_states()), (Some(states(&one, MIB)), Some(states(&other, 7))));
        let mut resumed = Hasher::resume(Algorithm::Sha256, &Hasher::new(Algorithm::Sha256).state()).unwrap();
        resumed.update(&one);
        assert!(resumed.hash_states().is_none(), "nothing was noted");
    }
}
