//! The states of SHA-256 inside a blob, by which a part of the blob is verified without the rest.
//!
//! SHA-256 is a chain: from its state after some bytes, the next bytes lead to the next state. A list of the states after each chunk of a
//! blob is made while the blob is hashed. With it, each chunk is verified alone: if hashing the chunk from the state before it leads to the
//! state after it. If this is so for all chunks, from the first state, which is fixed, to the last one, which is the digest, then the bytes
//! are those of the digest, whoever made the list. So nobody has to trust a list: one that is not true verifies nothing.

use crate::{Descriptor, Hasher, ImageManifest, Manifest, UnknownFields, annotation, media_type};
use modelpack_hash::Sha256;
use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
    sync::Arc,
};

/// The size of a state in bytes.
const STATE: usize = 32;

/// The shortest length of a chunk in bytes.
const SHORTEST_CHUNK: u64 = 1 << 20;

/// How many states a list has at most. It has at most 2 MiB.
const MOST_STATES: u64 = 65_536;

/// The states of SHA-256 between the chunks of a blob: those after the first chunk, after the second one, and so on, but not after the last
/// one, whose state leads to the digest. A state is 32 bytes, eight big-endian words, as in a digest.
///
/// All chunks but the last one have the [same length](Self::chunk_len). Whether a list is true is known only when all chunks agree with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashStates {
    size: u64,
    states: Arc<[u8]>,
}

impl HashStates {
    /// A blob of fewer bytes needs no list: hashing it takes little time.
    pub const LEAST_SIZE: u64 = 64 << 20;

    /// The length in bytes of the chunks of a blob of `size` bytes: 1 MiB, doubled until the list has at most 2 MiB.
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

    /// The list of a blob of `size` bytes. `None` if it has another length than [`list_len`](Self::list_len).
    pub fn read(size: u64, list: &[u8]) -> Option<Self> {
        (list.len() as u64 == Self::list_len(size)).then(|| Self { size, states: list.into() })
    }

    /// The list.
    pub fn bytes(&self) -> &[u8] {
        &self.states
    }

    /// The descriptor of the list as a blob.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::of(media_type::HASH_STATES, &self.states)
    }

    /// The value of the annotation of a layer that names the list with this descriptor.
    pub fn annotation(list: &Descriptor) -> String {
        serde_json::to_string(list).expect("a descriptor has string keys only, so it always serialises")
    }

    /// The list that the annotations of `blob` name. `None` if there is none, or if it cannot be one of this blob.
    pub fn named_by(blob: &Descriptor) -> Option<Descriptor> {
        let list: Descriptor = serde_json::from_str(blob.annotations.get(annotation::HASH_STATES)?).ok()?;
        (list.media_type == media_type::HASH_STATES && list.size == Self::list_len(blob.size)).then_some(list)
    }

    /// The size of the blob in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// A hasher that continues at `offset`, which is the beginning of a chunk, and compares each following state with the list.
    ///
    /// # Panics
    ///
    /// Panics if no chunk begins at `offset`.
    pub fn hasher(&self, offset: u64) -> Hasher {
        let len = Self::chunk_len(self.size);
        assert!(offset < self.size.max(1) && offset.is_multiple_of(len), "no chunk begins at {offset}");
        let hasher = match (offset / len).checked_sub(1) {
            None => Sha256::new(),
            Some(before) => Sha256::at(&self.states.as_chunks().0[before as usize], offset),
        };
        Hasher::within(hasher, Boundaries::Compare { list: self.clone(), agrees: true })
    }

    /// The beginning of the first chunk that begins at `offset` or later; the size of the blob if there is none.
    pub fn next_chunk(&self, offset: u64) -> u64 {
        offset.checked_next_multiple_of(Self::chunk_len(self.size)).map_or(self.size, |next| next.min(self.size))
    }

    /// The bytes of all chunks that lie within `range`.
    pub fn chunks_in(&self, range: Range<u64>) -> Range<u64> {
        let start = self.next_chunk(range.start);
        let end = if range.end >= self.size { self.size } else { range.end - range.end % Self::chunk_len(self.size) };
        start..end.max(start)
    }
}

/// The manifest that keeps the lists of hash states of an artifact in a registry: its subject is the artifact, and the lists are its layers.
/// It depends only on these.
pub fn hash_states_manifest(artifact: &Manifest, lists: &[HashStates]) -> Manifest {
    let mut seen = HashSet::new();
    let layers = lists.iter().map(HashStates::descriptor).filter(|list| seen.insert(list.digest.clone())).collect();
    let manifest = Manifest::from_image(ImageManifest {
        schema_version: 2,
        media_type: Some(media_type::IMAGE_MANIFEST.to_owned()),
        artifact_type: Some(media_type::HASH_STATES.to_owned()),
        config: Descriptor::of(media_type::EMPTY, media_type::EMPTY_BYTES),
        layers,
        subject: Some(Descriptor::new(artifact.media_type(), artifact.digest().clone(), artifact.bytes().len() as u64)),
        annotations: BTreeMap::new(),
        other: UnknownFields::default(),
    });
    manifest.expect("it has fewer layers than the manifest of the artifact")
}

/// What is done with the state at the end of each chunk while a blob is hashed.
#[derive(Clone, Debug)]
pub(crate) enum Boundaries {
    /// It is noted. How long the blob is need not be known.
    Record { states: Vec<u8>, chunk: u64 },
    /// It is compared with a list.
    Compare { list: HashStates, agrees: bool },
}

impl Boundaries {
    pub(crate) fn record() -> Self {
        Self::Record { states: Vec::new(), chunk: SHORTEST_CHUNK }
    }

    /// What was noted of the first `count` bytes. `None` if `states` cannot be that.
    pub(crate) fn having_noted(states: Vec<u8>, count: u64) -> Option<Self> {
        let chunk = SHORTEST_CHUNK;
        (states.len() as u64 == count / chunk * STATE as u64).then_some(Self::Record { states, chunk })
    }

    /// The states that were noted, as long as chunks have their first length.
    pub(crate) fn noted(&self) -> Option<&[u8]> {
        match self {
            Self::Record { states, chunk: SHORTEST_CHUNK } => Some(states),
            _ => None,
        }
    }

    fn chunk(&self) -> u64 {
        match self {
            Self::Record { chunk, .. } => *chunk,
            Self::Compare { list, .. } => HashStates::chunk_len(list.size),
        }
    }

    /// How many of the bytes after the `count` first ones come before the end of a chunk.
    pub(crate) fn until_next(&self, count: u64) -> u64 {
        self.chunk() - count % self.chunk()
    }

    /// Takes the state after the first `count` bytes.
    pub(crate) fn look_at(&mut self, count: u64, state: &[u8; STATE]) {
        if count == 0 || !count.is_multiple_of(self.chunk()) {
            return;
        }
        match self {
            Self::Record { states, chunk } => {
                states.extend(state);
                if states.len() as u64 > MOST_STATES * STATE as u64 {
                    // Every second one is at the end of a chunk that is twice as long.
                    let every_second = states.as_chunks::<STATE>().0.iter().skip(1).step_by(2);
                    *states = every_second.flatten().copied().collect();
                    *chunk *= 2;
                }
            }
            Self::Compare { list, agrees } => {
                let index = count / HashStates::chunk_len(list.size) - 1;
                // The state after the last chunk is in no list.
                let expected = usize::try_from(index).ok().and_then(|index| list.states.as_chunks::<STATE>().0.get(index));
                *agrees &= count == list.size || expected == Some(state);
            }
        }
    }

    /// The list of the blob, which has `size` bytes. `None` if no states were noted.
    pub(crate) fn recorded(&self, size: u64) -> Option<HashStates> {
        let Self::Record { states, chunk } = self else { return None };
        (*chunk == HashStates::chunk_len(size)).then_some(())?;
        // If the last chunk is a whole one, the state after it was noted too.
        HashStates::read(size, states.get(..usize::try_from(HashStates::list_len(size)).ok()?)?)
    }

    /// The end of the last chunk of the `count` first bytes, if all states agreed. The state at the end of the blob was not compared.
    pub(crate) fn agrees_up_to(&self, count: u64) -> Option<u64> {
        let Self::Compare { list, agrees: true } = self else { return None };
        (count <= list.size).then_some(if count == list.size { count } else { count - count % self.chunk() })
    }

    /// Whether the blob has this size.
    pub(crate) fn is_end_of_blob(&self, count: u64) -> bool {
        matches!(self, Self::Compare { list, .. } if list.size == count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Algorithm, Digest};

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

    /// Up to where the bytes from `start` to `end` agree with a list of `content`.
    fn agrees(states: &HashStates, range: Range<usize>, bytes: &[u8], digest: &Digest) -> Option<u64> {
        let mut hasher = states.hasher(range.start as u64);
        bytes[range].chunks(300_000).for_each(|piece| hasher.update(piece));
        hasher.agrees_up_to(digest)
    }

    #[test]
    fn each_chunk_is_verified_alone_and_a_wrong_byte_or_state_is_found() {
        for len in [1, MIB - 1, MIB, MIB + 1, 3 * MIB, 3 * MIB + 17] {
            let mut bytes = content(len);
            let (states, digest) = (states(&bytes, 100_000), Digest::of(&bytes));
            assert_eq!(states.bytes().len(), 32 * (len.div_ceil(MIB) - 1));
            let starts = (0..len).step_by(MIB);
            for start in starts.clone() {
                for end in starts.clone().chain([len]).filter(|end| *end > start) {
                    assert_eq!(agrees(&states, start..end, &bytes, &digest), Some(end as u64), "{start} to {end} of {len}");
                    let before = end - 1;
                    let up_to = if before % MIB == 0 || before == len { before } else { before / MIB * MIB };
                    assert_eq!(agrees(&states, start..before, &bytes, &digest), Some(up_to as u64), "without the last byte");
                }
                let end = len.min(start + MIB);
                for wrong in [start, end - 1] {
                    bytes[wrong] ^= 1;
                    assert_eq!(agrees(&states, start..end, &bytes, &digest), None, "byte {wrong} of {len}");
                    bytes[wrong] ^= 1;
                }
            }
            if len > MIB {
                let mut lie = states.bytes().to_vec();
                lie[5] ^= 1;
                let lie = HashStates::read(len as u64, &lie).unwrap();
                assert_eq!([0..MIB, MIB..len].map(|chunk| agrees(&lie, chunk, &bytes, &digest)), [None, None], "before and after it");
            }
        }
    }

    #[test]
    fn more_bytes_than_the_blob_has_do_not_agree() {
        let bytes = content(2 * MIB);
        let list = states(&bytes[..MIB + 5], MIB);
        assert_eq!(agrees(&list, 0..2 * MIB, &bytes, &Digest::of(&bytes[..MIB + 5])), None);
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
            let mut boundaries = Boundaries::record();
            let mut count = 0;
            while size - count >= boundaries.until_next(count) {
                count += boundaries.until_next(count);
                let mut state = [0; STATE];
                state[..8].copy_from_slice(&count.to_be_bytes());
                boundaries.look_at(count, &state);
            }
            let list = boundaries.recorded(size).expect("none is missing");
            let states = list.states.as_chunks::<STATE>().0;
            for index in [0, 1, states.len() / 2, states.len() - 1] {
                let end = (index as u64 + 1) * HashStates::chunk_len(size);
                assert_eq!(states[index][..8], end.to_be_bytes(), "{size}");
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

    #[test]
    fn noting_continues_in_another_process() {
        let content = content(3 * MIB + 9);
        for cut in [5, MIB - 1, MIB, 2 * MIB + 77, 3 * MIB] {
            let mut first = Hasher::recording(Algorithm::Sha256);
            first.update(&content[..cut]);
            let noted = first.noted_states().unwrap().to_vec();
            let resume = || Hasher::resume(Algorithm::Sha256, &first.state()).unwrap();
            let mut second = resume().having_noted(noted.clone());
            second.update(&content[cut..]);
            assert_eq!(second.hash_states(), Some(states(&content, MIB)), "{cut}");
            let mut wrong = resume().having_noted([&noted[..], &[0; 32]].concat());
            wrong.update(&content[cut..]);
            assert_eq!(wrong.hash_states(), None);
        }
    }

    #[test]
    fn an_annotation_names_a_list_only_if_it_can_be_one_of_the_blob() {
        let bytes = content(3 * MIB);
        let list = states(&bytes, MIB).descriptor();
        let mut blob = Descriptor::of("x/x", &bytes);
        assert_eq!(HashStates::named_by(&blob), None);
        let mut named = |list: &Descriptor| {
            blob.annotations.insert(annotation::HASH_STATES.to_owned(), HashStates::annotation(list));
            HashStates::named_by(&blob)
        };
        assert_eq!(named(&list), Some(list.clone()));
        for wrong in [
            Descriptor { size: 32, ..list.clone() },
            Descriptor { size: u64::MAX, ..list.clone() },
            Descriptor { media_type: "application/octet-stream".to_owned(), ..list.clone() },
        ] {
            assert_eq!(named(&wrong), None, "{wrong:?}");
        }
        blob.annotations.insert(annotation::HASH_STATES.to_owned(), "no JSON".to_owned());
        assert_eq!(HashStates::named_by(&blob), None);
    }

    #[test]
    fn the_chunks_in_a_range_are_whole() {
        let list = HashStates::read(10 * MIB as u64 + 5, &[0; 320]).unwrap();
        let mib = |n: u64| n * MIB as u64;
        for (range, chunks) in [
            (0..mib(10) + 5, 0..mib(10) + 5),
            (1..mib(3), mib(1)..mib(3)),
            (1..mib(3) - 1, mib(1)..mib(2)),
            (mib(9) + 1..mib(10) + 5, mib(10)..mib(10) + 5),
        ] {
            assert_eq!(list.chunks_in(range.clone()), chunks, "{range:?}");
        }
        assert!(list.chunks_in(5..9).is_empty());
    }
}
