//! Sets of bytes.

use std::ops::Range;

/// A set of byte positions, as ranges that are sorted and do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds all positions of `range`.
    pub fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let from = self.0.partition_point(|r| r.end < range.start);
        let to = self.0.partition_point(|r| r.start <= range.end);
        let start = self.0.get(from).map_or(range.start, |r| r.start.min(range.start));
        let end = if to > from { self.0[to - 1].end.max(range.end) } else { range.end };
        self.0.splice(from..to, [if from < to { start..end } else { range }]);
    }

    /// Removes all positions of `range`.
    pub fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let from = self.0.partition_point(|r| r.end <= range.start);
        let to = self.0.partition_point(|r| r.start < range.end);
        let kept: Vec<_> = self.0[from..to]
            .iter()
            .flat_map(|r| [r.start..range.start.min(r.end), range.end.max(r.start)..r.end])
            .filter(|r| r.start < r.end)
            .collect();
        self.0.splice(from..to, kept);
    }

    /// The ranges in order.
    pub fn iter(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.0.iter().cloned()
    }

    /// How many positions there are.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|r| r.end - r.start).sum()
    }

    /// Whether there is no position.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is a position in `range`.
    pub fn intersects(&self, range: &Range<u64>) -> bool {
        self.0.get(self.0.partition_point(|r| r.end <= range.start)).is_some_and(|r| r.start < range.end)
    }

    /// How many positions from 0 on are there without a gap.
    pub fn end_of_prefix(&self) -> u64 {
        self.0.first().filter(|r| r.start == 0).map_or(0, |r| r.end)
    }

    /// The positions below `len` that are not in this set.
    pub fn complement(&self, len: u64) -> Self {
        let mut all = Self::new();
        all.insert(0..len);
        self.iter().for_each(|r| all.remove(r));
        all
    }
}
