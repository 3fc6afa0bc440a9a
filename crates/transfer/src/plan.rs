//! Which bytes of a blob are fetched next. It decides only: it has no I/O and no clock.

use crate::Ranges;
use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

const MIB: u64 = 1 << 20;

/// A range of a large blob is at least and at most this long. Shorter ranges cost more requests; longer ones leave less to distribute over
/// the connections at the end.
const SHORTEST: u64 = 8 * MIB;
const LONGEST: u64 = 64 * MIB;

/// Ranges end at a multiple of this, if the blob goes on and nothing else is said.
const ALIGNMENT: u64 = MIB;

/// Bytes that somebody waits for are taken from a fetch that is under way, if at least so many bytes of it would arrive before them.
const FAR: u64 = 4 * MIB;

/// A shorter rest of a gap is fetched with the range before it: another request costs more time than it saves.
const SHORTEST_REST: u64 = 2 * MIB;

/// In which order the bytes of a blob can be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// In any order, and several ranges at the same time.
    Any,
    /// In ascending order, one range after the other.
    Sequential,
}

/// What is still to be fetched of a blob, and which bytes of it are next.
///
/// Each missing byte is given out in one [`Fetch`], and again only if that fetch ends without it. A fetch that is under way is not
/// shortened, because what the server has sent already would be lost, unless somebody waits for bytes that would arrive much later.
///
/// The memory it needs depends on the number of gaps and fetches under way, and not on the number of bytes.
#[derive(Debug)]
pub(crate) struct Plan {
    order: Order,
    alignment: u64,
    /// What is neither there nor part of a fetch.
    missing: Ranges,
    /// The end of the last bytes that somebody waited for. What comes after them is fetched before what comes before them.
    cursor: u64,
    under_way: Vec<Arc<Rest>>,
}

/// A range of the blob that one connection fetches. It is given back to [`Plan::done`]; until then, nobody else fetches its bytes.
///
/// The connection tells [`advance`](Fetch::advance) of each piece that arrives. Clones are the same fetch.
#[derive(Clone, Debug)]
#[must_use = "the plan waits until the fetch is given back"]
pub(crate) struct Fetch(Arc<Rest>);

/// The bytes of a fetch that have not arrived, shared between its connection, which moves the beginning, and the plan, which moves the end.
#[derive(Debug)]
struct Rest(Mutex<Range<u64>>);

impl Plan {
    /// A plan for these bytes.
    pub(crate) fn new(missing: Ranges, order: Order) -> Self {
        Self { order, alignment: ALIGNMENT, missing, cursor: 0, under_way: Vec::new() }
    }

    /// The same, whose ranges end at multiples of `alignment` bytes.
    pub(crate) fn aligned(self, alignment: u64) -> Self {
        Self { alignment, ..self }
    }

    /// The next bytes to fetch over a connection that is free. `connections` is how many are used at the same time.
    ///
    /// `None` if there is nothing to do for this connection until a fetch is given back.
    pub(crate) fn next(&mut self, connections: usize) -> Option<Fetch> {
        if self.order == Order::Sequential && !self.under_way.is_empty() {
            return None;
        }
        let gap = match self.order {
            Order::Any => self.missing.next_from(self.cursor).or_else(|| self.missing.first())?,
            Order::Sequential => self.missing.first()?,
        };
        let length = self.length_of_ranges(connections);
        let is_whole = self.order == Order::Sequential || gap.end - gap.start < length + SHORTEST_REST;
        let range = if is_whole { gap } else { gap.start..self.end_of_range(gap.start, length).min(gap.end) };
        Some(self.begin(range))
    }

    fn begin(&mut self, range: Range<u64>) -> Fetch {
        self.missing.remove(range.clone());
        let rest = Arc::new(Rest(Mutex::new(range)));
        self.under_way.push(rest.clone());
        Fetch(rest)
    }

    /// The first of the bytes `wanted` that nobody fetches yet, or that would arrive much later than others of the same fetch. They are
    /// fetched now, because somebody waits for them. `None` if there are none, or if the bytes are fetched in ascending order.
    pub(crate) fn demand(&mut self, wanted: Range<u64>) -> Option<Fetch> {
        if self.order == Order::Sequential {
            return None;
        }
        let end = wanted.end.checked_next_multiple_of(self.alignment).unwrap_or(u64::MAX);
        let wanted = wanted.start / self.alignment * self.alignment..end;
        self.cursor = wanted.start;
        for rest in &self.under_way {
            if let Some(taken) = rest.take_from(wanted.start, FAR) {
                self.missing.insert(taken);
            }
        }
        let gap = self.missing.next_from(wanted.start).filter(|gap| gap.start < wanted.end)?;
        Some(self.begin(gap.start..gap.end.min(wanted.end)))
    }

    /// Whether nothing is missing or under way.
    pub(crate) fn is_finished(&self) -> bool {
        self.missing.is_empty() && self.under_way.is_empty()
    }

    /// The end of a range from `start` on of about this length.
    fn end_of_range(&self, start: u64, length: u64) -> u64 {
        match (start + length) / self.alignment * self.alignment {
            end if end > start => end,
            _ => (start + 1).checked_next_multiple_of(self.alignment).unwrap_or(u64::MAX),
        }
    }

    /// How long ranges are now. The fewer bytes are left, the shorter, so that all connections end at about the same time.
    fn length_of_ranges(&self, connections: usize) -> u64 {
        let parts = (connections.max(1) as u64).saturating_mul(2);
        (self.missing.total() / parts).clamp(SHORTEST, LONGEST)
    }

    /// Ends a fetch. What of it did not arrive is missing again, and is given out before what comes after it.
    pub(crate) fn done(&mut self, fetch: Fetch) {
        self.under_way.retain(|rest| !Arc::ptr_eq(rest, &fetch.0));
        self.missing.insert(fetch.rest());
    }

    /// The answer to `fetch` shows that the source has no ranges: it sends the blob from its first to its last byte, whatever is requested. So
    /// this fetch goes on to the end of what is missing, and the blob is fetched sequentially. For the fetches of later bytes that are under way,
    /// [`Fetch::advance`] returns 0 from now on.
    pub(crate) fn without_ranges(&mut self, fetch: &Fetch) {
        let Self { order, missing, under_way, .. } = self;
        *order = Order::Sequential;
        let mut this = fetch.0.lock();
        for other in under_way.iter().filter(|other| !Arc::ptr_eq(other, &fetch.0)) {
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
}

impl Fetch {
    /// What has not arrived: what the connection requests, at first and after an interruption. It is empty when the fetch is complete.
    pub(crate) fn rest(&self) -> Range<u64> {
        self.0.lock().clone()
    }

    /// Says that the next `len` bytes arrived, and returns how many of them belong to this fetch. If they are fewer, the fetch is complete, and
    /// another connection fetches the others.
    pub(crate) fn advance(&self, len: usize) -> usize {
        let mut rest = self.0.lock();
        let taken = usize::try_from(rest.end - rest.start).map_or(len, |left| left.min(len));
        rest.start += taken as u64;
        taken
    }
}

impl Rest {
    fn lock(&self) -> MutexGuard<'_, Range<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes from `start` on, which are not part of this fetch any more. `None` if it does not have these bytes, or if fewer than `far`
    /// bytes of it come before them.
    fn take_from(&self, start: u64, far: u64) -> Option<Range<u64>> {
        let mut rest = self.lock();
        let is_far = rest.contains(&start) && start - rest.start >= far;
        is_far.then(|| {
            let taken = start..rest.end;
            rest.end = start;
            taken
        })
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
