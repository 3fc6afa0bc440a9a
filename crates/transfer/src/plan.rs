//! Which bytes of which blob are fetched next. It decides only: it has no I/O and no clock.

use crate::Ranges;
use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

const MIB: u64 = 1 << 20;

/// A range of a large blob is at least and at most this long. Shorter ranges cost more requests; longer ones leave less to distribute over
/// the connections at the end.
const SHORTEST: u64 = 8 * MIB;
const LONGEST: u64 = 64 * MIB;

/// Ranges end at a multiple of this, if the blob goes on.
const ALIGNMENT: u64 = MIB;

/// A shorter rest of a gap is fetched with the range before it: another request costs more time than it saves.
const SHORTEST_REST: u64 = 2 * MIB;

/// In which order the bytes of a blob can be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// In any order, and several ranges at the same time.
    Any,
    /// In ascending order, one range after the other.
    Sequential,
}

/// What is still to be fetched of some blobs, and which bytes of it are next.
///
/// Each missing byte is given out in one [`Fetch`], and again only if that fetch ends without it. The first blobs come first: as many blobs
/// as there are connections are fetched at the same time, each with as few connections as possible, so that the bytes of a blob come almost
/// in order. If connections are left, they fetch several ranges of a blob. A fetch that is under way is never shortened: what the server has
/// sent already would be lost.
///
/// The memory it needs depends on the number of blobs, gaps and fetches under way, and not on the number of bytes.
#[derive(Debug, Default)]
pub struct Plan {
    /// The blobs that are not finished, in the order in which they are wanted.
    blobs: VecDeque<Blob>,
}

#[derive(Debug)]
struct Blob {
    id: usize,
    order: Order,
    /// What is neither there nor part of a fetch.
    missing: Ranges,
    under_way: Vec<Arc<Rest>>,
}

/// A range of a blob that one connection fetches. It is given back to [`Plan::done`] or [`Plan::failed`]; until then, nobody else fetches its
/// bytes.
///
/// The connection tells [`advance`](Fetch::advance) of each piece that arrives. Clones are the same fetch.
#[derive(Clone, Debug)]
#[must_use = "the plan waits until the fetch is given back"]
pub struct Fetch {
    blob: usize,
    rest: Arc<Rest>,
}

/// The bytes of a fetch that have not arrived, shared between its connection, which moves the beginning, and the plan, which moves the end.
#[derive(Debug)]
struct Rest(Mutex<Range<u64>>);

impl Plan {
    /// A plan without blobs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a blob behind the others. `blob` is a number that the caller chooses. If the blob is in the plan already, these bytes are missing
    /// as well.
    pub fn add(&mut self, blob: usize, missing: Ranges, order: Order) {
        if let Some(there) = self.blobs.iter_mut().find(|there| there.id == blob) {
            missing.iter().for_each(|range| there.missing.insert(range));
            there.order = order;
        } else if !missing.is_empty() {
            self.blobs.push_back(Blob { id: blob, order, missing, under_way: Vec::new() });
        }
    }

    /// Removes a blob of which nothing more is wanted. For its fetches under way, [`Fetch::advance`] returns 0 from now on.
    pub fn remove(&mut self, blob: usize) {
        if let Some(blob) = self.position(blob).and_then(|at| self.blobs.remove(at)) {
            for rest in blob.under_way {
                rest.take_all();
            }
        }
    }

    /// The next bytes to fetch over a connection that is free. `connections` is how many are used at the same time.
    ///
    /// `None` if there is nothing to do for this connection, until a fetch is given back or a blob is added.
    pub fn next(&mut self, connections: usize) -> Option<Fetch> {
        let connections = connections.max(1);
        self.next_missing(connections)
    }

    fn next_missing(&mut self, connections: usize) -> Option<Fetch> {
        let length = self.length_of_ranges(connections);
        let wanted = self.blobs.iter_mut().filter(|blob| blob.has_next()).take(connections);
        let blob = wanted.min_by_key(|blob| blob.under_way.len())?;
        let gap = blob.missing.first()?;
        let is_whole = blob.order == Order::Sequential || gap.end - gap.start < length + SHORTEST_REST;
        let range = if is_whole { gap } else { gap.start..(gap.start + length) / ALIGNMENT * ALIGNMENT };
        blob.missing.remove(range.clone());
        Some(blob.fetch(range))
    }

    /// How long the ranges of large blobs are now. The fewer bytes are left, the shorter, so that all connections end at about the same time.
    fn length_of_ranges(&self, connections: usize) -> u64 {
        let parts = (connections as u64).saturating_mul(2);
        let mut left = 0u64;
        for blob in &self.blobs {
            left = left.saturating_add(blob.missing.total());
            if left / parts >= LONGEST {
                break;
            }
        }
        (left / parts).clamp(SHORTEST, LONGEST)
    }

    /// Ends a fetch. What of it did not arrive is missing again, and is given out before what comes after it.
    pub fn done(&mut self, fetch: Fetch) {
        let from = fetch.rest().start;
        self.failed(fetch, from);
    }

    /// Ends a fetch after which the blob has only the bytes before `from`: if some that arrived were lost, `from` is less than the beginning of
    /// [`Fetch::rest`]. What was to be fetched from there on is missing again, and is given out before what comes after it.
    pub fn failed(&mut self, fetch: Fetch, from: u64) {
        let Some(at) = self.position(fetch.blob) else { return };
        let blob = &mut self.blobs[at];
        // If it is not there, the blob was removed, and added again.
        let Some(fetched) = blob.under_way.iter().position(|rest| Arc::ptr_eq(rest, &fetch.rest)) else { return };
        blob.under_way.swap_remove(fetched);
        blob.missing.insert(from..fetch.rest().end);
        if blob.is_finished() {
            self.blobs.remove(at);
        }
    }

    /// The answer to `fetch` shows that the source has no ranges: it sends the blob from its first to its last byte, whatever is requested. So
    /// this fetch goes on to the end of what is missing, and the blob is fetched sequentially. For the fetches of later bytes that are under way,
    /// [`Fetch::advance`] returns 0 from now on.
    pub fn without_ranges(&mut self, fetch: &Fetch) {
        let Some(at) = self.position(fetch.blob) else { return };
        let Blob { order, missing, under_way, .. } = &mut self.blobs[at];
        *order = Order::Sequential;
        let mut this = fetch.rest.lock();
        for other in under_way.iter().filter(|other| !Arc::ptr_eq(other, &fetch.rest)) {
            if other.lock().start >= this.end {
                missing.insert(other.take_all());
            }
        }
        let following = missing.iter().find(|range| range.start == this.end);
        if let Some(following) = following {
            missing.remove(following.clone());
            this.end = following.end;
        }
    }

    /// Whether nothing of this blob is missing or under way.
    pub fn is_finished(&self, blob: usize) -> bool {
        self.position(blob).is_none()
    }

    /// Whether all blobs are finished.
    pub fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    fn position(&self, blob: usize) -> Option<usize> {
        self.blobs.iter().position(|there| there.id == blob)
    }
}

impl Blob {
    fn has_next(&self) -> bool {
        !self.missing.is_empty() && (self.order == Order::Any || self.under_way.is_empty())
    }

    fn is_finished(&self) -> bool {
        self.missing.is_empty() && self.under_way.is_empty()
    }

    fn fetch(&mut self, range: Range<u64>) -> Fetch {
        let rest = Arc::new(Rest(Mutex::new(range)));
        self.under_way.push(rest.clone());
        Fetch { blob: self.id, rest }
    }
}

impl Fetch {
    /// The number of the blob.
    pub fn blob(&self) -> usize {
        self.blob
    }

    /// What has not arrived: what the connection requests, at first and after an interruption. It is empty when the fetch is complete.
    pub fn rest(&self) -> Range<u64> {
        self.rest.lock().clone()
    }

    /// Says that the next `len` bytes arrived, and returns how many of them belong to this fetch. If they are fewer, the fetch is complete, and
    /// another connection fetches the others.
    pub fn advance(&self, len: usize) -> usize {
        let mut rest = self.rest.lock();
        let taken = usize::try_from(rest.end - rest.start).map_or(len, |left| left.min(len));
        rest.start += taken as u64;
        taken
    }
}

impl Rest {
    fn lock(&self) -> MutexGuard<'_, Range<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_all(&self) -> Range<u64> {
        let mut rest = self.lock();
        let taken = rest.clone();
        rest.end = rest.start;
        taken
    }
}

#[cfg(test)]
mod tests;
