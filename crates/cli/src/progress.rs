//! Progress of a transfer on stderr: one redrawn line on a terminal, occasional lines elsewhere.

use crate::{
    output::Output,
    text::{self, bytes},
};
use modelpack::{Progress, Snapshot};
use rustix::termios::tcgetwinsize;
use std::{
    collections::VecDeque,
    io::{self, IsTerminal, Write},
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// The interval for redrawing the line on a terminal.
const FRAME: Duration = Duration::from_millis(125);
/// The interval for lines without a terminal. Short transfers end before the first line.
const INTERVAL: Duration = Duration::from_secs(5);
/// The time over which the rate is computed.
const WINDOW: Duration = Duration::from_secs(4);

/// Shows a transfer's progress until it is dropped. A separate thread draws, so that busy tasks do
/// not delay it.
pub struct Meter(Option<(Sender<()>, JoinHandle<()>)>);

impl Meter {
    /// `doing` names the activity, such as `pushing`.
    pub fn start(doing: &'static str, progress: Arc<Progress>, output: &Output) -> Self {
        if output.json || output.quiet {
            return Self(None);
        }
        let (stop, stopped) = channel::<()>();
        let is_terminal = io::stderr().is_terminal();
        let draw = move || {
            let mut rate = Rate::default();
            let mut drawn = false;
            while stopped.recv_timeout(if is_terminal { FRAME } else { INTERVAL }) == Err(RecvTimeoutError::Timeout) {
                let snapshot = progress.snapshot();
                // While the transfer waits, there is no progress to print. A terminal still shows
                // that the program is running.
                if !is_terminal && snapshot == Snapshot::default() {
                    continue;
                }
                let line = rate.line(doing, snapshot, Instant::now());
                if is_terminal {
                    redraw(&line)
                } else {
                    print(&format!("{line}\n"))
                }
                drawn = true;
            }
            if is_terminal && drawn {
                redraw("");
            }
        };
        // If the thread cannot be started, the transfer works without progress output.
        Self(thread::Builder::new().name("progress".into()).spawn(draw).ok().map(|thread| (stop, thread)))
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.0.take() {
            drop(stop);
            // The thread only draws, so a panic in it does not affect the transfer.
            let _ = thread.join();
        }
    }
}

/// Replaces the line that the cursor is in.
fn redraw(line: &str) {
    let columns = tcgetwinsize(io::stderr()).map_or(80, |size| usize::from(size.ws_col)).max(2);
    // One column less, because some terminals wrap a full line.
    let line: String = line.chars().take(columns - 1).collect();
    print(&format!("\r\x1b[K{line}"));
}

/// Errors are ignored: progress output is optional.
fn print(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// The work of the last seconds.
#[derive(Default)]
struct Rate(VecDeque<(Instant, u64)>);

impl Rate {
    fn line(&mut self, doing: &str, now: Snapshot, at: Instant) -> String {
        let done = now.moved + now.skipped;
        // Bytes that are hashed before the transfer are read twice.
        let (worked, work) = if now.hashed > 0 { (now.hashed + done, 2 * now.total) } else { (done, now.total) };
        let mut parts = vec![format!("{doing} {} of {}", bytes(done), bytes(now.total))];
        if now.hashed > done {
            parts.push(format!("{} hashed", bytes(now.hashed)));
        }
        if let Some(rate) = self.per_second(now.hashed + now.moved, at) {
            parts.push(format!("{}/s", bytes(rate as u64)));
            let left = Duration::try_from_secs_f64((work.saturating_sub(worked) as f64 / rate).ceil());
            parts.extend(left.ok().filter(|left| !left.is_zero()).map(|left| format!("{} left", text::duration(left))));
        }
        parts.join(", ")
    }

    /// Bytes per second since the beginning of the window; `None` while it is unknown.
    fn per_second(&mut self, total: u64, at: Instant) -> Option<f64> {
        self.0.push_back((at, total));
        while self.0.len() > 2 && at.duration_since(self.0[1].0) >= WINDOW {
            self.0.pop_front();
        }
        let &(since, before) = self.0.front()?;
        let rate = total.saturating_sub(before) as f64 / at.duration_since(since).as_secs_f64();
        (rate.is_finite() && rate > 0.0).then_some(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_amount_rate_and_time_left() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        let total = 4_000_000_000;
        assert_eq!(rate.line("pulling", Snapshot { total, ..Snapshot::default() }, start), "pulling 0 B of 4.0 GB");
        let snapshot = Snapshot { total, moved: 200_000_000, skipped: 1_000_000_000, ..Snapshot::default() };
        assert_eq!(rate.line("pulling", snapshot, after(2)), "pulling 1.2 GB of 4.0 GB, 100.0 MB/s, 28 s left");
    }

    #[test]
    fn hashing_counts_as_work() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        let total = 1_000_000_000;
        rate.line("pushing", Snapshot { total, ..Snapshot::default() }, start);
        let snapshot = Snapshot { total, hashed: 500_000_000, ..Snapshot::default() };
        let line = rate.line("pushing", snapshot, start + Duration::from_secs(1));
        assert_eq!(line, "pushing 0 B of 1.0 GB, 500.0 MB hashed, 500.0 MB/s, 3 s left");
    }

    #[test]
    fn the_rate_covers_the_last_seconds_and_is_absent_during_a_stall() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        let mut line = String::new();
        for (second, moved) in [(0, 0), (1, 900), (2, 900), (4, 900), (6, 900)] {
            let snapshot = Snapshot { total: 1000, moved, ..Snapshot::default() };
            line = rate.line("pulling", snapshot, start + Duration::from_secs(second));
        }
        assert_eq!(line, "pulling 900 B of 1.0 kB");
    }
}
