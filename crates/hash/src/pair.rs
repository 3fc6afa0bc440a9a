//! Blocks of two streams at a time, by the instructions for SHA-256 of x86 processors. Everywhere else, one stream after the other.

use crate::BLOCK;
use sha2::block_api::compress256;

/// Takes blocks of two streams, as many of one as of the other.
pub(crate) fn compress(one: &mut [u32; 8], blocks: &[[u8; BLOCK]], other: &mut [u32; 8], other_blocks: &[[u8; BLOCK]]) {
    #[cfg(target_arch = "x86_64")]
    if x86::compress([one, other], blocks, other_blocks) {
        return;
    }
    compress256(one, blocks);
    compress256(other, other_blocks);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #![expect(unsafe_code, reason = "16 bytes are loaded from a pointer, and a function is called that not every processor can execute")]

    use crate::BLOCK;
    use std::{arch::x86_64::*, iter::zip};

    /// The constants of the rounds (FIPS 180-4, 4.2.2), as signed numbers, which the instructions take.
    #[rustfmt::skip]
    #[expect(overflowing_literals)]
    const K: [[i32; 4]; 16] = [
        [0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5], [0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5],
        [0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3], [0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174],
        [0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc], [0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da],
        [0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7], [0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967],
        [0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13], [0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85],
        [0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3], [0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070],
        [0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5], [0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3],
        [0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208], [0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2],
    ];

    /// Takes the blocks and returns true, if the processor has the instructions.
    pub(super) fn compress(states: [&mut [u32; 8]; 2], blocks: &[[u8; BLOCK]], other_blocks: &[[u8; BLOCK]]) -> bool {
        if !(is_x86_feature_detected!("sha") && is_x86_feature_detected!("ssse3") && is_x86_feature_detected!("sse4.1")) {
            return false;
        }
        // SAFETY: the processor has the instructions that the function is compiled with.
        unsafe { compress_pair(states, blocks, other_blocks) };
        true
    }

    /// The state of one stream in two registers: the words a, b, e, f and the words c, d, g, h, each from the last to the first.
    #[derive(Clone, Copy)]
    struct Registers {
        abef: __m128i,
        cdgh: __m128i,
    }

    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn compress_pair(states: [&mut [u32; 8]; 2], blocks: &[[u8; BLOCK]], other_blocks: &[[u8; BLOCK]]) {
        let mut streams = [registers(states[0]), registers(states[1])];
        for (block, other) in zip(blocks, other_blocks) {
            let before = streams;
            let (mut words, mut other_words) = (words(block), words(other));
            for group in 0..4 {
                rounds(&mut streams, &mut words, &mut other_words, group);
            }
            for (now, before) in zip(&mut streams, before) {
                now.abef = _mm_add_epi32(now.abef, before.abef);
                now.cdgh = _mm_add_epi32(now.cdgh, before.cdgh);
            }
        }
        for (state, Registers { abef, cdgh }) in zip(states, streams) {
            let word = |four: __m128i| {
                [_mm_extract_epi32::<3>(four), _mm_extract_epi32::<2>(four), _mm_extract_epi32::<1>(four), _mm_extract_epi32::<0>(four)]
            };
            let ([a, b, e, f], [c, d, g, h]) = (word(abef), word(cdgh));
            *state = [a, b, c, d, e, f, g, h].map(i32::cast_unsigned);
        }
    }

    /// 16 rounds of both streams, each of whose instructions are between those of the other.
    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn rounds(streams: &mut [Registers; 2], one: &mut [__m128i; 4], other: &mut [__m128i; 4], group: usize) {
        for i in 0..4 {
            if group > 0 {
                one[i] = next_words(one, i);
                other[i] = next_words(other, i);
            }
            let [k0, k1, k2, k3] = K[4 * group + i];
            let constants = _mm_set_epi32(k3, k2, k1, k0);
            let [a, b] = streams;
            let (sum_a, sum_b) = (_mm_add_epi32(one[i], constants), _mm_add_epi32(other[i], constants));
            a.cdgh = _mm_sha256rnds2_epu32(a.cdgh, a.abef, sum_a);
            b.cdgh = _mm_sha256rnds2_epu32(b.cdgh, b.abef, sum_b);
            a.abef = _mm_sha256rnds2_epu32(a.abef, a.cdgh, _mm_shuffle_epi32::<0x0e>(sum_a));
            b.abef = _mm_sha256rnds2_epu32(b.abef, b.cdgh, _mm_shuffle_epi32::<0x0e>(sum_b));
        }
    }

    /// The words of the message schedule that replace those at `i`, which are the earliest of the last 16 (FIPS 180-4, 6.2.2).
    #[inline]
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    fn next_words(last: &[__m128i; 4], i: usize) -> __m128i {
        let [w0, w1, w2, w3] = [last[i], last[(i + 1) % 4], last[(i + 2) % 4], last[(i + 3) % 4]];
        let sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8::<4>(w3, w2));
        _mm_sha256msg2_epu32(sum, w3)
    }

    /// The 16 words of a block, big-endian.
    #[inline]
    #[target_feature(enable = "ssse3")]
    fn words(block: &[u8; BLOCK]) -> [__m128i; 4] {
        let swap = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
        let start = block.as_ptr().cast::<__m128i>();
        // SAFETY: the block has 4 times 16 bytes, and the instruction needs no alignment.
        let [w0, w1, w2, w3] = unsafe {
            [_mm_loadu_si128(start), _mm_loadu_si128(start.add(1)), _mm_loadu_si128(start.add(2)), _mm_loadu_si128(start.add(3))]
        };
        [_mm_shuffle_epi8(w0, swap), _mm_shuffle_epi8(w1, swap), _mm_shuffle_epi8(w2, swap), _mm_shuffle_epi8(w3, swap)]
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn registers(state: &[u32; 8]) -> Registers {
        let [a, b, c, d, e, f, g, h] = state.map(u32::cast_signed);
        Registers { abef: _mm_set_epi32(a, b, e, f), cdgh: _mm_set_epi32(c, d, g, h) }
    }
}
