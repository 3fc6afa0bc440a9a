//! How fast a counter grows.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// The time over which the rate is computed.
const WINDOW: Duration = Duration::from_secs(10);
/// The time after which there is a rate.
const FIRST: Duration = Duration::from_secs(1);

/// The growth of a counter of bytes over the last seconds.
#[derive(Default)]
pub struct Rate(VecDeque<(Instant, u64)>);

impl Rate {
    /// Takes the counter at this moment, and returns the bytes per second. `None` while they are not
    /// known, and if the counter has not grown.
    pub fn observe(&mut self, total: u64, at: Instant) -> Option<u64> {
        self.0.push_back((at, total));
        while self.0.get(1).is_some_and(|(next, _)| at.duration_since(*next) >= WINDOW) {
            self.0.pop_front();
        }
        let &(since, before) = self.0.front()?;
        let time = at.duration_since(since);
        let rate = total.saturating_sub(before) as f64 / time.as_secs_f64();
        (time >= FIRST && rate >= 1.0).then_some(rate as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rate after the last of these seconds, with the counters at them.
    fn rate(counters: impl IntoIterator<Item = (u64, u64)>) -> Option<u64> {
        let (mut rate, start) = (Rate::default(), Instant::now());
        counters.into_iter().map(|(second, total)| rate.observe(total, start + Duration::from_secs(second))).last()?
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        assert_eq!(rate([(0, 0)]), None);
        assert_eq!(rate([(0, 0), (2, 600)]), Some(300));
        // The first 20 seconds were a hundred times as fast.
        let slower = (0..=20).map(|s| (s, s * 10_000)).chain((21..=40).map(|s| (s, 200_000 + (s - 20) * 100)));
        assert_eq!(rate(slower), Some(100));
        // A pause lowers it, and does not make it jump.
        let paused = (0..=10).map(|s| (s, s * 100)).chain((11..=15).map(|s| (s, 1000)));
        assert_eq!(rate(paused), Some(50));
    }

    #[test]
    fn nothing_is_not_a_rate() {
        assert_eq!(rate((0..=30).map(|s| (s, 900.min(s * 900)))), None);
        let (mut rate, start) = (Rate::default(), Instant::now());
        rate.observe(0, start);
        assert_eq!(rate.observe(1_000_000, start + Duration::from_millis(10)), None, "too short to tell");
    }
}
