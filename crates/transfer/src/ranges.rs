//! A set of byte ranges: what of a blob is there, or what of it is missing.

use std::{iter, ops::Range};

/// A set of bytes, as half-open ranges that are sorted, not empty, and neither overlap nor touch. It needs memory for each gap, however
/// long the ranges are.
///
/// An empty range, also one that ends before it begins, has no bytes: to insert it changes nothing, and every set contains it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// A set without bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the bytes of `range`.
    pub fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        // Ranges that only touch become one as well.
        let first = self.0.partition_point(|there| there.end < range.start);
        let end = self.0.partition_point(|there| there.start <= range.end);
        let start = self.0[first..end].first().map_or(range.start, |there| there.start.min(range.start));
        let stop = self.0[first..end].last().map_or(range.end, |there| there.end.max(range.end));
        self.0.splice(first..end, iter::once(start..stop));
    }

    /// Removes the bytes of `range`.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let overlapping = self.overlapping(&range);
        let before = self.0[overlapping.clone()].first().map(|there| there.start..range.start);
        let after = self.0[overlapping.clone()].last().map(|there| range.end..there.end);
        self.0.splice(overlapping, before.into_iter().chain(after).filter(|rest| !rest.is_empty()));
    }

    /// Whether all bytes of `range` are in the set.
    pub fn contains(&self, range: Range<u64>) -> bool {
        range.is_empty()
            || self.0[self.overlapping(&range)].first().is_some_and(|there| there.start <= range.start && range.end <= there.end)
    }

    /// Whether any byte of `range` is in the set.
    pub fn intersects(&self, range: Range<u64>) -> bool {
        !range.is_empty() && !self.overlapping(&range).is_empty()
    }

    /// The positions of the ranges that have bytes in common with `range`, which is not empty.
    fn overlapping(&self, range: &Range<u64>) -> Range<usize> {
        let first = self.0.partition_point(|there| there.end <= range.start);
        let end = self.0.partition_point(|there| there.start < range.end);
        first..end
    }

    /// The ranges in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Range<u64>> + ExactSizeIterator + '_ {
        self.0.iter().cloned()
    }

    /// How many bytes are in the set.
    pub fn total(&self) -> u64 {
        self.iter().map(|range| range.end - range.start).sum()
    }

    /// Whether there are no bytes in the set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The lowest range.
    pub fn first(&self) -> Option<Range<u64>> {
        self.0.first().cloned()
    }

    /// The lowest bytes from `start` on that are in the set without a gap.
    pub fn next_from(&self, start: u64) -> Option<Range<u64>> {
        let next = self.0.partition_point(|there| there.end <= start);
        self.0.get(next).map(|there| there.start.max(start)..there.end)
    }

    /// How many bytes from byte 0 on are in the set without a gap.
    pub fn end_of_prefix(&self) -> u64 {
        self.first().filter(|first| first.start == 0).map_or(0, |first| first.end)
    }

    /// The bytes below `len` that are not in the set.
    pub fn complement(&self, len: u64) -> Self {
        let mut rest = Self::from(0..len);
        self.iter().for_each(|range| rest.remove(range));
        rest
    }
}

impl From<Range<u64>> for Ranges {
    fn from(range: Range<u64>) -> Self {
        iter::once(range).collect()
    }
}

impl FromIterator<Range<u64>> for Ranges {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Self {
        let mut set = Self::new();
        ranges.into_iter().for_each(|range| set.insert(range));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection, prelude::*};

    const LEN: u64 = 40;

    /// The same set, one `bool` for each byte.
    #[derive(Clone, Debug, PartialEq)]
    struct Bitmap([bool; LEN as usize]);

    impl Bitmap {
        fn of(ranges: &Ranges) -> Self {
            let mut bitmap = Self([false; LEN as usize]);
            ranges.iter().for_each(|range| bitmap.set(range, true));
            bitmap
        }

        fn set(&mut self, range: Range<u64>, to: bool) {
            range.for_each(|byte| self.0[byte as usize] = to);
        }

        fn total(&self) -> u64 {
            self.0.iter().filter(|byte| **byte).count() as u64
        }
    }

    fn assert_normal(ranges: &Ranges) {
        assert!(ranges.iter().all(|range| !range.is_empty()), "{ranges:?}");
        assert!(ranges.0.windows(2).all(|pair| pair[0].end < pair[1].start), "{ranges:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn they_are_what_a_bitmap_is(
            changes in collection::vec((any::<bool>(), 0..LEN, 0..LEN), 0..24),
            (start, end) in (0..LEN, 0..LEN),
        ) {
            let (mut ranges, mut bitmap) = (Ranges::new(), Bitmap([false; LEN as usize]));
            for (insert, start, end) in changes {
                if insert { ranges.insert(start..end) } else { ranges.remove(start..end) }
                bitmap.set(start..end, insert);
                assert_normal(&ranges);
                prop_assert_eq!(&Bitmap::of(&ranges), &bitmap);
            }
            prop_assert_eq!(ranges.total(), bitmap.total());
            prop_assert_eq!(ranges.is_empty(), bitmap.total() == 0);
            prop_assert_eq!(ranges.first(), ranges.iter().next());
            prop_assert_eq!(ranges.end_of_prefix(), bitmap.0.iter().take_while(|byte| **byte).count() as u64);
            prop_assert_eq!(ranges.contains(start..end), (start..end).all(|byte| bitmap.0[byte as usize]));
            prop_assert_eq!(ranges.intersects(start..end), (start..end).any(|byte| bitmap.0[byte as usize]));
            let complement = ranges.complement(end);
            assert_normal(&complement);
            for byte in 0..LEN {
                prop_assert_eq!(complement.contains(byte..byte + 1), byte < end && !bitmap.0[byte as usize]);
            }
        }
    }

    #[test]
    fn the_largest_offsets_do_not_overflow() {
        let mut ranges = Ranges::from(0..u64::MAX);
        ranges.insert(u64::MAX - 1..u64::MAX);
        assert_eq!(ranges.total(), u64::MAX);
        ranges.remove(1..u64::MAX);
        assert_eq!((ranges.first(), ranges.complement(u64::MAX).total()), (Some(0..1), u64::MAX - 1));
    }
}
