//! How far a transfer is: counters that a transfer moves and whoever shows them reads.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Counters of bytes, shared between a transfer and whoever shows it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Counts these bytes too.
    whole: Option<Arc<Progress>>,
    total: AtomicU64,
    hashed: AtomicU64,
    moved: AtomicU64,
    skipped: AtomicU64,
}

/// The counters at one moment, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// What is known to be done in all; grows while more is found.
    pub total: u64,
    /// Read only to learn a digest.
    pub hashed: u64,
    /// Moved.
    pub moved: u64,
    /// Not moved, because it was there already.
    pub skipped: u64,
}

impl Progress {
    /// Counters that begin at zero. What they count, `whole` counts too.
    pub fn part_of(whole: Arc<Self>) -> Self {
        Self { whole: Some(whole), ..Self::default() }
    }

    /// More bytes will be moved or skipped.
    pub fn expect(&self, bytes: u64) {
        self.add(bytes, |counters| &counters.total);
    }

    /// Bytes were read for their digest alone.
    pub fn hashed(&self, bytes: u64) {
        self.add(bytes, |counters| &counters.hashed);
    }

    /// Bytes were moved.
    pub fn moved(&self, bytes: u64) {
        self.add(bytes, |counters| &counters.moved);
    }

    /// Bytes were there already.
    pub fn skipped(&self, bytes: u64) {
        self.add(bytes, |counters| &counters.skipped);
    }

    fn add(&self, bytes: u64, counter: fn(&Self) -> &AtomicU64) {
        let mut counters = Some(self);
        while let Some(these) = counters {
            counter(these).fetch_add(bytes, Relaxed);
            counters = these.whole.as_deref();
        }
    }

    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            total: self.total.load(Relaxed),
            hashed: self.hashed.load(Relaxed),
            moved: self.moved.load(Relaxed),
            skipped: self.skipped.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_part_counts_the_whole_counts_too() {
        let whole = Arc::new(Progress::default());
        let parts = [Progress::part_of(whole.clone()), Progress::part_of(whole.clone())];
        parts.iter().zip([1, 10]).for_each(|(part, bytes)| {
            part.expect(4 * bytes);
            part.hashed(bytes);
            part.moved(2 * bytes);
            part.skipped(3 * bytes);
        });
        assert_eq!(parts[0].snapshot(), Snapshot { total: 4, hashed: 1, moved: 2, skipped: 3 });
        assert_eq!(whole.snapshot(), Snapshot { total: 44, hashed: 11, moved: 22, skipped: 33 });
    }
}
