//! Commands, and the registry that they speak to, ended at any moment.

use crate::{
    random::Random,
    rounds::Tally,
    scene::{Scene, Violation, expect_failure, finish, left_over, shown},
    task::Task,
};
use modelpack_testkit::Signal;
use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

const SIGNALS: [(Signal, i32); 4] = [(Signal::KILL, 137), (Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    Command,
    Registry,
    Both,
}

/// The run: it remembers how long each command takes, so that the moments of the kills are spread over that.
pub struct Kills {
    modelpack: PathBuf,
    durations: Mutex<HashMap<Task, Duration>>,
}

impl Kills {
    pub fn new(modelpack: PathBuf) -> Result<Self, Violation> {
        let status = fs::read_to_string("/proc/self/status").map_err(|e| format!("/proc/self/status: {e}"))?;
        let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
        // The lowest bit is SIGHUP's. What is ignored here is ignored by all programs that are started here.
        if ignored.is_none_or(|signals| signals & 1 != 0) {
            return Err("SIGHUP is ignored, as by `nohup`: then no command could be ended by it".to_owned());
        }
        Ok(Self { modelpack, durations: Mutex::default() })
    }

    pub fn round(&self, random: &mut Random, tally: &mut Tally) -> Result<(), Violation> {
        let task = if random.once_in(3) { random.one_of(&Task::LOCAL) } else { random.one_of(&Task::REMOTE) };
        let victims = if Task::LOCAL.contains(&task) { &[Victim::Command][..] } else { &[Victim::Command, Victim::Registry, Victim::Both] };
        let (victim, (signal, code)) = (random.one_of(victims), random.one_of(&SIGNALS));
        // A little more than all of it, since a command does not take the same time twice.
        let permille = u32::try_from(random.below(1200)).expect("it is small");
        let restarts_soon = random.once_in(2);
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
                let output = scene.registry.stop(signal)?;
                // Told by any signal that can be heard, it finishes what is in flight.
                if output.code != if signal == Signal::KILL { code } else { 0 } {
                    return Err(format!("the registry does not end well: {}", shown(&["serve"], &output)));
                }
                if restarts_soon {
                    scene.registry.restart();
                }
            }
            let output = finish(running, &prepared.words)?;
            if victim != Victim::Command && !restarts_soon {
                scene.registry.restart();
            }
            let (shown, done) = (shown(&prepared.words, &output), output.code == 0);
            let killed = output.code == code && victim != Victim::Registry;
            if !done && !killed {
                match victim {
                    Victim::Command => return Err(format!("nothing but a signal befell it: {shown}")),
                    _ => expect_failure(&output).map_err(|why| format!("{why}: {shown}"))?,
                }
            }
            let is_new = prepared.expected.check(&scene, done).map_err(|why| format!("{why}, after {shown}"))?;
            // Who is killed cannot tidy up; anybody else can.
            if let Some(path) = left_over(scene.user.home()).filter(|_| !(killed && signal == Signal::KILL)) {
                return Err(format!("{} is left after {shown}", path.display()));
            }
            if !(task == Task::Remove && is_new) {
                scene.ok_words(&prepared.words)?;
                prepared.expected.check(&scene, true).map_err(|why| format!("{why}, after the same command again"))?;
            }
            Ok(match (done, killed) {
                (true, _) => "commands succeeded",
                (false, true) => "commands killed",
                (false, false) => "commands failed",
            })
        };
        let said = |why| format!("{task:?}, {victim:?} ended by {signal:?} after {permille} of 1000 of its time: {why}");
        let how = attempt().map_err(said)?;
        tally.count(how);
        scene.end().map_err(said)
    }

    /// How long a command takes that nothing happens to.
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
