//! Concurrent rounds, each of which can be repeated by its number.

use crate::scene::Violation;
use modelpack_testkit::Random;
use std::{
    any::Any,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

/// The number of times that each event happened, and the largest of some numbers.
#[derive(Default)]
pub struct Tally {
    counts: BTreeMap<String, usize>,
    most: BTreeMap<String, usize>,
}

impl Tally {
    pub fn count(&mut self, what: &str) {
        self.add(what, 1);
    }

    pub fn add(&mut self, what: &str, times: usize) {
        *self.counts.entry(what.to_owned()).or_default() += times;
    }

    /// Keeps the number if it is the largest of its kind.
    pub fn most(&mut self, what: &str, number: usize) {
        let most = self.most.entry(what.to_owned()).or_default();
        *most = number.max(*most);
    }

    pub fn merge(&mut self, other: Self) {
        other.counts.into_iter().for_each(|(what, times)| self.add(&what, times));
        other.most.into_iter().for_each(|(what, number)| self.most(&what, number));
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts = self.counts.iter().map(|(what, times)| format!("{times} {what}"));
        let most = self.most.iter().map(|(what, number)| format!("at most {number} {what}"));
        f.write_str(&counts.chain(most).collect::<Vec<_>>().join(", "))
    }
}

/// The rounds of a run.
#[derive(Clone, clap::Args)]
pub struct Rounds {
    /// The seed of all random choices
    #[arg(long, value_name = "N")]
    seed: u64,
    /// The number of rounds
    #[arg(long, value_name = "N", default_value_t = 100)]
    rounds: u64,
    /// Run only the round with this number
    #[arg(long, value_name = "N", conflicts_with = "rounds")]
    round: Option<u64>,
    /// The number of concurrent rounds
    #[arg(long, value_name = "N", default_value_t = 4)]
    jobs: usize,
}

impl Rounds {
    /// Runs the rounds, prints a line for each failed round, and finally the counts. Returns
    /// whether none failed.
    pub fn run(&self, name: &str, round: impl Fn(&mut Random, &mut Tally) -> Result<(), Violation> + Sync) -> bool {
        let numbers = self.round.map_or(0..self.rounds, |number| number..number + 1);
        let (next, tally, failed) = (AtomicU64::new(numbers.start), Mutex::new(Tally::default()), AtomicU64::new(0));
        let work = || {
            let mut counted = Tally::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= numbers.end {
                    break;
                }
                let mut random = Random::new(self.seed, number);
                let ran = catch_unwind(AssertUnwindSafe(|| round(&mut random, &mut counted)));
                if let Err(why) = ran.unwrap_or_else(|panic| Err(message(&*panic))) {
                    failed.fetch_add(1, Ordering::Relaxed);
                    println!("VIOLATION: {} -- again: reliability {name} --seed {} --round {number}", why.replace('\n', " / "), self.seed);
                }
            }
            tally.lock().expect("nothing panics while it holds the lock").merge(counted);
        };
        thread::scope(|scope| (0..self.jobs).for_each(|_| drop(scope.spawn(work))));
        let (ran, failed) = (numbers.end - numbers.start, failed.into_inner());
        let tally = tally.into_inner().expect("nothing panics while it holds the lock");
        println!("{name}, seed {}: {ran} rounds, {failed} violations; {tally}", self.seed);
        failed == 0
    }
}

/// The message of a panic. The code shared with the tests panics if it cannot continue.
fn message(panic: &(dyn Any + Send)) -> Violation {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}
