//! Progress: the counters of a transfer, the blobs and files in flight, and what is waited for. The transfer changes them, and whatever
//! shows the progress reads them.

use modelpack_spec::Descriptor;
use std::{
    iter,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

/// The number of the next part.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Counters of bytes, shared between a transfer and whatever shows its progress.
///
/// Counters may be part of others, which count the same bytes: those of a call are part of those of a handle, and those of a blob or a file
/// in flight ([`part`](Self::part)) are part of those of the call.
#[derive(Debug, Default)]
pub struct Progress {
    /// Counts these bytes too.
    whole: Option<Arc<Progress>>,
    /// The number and the name of a blob or file in flight.
    title: Option<(u64, String)>,
    total: AtomicU64,
    hashed: AtomicU64,
    moved: AtomicU64,
    resumed: AtomicU64,
    skipped: AtomicU64,
    /// The blobs and files in flight, in the order in which they began.
    parts: Mutex<Vec<Weak<Progress>>>,
    waiting: Mutex<Vec<Arc<Waiting>>>,
}

/// The progress at one moment. Counters are in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The bytes to transfer, as far as they are known. Grows while more is found.
    pub total: u64,
    /// The bytes that were read only to compute a digest.
    pub hashed: u64,
    /// The bytes that were transferred.
    pub moved: u64,
    /// The bytes that were not transferred, because an earlier attempt that did not finish had transferred them.
    pub resumed: u64,
    /// The bytes that were not transferred, because the destination held them already.
    pub skipped: u64,
    /// The blobs and files that are transferred or hashed at this moment, in the order in which they began.
    pub parts: Vec<PartSnapshot>,
    /// What is waited for at this moment, in the order in which the waits began.
    pub waiting: Vec<Waiting>,
}

impl Snapshot {
    /// The bytes of [`total`](Self::total) for which nothing is left to do.
    pub fn done(&self) -> u64 {
        self.moved.saturating_add(self.present())
    }

    /// The bytes that were not transferred.
    pub fn present(&self) -> u64 {
        self.resumed.saturating_add(self.skipped)
    }
}

/// A blob or file in flight, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartSnapshot {
    /// Distinguishes it from all other parts of this process. Its name need not.
    pub number: u64,
    /// The path of the file, or else what kind of blob it is. It may come from an artifact, so it may contain any characters.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// The bytes that were read only to compute a digest.
    pub hashed: u64,
    /// The bytes that were transferred.
    pub moved: u64,
    /// The bytes that were not transferred, because an earlier attempt that did not finish had transferred them.
    pub resumed: u64,
}

/// Something that is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Why nothing is done meanwhile, such as `registry.example.com answered 429`. It may contain any characters.
    pub reason: String,
    /// When the work goes on, if that is known.
    pub until: Option<Instant>,
}

/// A wait, which lasts until this is dropped.
#[derive(Debug)]
#[must_use = "the wait ends when this is dropped"]
pub struct Wait {
    progress: Arc<Progress>,
    waiting: Arc<Waiting>,
}

impl Progress {
    /// Counters that begin at zero. Bytes that they count are counted in `whole` too, and their parts and waits are listed there too.
    pub fn part_of(whole: Arc<Self>) -> Self {
        let mut counters = Self::default();
        counters.whole = Some(whole);
        counters
    }

    /// Counters for one blob or file of `size` bytes. What they count is counted here too, but for `size`, which [`expect`](Self::expect)
    /// counts earlier. The part is in flight, and [`Snapshot::parts`] lists it, until the last reference to these counters is dropped.
    ///
    /// `name` is for people: a path, or what [`Descriptor::display_name`] returns.
    pub fn part(self: &Arc<Self>, name: impl Into<String>, size: u64) -> Arc<Self> {
        let mut part = Self::part_of(self.clone());
        part.title = Some((NEXT.fetch_add(1, Relaxed), name.into()));
        part.total = size.into();
        let part = Arc::new(part);
        self.chain().for_each(|whole| lock(&whole.parts).push(Arc::downgrade(&part)));
        part
    }

    /// [`part`](Self::part) for a blob.
    pub fn blob(self: &Arc<Self>, blob: &Descriptor) -> Arc<Self> {
        self.part(blob.display_name(), blob.size)
    }

    /// Says that something is waited for, until what this returns is dropped. `until` is when the work goes on, if that is known.
    ///
    /// `reason` is for people, and does not say how long: `registry.example.com answered 429`.
    pub fn waiting(self: &Arc<Self>, reason: impl Into<String>, until: Option<Instant>) -> Wait {
        let waiting = Arc::new(Waiting { reason: reason.into(), until });
        self.chain().for_each(|counters| lock(&counters.waiting).push(waiting.clone()));
        Wait { progress: self.clone(), waiting }
    }

    /// Counts bytes that will be transferred, or need not be.
    pub fn expect(&self, bytes: u64) {
        self.add(bytes, |counters| &counters.total);
    }

    /// Counts bytes that were read only to compute a digest.
    pub fn hashed(&self, bytes: u64) {
        self.add(bytes, |counters| &counters.hashed);
    }

    /// Counts bytes that were transferred.
    pub fn moved(&self, bytes: u64) {
        self.add(bytes, |counters| &counters.moved);
    }

    /// Counts bytes that an earlier attempt, which did not finish, had transferred.
    pub fn resumed(&self, bytes: u64) {
        self.add(bytes, |counters| &counters.resumed);
    }

    /// Counts bytes that the destination held already.
    pub fn skipped(&self, bytes: u64) {
        self.add(bytes, |counters| &counters.skipped);
    }

    fn add(&self, bytes: u64, counter: fn(&Self) -> &AtomicU64) {
        for counters in self.chain() {
            counter(counters).fetch_add(bytes, Relaxed);
        }
    }

    /// These counters, and all that they are part of.
    fn chain(&self) -> impl Iterator<Item = &Self> {
        iter::successors(Some(self), |counters| counters.whole.as_deref())
    }

    /// The present values of the counters, what is in flight, and what is waited for.
    pub fn snapshot(&self) -> Snapshot {
        // This may be the last reference to a part. Dropping it locks the list, which is free again by then.
        let parts: Vec<Arc<Self>> = lock(&self.parts).iter().filter_map(Weak::upgrade).collect();
        Snapshot {
            total: self.total.load(Relaxed),
            hashed: self.hashed.load(Relaxed),
            moved: self.moved.load(Relaxed),
            resumed: self.resumed.load(Relaxed),
            skipped: self.skipped.load(Relaxed),
            parts: parts.iter().filter_map(|part| part.in_flight()).collect(),
            waiting: lock(&self.waiting).iter().map(|waiting| (**waiting).clone()).collect(),
        }
    }

    fn in_flight(&self) -> Option<PartSnapshot> {
        let (number, name) = self.title.clone()?;
        let (size, hashed) = (self.total.load(Relaxed), self.hashed.load(Relaxed));
        Some(PartSnapshot { number, name, size, hashed, moved: self.moved.load(Relaxed), resumed: self.resumed.load(Relaxed) })
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.title.is_some() {
            self.chain().skip(1).for_each(|whole| lock(&whole.parts).retain(|part| part.strong_count() > 0));
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.progress.chain().for_each(|counters| lock(&counters.waiting).retain(|waiting| !Arc::ptr_eq(waiting, &self.waiting)));
    }
}

/// Nobody panics while a list is locked, so a poisoned one is whole.
fn lock<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn what_a_part_counts_the_whole_counts_too() {
        let whole = Arc::new(Progress::default());
        let parts = [Progress::part_of(whole.clone()), Progress::part_of(whole.clone())];
        parts.iter().zip([1, 10]).for_each(|(part, bytes)| {
            part.expect(5 * bytes);
            part.hashed(bytes);
            part.moved(2 * bytes);
            part.skipped(3 * bytes);
            part.resumed(4 * bytes);
        });
        let counted = Snapshot { total: 5, hashed: 1, moved: 2, skipped: 3, resumed: 4, ..Snapshot::default() };
        assert_eq!(parts[0].snapshot(), counted);
        let counted = Snapshot { total: 55, hashed: 11, moved: 22, skipped: 33, resumed: 44, ..Snapshot::default() };
        assert_eq!(whole.snapshot(), counted);
        assert_eq!(counted.done(), 99);
    }

    #[test]
    fn a_part_is_listed_while_it_is_in_flight_by_everything_that_it_belongs_to() {
        let handle = Arc::new(Progress::default());
        let call = Arc::new(Progress::part_of(handle.clone()));
        call.expect(100);
        let first = call.part("a", 60);
        let second = call.part("b", 40);
        first.resumed(10);
        first.moved(20);
        second.hashed(40);
        let listed = handle.snapshot();
        assert_eq!((listed.total, listed.resumed, listed.moved, listed.hashed), (100, 10, 20, 40));
        assert_eq!(listed.parts, call.snapshot().parts);
        let [a, b] = &listed.parts[..] else { panic!("{listed:?}") };
        assert_eq!((a.name.as_str(), a.size, a.hashed, a.moved, a.resumed), ("a", 60, 0, 20, 10));
        assert_eq!((b.name.as_str(), b.size, b.hashed, b.moved, b.resumed), ("b", 40, 40, 0, 0));
        assert_ne!(a.number, b.number);

        let shared = first.clone();
        drop(first);
        assert_eq!(handle.snapshot().parts.len(), 2, "somebody still counts in it");
        drop(shared);
        assert_eq!(handle.snapshot().parts, listed.parts[1..]);
        drop(second);
        let left = handle.snapshot();
        assert_eq!((left.parts, left.moved, left.hashed), (vec![], 20, 40));
        assert!(lock(&handle.parts).is_empty() && lock(&call.parts).is_empty(), "finished parts need no memory");
    }

    #[test]
    fn a_wait_is_listed_until_it_ends() {
        let handle = Arc::new(Progress::default());
        let part = Arc::new(Progress::part_of(handle.clone())).part("a", 1);
        let until = Instant::now();
        let first = part.waiting("the registry answered 429", Some(until));
        let second = handle.waiting("another process writes", None);
        let waiting = |reason: &str, until| Waiting { reason: reason.to_owned(), until };
        let listed = [waiting("the registry answered 429", Some(until)), waiting("another process writes", None)];
        assert_eq!(handle.snapshot().waiting, listed);
        assert_eq!(part.snapshot().waiting, listed[..1]);
        drop(first);
        assert_eq!(handle.snapshot().waiting, listed[1..]);
        drop(second);
        assert_eq!(handle.snapshot(), Snapshot { parts: handle.snapshot().parts, ..Snapshot::default() });
    }

    #[test]
    fn parts_may_end_while_they_are_listed() {
        let whole = Arc::new(Progress::default());
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..10_000).for_each(|_| whole.part("a", 1).moved(1)));
            }
            while whole.snapshot().moved < 20_000 {}
        });
        assert_eq!(whole.snapshot().parts, []);
    }
}
