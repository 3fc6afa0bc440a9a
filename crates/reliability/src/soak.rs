//! One registry and one store with several concurrent users and continuous garbage collection.

mod references;

use crate::{
    model,
    rounds::Tally,
    scene::{Version, Violation, address_of, below, left_over, ok, pack_apart, run, shown},
};
use modelpack_testkit::{Cli, FaultProxy, Random, Running, Signal, difference};
use references::{Reference, References};
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

/// The first half of the repositories belong to single users, who also delete manifests. The second
/// half have tags that all users share.
const REPOSITORIES: u64 = 40;
const PRIVATE: u64 = REPOSITORIES / 2;
/// Each version is pushed to two repositories at most. So some versions become unneeded everywhere,
/// and are pushed again later.
const VERSIONS: u64 = REPOSITORIES;
const PUSHERS: u64 = 3;
const PULLERS: u64 = 2;
/// How long, in seconds, the registry protects a repository from garbage collection after a push.
const LEASE: &str = "3";
/// The pause between two collections of the same store.
const PAUSE: Duration = Duration::from_millis(200);
/// The memory limit of the registry, in KiB: some ten times its normal use.
const MEMORY: u64 = 128 << 10;
/// How many more descriptors than at the start the registry may have at the end, without active
/// clients.
const DESCRIPTORS: usize = 8;
/// The maximum duration of leases after the last push.
const PATIENCE: Duration = Duration::from_secs(60);

/// The duration and seed of a soak run.
#[derive(Clone, clap::Args)]
pub struct Soak {
    /// The seed of all random choices
    #[arg(long, value_name = "N")]
    seed: u64,
    /// The duration in seconds
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
}

/// State that all users share.
struct Ground {
    user: Cli,
    root: PathBuf,
    address: SocketAddr,
    /// Counts the registry's responses. It injects no faults.
    proxy: FaultProxy,
    versions: Vec<Version>,
    references: Mutex<References>,
    deadline: Instant,
}

/// One action of a user; `None` if there was nothing to do.
type Step = fn(&Ground, u64, &mut Random) -> Result<Option<&'static str>, Violation>;

impl Soak {
    /// Lets all users work until the time is over. Prints a line for each failure, and finally the
    /// counts. Returns whether none failed.
    pub fn run(&self, modelpack: &Path) -> bool {
        let again = format!("reliability soak --seed {} --seconds {}", self.seed, self.seconds);
        let (tally, failed) = (Mutex::new(Tally::default()), Mutex::new(0));
        let fail = |why: Violation| {
            println!("VIOLATION: {} -- again: {again}", why.replace('\n', " / "));
            *failed.lock().expect("nothing panics while it holds the lock") += 1;
        };
        let count = |what: &str, times| tally.lock().expect("nothing panics while it holds the lock").add(what, times);
        let worked =
            Ground::make(modelpack, Random::new(self.seed, 0), Duration::from_secs(self.seconds)).and_then(|(ground, registry)| {
                let descriptors = descriptors_of(&registry)?;
                let mut users: Vec<(Step, u64)> = vec![(delete, 0), (prune_registry, 0), (prune_store, 0)];
                users.extend((0..PUSHERS).map(|number| (push as Step, number)));
                users.extend((0..PULLERS).map(|number| (pull as Step, number)));
                thread::scope(|scope| {
                    for (stream, (step, number)) in (1..).zip(users) {
                        let (ground, fail, count) = (&ground, &fail, &count);
                        scope.spawn(move || {
                            let mut random = Random::new(self.seed, stream);
                            while Instant::now() < ground.deadline {
                                match step(ground, number, &mut random) {
                                    Ok(what) => what.into_iter().for_each(|what| count(what, 1)),
                                    Err(why) => fail(why),
                                }
                            }
                        });
                    }
                });
                let answers = ground.proxy.answers();
                for (status, times) in &answers {
                    count(&format!("responses with status {status}"), usize::try_from(*times).unwrap_or(usize::MAX));
                    if *status >= 500 {
                        fail(format!("the registry responded {times} times with status {status}"));
                    }
                }
                count("blobs collected at the end", ground.empty()?);
                let memory = memory_of(&registry)?;
                count("KiB of memory at the peak", usize::try_from(memory).unwrap_or(usize::MAX));
                if memory > MEMORY {
                    fail(format!("the registry used {memory} KiB of memory"));
                }
                let now = descriptors_of(&registry)?;
                count("more descriptors than at the start", now.saturating_sub(descriptors));
                if now > descriptors + DESCRIPTORS {
                    fail(format!("the registry has {now} open descriptors, but had {descriptors} at the start"));
                }
                ground.end(registry)
            });
        worked.unwrap_or_else(fail);
        let (tally, failed) = (tally.into_inner().unwrap_or_default(), failed.into_inner().unwrap_or(1));
        println!("soak, seed {}: {} s, {failed} violations; {tally}", self.seed, self.seconds);
        failed == 0
    }
}

impl Ground {
    fn make(modelpack: &Path, mut random: Random, time: Duration) -> Result<(Self, Running), Violation> {
        let user = Cli::at(modelpack);
        let mut versions: Vec<Version> = Vec::new();
        for number in 0..VERSIONS {
            let directory = user.home().join(format!("version{number}"));
            match versions.last() {
                None => model::write(&directory, &mut random),
                Some(before) => model::write_next(&before.directory, &directory, None, &mut random),
            }
            versions.push(pack_apart(&user, directory, &[])?);
        }
        let root = user.home().join("root");
        let program = std::env::current_exe().map_err(|e| format!("this program cannot be found: {e}"))?;
        let mut running =
            Cli::at(program).start([Path::new("serve"), "--lease-seconds".as_ref(), LEASE.as_ref(), "--root".as_ref(), &root]);
        let address = address_of(&mut running);
        let (proxy, references) = (FaultProxy::start(address, Vec::new()), Mutex::new(References::default()));
        Ok((Self { user, root, address, proxy, versions, references, deadline: Instant::now() + time }, running))
    }

    fn references(&self) -> std::sync::MutexGuard<'_, References> {
        self.references.lock().expect("nothing panics while it holds the lock")
    }

    /// A tag or digest of a repository in the form of a command-line argument.
    fn name(&self, repository: u64, separator: char, of: &str) -> String {
        format!("{}/r{repository}{separator}{of}", self.proxy.address())
    }

    fn ok(&self, words: &[&str]) -> Result<String, Violation> {
        ok(&self.user, &[words, &["--store", "store"]].concat())
    }

    /// Checks that a directory equals the version with this digest, and removes it.
    fn expect_version(&self, directory: &Path, digest: &str) -> Result<(), Violation> {
        let version = self.versions.iter().find(|version| version.digest == digest);
        let version = version.ok_or_else(|| format!("received {digest}, which no user pushed"))?;
        if let Some(why) = difference(directory, &version.directory) {
            return Err(why);
        }
        fs::remove_dir_all(directory).map_err(|e| format!("cannot remove {}: {e}", directory.display()))
    }

    /// Asks the registry to delete a manifest. Returns the status of the response.
    fn delete(&self, repository: u64, what: &str) -> Result<u16, Violation> {
        let ask = || {
            let mut connection = TcpStream::connect(self.address)?;
            write!(connection, "DELETE /v2/r{repository}/manifests/{what} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = ask().map_err(|e: std::io::Error| format!("a deletion got no response: {e}"))?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.ok_or_else(|| format!("a deletion got the response {answer:?}"))
    }

    /// Deletes everything, and checks that collection leaves nothing once the leases have expired.
    /// Returns the number of collected blobs.
    fn empty(&self) -> Result<usize, Violation> {
        for repository in 0..REPOSITORIES {
            for version in &self.versions {
                match self.delete(repository, &version.digest)? {
                    202 | 404 => {}
                    status => return Err(format!("a deletion got the status {status}")),
                }
            }
        }
        let deadline = Instant::now() + PATIENCE;
        let mut collected = 0;
        loop {
            let pruned = prune(&self.user, &self.root)?;
            collected += pruned["blobs"].as_array().map_or(0, Vec::len);
            let left: Vec<_> =
                ["blobs", "ingest"].iter().flat_map(|name| below(&self.root.join(name))).filter(|path| path.is_file()).collect();
            match left.first() {
                None => return Ok(collected),
                Some(path) if Instant::now() > deadline => {
                    return Err(format!("everything was deleted, but {} and {} more remain: {pruned}", path.display(), left.len() - 1));
                }
                Some(_) => thread::sleep(PAUSE),
            }
        }
    }

    fn end(self, registry: Running) -> Result<(), Violation> {
        registry.signal(Signal::TERM);
        let output = registry.wait();
        if output.code != 0 || output.stderr.contains("panicked") {
            return Err(shown(&["serve"], &output));
        }
        prune(&self.user, &self.user.home().join("store"))?;
        left_over(self.user.home()).map_or(Ok(()), |path| Err(format!("{} remains at the end", path.display())))
    }
}

fn descriptors_of(registry: &Running) -> Result<usize, Violation> {
    let directory = format!("/proc/{}/fd", registry.id());
    fs::read_dir(&directory).map(Iterator::count).map_err(|e| format!("cannot list {directory}: {e}"))
}

/// The peak memory of the registry so far, in KiB.
fn memory_of(registry: &Running) -> Result<u64, Violation> {
    let path = format!("/proc/{}/status", registry.id());
    let status = fs::read_to_string(&path).map_err(|e| format!("cannot read {path}: {e}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    number.ok_or_else(|| format!("{path} does not contain the memory"))
}

/// Pushes a version under a private or a shared tag, and checks that it can be pulled back.
fn push(ground: &Ground, number: u64, random: &mut Random) -> Result<Option<&'static str>, Violation> {
    let repository = random.below(REPOSITORIES);
    let shared = repository >= PRIVATE && random.once_in(2);
    let version = repository / PRIVATE * PRIVATE + (repository + random.below(2)) % PRIVATE;
    let version = &ground.versions[usize::try_from(version).expect("the number is small")];
    let tag = if shared { "latest".to_owned() } else { format!("user{number}-{}", random.below(3)) };
    let reference = Reference { repository, tag: tag.clone() };
    ground.references().hold(&reference, &version.digest);
    let name = ground.name(repository, ':', &tag);
    let pushed = match random.below(2) {
        0 => ground.ok(&["push", &version.directory.to_string_lossy(), &name])?,
        _ => ok(&ground.user, &["cp", &format!("store:m:{}", version.name()), &name, "--store", "apart"])?,
    };
    if pushed != version.digest {
        return Err(format!("{name} was pushed as {pushed}, but should be {}", version.digest));
    }
    let by_digest = ground.name(repository, '@', &version.digest);
    if random.once_in(2) {
        ground.ok(&["verify", &format!("docker://{by_digest}")])?;
    } else {
        let directory = ground.user.home().join(format!("pushed{number}"));
        ground.ok(&["pull", &by_digest, "-o", &directory.to_string_lossy()])?;
        ground.expect_version(&directory, &version.digest)?;
    }
    if !shared {
        let found = ground.ok(&["verify", &format!("docker://{name}")])?;
        if found != version.digest {
            return Err(format!("{name} is {found}, but its only user pushed {}", version.digest));
        }
    }
    ground.references().release(&reference);
    Ok(Some("pushes"))
}

/// Pulls a shared tag into a directory, or into the store, from which it is then removed.
fn pull(ground: &Ground, number: u64, random: &mut Random) -> Result<Option<&'static str>, Violation> {
    // Of the repositories with a shared tag, those that belong to this user: no other user removes
    // them from the store.
    let repository = PRIVATE + random.below(PRIVATE / PULLERS) * PULLERS + number;
    if !ground.references().is_pushed(&Reference { repository, tag: "latest".to_owned() }) {
        thread::sleep(Duration::from_millis(10));
        return Ok(None);
    }
    let name = ground.name(repository, ':', "latest");
    if random.once_in(2) {
        let directory = ground.user.home().join(format!("pulled{number}"));
        let digest = ground.ok(&["pull", &name, "-o", &directory.to_string_lossy()])?;
        ground.expect_version(&directory, &digest)?;
        return Ok(Some("pulls into a directory"));
    }
    let digest = ground.ok(&["pull", &name])?;
    let place = format!("store:{name}");
    let found = ground.ok(&["verify", &place])?;
    if found != digest {
        return Err(format!("{place} is {found}, but was pulled as {digest}"));
    }
    ground.ok(&["rm", &place])?;
    Ok(Some("pulls into the store"))
}

/// Deletes an unused tag or its manifest.
fn delete(ground: &Ground, _: u64, random: &mut Random) -> Result<Option<&'static str>, Violation> {
    thread::sleep(Duration::from_millis(random.below(100)));
    // The lock prevents other users from using the tag meanwhile.
    let mut references = ground.references();
    let Some((reference, digest)) = references.any_free(random) else { return Ok(None) };
    let by_digest = reference.repository < PRIVATE && !random.once_in(4) && !references.is_held(reference.repository, &digest);
    let (what, counted) = if by_digest { (&digest, "deletions of manifests") } else { (&reference.tag, "deletions of tags") };
    match ground.delete(reference.repository, what)? {
        202 if by_digest => references.forget_all(reference.repository, &digest),
        202 => references.forget(&reference),
        status => return Err(format!("the deletion of {what} of r{} got the status {status}", reference.repository)),
    }
    Ok(Some(counted))
}

fn prune_registry(ground: &Ground, _: u64, _: &mut Random) -> Result<Option<&'static str>, Violation> {
    thread::sleep(PAUSE);
    let pruned = prune(&ground.user, &ground.root)?;
    let found = pruned["blobs"].as_array().is_some_and(|blobs| !blobs.is_empty());
    Ok(Some(if found { "collections of the registry that found something" } else { "collections of the registry that found nothing" }))
}

fn prune_store(ground: &Ground, _: u64, _: &mut Random) -> Result<Option<&'static str>, Violation> {
    thread::sleep(PAUSE);
    prune(&ground.user, &ground.user.home().join("store")).map(|_| Some("collections of the store"))
}

fn prune(user: &Cli, root: &Path) -> Result<Value, Violation> {
    let root = root.to_string_lossy();
    let words = ["prune", "--json", "--store", &root];
    let output = run(user, &words)?;
    let pruned = serde_json::from_str(&output.stdout).ok().filter(|_| output.code == 0);
    pruned.ok_or_else(|| format!("collection failed: {}", shown(&words, &output)))
}
