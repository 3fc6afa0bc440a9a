use super::*;
use proptest::prelude::*;
use sha2::Digest as _;

/// The same by `sha2`, which knows nothing of states and pairs.
fn expected(bytes: &[u8]) -> State {
    sha2::Sha256::digest(bytes).into()
}

fn pattern(len: usize, seed: u64) -> Vec<u8> {
    (0..len as u64).map(|i| ((i + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

#[test]
fn the_first_state_and_the_constants_are_those_of_the_standard() {
    // FIPS 180-4, 5.3.3: the fractions of the square roots of the first primes.
    let primes = [2.0_f64, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0, 19.0];
    assert_eq!(FIRST, primes.map(|prime| (prime.sqrt().fract() * 2.0_f64.powi(32)) as u32));
    assert_eq!(Sha256::new().finish(), expected(b""));
    assert_eq!(Sha256::new().state(), Some(Sha256::at(&bytes_of(&FIRST), 0).state().unwrap()));
}

#[test]
fn every_length_around_the_blocks_and_their_padding_is_right() {
    for len in 0..300 {
        let bytes = pattern(len, 1);
        let mut hasher = Sha256::new();
        hasher.update(&bytes);
        assert_eq!(hasher.count(), len as u64);
        assert_eq!(hasher.finish(), expected(&bytes), "{len}");
    }
}

#[test]
fn what_was_saved_continues_and_what_was_not_is_refused() {
    let bytes = pattern(1000, 2);
    for at in [0, 1, 63, 64, 65, 127, 128, 999, 1000] {
        let mut hasher = Sha256::new();
        hasher.update(&bytes[..at]);
        let saved = hasher.save();
        let mut resumed = Sha256::resume(&saved).unwrap();
        resumed.update(&bytes[at..]);
        assert_eq!(resumed.finish(), expected(&bytes), "{at}");
        assert!(Sha256::resume(&saved[..saved.len() - 1]).is_none());
        assert!(Sha256::resume(&[&saved[..], b"?"].concat()).is_none());
    }
    assert!(Sha256::resume(b"").is_none());
}

proptest! {
    #[test]
    fn any_pieces_of_one_stream_or_of_a_pair_have_the_same_digests(
        pieces in prop::collection::vec((0usize..700, 0usize..700), 0..12),
        begins in any::<(u64, u64)>(),
    ) {
        let (mut one, mut other, mut alone) = (Sha256::new(), Sha256::new(), Sha256::new());
        let (mut all, mut all_other) = (Vec::new(), Vec::new());
        for (number, (len, other_len)) in pieces.into_iter().enumerate() {
            let (piece, other_piece) = (pattern(len, begins.0 ^ number as u64), pattern(other_len, begins.1 ^ number as u64));
            Sha256::update_pair(&mut one, &piece, &mut other, &other_piece);
            alone.update(&piece);
            prop_assert_eq!(one.state(), alone.state());
            all.extend(piece);
            all_other.extend(other_piece);
        }
        prop_assert_eq!(one.finish(), expected(&all));
        prop_assert_eq!(other.finish(), expected(&all_other));
        prop_assert_eq!(alone.finish(), expected(&all));
    }

    #[test]
    fn the_second_half_is_hashed_from_the_state_after_the_first(blocks in 0usize..20, rest in 0usize..200) {
        let bytes = pattern(blocks * BLOCK + rest, 3);
        let mut first = Sha256::new();
        first.update(&bytes[..blocks * BLOCK]);
        let mut second = Sha256::at(&first.state().unwrap(), (blocks * BLOCK) as u64);
        second.update(&bytes[blocks * BLOCK..]);
        prop_assert_eq!(second.finish(), expected(&bytes));
    }
}
