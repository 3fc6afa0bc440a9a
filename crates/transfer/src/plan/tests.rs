//! Transfers that are simulated: connections that are free ask for bytes, and those that fetch advance, fail or stand still.

use super::*;
use proptest::{collection, prelude::*};

/// Choices that depend only on a seed (splitmix64).
struct Choices(u64);

impl Choices {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// A blob, what arrived of it, and how many bytes arrived that were there already.
struct Transfer {
    plan: Plan,
    wanted: Ranges,
    arrived: Ranges,
    twice: u64,
    under_way: Vec<Fetch>,
}

impl Transfer {
    fn of(wanted: Ranges, order: Order) -> Self {
        Self { plan: Plan::new(wanted.clone(), order), wanted, arrived: Ranges::new(), twice: 0, under_way: Vec::new() }
    }

    /// Lets a free connection ask. Whether it got something to do.
    fn ask(&mut self, connections: usize) -> bool {
        let Some(fetch) = self.plan.next(connections) else { return false };
        let rest = fetch.rest();
        assert!(!rest.is_empty());
        assert!(self.wanted.contains(rest.clone()), "{rest:?} of {:?}", self.wanted);
        if self.plan.order == Order::Sequential {
            assert!(self.under_way.is_empty(), "two fetches of a sequential blob");
            let before = self.wanted.complement(u64::MAX).iter().chain(self.arrived.iter()).collect::<Ranges>();
            assert_eq!(before.end_of_prefix(), rest.start, "a sequential blob with a gap");
        } else {
            assert!(rest.end - rest.start < LONGEST + SHORTEST_REST);
            let is_aligned = rest.end.is_multiple_of(ALIGNMENT) || !self.wanted.contains(rest.start..rest.end + 1);
            assert!(is_aligned, "{rest:?} of {:?}", self.wanted);
        }
        self.under_way.push(fetch);
        true
    }

    /// Somebody waits for bytes. Whether a fetch begins for them.
    fn demand(&mut self, range: Range<u64>) -> bool {
        let Some(fetch) = self.plan.demand(range.clone()) else { return false };
        let rest = fetch.rest();
        assert!(!rest.is_empty() && self.wanted.contains(rest.clone()), "{rest:?} of {:?}", self.wanted);
        assert!(rest.start < range.end.next_multiple_of(ALIGNMENT) && range.start / ALIGNMENT * ALIGNMENT <= rest.start);
        self.under_way.push(fetch);
        true
    }

    /// Up to `len` bytes arrive for a fetch.
    fn advance(&mut self, at: usize, len: u64) {
        let fetch = &self.under_way[at];
        let start = fetch.rest().start;
        let range = start..start + fetch.advance(len as usize) as u64;
        assert!(self.wanted.contains(range.clone()));
        let before = self.arrived.total();
        self.arrived.insert(range.clone());
        self.twice += range.end - range.start - (self.arrived.total() - before);
        if fetch.rest().is_empty() {
            self.end(at);
        }
    }

    /// A fetch ends, complete or not.
    fn end(&mut self, at: usize) {
        let fetch = self.under_way.swap_remove(at);
        self.plan.done(fetch);
    }

    fn assert_complete(&self) {
        assert!(self.plan.missing.is_empty() && self.plan.under_way.is_empty() && self.under_way.is_empty());
        assert_eq!((&self.arrived, self.twice), (&self.wanted, 0));
    }
}

fn missing() -> impl Strategy<Value = Ranges> {
    let gap = (0..300 * MIB, prop_oneof![0..100u64, 0..10 * MIB, 0..200 * MIB]).prop_map(|(start, len)| start..start + len);
    collection::vec(gap, 0..6).prop_map(Ranges::from_iter)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_missing_byte_is_fetched_once_and_no_other(
        wanted in missing(),
        order in prop_oneof![3 => Just(Order::Any), 1 => Just(Order::Sequential)],
        connections in 1..20usize,
        seed in any::<u64>(),
        fails in any::<bool>(),
        is_read in any::<bool>(),
    ) {
        let mut choices = Choices(seed);
        let mut transfer = Transfer::of(wanted, order);
        let mut failures_left = if fails { 50 } else { 0 };
        loop {
            // The number of connections changes on the way.
            let connections = 1 + choices.below(connections as u64) as usize;
            if is_read && choices.once_in(4) {
                let start = choices.below(300 * MIB);
                transfer.demand(start..start + 1 + choices.below(40 * MIB));
            }
            let asked = transfer.under_way.len() < connections && transfer.ask(connections);
            if transfer.under_way.is_empty() {
                break;
            }
            if asked && choices.once_in(2) {
                continue;
            }
            let at = choices.below(transfer.under_way.len() as u64) as usize;
            if failures_left > 0 && choices.once_in(8) {
                failures_left -= 1;
                transfer.end(at);
            } else {
                let most = [1, 300 << 10, 20 * MIB][choices.below(3) as usize];
                transfer.advance(at, 1 + choices.below(most).max(MIB * u64::from(choices.once_in(2))));
            }
        }
        transfer.assert_complete();
    }

    /// The fetch that goes on must get the bytes that were to come over the others.
    #[test]
    fn a_source_without_ranges_ends_too(wanted in missing(), connections in 1..20usize, seed in any::<u64>()) {
        let mut choices = Choices(seed);
        let mut transfer = Transfer::of(wanted, Order::Any);
        while transfer.ask(connections) || !transfer.under_way.is_empty() {
            let at = choices.below(transfer.under_way.len() as u64) as usize;
            let fetch = &transfer.under_way[at];
            transfer.plan.without_ranges(fetch);
            transfer.advance(at, 1 + choices.below(100 * MIB));
        }
        transfer.assert_complete();
    }
}

/// All that is given out to this many connections before anything arrives.
fn first_fetches(wanted: Ranges, order: Order, connections: usize) -> Vec<Range<u64>> {
    let mut transfer = Transfer::of(wanted, order);
    while transfer.under_way.len() < connections && transfer.ask(connections) {}
    transfer.under_way.iter().map(Fetch::rest).collect()
}

#[test]
fn a_large_blob_is_fetched_in_ranges_over_all_connections() {
    let fetches = first_fetches(Ranges::from(0..2 << 30), Order::Any, 16);
    assert_eq!(fetches[0], 0..LONGEST);
    // The less is left, the shorter is the next one.
    let lengths: Vec<u64> = fetches.iter().map(|range| range.end - range.start).collect();
    assert!(lengths.is_sorted_by(|a, b| a >= b) && lengths[15] > SHORTEST, "{lengths:?}");
    assert!(fetches.windows(2).all(|pair| pair[0].end == pair[1].start), "{fetches:?}");
    assert!(first_fetches(Ranges::from(0..1 << 30), Order::Sequential, 16).iter().eq(std::iter::once(&(0..1 << 30))));
}

#[test]
fn small_blobs_and_gaps_are_fetched_at_once() {
    for len in [10, SHORTEST, SHORTEST + MIB] {
        assert!(first_fetches(Ranges::from(0..len), Order::Any, 2).iter().eq(std::iter::once(&(0..len))));
    }
    let gaps = Ranges::from_iter([5..7, 1000..MIB + 3]);
    assert_eq!(first_fetches(gaps, Order::Any, 2), [5..7, 1000..MIB + 3]);
}

#[test]
fn what_was_given_back_is_fetched_first() {
    let mut transfer = Transfer::of(Ranges::from(0..1 << 30), Order::Any);
    (0..3).for_each(|_| assert!(transfer.ask(4)));
    transfer.advance(1, 5 * MIB);
    let rest = transfer.under_way[1].rest();
    transfer.end(1);
    assert!(transfer.ask(4));
    assert_eq!(transfer.under_way.last().unwrap().rest(), rest);
}

/// A request that is shortened loses what is on its way.
#[test]
fn a_fetch_under_way_keeps_all_its_bytes() {
    let mut transfer = Transfer::of(Ranges::from(0..100 * MIB), Order::Any);
    while transfer.ask(4) {}
    let rests: Vec<_> = transfer.under_way.iter().map(Fetch::rest).collect();
    transfer.advance(0, 1 << 40);
    assert!(!transfer.ask(4), "the other connections have the rest");
    assert!(transfer.under_way.iter().all(|fetch| rests.contains(&fetch.rest())));
    while !transfer.under_way.is_empty() {
        transfer.advance(0, 1 << 40);
    }
    transfer.assert_complete();
}

#[test]
fn bytes_that_somebody_waits_for_are_fetched_first_and_then_what_follows_them() {
    let mut transfer = Transfer::of(Ranges::from(0..1 << 30), Order::Any);
    assert!(transfer.ask(2));
    assert!(transfer.demand(500 * MIB + 7..501 * MIB + 7));
    assert_eq!(transfer.under_way[1].rest(), 500 * MIB..502 * MIB);
    assert!(transfer.ask(2));
    assert_eq!(transfer.under_way[2].rest().start, 502 * MIB);
    // They come next in a fetch that is under way.
    let near = transfer.under_way[0].rest();
    assert!(!transfer.demand(FAR - MIB..FAR));
    assert_eq!(transfer.under_way[0].rest(), near);
    // They would come much later.
    assert!(transfer.demand(20 * MIB..21 * MIB));
    assert_eq!(transfer.under_way[0].rest(), near.start..20 * MIB);
    assert_eq!(transfer.under_way[3].rest(), 20 * MIB..21 * MIB);
    while transfer.ask(2) || !transfer.under_way.is_empty() {
        transfer.advance(0, 1 << 40);
    }
    transfer.assert_complete();
    assert!(!transfer.demand(0..MIB) && transfer.plan.is_finished());
}

#[test]
fn the_largest_sizes_do_not_overflow() {
    let mut plan = Plan::new(Ranges::from(0..u64::MAX), Order::Any);
    assert_eq!(plan.next(1).unwrap().rest(), 0..LONGEST);
    let mut plan = Plan::new(Ranges::from(u64::MAX - 10..u64::MAX), Order::Any);
    assert_eq!(plan.next(usize::MAX).unwrap().rest(), u64::MAX - 10..u64::MAX);
    assert!(plan.demand(u64::MAX - 5..u64::MAX).is_none());
}

#[test]
fn ranges_end_with_chunks_of_any_length() {
    for alignment in [MIB, 16 * MIB, 100 * MIB] {
        let (start, end) = (5 * MIB, 1000 * MIB + 7);
        let mut plan = Plan::new(Ranges::from(start..end), Order::Any).aligned(alignment);
        let mut at = start;
        while let Some(fetch) = plan.next(4) {
            let range = fetch.rest();
            assert_eq!(range.start, at);
            assert!(range.end.is_multiple_of(alignment) || range.end == end, "{range:?} with {alignment}");
            at = range.end;
        }
        assert_eq!(at, end);
    }
}
