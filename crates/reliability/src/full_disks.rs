//! Commands whose disk is full at some moment, or that of their registry.

use crate::{
    rounds::Tally,
    scene::{DISK, Owner, Scene, Violation, abandoned, finish, shown, wait_for_hold},
    task::Task,
};
use modelpack_testkit::{FaultProxy, Output, Random};
use std::path::Path;

/// Commands that write to the disk of the user.
const ON_DISK: [Task; 6] = [Task::Pull, Task::PullInto, Task::CopyToLayout, Task::CopyToArchive, Task::Pack, Task::Unpack];
/// Commands that write to the disk of the registry.
const IN_REGISTRY: [Task; 5] =
    [Task::PushDirectory, Task::PushStored, Task::LayoutToRegistry, Task::ArchiveToRegistry, Task::AttachInRegistry];
/// More than a command needs besides the blobs: directories, indexes, journals.
const MORE: u64 = 256 << 10;

pub fn round(modelpack: &Path, random: &mut Random, tally: &mut Tally) -> Result<(), Violation> {
    let owner = if random.once_in(3) { Owner::Registry } else { Owner::User };
    let task = random.one_of(if owner == Owner::User { &ON_DISK[..] } else { &IN_REGISTRY });
    let mut scene = Scene::with_disk_of(owner, modelpack, random)?;
    let proxy = FaultProxy::start(scene.registry.address, Vec::new());
    scene.host = proxy.address().to_string();
    let scene = scene;
    let Some(disk) = &scene.disk else {
        tally.count("rounds SKIPPED, because this process may not mount a disk");
        return scene.end();
    };
    let prepared = task.prepare(&scene, random)?;
    let need = scene.new.blobs.iter().map(|blob| blob.size).sum::<u64>() + MORE;
    // Somebody else fills the disk after so many bytes have come. Before that, it has enough room.
    let late = (Task::REMOTE.contains(&task) && random.once_in(2)).then(|| random.below(need - MORE));
    // The first and the last writes are small, and there are many of them.
    let room = if random.once_in(3) { random.below(MORE) } else { random.below(need) };

    let attempt = || {
        proxy.hold_after(late);
        if late.is_none() {
            disk.leave_room(room);
        }
        let mut running = scene.user.start(&prepared.words);
        if late.is_some() {
            wait_for_hold(&proxy, &mut running);
            disk.leave_room(room);
            proxy.hold_after(None);
        }
        let output = finish(running, &prepared.words)?;
        disk.leave_room(DISK);
        let (shown, done) = (shown(&prepared.words, &output), output.code == 0);
        prepared.expected.check(&scene, done).map_err(|why| format!("{why}, after {shown}"))?;
        if !done {
            expect_full(owner, &scene, &output).map_err(|why| format!("{why}: {shown}"))?;
        }
        if let Some(path) = abandoned(scene.user.home()) {
            return Err(format!("{} remains after {shown}", path.display()));
        }
        scene.ok_words(&prepared.words)?;
        prepared.expected.check(&scene, true).map_err(|why| format!("after the same command with enough room: {why}"))?;
        Ok(if done { "commands had enough room" } else { "commands met a full disk" })
    };
    let in_context = |why| {
        let moment = late.map_or_else(|| "the beginning".to_owned(), |bytes| format!("{bytes} bytes"));
        format!("{task:?}, room for {room} bytes on the disk of the {owner:?} after {moment}: {why}")
    };
    let how = attempt().map_err(in_context)?;
    tally.count(how);
    scene.end().map_err(in_context)
}

/// The error must say that the disk is full. If it is that of the user, it must also name a path
/// there, and there must be a hint.
fn expect_full(owner: Owner, scene: &Scene, output: &Output) -> Result<(), Violation> {
    let error = output.stderr.lines().find(|line| line.starts_with("error: ")).ok_or("there is no error")?;
    let (code, words) = match owner {
        Owner::User => (6, ["No space left on device", "cannot make room in"]),
        Owner::Registry => (7, ["the registry's disk is full"; 2]),
    };
    if output.code != code || !output.stdout.is_empty() {
        return Err("the exit code is that of another kind of error, or there is a result".to_owned());
    }
    if !words.iter().any(|word| error.contains(word)) {
        return Err("the error does not say that the disk is full".to_owned());
    }
    let names_path =
        ["store", "out", "layout", "archive.tar", &scene.user.home().to_string_lossy()].iter().any(|path| error.contains(path));
    if owner == Owner::User && !(names_path && output.stderr.contains("hint: free some space")) {
        return Err("the error names no path, or there is no hint".to_owned());
    }
    Ok(())
}
