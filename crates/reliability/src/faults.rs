//! Transfers through a proxy that injects faults.

mod effect;
mod plan;

use crate::{
    rounds::Tally,
    scene::{Scene, Violation, abandoned, expect_failure, finish, shown},
    task::{Prepared, Task},
};
use effect::{explains, is_stall, is_temporary};
use modelpack_testkit::{Failure, FaultProxy, Random, RandomFaults, Running, Signal};
use plan::{Plan, plan};
use std::{path::Path, thread, time::Duration};

/// The number of temporary faults that any command survives: a request is sent five times.
const SURVIVED: usize = 4;

/// The number of silent attempts that any command survives: it gives up after four times its time-out.
const SILENT: usize = 3;

/// The faults of a round.
enum Faults {
    /// Chosen ones.
    Planned(Plan),
    /// Any request may have one.
    Random { seed: u64, one_in: u64, at_most: usize, stalls: bool },
}

impl Faults {
    fn description(&self) -> String {
        match self {
            Self::Planned(plan) => plan.description.clone(),
            Self::Random { one_in, at_most, stalls, .. } => {
                let stalls = if *stalls { ", with stalls" } else { "" };
                format!("a random fault in one of {one_in} requests, at most {at_most}{stalls}")
            }
        }
    }

    /// Whether a short time-out of the command ends stalls.
    fn time_out(&self) -> bool {
        match self {
            Self::Planned(plan) => plan.times_out,
            Self::Random { stalls, .. } => *stalls,
        }
    }

    /// Whether the command is ended by a signal while no answer comes.
    fn interrupt(&self) -> bool {
        matches!(self, Self::Planned(plan) if plan.interrupts)
    }
}

pub fn round(modelpack: &Path, random: &mut Random, tally: &mut Tally) -> Result<(), Violation> {
    let task = random.one_of(&Task::REMOTE);
    let mut scene = Scene::make(modelpack, random)?;
    let proxy = FaultProxy::start(scene.registry.address, Vec::new());
    scene.host = proxy.address().to_string();
    let mut prepared = task.prepare(&scene, random)?;
    let read = if task == Task::AttachInRegistry { &scene.old } else { &scene.new };
    let faults = if random.once_in(3) {
        Faults::Planned(plan(task, &scene.new, read, random))
    } else {
        let (one_in, at_most) = random.one_of(&[(2, SURVIVED), (3, 10), (6, 100)]);
        Faults::Random { seed: random.number(), one_in, at_most, stalls: random.once_in(3) }
    };
    if faults.time_out() {
        prepared.words.extend(["--timeout", "1s"].map(str::to_owned));
    }
    let mut attempts = || -> Result<(), Violation> {
        match &faults {
            Faults::Planned(plan) => proxy.set_faults(plan.faults.clone()),
            Faults::Random { seed, one_in, at_most, stalls } => {
                proxy.set_random_faults(Some(RandomFaults::new(*seed, *one_in).at_most(*at_most).stalls(*stalls)));
            }
        }
        // A user types the same command again. A planned fault may be there forever.
        let times = if matches!(faults, Faults::Planned(_)) { 1 } else { 4 };
        for _ in 0..times {
            let how = attempt(&scene, &proxy, &prepared, &faults)?;
            tally.count(how);
            if how != "commands failed" {
                break;
            }
        }
        proxy.set_faults(Vec::new());
        proxy.set_random_faults(None);
        scene.ok_words(&prepared.words)?;
        tally.count("commands after the faults");
        prepared.expected.check(&scene, true).map_err(|why| format!("after the same command without faults: {why}"))?;
        match proxy.answers().iter().find(|(status, _)| **status >= 500) {
            Some((status, _)) => Err(format!("the registry answered with {status}")),
            None => Ok(()),
        }
    };
    attempts().map_err(|why| format!("{task:?}, {}: {why}; injected: {:?}", faults.description(), proxy.injected()))?;
    tally.add("requests with a fault", proxy.befallen());
    if faults.time_out() {
        tally.add("stalls that a time-out ended", proxy.injected().iter().filter(|failure| is_stall(failure)).count());
    }
    scene.end().map_err(|why| format!("{task:?}, {}: {why}", faults.description()))
}

/// Runs the command among the faults. Returns how it ended, for the tally.
fn attempt(scene: &Scene, proxy: &FaultProxy, prepared: &Prepared, faults: &Faults) -> Result<&'static str, Violation> {
    let before = proxy.befallen();
    let mut running = scene.user.start(&prepared.words);
    let stalled = faults.interrupt() && wait_for_fault(proxy, &mut running);
    if stalled {
        running.signal(Signal::TERM);
    }
    let output = finish(running, &prepared.words)?;
    let (shown, done) = (shown(&prepared.words, &output), output.code == 0);
    let mut all = proxy.injected();
    let expiries = all.iter().filter(|failure| matches!(failure, Failure::ExpireTokens)).count();
    let injected = all.split_off(before);
    prepared.expected.check(scene, done).map_err(|why| format!("{why}, after {shown}"))?;
    let passes = match faults {
        Faults::Planned(plan) => plan.passes,
        // After the first expiry, tokens are required from the beginning. A registry that refuses the
        // first token as well does not want this client.
        Faults::Random { .. } => {
            let silent = injected.iter().filter(|failure| is_stall(failure)).count();
            injected.len() <= SURVIVED && silent <= SILENT && expiries < 2 && injected.iter().all(is_temporary)
        }
    };
    if !done && passes {
        return Err(format!("the faults are temporary, so the command must continue: {shown}"));
    }
    if faults.time_out() && output.stderr.split("nothing came for ").skip(1).any(|waited| !waited.starts_with("1 s")) {
        return Err(format!("the command waited longer than its time-out: {shown}"));
    }
    if !(done || stalled && output.code == 143) {
        expect_failure(&output).map_err(|why| format!("{why}: {shown}"))?;
        if !injected.iter().any(|failure| explains(failure, &output)) {
            return Err(format!("the error names none of the faults: {shown}"));
        }
    }
    if let Some(path) = abandoned(scene.user.home()) {
        return Err(format!("{} remains after {shown}", path.display()));
    }
    Ok(match (done, stalled) {
        (true, _) if injected.is_empty() => "commands without faults",
        (true, _) => "commands succeeded",
        (false, true) => "commands interrupted",
        (false, false) => "commands failed",
    })
}

/// Waits until a fault was injected into a request. Returns `false` if the program ended without
/// one.
fn wait_for_fault(proxy: &FaultProxy, running: &mut Running) -> bool {
    while proxy.befallen() == 0 {
        if running.has_ended() {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}
