//! What is shown of the progress: how far the work is, how fast it goes on, and what it waits for. No
//! clock and no terminal is read here.

use super::rate::Rate;
use modelpack::{PartSnapshot, Snapshot, Waiting};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// A file has a line of its own after this time. So small files do not appear for a moment each.
const LASTING: Duration = Duration::from_secs(1);
/// Nothing is said about a shorter pause.
const PAUSE: Duration = Duration::from_secs(3);
/// Nothing is said about a shorter wait.
const SHORT_WAIT: Duration = Duration::from_secs(1);
/// A longer time is not known well enough to be shown.
const LONGEST_LEFT: Duration = Duration::from_secs(100 * 3600);

/// Follows the progress of a transfer.
pub struct Pace {
    doing: &'static str,
    moved: Rate,
    hashed: Rate,
    /// The files in flight by their numbers, each with the time when it was first seen.
    files: HashMap<u64, (Instant, Rate)>,
    /// The number of bytes for which something was done, and when it last grew.
    last: (u64, Instant),
}

/// The progress at one moment, as it is shown.
#[derive(Debug, PartialEq)]
pub struct View {
    /// What is done, such as `pushing` or `hashing`.
    pub doing: &'static str,
    /// The bytes for which it is done.
    pub done: u64,
    /// The bytes for which it will be done; 0 while this is not known.
    pub total: u64,
    /// Bytes per second.
    pub rate: Option<u64>,
    pub outlook: Outlook,
    /// The bytes that an earlier attempt had transferred.
    pub resumed: u64,
    /// The bytes that the destination held.
    pub present: u64,
    /// Why nothing is done, and how long.
    pub waits: Vec<(String, Option<Duration>)>,
    /// The files that are in flight for a while.
    pub files: Vec<FileView>,
}

/// What can be said about the rest of the work.
#[derive(Debug, PartialEq)]
pub enum Outlook {
    Unknown,
    /// It will take about this time.
    Left(Duration),
    /// Nothing happened for this time.
    Paused(Duration),
    /// All bytes are there. What is left is to make them durable or visible.
    Finishing,
}

/// A file in flight, as it is shown.
#[derive(Debug, PartialEq)]
pub struct FileView {
    pub name: String,
    /// Whether it is hashed before it is transferred, or instead.
    pub is_hashed: bool,
    /// The bytes that are hashed or transferred.
    pub done: u64,
    pub size: u64,
    /// Bytes per second.
    pub rate: Option<u64>,
}

impl Pace {
    /// Follows a transfer from its beginning.
    pub fn new(doing: &'static str, start: Instant) -> Self {
        let (mut moved, mut hashed) = (Rate::default(), Rate::default());
        moved.observe(0, start);
        hashed.observe(0, start);
        Self { doing, moved, hashed, files: HashMap::new(), last: (0, start) }
    }

    /// Takes the progress at this moment.
    pub fn observe(&mut self, now: Snapshot, at: Instant) -> View {
        let worked = now.done().saturating_add(now.hashed);
        if worked != self.last.0 {
            self.last = (worked, at);
        }
        let idle = at.duration_since(self.last.1);
        let waits = waits(&now.waiting, at);
        let done = now.done().min(now.total);
        let (moved, hashed) = (self.moved.observe(now.moved, at), self.hashed.observe(now.hashed, at));
        // What is only hashed may still have to be moved, so the time until everything is moved is
        // not known. The time until everything is hashed is.
        let is_hashing = moved.is_none() && hashed.is_some() && done < now.total;
        let (doing, done, rate) = match is_hashing {
            true => ("hashing", now.hashed.clamp(done, now.total), hashed),
            false => (self.doing, done, moved),
        };
        let outlook = if now.total > 0 && done == now.total && !is_hashing {
            Outlook::Finishing
        } else if idle >= PAUSE {
            Outlook::Paused(idle)
        } else {
            rate.and_then(|rate| time_left(now.total - done, rate)).map_or(Outlook::Unknown, Outlook::Left)
        };
        // A rate that only falls, because nothing moves any more, says nothing.
        let rate = rate.filter(|_| matches!(outlook, Outlook::Unknown | Outlook::Left(_)));
        let (resumed, present) = (now.resumed, now.skipped);
        View { doing, done, total: now.total, rate, outlook, resumed, present, waits, files: self.files(now.parts, at) }
    }

    fn files(&mut self, parts: Vec<PartSnapshot>, at: Instant) -> Vec<FileView> {
        self.files.retain(|number, _| parts.iter().any(|part| part.number == *number));
        let view = |part: PartSnapshot| {
            let (since, rate) = self.files.entry(part.number).or_insert_with(|| (at, Rate::default()));
            let is_hashed = part.moved == 0 && part.hashed > 0 && part.hashed < part.size;
            // Both only grow, so a file that was hashed and is now moved goes on with its rate.
            let rate = rate.observe(part.hashed.saturating_add(part.moved), at);
            let done = if is_hashed { part.hashed } else { part.moved.saturating_add(part.resumed).min(part.size) };
            let rate = rate.filter(|_| done < part.size);
            let file = FileView { name: part.name, is_hashed, done, size: part.size, rate };
            (at.duration_since(*since) >= LASTING).then_some(file)
        };
        parts.into_iter().filter_map(view).collect()
    }
}

/// The time for `bytes` at this rate. `None` if it is less than a second, or too long to be true.
fn time_left(bytes: u64, rate: u64) -> Option<Duration> {
    let left = Duration::from_secs(bytes.div_ceil(rate.max(1)));
    (!left.is_zero() && left < LONGEST_LEFT).then_some(left)
}

/// The reasons to wait, each once, with the time until the last of its waits ends.
fn waits(waiting: &[Waiting], at: Instant) -> Vec<(String, Option<Duration>)> {
    let mut waits: Vec<(String, Option<Duration>)> = Vec::new();
    for Waiting { reason, until } in waiting {
        let time = until.map(|until| until.saturating_duration_since(at));
        if time.is_some_and(|time| time < SHORT_WAIT) {
            continue;
        }
        match waits.iter_mut().find(|(other, _)| other == reason) {
            // Without an end it is the longest.
            Some((_, longest)) => *longest = longest.zip(time).map(|(a, b)| a.max(b)),
            None => waits.push((reason.clone(), time)),
        }
    }
    waits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// What is shown after the last of these seconds.
    fn view(moments: impl IntoIterator<Item = (u64, Snapshot)>) -> View {
        let start = Instant::now();
        let mut pace = Pace::new("pushing", start);
        moments.into_iter().map(|(second, now)| pace.observe(now, start + seconds(second))).last().unwrap()
    }

    fn part(number: u64, size: u64, hashed: u64, moved: u64, resumed: u64) -> PartSnapshot {
        PartSnapshot { number, name: format!("file {number}"), size, hashed, moved, resumed }
    }

    #[test]
    fn what_was_there_or_resumed_is_done_but_gives_no_rate() {
        let now = Snapshot { total: 4000, moved: 200, resumed: 300, skipped: 1000, ..Snapshot::default() };
        let view = view([(2, now)]);
        assert_eq!((view.doing, view.done, view.total, view.rate), ("pushing", 1500, 4000, Some(100)));
        assert_eq!((view.resumed, view.present, view.outlook), (300, 1000, Outlook::Left(seconds(25))));
    }

    #[test]
    fn while_files_are_only_hashed_that_is_what_is_shown() {
        let hashing = |hashed, moved| Snapshot { total: 1000, hashed, moved, ..Snapshot::default() };
        let first = view([(1, hashing(100, 0)), (2, hashing(200, 0))]);
        assert_eq!((first.doing, first.done, first.rate, first.outlook), ("hashing", 200, Some(100), Outlook::Left(seconds(8))));
        let then = view([(1, hashing(600, 0)), (2, hashing(1000, 100))]);
        assert_eq!((then.doing, then.done, then.rate, then.outlook), ("pushing", 100, Some(50), Outlook::Left(seconds(18))));
    }

    #[test]
    fn time_left_is_shown_only_if_it_means_something() {
        let at = |moved| Snapshot { total: 1_000_000_000, moved, ..Snapshot::default() };
        assert_eq!(view([(0, at(0))]).outlook, Outlook::Unknown);
        assert_eq!(view([(10, at(10_000))]).outlook, Outlook::Unknown, "eleven days");
        let stalled = view([(1, at(500_000_000)), (2, at(500_000_000)), (8, at(500_000_000))]);
        assert_eq!((stalled.outlook, stalled.rate), (Outlook::Paused(seconds(7)), None));
        assert_eq!(view([(20, Snapshot::default())]).outlook, Outlook::Paused(seconds(20)), "no answer yet");
        assert_eq!(view([(1, at(1_000_000_000)), (90, at(1_000_000_000))]).outlook, Outlook::Finishing);
        // Bytes that were moved in vain count again.
        let again = view([(1, at(1_500_000_000))]);
        assert_eq!((again.done, again.rate, again.outlook), (1_000_000_000, None, Outlook::Finishing));
    }

    #[test]
    fn files_are_shown_after_a_while() {
        let now = |parts| Snapshot { total: 1000, parts, ..Snapshot::default() };
        let start = Instant::now();
        let mut pace = Pace::new("pulling", start);
        assert_eq!(pace.observe(now(vec![part(1, 400, 0, 100, 0), part(2, 600, 100, 0, 0)]), start).files, []);
        let long = pace.observe(now(vec![part(1, 400, 0, 200, 50), part(2, 600, 300, 0, 0), part(3, 5, 0, 1, 0)]), start + seconds(2));
        let file = |number: u64, is_hashed, done, size, rate| FileView { name: format!("file {number}"), is_hashed, done, size, rate };
        assert_eq!(long.files, [file(1, false, 250, 400, Some(50)), file(2, true, 300, 600, Some(100))]);
        let next = pace.observe(now(vec![part(2, 600, 600, 300, 0), part(4, 9, 0, 9, 0)]), start + seconds(4));
        assert_eq!(next.files, [file(2, false, 300, 600, Some(200))]);
        let last = pace.observe(now(vec![part(2, 600, 600, 600, 0)]), start + seconds(5));
        assert_eq!(last.files, [file(2, false, 600, 600, None)], "it is only made durable");
        assert_eq!(pace.files.len(), 1, "nothing is kept of files that are finished");
    }

    #[test]
    fn each_reason_to_wait_is_shown_once_with_its_longest_time() {
        let at = Instant::now();
        let waiting = |reason: &str, time: Option<u64>| Waiting { reason: reason.to_owned(), until: time.map(|time| at + seconds(time)) };
        let shown = waits(&[waiting("a", Some(3)), waiting("b", Some(0)), waiting("a", Some(12)), waiting("a", Some(5))], at);
        assert_eq!(shown, [("a".to_owned(), Some(seconds(12)))]);
        let shown = waits(&[waiting("a", Some(3)), waiting("a", None), waiting("a", Some(12)), waiting("c", Some(2))], at);
        assert_eq!(shown, [("a".to_owned(), None), ("c".to_owned(), Some(seconds(2)))]);
    }
}
