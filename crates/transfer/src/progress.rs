//! How far a transfer is: counters that a transfer moves and whoever shows them reads.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of bytes, shared between a transfer and whoever shows it.
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
    /// More bytes will be moved or skipped.
    pub fn expect(&self, bytes: u64) {
        self.total.fetch_add(bytes, Relaxed);
    }

    /// Bytes were read for their digest alone.
    pub fn hashed(&self, bytes: u64) {
        self.hashed.fetch_add(bytes, Relaxed);
    }

    /// Bytes were moved.
    pub fn moved(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Relaxed);
    }

    /// Bytes were there already.
    pub fn skipped(&self, bytes: u64) {
        self.skipped.fetch_add(bytes, Relaxed);
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
