//! Readers of mounted models, among faults and kills of the process that serves the mount.

mod originals;
mod readers;
mod troubles;

use crate::{
    rounds::Tally,
    scene::{Registry, Violation, below, finish, ok, run, shown},
};
use modelpack::spec::Digest;
use modelpack_testkit::{Cli, FaultProxy, Output, Random, Running, Signal, TinyDisk};
use originals::Original;
use readers::{READ_AT_MOST, Readers};
use std::{
    fs::{self, File},
    net::SocketAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use troubles::{Place, Trouble};

/// The size of the disk of the cache, if it has one of its own. It has room for any of the models.
const DISK: u64 = 256 << 20;
/// A limit for the cache, with room for any of the models, but not for all.
const LIMIT: (&str, u64) = ("128MiB", 128 << 20);
/// How soon all files can be read when nothing goes wrong any more. What failed is tried again after
/// a pause, which grows to 30 s.
const RECOVERS_WITHIN: Duration = Duration::from_secs(60);
/// How soon the serving process ends after it was killed, or when nothing is mounted any more.
const ENDS_WITHIN: Duration = Duration::from_secs(30);
/// How soon a mount whose files were all closed is not in use any more. A thread that starts a process
/// has a copy of all open files for a moment.
const IDLE_WITHIN: Duration = Duration::from_secs(5);

/// The run.
pub struct Mounts {
    modelpack: PathBuf,
    /// The home of the registries of all rounds. Nobody writes to it.
    registry: Cli,
    originals: Vec<Arc<Original>>,
}

/// From the beginning to the end of a serving process, and of another one that serves the same model
/// from the same cache.
struct Life<'a> {
    original: &'a Arc<Original>,
    has_twin: bool,
    eventual: bool,
    /// The time-out of requests.
    timeout: &'static str,
    connections: &'static str,
    /// How many bytes a second of each body come.
    rate: Option<u64>,
    troubles: Vec<Trouble>,
    /// The readers of each process.
    readers: usize,
    /// Whether the first process is killed in the end.
    is_killed: bool,
}

impl Life<'_> {
    fn policy(&self) -> &'static str {
        if self.eventual { "eventual" } else { "strict" }
    }

    fn description(&self) -> String {
        let Self { original, has_twin, timeout, connections, rate, troubles, readers, is_killed, .. } = self;
        let twin = if *has_twin { ", mounted twice" } else { "" };
        let end = if *is_killed { ", then killed" } else { "" };
        let (tag, policy) = (original.tag, self.policy());
        format!(
            "{readers} readers of {tag}{twin}, {policy}, time-out {timeout}, {connections} connections, {rate:?} bytes/s, {troubles:?}{end}"
        )
    }

    /// The arguments of the command that mounts the model of the registry at `host`.
    fn words(&self, host: SocketAddr, directory: &str, limit: Option<&str>) -> Vec<String> {
        let place = format!("docker://{host}/m:{}", self.original.tag);
        let mut words = vec!["mount", "--verbose", &place, directory, "--cache", "cache", "--policy", self.policy()];
        words.extend(["--timeout", self.timeout, "--connections", self.connections]);
        words.extend(limit.iter().flat_map(|limit| ["--cache-size", limit]));
        words.into_iter().map(str::to_owned).collect()
    }
}

impl Mounts {
    /// Prepares the models. `None` if this process may not mount anything.
    pub fn new(modelpack: PathBuf) -> Result<Option<Self>, Violation> {
        let opened = File::options().read(true).write(true).open("/dev/fuse");
        if opened.is_err() || TinyDisk::mount(4096).is_none() {
            return Ok(None);
        }
        let registry = Cli::at(&modelpack);
        if registry.run(["mount", "--help"]).code != 0 {
            let path = modelpack.display();
            return Err(format!("{path} cannot mount; build it with `cargo build -p modelpack-cli --features mount`"));
        }
        let originals = originals::publish(&registry)?;
        Ok(Some(Self { modelpack, registry, originals }))
    }

    /// A round: a cache, and one serving process after another.
    pub fn round(&self, random: &mut Random, tally: &mut Tally) -> Result<(), Violation> {
        let user = Cli::at(&self.modelpack);
        let cache = user.home().join("cache");
        for directory in [&cache, &user.home().join("model"), &user.home().join("twin")] {
            fs::create_dir(directory).map_err(|e| format!("cannot create {}: {e}", directory.display()))?;
        }
        let disk = if random.once_in(4) { TinyDisk::mount_over(&cache, DISK) } else { None };
        let (limit, limit_bytes) = if random.once_in(4) { (Some(LIMIT.0), Some(LIMIT.1)) } else { (None, None) };
        let registry = Registry::start(self.registry.clone());
        let proxy = FaultProxy::start(registry.address, Vec::new());
        let mut place = Place { disk, proxy, registry };
        let lives = if random.once_in(3) { 2 + random.below(2) } else { 1 };
        let mut lived = Vec::new();
        for number in 1..=lives {
            let life = self.life(number < lives, place.disk.is_some(), random);
            lived.push(life.description());
            let ended = live(&life, &user, limit, &mut place, random, tally);
            ended.map_err(|why| format!("{}: {why}; injected: {:?}", lived.join("; and "), place.proxy.injected()))?;
        }
        let blobs = check_cache(&cache, limit_bytes).map_err(|why| format!("{}: {why}", lived.join("; and ")))?;
        tally.add("blobs in caches", blobs);
        tally.add("requests with a fault", place.proxy.befallen());
        place.registry.end()
    }

    fn life(&self, is_killed: bool, has_disk: bool, random: &mut Random) -> Life<'_> {
        let index = usize::try_from(random.below(self.originals.len() as u64)).expect("it is less than a length");
        let is_long = random.once_in(32);
        let troubles = if is_long {
            vec![Trouble::longer_than(READ_AT_MOST, random)]
        } else {
            (0..1 + random.below(3)).map(|_| Trouble::draw(has_disk, random)).collect()
        };
        Life {
            original: &self.originals[index],
            has_twin: random.once_in(4),
            eventual: random.once_in(4),
            // A long one lets the mount itself give up what nothing arrives of.
            timeout: if is_long { "5m" } else { random.one_of(&["1s", "1s", "2s"]) },
            connections: random.one_of(&["1", "5"]),
            rate: random.one_of(&[None, Some(2_000_000), Some(8_000_000), Some(20_000_000)]),
            troubles,
            readers: 3 + usize::try_from(random.below(3)).expect("the number is small"),
            is_killed,
        }
    }
}

/// Mounts a model, lets readers read among the troubles, and ends the mount.
fn live(life: &Life, user: &Cli, limit: Option<&str>, place: &mut Place, random: &mut Random, tally: &mut Tally) -> Result<(), Violation> {
    let host = place.proxy.address();
    place.proxy.set_rate(life.rate);
    let directories = if life.has_twin { &["model", "twin"][..] } else { &["model"] };
    let start = |directory: &&str| Serving::start(user, directory, life.words(host, directory, limit));
    let mut servings: Vec<_> = directories.iter().map(start).collect();
    if let Err(why) = serve(life, &mut servings, place, random, tally) {
        let words: Vec<_> = servings.iter_mut().map(Serving::last_words).collect();
        return Err(format!("{why}; {}", words.join("; and ")));
    }
    let listed = ok(user, &["mounts"])?;
    if listed.contains(&*user.home().to_string_lossy()) {
        return Err(format!("the model is still mounted: {listed}"));
    }
    Ok(())
}

/// Lets readers read what is mounted, and ends all of these processes.
fn serve(life: &Life, servings: &mut [Serving], place: &mut Place, random: &mut Random, tally: &mut Tally) -> Result<(), Violation> {
    let start = |serving: &Serving| Readers::start(&serving.directory, life.original, life.eventual, life.readers, random);
    let mut readers: Vec<_> = servings.iter().map(start).collect();
    for trouble in &life.troubles {
        place.have(*trouble)?;
        tally.count(trouble.counted());
    }
    let mut living = servings;
    if life.is_killed {
        let (serving, others) = living.split_first_mut().expect("there is always one");
        let readers = readers.remove(0);
        readers.expect_death();
        serving.kill()?;
        tally.count("serving processes killed");
        // Those who read on get errors.
        thread::sleep(Duration::from_millis(50));
        tally.merge(readers.stop()?);
        serving.unmount(&["--lazy"])?;
        living = others;
    }
    place.proxy.set_rate(None);
    readers.into_iter().try_for_each(|readers| readers.stop().map(|counted| tally.merge(counted)))?;
    for serving in living {
        let start = Instant::now();
        let in_vain = life.original.check(&serving.directory, life.eventual, start + RECOVERS_WITHIN)?;
        tally.most("ms until all files could be read", usize::try_from(start.elapsed().as_millis()).unwrap_or(usize::MAX));
        tally.add("tries in vain after the troubles", in_vain);
        serving.unmount(&[])?;
        serving.wait()?;
    }
    Ok(())
}

/// The process that serves a mount. If it is dropped, it is killed, and nothing stays mounted.
struct Serving {
    user: Cli,
    running: Option<Running>,
    words: Vec<String>,
    directory: PathBuf,
    is_mounted: bool,
}

impl Serving {
    /// Starts it, and waits until the model is mounted.
    fn start(user: &Cli, directory: &str, words: Vec<String>) -> Self {
        let directory = user.home().join(directory);
        let mut serving = Self { user: user.clone(), running: Some(user.start(&words)), words, directory, is_mounted: true };
        if let Some(running) = &mut serving.running {
            running.wait_for_line("is mounted at");
        }
        serving
    }

    fn kill(&mut self) -> Result<(), Violation> {
        let Some(running) = self.running.take() else { return Ok(()) };
        running.signal(Signal::KILL);
        let output = self.ended(running)?;
        if output.code == 137 { Ok(()) } else { Err(format!("it ended before it was killed: {}", shown(&self.words, &output))) }
    }

    /// Waits until it ends because nothing is mounted any more.
    fn wait(&mut self) -> Result<(), Violation> {
        let Some(running) = self.running.take() else { return Ok(()) };
        let output = self.ended(running)?;
        if output.code == 0 { Ok(()) } else { Err(shown(&self.words, &output)) }
    }

    fn ended(&self, running: Running) -> Result<Output, Violation> {
        let output =
            running.wait_at_most(ENDS_WITHIN).ok_or_else(|| format!("the process did not end within {} s", ENDS_WITHIN.as_secs()))?;
        if output.stderr.contains("panicked") { Err(format!("a panic: {}", shown(&self.words, &output))) } else { Ok(output) }
    }

    fn unmount(&mut self, options: &[&str]) -> Result<(), Violation> {
        let directory = self.directory.to_string_lossy();
        let words = [&["unmount", &directory], options].concat();
        let start = Instant::now();
        loop {
            let output = run(&self.user, &words)?;
            if output.code == 0 {
                self.is_mounted = false;
                return Ok(());
            }
            if start.elapsed() > IDLE_WITHIN {
                return Err(format!("nobody uses the mount, but {}", shown(&words, &output)));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it has said, if it still runs; it does not any more.
    fn last_words(&mut self) -> String {
        let Some(running) = self.running.take() else { return "the serving process has ended".to_owned() };
        running.signal(Signal::KILL);
        finish(running, &self.words).map_or_else(|why| why, |output| shown(&self.words, &with_end_of_log(output)))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.running = None;
        if self.is_mounted {
            self.user.run(["unmount", "--lazy", &self.directory.to_string_lossy()]);
        }
    }
}

/// The output with the last lines of the log only.
fn with_end_of_log(output: Output) -> Output {
    const LINES: usize = 30;
    let lines: Vec<_> = output.stderr.lines().collect();
    let stderr = lines[lines.len().saturating_sub(LINES)..].join("\n");
    Output { stderr, ..output }
}

/// Checks that all blobs of a cache have their digests, and that it is not larger than it may be.
/// Returns how many blobs there are.
fn check_cache(cache: &Path, limit: Option<u64>) -> Result<usize, Violation> {
    let all = below(cache);
    let size: u64 = all.iter().filter_map(|path| path.symlink_metadata().ok()).map(|metadata| metadata.blocks() * 512).sum();
    if limit.is_some_and(|limit| size > limit) {
        return Err(format!("the cache has {size} bytes, which is more than its limit"));
    }
    let mut verified = 0;
    for path in below(&cache.join("blobs")).iter().filter(|path| path.is_file()) {
        let bytes = fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        let name = format!("blobs/{}", Digest::of(&bytes).to_string().replace(':', "/"));
        if !path.ends_with(&name) {
            return Err(format!("{} in the cache has the wrong bytes", path.display()));
        }
        verified += 1;
    }
    Ok(verified)
}
