//! Commands and their registry are ended by signals at random moments.

use crate::{
    losses,
    rounds::Tally,
    scene::{Scene, Violation, abandoned, expect_failure, finish, shown},
    task::{Prepared, Task},
};
use modelpack_testkit::{Random, Running, Signal};
use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

/// The signals that end a command, each with the exit code.
pub const SIGNALS: [(Signal, i32); 4] = [(Signal::KILL, 137), (Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)];

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Victim {
    Command,
    Registry,
    Both,
}

/// How a command and its registry are ended.
pub struct Ending {
    pub victim: Victim,
    pub signal: Signal,
    /// The exit code of what the signal ends at once.
    pub code: i32,
    /// Whether the registry is started again before the command has ended.
    pub restarts_soon: bool,
}

/// How a command has ended.
pub struct Ended {
    /// The command and its result.
    pub shown: String,
    /// Whether it succeeded.
    pub is_done: bool,
    /// Whether the signal has ended it.
    pub is_killed: bool,
    /// Whether its work is there.
    pub is_new: bool,
}

impl Ending {
    /// Waits until all that got the signal have ended, starts the registry again, and waits for the
    /// command. Fails if one of them did not end as it should, or left something wrong behind.
    pub fn wait(&self, scene: &mut Scene, running: Running, prepared: &Prepared) -> Result<Ended, Violation> {
        let Self { victim, signal, code, restarts_soon } = *self;
        if victim != Victim::Command {
            let output = scene.registry.wait()?;
            // On a signal that it can handle, the registry finishes the requests in progress.
            if output.code != if signal == Signal::KILL { code } else { 0 } {
                return Err(format!("the registry did not shut down correctly: {}", shown(&["serve"], &output)));
            }
            if restarts_soon {
                scene.registry.restart();
            }
        }
        let output = finish(running, &prepared.words)?;
        if victim != Victim::Command && !restarts_soon {
            scene.registry.restart();
        }
        let (shown, is_done) = (shown(&prepared.words, &output), output.code == 0);
        let is_killed = output.code == code && victim != Victim::Registry;
        if !is_done && !is_killed {
            match victim {
                Victim::Command => return Err(format!("the command failed without a fault: {shown}")),
                _ => expect_failure(&output).map_err(|why| format!("{why}: {shown}"))?,
            }
        }
        let is_new = prepared.expected.check(scene, is_done).map_err(|why| format!("{why}, after {shown}"))?;
        // A process that was killed with SIGKILL cannot clean up. In all other cases nothing may
        // remain.
        if let Some(path) = abandoned(scene.user.home()).filter(|_| !(is_killed && signal == Signal::KILL)) {
            return Err(format!("{} remains after {shown}", path.display()));
        }
        Ok(Ended { shown, is_done, is_killed, is_new })
    }
}

impl Ended {
    /// As it is counted.
    pub fn how(&self) -> &'static str {
        match (self.is_done, self.is_killed) {
            (true, _) => "commands succeeded",
            (false, true) => "commands killed",
            (false, false) => "commands failed",
        }
    }
}

/// The run. It remembers the duration of each command, so that the moments of the kills are spread
/// over it.
pub struct Kills {
    modelpack: PathBuf,
    /// How many bytes of each connection may be moved again.
    loss: u64,
    durations: Mutex<HashMap<Task, Duration>>,
}

impl Kills {
    pub fn new(modelpack: PathBuf, loss: u64) -> Result<Self, Violation> {
        let status = fs::read_to_string("/proc/self/status").map_err(|e| format!("/proc/self/status: {e}"))?;
        let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
        // The lowest bit is that of SIGHUP. A signal that is ignored here is also ignored in all
        // child processes.
        if ignored.is_none_or(|signals| signals & 1 != 0) {
            return Err("SIGHUP is ignored, for example because of `nohup`, so it cannot end a command".to_owned());
        }
        Ok(Self { modelpack, loss, durations: Mutex::default() })
    }

    /// A round: half of them move a large blob, and the others are any command with a small model.
    pub fn round(&self, random: &mut Random, tally: &mut Tally) -> Result<(), Violation> {
        if random.once_in(2) {
            return losses::round(&self.modelpack, self.loss, random, tally);
        }
        let task = if random.once_in(3) { random.one_of(&Task::LOCAL) } else { random.one_of(&Task::REMOTE) };
        let victims = if Task::LOCAL.contains(&task) { &[Victim::Command][..] } else { &[Victim::Command, Victim::Registry, Victim::Both] };
        let (victim, (signal, code)) = (random.one_of(victims), random.one_of(&SIGNALS));
        // Slightly more than the whole duration, because the duration varies.
        let permille = u32::try_from(random.below(1200)).expect("the number is small");
        let ending = Ending { victim, signal, code, restarts_soon: random.once_in(2) };
        let moment = self.duration_of(task)? * permille / 1000;

        let mut scene = Scene::make(&self.modelpack, random)?;
        let prepared = task.prepare(&scene, random)?;
        let mut attempt = || {
            let running = scene.user.start(&prepared.words);
            thread::sleep(moment);
            if victim != Victim::Registry {
                running.signal(signal);
            }
            if victim != Victim::Command {
                scene.registry.signal(signal);
            }
            let ended = ending.wait(&mut scene, running, &prepared)?;
            if !(task == Task::Remove && ended.is_new) {
                scene.ok_words(&prepared.words)?;
                prepared.expected.check(&scene, true).map_err(|why| format!("after the same command was repeated: {why}"))?;
            }
            Ok(ended.how())
        };
        let in_context = |why| format!("{task:?}, {victim:?} ended by {signal:?} after {permille}/1000 of its duration: {why}");
        let how = attempt().map_err(in_context)?;
        tally.count(how);
        scene.end().map_err(in_context)
    }

    /// The duration of a command without faults.
    fn duration_of(&self, task: Task) -> Result<Duration, Violation> {
        let mut durations = self.durations.lock().map_err(|_| "another round could not measure a command")?;
        if let Some(duration) = durations.get(&task) {
            return Ok(*duration);
        }
        let mut random = Random::new(0, 0);
        let scene = Scene::make(&self.modelpack, &mut random)?;
        let prepared = task.prepare(&scene, &mut random)?;
        let start = Instant::now();
        scene.ok_words(&prepared.words)?;
        Ok(*durations.entry(task).or_insert(start.elapsed()))
    }
}
