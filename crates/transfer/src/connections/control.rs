//! Decides how many connections are wanted, from what was measured. It has no clock.

use std::{mem, time::Duration};

/// How many connections are used at first.
const FIRST: usize = 4;

/// Twice as many connections are kept if the throughput grows by at least this part. If there are fewer, less is expected of them, in
/// proportion.
const LEAST_GAIN: f64 = 0.15;

/// If bytes were processed for this part of the time, the machine is the limit, and not the network.
const BUSY: f64 = 0.5;

/// For how long a larger number is not tried after one brought nothing or was refused. Each time this is doubled.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How many connections are wanted at the same time.
///
/// The number is doubled as long as this brings a higher throughput, and as the machine has time for more; if it does not, the number before it is used again. A server that
/// refuses connections or requests halves it. After either, it is tried again later whether more connections help, but not as many as were
/// refused: that number is approached by one at a time.
#[derive(Clone, Debug)]
pub struct Control {
    limit: usize,
    wanted: usize,
    /// The largest number that is not expected to be refused.
    ceiling: usize,
    /// While a larger number is tried: the number before it, and the bytes per second then.
    before: Option<(usize, f64)>,
    /// Whether the number has changed since the last sample. The next sample would measure how connections are opened.
    has_changed: bool,
    /// Whether the number was halved since the last sample that counted.
    was_halved: bool,
    /// Whether bytes moved since the last refusal.
    has_moved: bool,
    /// How much time must pass before a larger number is tried.
    wait: Duration,
    /// How much that will be the next time.
    pause: Duration,
}

impl Control {
    /// At most `limit` connections, and at least one.
    pub fn new(limit: usize) -> Self {
        let limit = limit.max(1);
        Self {
            limit,
            wanted: FIRST.min(limit),
            ceiling: limit,
            before: None,
            has_changed: true,
            was_halved: false,
            has_moved: true,
            wait: Duration::ZERO,
            pause: FIRST_PAUSE,
        }
    }

    /// Whether this machine, and not the network, was the limit while bytes were processed for so long, in an interval that `took` so long.
    pub fn is_busy(processed: Duration, took: Duration) -> bool {
        processed.as_secs_f64() > took.as_secs_f64() * BUSY
    }

    /// Whether more connections are wanted than at first.
    pub fn has_grown(&self) -> bool {
        self.wanted > FIRST
    }

    /// How many connections are wanted.
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// Tells how many bytes moved in an interval that `took` so long, how many connections were used in it, and how long bytes that had arrived
    /// were processed.
    pub fn sample(&mut self, bytes: u64, took: Duration, used: usize, processed: Duration) {
        self.wait = self.wait.saturating_sub(took);
        if mem::take(&mut self.has_changed) {
            return;
        }
        self.was_halved = false;
        // If nothing moves, the reason is not the number of connections.
        if bytes == 0 {
            return;
        }
        self.has_moved = true;
        let rate = bytes as f64 / took.as_secs_f64();
        if let Some((number, slower)) = self.before {
            if used <= number {
                // There was not enough to do for more connections.
                return;
            }
            self.before = None;
            let more = (used - number) as f64 / number as f64;
            if rate < slower * (1.0 + LEAST_GAIN * more.min(1.0)) {
                self.change(number);
                self.wait = self.pause;
                self.lengthen_pause();
            } else if self.wanted == self.ceiling {
                self.wait = self.pause;
            }
        }
        if used >= self.wanted && self.wait.is_zero() && !Self::is_busy(processed, took) {
            self.grow(rate);
        }
    }

    /// Tells that the server refused a connection or a request while `used` connections were used. This halves the number. Further refusals
    /// change nothing until the smaller number was measured: they concern requests from before.
    pub fn refused(&mut self, used: usize) {
        if mem::replace(&mut self.was_halved, true) {
            return;
        }
        let refused = used.clamp(1, self.wanted);
        // A server that lets nothing through is out of order. Later, it may accept as many connections as before.
        if mem::take(&mut self.has_moved) {
            self.ceiling = (refused - 1).max(1);
            self.lengthen_pause();
        }
        self.wait = FIRST_PAUSE;
        self.before = None;
        self.change((refused / 2).max(1));
    }

    /// Tries a larger number, if it is allowed. `rate` is the throughput with the present one, in bytes per second.
    fn grow(&mut self, rate: f64) {
        if self.wanted == self.ceiling {
            self.ceiling = (self.ceiling + 1).min(self.limit);
        }
        let larger = (self.wanted * 2).min(self.ceiling);
        if larger > self.wanted {
            self.before = Some((self.wanted, rate));
            self.change(larger);
        }
    }

    fn change(&mut self, number: usize) {
        self.wanted = number;
        self.has_changed = true;
    }

    fn lengthen_pause(&mut self) {
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: f64 = 1e6;
    const STEP: Duration = Duration::from_millis(10);
    const INTERVAL: Duration = Duration::from_millis(250);
    /// How long a connection needs until bytes move.
    const OPENING: Duration = Duration::from_millis(100);

    /// A simulated network, and a transfer that always has enough to do. Throughput varies by 5 % in each direction.
    struct Network {
        control: Control,
        now: Duration,
        /// When each connection was opened.
        opened: Vec<Duration>,
        moved: f64,
        since: Duration,
        most_used: usize,
        refusals: u32,
        total: f64,
    }

    impl Network {
        fn new(limit: usize) -> Self {
            let (now, since) = (Duration::ZERO, Duration::ZERO);
            Self { control: Control::new(limit), now, opened: vec![], moved: 0.0, since, most_used: 0, refusals: 0, total: 0.0 }
        }

        /// Bytes per second: at most `each` for each connection and `all` for all. The server accepts at most `accepted` connections.
        fn run(&mut self, time: Duration, each: f64, all: f64, accepted: usize) -> &mut Self {
            let end = self.now + time;
            while self.now < end {
                self.now += STEP;
                self.opened.truncate(self.control.wanted());
                while self.opened.len() < self.control.wanted() {
                    if self.opened.len() >= accepted {
                        self.refusals += 1;
                        self.control.refused(self.control.wanted());
                        break;
                    }
                    self.opened.push(self.now);
                }
                self.most_used = self.most_used.max(self.opened.len());
                let flowing = self.opened.iter().filter(|opened| self.now - **opened >= OPENING).count() as f64;
                let noise = 1.0 + 0.05 * (self.now.as_secs_f64() * 7.0).sin();
                let moved = (flowing * each).min(all) * noise * STEP.as_secs_f64();
                (self.moved, self.total) = (self.moved + moved, self.total + moved);
                if self.now - self.since >= INTERVAL {
                    self.control.sample(self.moved as u64, self.now - self.since, self.most_used, Duration::ZERO);
                    (self.moved, self.since, self.most_used) = (0.0, self.now, self.opened.len());
                }
            }
            self
        }

        fn wanted(&self) -> usize {
            self.control.wanted()
        }
    }

    const SECOND: Duration = Duration::from_secs(1);
    const ANY: usize = usize::MAX;

    #[test]
    fn if_each_connection_is_limited_the_number_is_doubled_until_the_limit() {
        let mut network = Network::new(16);
        assert_eq!(network.wanted(), 4);
        assert_eq!(network.run(3 * SECOND / 2, 50.0 * MB, f64::MAX, ANY).wanted(), 16);
        assert_eq!(network.run(60 * SECOND, 50.0 * MB, f64::MAX, ANY).wanted(), 16);
        assert_eq!(Network::new(12).run(2 * SECOND, 50.0 * MB, f64::MAX, ANY).wanted(), 12);
        assert_eq!(Network::new(5).run(2 * SECOND, 50.0 * MB, f64::MAX, ANY).wanted(), 5);
        assert_eq!(Network::new(1).run(60 * SECOND, 50.0 * MB, f64::MAX, ANY).wanted(), 1);
    }

    #[test]
    fn if_all_together_are_limited_the_number_stays_small() {
        let mut network = Network::new(16);
        network.run(SECOND, 400.0 * MB, 800.0 * MB, ANY);
        let mut tried = 0;
        for _ in 0..6000 {
            network.run(STEP, 400.0 * MB, 800.0 * MB, ANY);
            assert!([4, 8].contains(&network.wanted()), "{}", network.wanted());
            tried += u32::from(network.wanted() > 4);
        }
        // More are tried from time to time, less and less often.
        assert!((1..=6000 / 15).contains(&tried), "{tried} of 6000");
    }

    #[test]
    fn a_limit_in_between_is_found() {
        assert_eq!(Network::new(16).run(SECOND * 5 / 2, 50.0 * MB, 410.0 * MB, ANY).wanted(), 8);
        assert_eq!(Network::new(64).run(SECOND * 5 / 2, 10.0 * MB, 320.0 * MB, ANY).wanted(), 32);
    }

    #[test]
    fn more_connections_than_the_server_accepts_are_used_seldom() {
        let mut network = Network::new(16);
        network.run(120 * SECOND, 50.0 * MB, f64::MAX, 6);
        assert!(network.refusals < 8, "{} refusals", network.refusals);
        let best = 120.0 * 6.0 * 50.0 * MB;
        assert!(network.total > 0.85 * best, "{:.2} of what was possible", network.total / best);
        // It accepts more later on.
        assert_eq!(network.run(3600 * SECOND, 50.0 * MB, f64::MAX, 9).wanted(), 9);
    }

    #[test]
    fn a_server_that_was_out_of_order_gets_as_many_connections_as_before() {
        let mut network = Network::new(16);
        assert_eq!(network.run(2 * SECOND, 50.0 * MB, f64::MAX, ANY).wanted(), 16);
        network.opened.clear();
        assert_eq!(network.run(60 * SECOND, 50.0 * MB, f64::MAX, 0).wanted(), 1);
        assert!(network.run(4 * SECOND, 50.0 * MB, f64::MAX, ANY).wanted() > 8);
        assert_eq!(network.run(20 * SECOND, 50.0 * MB, f64::MAX, ANY).wanted(), 16);
    }

    #[test]
    fn refusals_at_the_same_time_count_once() {
        let mut control = Control::new(16);
        (0..4).for_each(|_| control.refused(4));
        assert_eq!(control.wanted(), 2);
        // The interval in which it happened has ended, but requests from before may still fail.
        control.sample(1 << 20, INTERVAL, 4, Duration::ZERO);
        control.refused(4);
        assert_eq!(control.wanted(), 2);
        control.sample(1 << 20, INTERVAL, 2, Duration::ZERO);
        control.refused(2);
        assert_eq!(control.wanted(), 1);
    }

    #[test]
    fn a_link_that_becomes_faster_gets_more_connections() {
        let mut network = Network::new(16);
        assert_eq!(network.run(20 * SECOND, 50.0 * MB, 150.0 * MB, ANY).wanted(), 4);
        assert_eq!(network.run(60 * SECOND, 50.0 * MB, f64::MAX, ANY).wanted(), 16);
        // What slower ones cannot use does no harm, and nothing is tried.
        assert_eq!(network.run(60 * SECOND, 50.0 * MB, 150.0 * MB, ANY).wanted(), 16);
    }

    #[test]
    fn too_little_to_do_and_standstills_say_nothing() {
        let mut control = Control::new(16);
        (0..20).for_each(|_| control.sample(100 << 20, INTERVAL, 3, Duration::ZERO));
        assert_eq!(control.wanted(), 4);
        (0..20).for_each(|_| control.sample(0, INTERVAL, 4, Duration::ZERO));
        assert_eq!(control.wanted(), 4);
        // More are tried, but are not needed for what there is to do.
        control.sample(100 << 20, INTERVAL, 4, Duration::ZERO);
        (0..20).for_each(|_| control.sample(10 << 20, INTERVAL, 4, Duration::ZERO));
        assert_eq!(control.wanted(), 8);
    }

    #[test]
    fn a_machine_without_time_gets_no_more_connections() {
        let mut control = Control::new(16);
        (0..20).for_each(|_| control.sample(500 << 20, INTERVAL, 4, INTERVAL * 3 / 4));
        assert_eq!(control.wanted(), 4);
        control.sample(500 << 20, INTERVAL, 4, INTERVAL / 2);
        assert_eq!(control.wanted(), 8);
    }
}
