//! SHA-256 (FIPS 180-4) from any state on, and of two streams at a time.
//!
//! The hash function is a chain: from its state after some blocks of 64 bytes, the next blocks lead to the next state. So bytes in the
//! middle of a file can be hashed if the state before them is known. `sha2` computes one stream as fast as the processor can. Two
//! independent streams together take less time than one after the other, because each instruction of one of them has to wait for the
//! instruction before it: [`Sha256::update_pair`].

mod pair;

use sha2::block_api::compress256;

/// How many bytes the hash function takes at a time.
pub const BLOCK: usize = 64;

/// The state after a whole number of blocks, big-endian, as it would be the digest if there were no padding.
pub type State = [u8; 32];

/// The state before the first byte (FIPS 180-4, 5.3.3).
const FIRST: [u32; 8] = [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Computes SHA-256 piece by piece.
#[derive(Clone)]
pub struct Sha256 {
    state: [u32; 8],
    /// How many bytes were taken.
    count: u64,
    /// The bytes after the last whole block.
    rest: [u8; BLOCK],
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

impl Sha256 {
    /// Has not yet taken a byte.
    pub fn new() -> Self {
        Self { state: FIRST, count: 0, rest: [0; BLOCK] }
    }

    /// Has taken `count` bytes, which led to this state.
    ///
    /// # Panics
    ///
    /// Panics if `count` is not a whole number of blocks.
    pub fn at(state: &State, count: u64) -> Self {
        assert!(count.is_multiple_of(BLOCK as u64), "a state is one between two blocks");
        let words = state.as_chunks::<4>().0;
        let mut numbers = [0; 8];
        numbers.iter_mut().zip(words).for_each(|(number, word)| *number = u32::from_be_bytes(*word));
        Self { state: numbers, count, rest: [0; BLOCK] }
    }

    /// How many bytes were taken.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The state; `None` in the middle of a block.
    pub fn state(&self) -> Option<State> {
        (self.begun() == 0).then(|| bytes_of(&self.state))
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let bytes = self.complete_block(bytes);
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        compress256(&mut self.state, blocks);
        self.rest[..rest.len()].copy_from_slice(rest);
        self.count += bytes.len() as u64;
    }

    /// Takes the next bytes of two streams. This takes less time than [`update`](Self::update) for one after the other where the processor
    /// has instructions for SHA-256, as far as both have bytes.
    pub fn update_pair(one: &mut Self, bytes: &[u8], other: &mut Self, other_bytes: &[u8]) {
        let (bytes, other_bytes) = (one.complete_block(bytes), other.complete_block(other_bytes));
        let (blocks, other_blocks) = (bytes.as_chunks::<BLOCK>().0, other_bytes.as_chunks::<BLOCK>().0);
        let common = blocks.len().min(other_blocks.len());
        pair::compress(&mut one.state, &blocks[..common], &mut other.state, &other_blocks[..common]);
        let taken = common * BLOCK;
        for (hasher, bytes) in [(one, bytes), (other, other_bytes)] {
            hasher.count += taken as u64;
            hasher.update(&bytes[taken..]);
        }
    }

    /// The digest of all bytes taken.
    pub fn finish(mut self) -> State {
        let bits = self.count.wrapping_mul(8).to_be_bytes();
        let begun = self.begun();
        self.rest[begun] = 0x80;
        self.rest[begun + 1..].fill(0);
        if begun + 1 + bits.len() > BLOCK {
            compress256(&mut self.state, &[self.rest]);
            self.rest.fill(0);
        }
        self.rest[BLOCK - bits.len()..].copy_from_slice(&bits);
        compress256(&mut self.state, &[self.rest]);
        bytes_of(&self.state)
    }

    /// Everything that [`resume`](Self::resume) needs to continue; at most 103 bytes.
    pub fn save(&self) -> Vec<u8> {
        let mut saved = bytes_of(&self.state).to_vec();
        saved.extend(self.count.to_be_bytes());
        saved.extend(&self.rest[..self.begun()]);
        saved
    }

    /// What was [saved](Self::save). `None` if it is not of that form; whether it belongs to certain bytes cannot be checked.
    pub fn resume(saved: &[u8]) -> Option<Self> {
        let (state, rest) = saved.split_first_chunk::<32>()?;
        let (count, rest) = rest.split_first_chunk::<8>()?;
        let count = u64::from_be_bytes(*count);
        let mut resumed = Self::at(state, count - count % BLOCK as u64);
        resumed.count = count;
        if resumed.begun() != rest.len() {
            return None;
        }
        resumed.rest[..rest.len()].copy_from_slice(rest);
        Some(resumed)
    }

    /// How many bytes of a block were taken.
    fn begun(&self) -> usize {
        (self.count % BLOCK as u64) as usize
    }

    /// Takes the bytes that complete a block that was begun, and returns the others.
    fn complete_block<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let begun = self.begun();
        if begun == 0 {
            return bytes;
        }
        let (taken, others) = bytes.split_at(bytes.len().min(BLOCK - begun));
        self.rest[begun..begun + taken.len()].copy_from_slice(taken);
        self.count += taken.len() as u64;
        if self.begun() == 0 {
            compress256(&mut self.state, &[self.rest]);
        }
        others
    }
}

fn bytes_of(state: &[u32; 8]) -> State {
    let mut bytes = [0; 32];
    bytes.as_chunks_mut::<4>().0.iter_mut().zip(state).for_each(|(bytes, number)| *bytes = number.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests;
