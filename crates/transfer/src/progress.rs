//! Progress: the counters of a transfer. The transfer increases them, and whatever shows the progress reads them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of bytes, shared between a transfer and whatever shows its progress.
#[derive(Debug, Default)]
pub struct Progress {
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
    /// Counts bytes that will be transferred or skipped.
    pub fn expect(&self, bytes: u64) {
        self.total.fetch_add(bytes, Relaxed);
    }

    /// Counts bytes that were read only to compute a digest.
    pub fn hashed(&self, bytes: u64) {
        self.hashed.fetch_add(bytes, Relaxed);
    }

    /// Counts bytes that were transferred.
    pub fn moved(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Relaxed);
    }

    /// Counts bytes that the destination held already.
    pub fn skipped(&self, bytes: u64) {
        self.skipped.fetch_add(bytes, Relaxed);
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
