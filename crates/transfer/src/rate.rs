//! A limit for the throughput of all transfers together.

use modelpack_spec::{InvalidSize, parse_size};
use std::{
    num::NonZeroU64,
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How much unused time can be made up for. After a pause, the bytes of this time move at once.
const BURST: Duration = Duration::from_millis(100);

/// A number of bytes per second, which is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(NonZeroU64);

/// A text is not a rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRate {
    /// It is not a number of bytes.
    #[error("{0:?} is not a rate such as 500k, 1.5MB or 10MiB, in bytes per second")]
    NoNumber(String),
    /// It is zero, or less than a byte per second.
    #[error("the rate {0:?} is less than one byte per second")]
    Zero(String),
}

impl Rate {
    /// This many bytes per second.
    pub fn new(bytes_per_second: NonZeroU64) -> Self {
        Self(bytes_per_second)
    }

    /// How long `bytes` take at this rate.
    fn time(self, bytes: u64) -> Duration {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.0.get());
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

/// A [size](parse_size) per second, such as `500k`, `1.5MB` or `10MiB/s`.
impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let bytes = parse_size(text.strip_suffix("/s").unwrap_or(text)).map_err(|InvalidSize(_)| InvalidRate::NoNumber(text.to_owned()))?;
        NonZeroU64::new(bytes).map(Self).ok_or_else(|| InvalidRate::Zero(text.to_owned()))
    }
}

/// Lets bytes pass at a rate, for all tasks that share it.
#[derive(Debug)]
pub struct RateLimit {
    start: Instant,
    schedule: Mutex<Schedule>,
}

/// When bytes may pass. It has no clock: times are since the start.
#[derive(Debug)]
struct Schedule {
    rate: Rate,
    /// When all bytes that were asked for have passed.
    free: Duration,
}

impl RateLimit {
    /// A limit that no byte has passed yet.
    pub fn new(rate: Rate) -> Self {
        Self { start: Instant::now(), schedule: Mutex::new(Schedule { rate, free: Duration::ZERO }) }
    }

    /// Waits until `bytes` more bytes may have passed. Tasks are served in the order in which they ask.
    ///
    /// A receiver calls this after it has received them and before it receives more, so that the sender has to wait.
    pub async fn take(&self, bytes: u64) {
        let wait = self.schedule.lock().unwrap_or_else(PoisonError::into_inner).take(bytes, self.start.elapsed());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

impl Schedule {
    /// How long to wait until `bytes` more bytes may have passed.
    fn take(&mut self, bytes: u64, now: Duration) -> Duration {
        self.free = self.free.max(now.saturating_sub(BURST)).saturating_add(self.rate.time(bytes));
        self.free.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use proptest::prelude::*;
    use std::{cmp::Reverse, collections::BinaryHeap};

    fn schedule(bytes_per_second: u64) -> Schedule {
        Schedule { rate: Rate::new(NonZeroU64::new(bytes_per_second).unwrap()), free: Duration::ZERO }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        /// Simulated tasks that wake a little late, as those of a busy machine do.
        #[test]
        fn tasks_that_always_have_bytes_reach_the_rate_and_do_not_exceed_it(
            rate in 100_000..2_000_000_000u64,
            tasks in 1..20usize,
            pieces in proptest::collection::vec(16 << 10..=256u64 << 10, 50),
            late in proptest::collection::vec(0..5_000_000u64, 50),
        ) {
            let (mut schedule, mut passed, mut asked) = (schedule(rate), 0, 0);
            let end = Duration::from_secs(60);
            let mut awake: BinaryHeap<_> = (0..tasks).map(|_| Reverse((Duration::ZERO, 0))).collect();
            // Simulated in small pieces, a high rate would take too long.
            let scale = 1 + rate / 50_000_000;
            for turn in 0.. {
                let Some(Reverse((now, piece))) = awake.pop() else { unreachable!("every task goes on") };
                if now > end {
                    break;
                }
                passed += piece;
                prop_assert!(passed as f64 <= rate as f64 * (now + BURST).as_secs_f64(), "{} bytes after {:?}", passed, now);
                let piece = pieces[turn % 50] * scale;
                asked += piece;
                let wait = schedule.take(piece, now);
                let late = if wait.is_zero() { 0 } else { late[turn % 50] };
                awake.push(Reverse((now + wait + Duration::from_nanos(late), piece)));
            }
            // All that was asked for has passed or is waited for at the end.
            prop_assert!(asked as f64 > 0.99 * rate as f64 * 60.0, "{} of {}", asked, rate * 60);
        }
    }

    #[test]
    fn after_a_pause_only_a_short_burst_passes_at_once() {
        let mut schedule = schedule(1_000_000);
        assert_eq!(schedule.take(500_000, Duration::ZERO), Duration::from_millis(500));
        let later = Duration::from_secs(60);
        assert_eq!(schedule.take(100_000, later), Duration::ZERO);
        assert_eq!(schedule.take(100_000, later), Duration::from_millis(100));
        assert_eq!(schedule.take(1000, later), Duration::from_millis(101));
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let mut slow = schedule(1);
        (0..3).for_each(|_| assert!(slow.take(u64::MAX, Duration::ZERO) > Duration::from_secs(1 << 34)));
        assert_eq!(schedule(u64::MAX).take(u64::MAX, Duration::ZERO), Duration::from_secs(1));
    }

    #[tokio::test]
    async fn who_asks_for_bytes_waits_and_those_behind_as_well() {
        let limit = RateLimit::new("1k".parse().unwrap());
        assert!(limit.take(0).now_or_never().is_some());
        assert!(limit.take(1_000_000).now_or_never().is_none());
        assert!(limit.take(0).now_or_never().is_none());
    }

    #[test]
    fn a_rate_is_a_size_per_second() {
        for (text, bytes) in [("500k", 500_000), ("1.5MB", 1_500_000), ("10MiB", 10 << 20), ("10MiB/s", 10 << 20), ("1", 1)] {
            assert_eq!(text.parse(), Ok(Rate::new(NonZeroU64::new(bytes).unwrap())), "{text}");
        }
        for (text, error) in [
            ("fast", "\"fast\" is not a rate such as 500k, 1.5MB or 10MiB, in bytes per second"),
            ("10MB/min", "\"10MB/min\" is not a rate such as 500k, 1.5MB or 10MiB, in bytes per second"),
            ("10Mbit", "\"10Mbit\" is not a rate such as 500k, 1.5MB or 10MiB, in bytes per second"),
            ("0", "the rate \"0\" is less than one byte per second"),
            ("0.5", "the rate \"0.5\" is less than one byte per second"),
        ] {
            assert_eq!(text.parse::<Rate>().unwrap_err().to_string(), error);
        }
    }
}
