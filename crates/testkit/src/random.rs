//! A random generator for choices of tests, so that a seed determines a run.

/// Splitmix64: small, the same on every machine, and random enough for choices of tests.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of one stream of a seed, such as a round of a run. They are independent of those of other streams.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(Self(Self(seed).number() ^ stream).number())
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number smaller than `end`, which must not be zero.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// True with probability 1 / `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of the choices, of which there must be at least one.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).expect("it is smaller than the length")]
    }

    /// So many random bytes.
    pub fn bytes(&mut self, len: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(len).expect("models here are small")];
        for piece in bytes.chunks_mut(8) {
            piece.copy_from_slice(&self.number().to_le_bytes()[..piece.len()]);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of the published generator from the state 0. A seed must always give the
    /// same numbers.
    #[test]
    fn the_numbers_are_those_of_splitmix64() {
        let mut random = Random(0);
        assert_eq!([random.number(), random.number()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    #[test]
    fn random_bytes_are_those_of_the_numbers() {
        let mut random = Random(0);
        assert_eq!(
            random.bytes(11),
            [&0xe220_a839_7b1d_cdaf_u64.to_le_bytes()[..], &0x6e78_9e6a_a1b9_65f4_u64.to_le_bytes()[..3]].concat()
        );
        assert_eq!(random.number(), 0x06c4_5d18_8009_454f);
    }

    #[test]
    fn seeds_and_streams_differ() {
        let first = |seed, stream| Random::new(seed, stream).number();
        assert_eq!(first(1, 2), first(1, 2));
        assert!(first(1, 2) != first(2, 1) && first(1, 2) != first(1, 3) && first(1, 2) != first(2, 2));
    }
}
