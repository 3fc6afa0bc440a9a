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

/// Blobs, what arrived of them, and how often bytes arrived that were there already.
struct Transfer {
    plan: Plan,
    wanted: Vec<(Ranges, Order)>,
    arrived: Vec<Ranges>,
    twice: u64,
    under_way: Vec<Fetch>,
}

impl Transfer {
    fn of(wanted: Vec<(Ranges, Order)>) -> Self {
        let mut plan = Plan::new();
        wanted.iter().enumerate().for_each(|(blob, (missing, order))| plan.add(blob, missing.clone(), *order));
        let arrived = vec![Ranges::new(); wanted.len()];
        Self { plan, wanted, arrived, twice: 0, under_way: Vec::new() }
    }

    /// Lets a free connection ask. Whether it got something to do.
    fn ask(&mut self, connections: usize) -> bool {
        let Some(fetch) = self.plan.next(connections) else { return false };
        let rest = fetch.rest();
        assert!(!rest.is_empty());
        let (missing, order) = &self.wanted[fetch.blob()];
        assert!(missing.contains(rest.clone()), "{rest:?} of {missing:?}");
        if *order == Order::Sequential {
            assert!(self.under_way.iter().all(|other| other.blob() != fetch.blob()), "two fetches of a sequential blob");
            let before = missing.complement(u64::MAX).iter().chain(self.arrived[fetch.blob()].iter()).collect::<Ranges>();
            assert_eq!(before.end_of_prefix(), rest.start, "a sequential blob with a gap");
        } else {
            assert!(rest.end - rest.start < LONGEST + SHORTEST_REST);
            assert!(rest.end.is_multiple_of(ALIGNMENT) || !missing.contains(rest.start..rest.end + 1), "{rest:?} of {missing:?}");
        }
        self.under_way.push(fetch);
        true
    }

    /// Up to `len` bytes arrive for a fetch.
    fn advance(&mut self, at: usize, len: u64) {
        let fetch = &self.under_way[at];
        let start = fetch.rest().start;
        let range = start..start + fetch.advance(len as usize) as u64;
        let arrived = &mut self.arrived[fetch.blob()];
        assert!(self.wanted[fetch.blob()].0.contains(range.clone()));
        let before = arrived.total();
        arrived.insert(range.clone());
        self.twice += range.end - range.start - (arrived.total() - before);
        if fetch.rest().is_empty() {
            let fetch = self.under_way.swap_remove(at);
            self.plan.done(fetch);
        }
    }

    /// A fetch fails after some of what arrived was lost, up to its last `lost` bytes.
    fn fail(&mut self, at: usize, lost: u64) {
        let fetch = self.under_way.swap_remove(at);
        let (blob, start) = (fetch.blob(), fetch.rest().start);
        let arrived = &mut self.arrived[blob];
        let from = arrived.iter().rfind(|range| range.end == start).map_or(start, |range| range.start.max(start.saturating_sub(lost)));
        arrived.remove(from..start);
        self.plan.failed(fetch, from);
    }

    fn assert_complete(&self) {
        assert!(self.plan.is_empty() && self.under_way.is_empty());
        for (blob, ((missing, _), arrived)) in self.wanted.iter().zip(&self.arrived).enumerate() {
            assert!(self.plan.is_finished(blob));
            assert_eq!(missing, arrived);
        }
    }
}

fn blobs() -> impl Strategy<Value = Vec<(Ranges, Order)>> {
    let gap = (0..300 * MIB, prop_oneof![0..100u64, 0..10 * MIB, 0..200 * MIB]).prop_map(|(start, len)| start..start + len);
    let order = prop_oneof![3 => Just(Order::Any), 1 => Just(Order::Sequential)];
    let missing = collection::vec(gap, 0..4).prop_map(Ranges::from_iter);
    collection::vec((missing, order), 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_missing_byte_is_fetched_once_and_no_other(wanted in blobs(), connections in 1..20usize, seed in any::<u64>(), fails in any::<bool>()) {
        let mut choices = Choices(seed);
        let mut transfer = Transfer::of(wanted);
        let mut failures_left = if fails { 50 } else { 0 };
        loop {
            // The number of connections changes on the way.
            let connections = 1 + choices.below(connections as u64) as usize;
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
                transfer.fail(at, 0);
            } else {
                let most = [1, 300 << 10, 20 * MIB][choices.below(3) as usize];
                transfer.advance(at, 1 + choices.below(most).max(MIB * u64::from(choices.once_in(2))));
            }
        }
        transfer.assert_complete();
        prop_assert_eq!(transfer.twice, 0);
    }

    #[test]
    fn what_is_lost_is_fetched_again(wanted in blobs(), connections in 1..20usize, seed in any::<u64>()) {
        let mut choices = Choices(seed);
        let mut transfer = Transfer::of(wanted);
        let mut failures_left = 50;
        while transfer.ask(connections) || !transfer.under_way.is_empty() {
            let at = choices.below(transfer.under_way.len() as u64) as usize;
            if failures_left > 0 && choices.once_in(4) {
                failures_left -= 1;
                transfer.fail(at, choices.below(20 * MIB));
            } else {
                transfer.advance(at, 1 + choices.below(20 * MIB));
            }
        }
        transfer.assert_complete();
    }

    /// The fetch that goes on must get the bytes that were to come over the others.
    #[test]
    fn a_source_without_ranges_ends_too(wanted in blobs(), connections in 1..20usize, seed in any::<u64>()) {
        let mut choices = Choices(seed);
        let mut transfer = Transfer::of(wanted);
        while transfer.ask(connections) || !transfer.under_way.is_empty() {
            let at = choices.below(transfer.under_way.len() as u64) as usize;
            let fetch = &transfer.under_way[at];
            transfer.plan.without_ranges(fetch);
            transfer.wanted[fetch.blob()].1 = Order::Sequential;
            transfer.advance(at, 1 + choices.below(100 * MIB));
        }
        transfer.assert_complete();
        prop_assert_eq!(transfer.twice, 0);
    }
}

fn whole(len: u64) -> (Ranges, Order) {
    (Ranges::from(0..len), Order::Any)
}

/// All that is given out to this many connections before anything arrives: the blob and the range of each fetch.
fn first_fetches(wanted: Vec<(Ranges, Order)>, connections: usize) -> Vec<(usize, Range<u64>)> {
    let mut transfer = Transfer::of(wanted);
    while transfer.under_way.len() < connections && transfer.ask(connections) {}
    transfer.under_way.iter().map(|fetch| (fetch.blob(), fetch.rest())).collect()
}

#[test]
fn one_large_blob_is_fetched_in_ranges_over_all_connections() {
    let fetches = first_fetches(vec![whole(2 << 30)], 16);
    assert_eq!(fetches[0], (0, 0..LONGEST));
    // The less is left, the shorter is the next one.
    let lengths: Vec<u64> = fetches.iter().map(|(_, range)| range.end - range.start).collect();
    assert!(lengths.is_sorted_by(|a, b| a >= b) && lengths[15] > SHORTEST, "{lengths:?}");
    assert!(fetches.windows(2).all(|pair| pair[0].1.end == pair[1].1.start), "{fetches:?}");
}

#[test]
fn each_blob_has_one_connection_before_any_has_two() {
    let large = || whole(1 << 30);
    let blobs = |fetches: Vec<(usize, _)>| fetches.into_iter().map(|(blob, _)| blob).collect::<Vec<_>>();
    assert_eq!(blobs(first_fetches(vec![large(), large(), large()], 2)), [0, 1]);
    assert_eq!(blobs(first_fetches(vec![large(), large(), large()], 5)), [0, 1, 2, 0, 1]);
    let sequential = (Ranges::from(0..1 << 30), Order::Sequential);
    assert_eq!(first_fetches(vec![sequential, whole(10)], 3), [(0, 0..1 << 30), (1, 0..10)]);
}

#[test]
fn small_blobs_and_gaps_are_fetched_at_once() {
    assert_eq!(first_fetches(vec![whole(SHORTEST), whole(SHORTEST + MIB)], 2), [(0, 0..SHORTEST), (1, 0..SHORTEST + MIB)]);
    let gaps = Ranges::from_iter([5..7, 1000..MIB + 3]);
    assert_eq!(first_fetches(vec![(gaps, Order::Any)], 2), [(0, 5..7), (0, 1000..MIB + 3)]);
}

#[test]
fn what_was_given_back_is_fetched_first() {
    let mut transfer = Transfer::of(vec![whole(1 << 30)]);
    (0..3).for_each(|_| assert!(transfer.ask(4)));
    transfer.advance(1, 5 * MIB);
    let rest = transfer.under_way[1].rest();
    transfer.fail(1, 0);
    assert!(transfer.ask(4));
    assert_eq!(transfer.under_way.last().unwrap().rest(), rest);
}

/// A request that is shortened loses what is on its way.
#[test]
fn a_fetch_under_way_keeps_all_its_bytes() {
    let mut transfer = Transfer::of(vec![whole(100 * MIB)]);
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
fn nothing_more_is_fetched_of_a_blob_that_was_removed() {
    let mut plan = Plan::new();
    plan.add(0, Ranges::from(0..1 << 30), Order::Any);
    plan.add(1, Ranges::from(0..10), Order::Any);
    let removed = plan.next(1).unwrap();
    plan.remove(0);
    assert!(plan.is_finished(0) && !plan.is_finished(1));
    assert_eq!(removed.advance(1), 0);
    // A fetch from before says nothing about a blob that was added again.
    plan.add(0, Ranges::from(0..5), Order::Sequential);
    plan.failed(removed, 0);
    let fetches: Vec<_> = std::iter::from_fn(|| plan.next(1)).map(|fetch| (fetch.blob(), fetch.rest())).collect();
    assert_eq!(fetches, [(1, 0..10), (0, 0..5)]);
}

#[test]
fn a_sequential_blob_can_begin_anew() {
    let mut plan = Plan::new();
    plan.add(0, Ranges::from(100..1000), Order::Sequential);
    let fetch = plan.next(4).unwrap();
    assert_eq!((fetch.rest(), fetch.advance(50)), (100..1000, 50));
    plan.failed(fetch, 0);
    assert_eq!(plan.next(4).unwrap().rest(), 0..1000);
}

#[test]
fn the_largest_sizes_do_not_overflow() {
    let mut plan = Plan::new();
    plan.add(0, Ranges::from(0..u64::MAX), Order::Any);
    plan.add(1, Ranges::from(u64::MAX - 10..u64::MAX), Order::Any);
    assert_eq!(plan.next(1).unwrap().rest(), 0..LONGEST);
    assert_eq!(plan.next(usize::MAX).unwrap().rest(), u64::MAX - 10..u64::MAX);
}
