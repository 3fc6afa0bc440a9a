//! Commands and registries that are ended in the middle of a large blob. The bytes that the same
//! command moves again are counted on the wire.

use crate::{
    kills::{Ending, SIGNALS, Victim},
    power_cut,
    rounds::Tally,
    scene::{PATIENCE, Scene, Version, Violation, wait_for_hold},
    task::Task,
};
use modelpack_testkit::{FaultProxy, Random, Running, Signal, Traffic};
use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// The commands that move blobs.
const TASKS: [Task; 8] = [
    Task::PushDirectory,
    Task::PushStored,
    Task::LayoutToRegistry,
    Task::ArchiveToRegistry,
    Task::Pull,
    Task::PullInto,
    Task::CopyToLayout,
    Task::CopyToArchive,
];
/// Of these, the commands that keep partial blobs on the disk of the user.
const RESUMABLE: [Task; 3] = [Task::Pull, Task::PullInto, Task::CopyToLayout];
/// The sizes of the large blob, in MiB.
const SIZES: [u64; 8] = [16, 16, 16, 16, 24, 24, 32, 64];

/// A round. `allowed` is how many bytes of each connection may be moved again.
pub fn round(modelpack: &Path, allowed: u64, random: &mut Random, tally: &mut Tally) -> Result<(), Violation> {
    let task = random.one_of(&TASKS);
    let victim = random.one_of(&[Victim::Command, Victim::Command, Victim::Registry, Victim::Both]);
    let (signal, code) = if random.once_in(2) { SIGNALS[0] } else { random.one_of(&SIGNALS) };
    let size = (random.one_of(&SIZES) << 20) + random.below(1 << 20);
    let mut scene = Scene::with_large_layer(modelpack, size, random)?;
    let proxy = FaultProxy::start(scene.registry.address, Vec::new());
    scene.host = proxy.address().to_string();
    let prepared = task.prepare(&scene, random)?;
    let before = proxy.traffic();
    let moment = random.below(scene.new.blobs.iter().map(|blob| blob.size).sum());
    let pause = Duration::from_millis(random.below(20));
    let ending = Ending { victim, signal, code, restarts_soon: random.once_in(2) };
    // The machine with the partial blobs: that of the user, or that of the registry.
    let is_on_disk = if RESUMABLE.contains(&task) { victim == Victim::Command } else { victim == Victim::Both };
    let loses_power = is_on_disk && signal == Signal::KILL && random.once_in(2);

    let mut attempt = || {
        proxy.hold_after(Some(moment));
        let mut running = scene.user.start(&prepared.words);
        wait_for_hold(&proxy, &mut running);
        thread::sleep(pause);
        // These have left the proxy, but neither program has seen them.
        let unread = proxy.unread();
        let connections = proxy.most_bodies().max(1) as u64;
        if victim != Victim::Registry && !running.has_ended() {
            running.signal(signal);
        }
        if victim != Victim::Command {
            scene.registry.signal(signal);
        }
        if victim != Victim::Registry {
            wait_for_end(&mut running).map_err(|why| format!("{why}: `{}`", prepared.words.join(" ")))?;
        }
        if victim != Victim::Registry || signal == Signal::KILL {
            // Its connections end with it. What it had sent and the proxy has not taken is lost, and
            // nothing that the proxy would still send arrives.
            proxy.cut();
        }
        proxy.hold_after(None);
        let ended = ending.wait(&mut scene, running, &prepared)?;
        let first = proxy.traffic().since(&before);
        let lost = match victim {
            _ if !loses_power || !ended.is_killed => 0,
            Victim::Command => power_cut::simulate(scene.user.home(), random)?,
            // It was started again, but has opened no upload yet.
            _ => power_cut::simulate(&scene.registry.root(), random)?,
        };
        scene.ok_words(&prepared.words)?;
        prepared.expected.check(&scene, true).map_err(|why| format!("after the same command was repeated: {why}"))?;

        let moved = proxy.traffic().since(&before);
        let again = moved.total().total().saturating_sub(size_of(&moved, &scene.new));
        // An archive is written from its beginning again, so all that was read for it is.
        let begins_again = task == Task::CopyToArchive;
        let may_be = if begins_again { first.total().total() } else { connections * allowed + unread + lost };
        tally.add("bytes moved", count(moved.total().total()));
        if !begins_again {
            tally.most(&format!("bytes moved again by {task:?}"), count(again.saturating_sub(unread + lost)));
            tally.add("bytes moved again", count(again));
        }
        if again > may_be {
            return Err(format!(
                "{again} bytes were moved again, of {} in all, and only {may_be} may be ({connections} connections, {unread} bytes on their \
                 way, {lost} lost by a power failure), after {}; first {:?}, then {:?}",
                moved.total().total(),
                ended.shown,
                first,
                proxy.traffic().since(&before).since(&first)
            ));
        }
        if loses_power && ended.is_killed {
            return Ok("commands killed by a power failure");
        }
        Ok(ended.how())
    };
    let in_context = |why| format!("{task:?} of {size} bytes, {victim:?} ended by {signal:?} after {moment} bytes: {why}");
    let how = attempt().map_err(in_context)?;
    tally.count(how);
    scene.end().map_err(in_context)
}

/// Waits for a command that got a signal, while no byte comes any more.
fn wait_for_end(running: &mut Running) -> Result<(), Violation> {
    let start = Instant::now();
    while !running.has_ended() {
        if start.elapsed() > PATIENCE {
            return Err("a signal did not end the command".to_owned());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// The size of all blobs that were moved, each once.
fn size_of(moved: &Traffic, version: &Version) -> u64 {
    let digests = moved.blobs();
    let mut sizes: Vec<_> = version.blobs.iter().filter(|blob| digests.contains(blob.digest.as_str())).collect();
    sizes.sort_by(|a, b| a.digest.cmp(&b.digest));
    sizes.dedup_by(|a, b| a.digest == b.digest);
    sizes.into_iter().map(|blob| blob.size).sum()
}

fn count(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
