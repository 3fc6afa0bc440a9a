//! Bytes that somebody waits for while the blob is fetched.

use crate::hashing::lock;
use std::{
    collections::VecDeque,
    ops::Range,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};
use tokio::sync::Notify;

/// So many ranges wait to be fetched at the most. Those that came first are forgotten: whoever still waits for them gets them in turn.
const MOST: usize = 64;

/// The bytes of a blob that readers wait for. [`fetch`](crate::fetch) fetches them before all others, and the others only if they are
/// [wanted](Self::want_all).
#[derive(Debug, Default)]
pub struct Demand {
    wanted: Mutex<VecDeque<Range<u64>>>,
    all: AtomicBool,
    changed: Notify,
}

impl Demand {
    /// Says that somebody waits for these bytes.
    pub fn want(&self, range: Range<u64>) {
        let mut wanted = lock(&self.wanted);
        if range.is_empty() || wanted.iter().any(|other| other.start <= range.start && range.end <= other.end) {
            return;
        }
        if wanted.len() == MOST {
            wanted.pop_front();
        }
        wanted.push_back(range);
        self.changed.notify_one();
    }

    /// Says that the bytes for which nobody waits are to be fetched too.
    pub fn want_all(&self) {
        self.all.store(true, Relaxed);
        self.changed.notify_one();
    }

    pub(crate) fn wants_all(&self) -> bool {
        self.all.load(Relaxed)
    }

    /// Waits for a change. Returns the bytes that were wanted next, or nothing if all are wanted now.
    pub(crate) async fn next(&self) -> Option<Range<u64>> {
        let wanted_all = self.wants_all();
        loop {
            // If something changes before this waits, it does not wait.
            let changed = self.changed.notified();
            let range = lock(&self.wanted).pop_front();
            if range.is_some() || self.wants_all() != wanted_all {
                return range;
            }
            changed.await;
        }
    }
}
