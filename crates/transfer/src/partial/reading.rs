//! Reading a partial blob while its bytes arrive.

use super::Partial;
use crate::Demand;
use std::{
    ops::Range,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};
use tokio::sync::Notify;

/// What readers may see of a blob before all of it is verified, if it has no list of hash states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unverified {
    /// Nothing: they wait for the last byte.
    #[default]
    Hidden,
    /// The bytes that have arrived. If the digest is wrong at the end, they have seen wrong bytes.
    Visible,
}

/// Those who read a partial blob.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// Whether there may be some.
    are_allowed: AtomicBool,
    demand: Demand,
    /// How many of them wait.
    waiting: AtomicUsize,
    arrived: Notify,
}

impl Readers {
    /// Whether somebody waits for bytes.
    pub(super) fn are_waiting(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    /// Lets those who wait look again.
    pub(super) fn wake(&self) {
        if self.are_waiting() {
            self.arrived.notify_waiters();
        }
    }
}

impl Partial {
    /// Lets it be read while its bytes arrive. From now on, [`fetch`](crate::fetch) fetches only what readers want.
    pub fn allow_readers(&self) {
        self.readers.are_allowed.store(true, Relaxed);
    }

    /// What its readers want, if it may have some.
    pub(super) fn readers(&self) -> Option<&Demand> {
        self.readers.are_allowed.load(Relaxed).then_some(&self.readers.demand)
    }

    /// What its readers want.
    pub fn demand(&self) -> &Demand {
        &self.readers.demand
    }

    /// How many bytes are here.
    pub fn present(&self) -> u64 {
        self.kept().present.total()
    }

    /// Whether these bytes are here and may be read: with a list of hash states those that agree with it, and otherwise what `unverified`
    /// says.
    ///
    /// The list decides what is seen, so it must be one that whoever is trusted has named.
    pub fn is_readable(&self, range: Range<u64>, unverified: Unverified) -> bool {
        match (self.chunks(), unverified) {
            (Some(chunks), _) => chunks.verified().contains(range),
            (None, Unverified::Hidden) => false,
            (None, Unverified::Visible) => self.kept().present.contains(range),
        }
    }

    /// Whether readers see nothing before all bytes are here: there is no list of hash states, or some bytes did not agree with it.
    fn is_readable_as_a_whole(&self, unverified: Unverified) -> bool {
        self.chunks().is_none() && unverified == Unverified::Hidden
    }

    /// Waits until [these bytes](Self::is_readable) may be read. They are fetched before others.
    pub async fn readable(&self, range: Range<u64>, unverified: Unverified) {
        struct Waiting<'a>(&'a Readers);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.waiting.fetch_sub(1, Relaxed);
            }
        }
        self.readers.waiting.fetch_add(1, Relaxed);
        let _waiting = Waiting(&self.readers);
        self.demand().want(range.clone());
        loop {
            let arrived = self.readers.arrived.notified();
            tokio::pin!(arrived);
            // What arrives from now on wakes it.
            arrived.as_mut().enable();
            if self.is_readable(range.clone(), unverified) {
                return;
            }
            if self.is_readable_as_a_whole(unverified) {
                self.demand().want_all();
            }
            arrived.await;
        }
    }
}
