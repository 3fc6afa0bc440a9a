//! Progress: the counters of a transfer. The transfer increases them, and whatever shows the progress reads them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Counters of bytes, shared between a transfer and whatever shows its progress.
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
    /// The bytes to transfer, as far as they are known. Grows while more is found.
    pub total: u64,
    /// The bytes that were read only to compute a digest.
    pub hashed: u64,
    /// The bytes that were transferred.
    pub moved: u64,
    /// The bytes that were not transferred, because the destination held them already.
    pub skipped: u64,
}

impl Progress {
    /// Counters that begin at zero. Bytes that they count are counted in `whole` too.
    pub fn part_of(whole: Arc<Self>) -> Self {
        Self { whole: Some(whole), ..Self::default() }
    }

    /// Counts bytes that will be transferred or skipped.
    pub fn expect(&self, bytes: u64) {
        self.add(bytes, |counters| &counters.total);
    }

    /// Counts bytes that were read only to compute a digest.
    pub fn hashed(&self, bytes: u64) {
        self.add(bytes, |counters| &counters.hashed);
    }

    /// Counts bytes that were transferred.
    pub fn moved(&self, bytes: u64) {
        self.add(bytes, |counters| &counters.moved);
    }

    /// Counts bytes that the destination held already.
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

    /// The present values of the counters.
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
