//! The start of a round: one registry, one user, and two versions of a model. The registry has the
//! older version.

use crate::model;
use modelpack_testkit::{Cli, FaultProxy, Output, Random, Running, Signal, TinyDisk, difference};
use serde_json::Value;
use std::{
    ffi::OsStr,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// The timeout of a command. Only a hanging command reaches it: a registry that is always busy
/// costs a few seconds.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The layer options for packing.
const LAYERINGS: [&[&str]; 3] = [&[], &["--layer", "weight=raw", "--layer", "<100kB=tar+zstd"], &["--layer", "tar"]];

/// The size of a disk with room for everything.
pub const DISK: u64 = 64 << 20;

/// A description of a violated expectation.
pub type Violation = String;

/// A version of the model.
pub struct Version {
    pub directory: PathBuf,
    /// The digest of the packed artifact.
    pub digest: String,
    pub blobs: Vec<Blob>,
}

impl Version {
    /// The name of its directory, which is also its tag in the separate store.
    pub fn name(&self) -> &str {
        self.directory.file_name().and_then(|name| name.to_str()).expect("the name was chosen here")
    }
}

#[derive(Clone)]
pub struct Blob {
    pub digest: String,
    pub size: u64,
}

/// Whose files lie on a disk of their own, which can be full.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Owner {
    User,
    Registry,
}

pub struct Scene {
    /// It is unmounted before the directories under it are removed.
    pub disk: Option<TinyDisk>,
    pub user: Cli,
    pub registry: Registry,
    /// The host name under which the user addresses the registry.
    pub host: String,
    /// The version that the registry has as `m:v1` and `m:keep`.
    pub old: Version,
    /// The version that no registry has.
    pub new: Version,
    pub layering: &'static [&'static str],
    /// The highest number of connections.
    pub connections: &'static str,
}

impl Scene {
    pub fn make(modelpack: &Path, random: &mut Random) -> Result<Self, Violation> {
        let layering = random.one_of(&LAYERINGS);
        Self::layered(modelpack, layering, None, None, random)
    }

    /// A scene in which one of them has a disk of its own. There is no disk if this process may not
    /// mount one.
    pub fn with_disk_of(owner: Owner, modelpack: &Path, random: &mut Random) -> Result<Self, Violation> {
        let layering = random.one_of(&LAYERINGS);
        Self::layered(modelpack, layering, None, Some(owner), random)
    }

    /// A scene whose new version has a raw layer of this many bytes.
    pub fn with_large_layer(modelpack: &Path, bytes: u64, random: &mut Random) -> Result<Self, Violation> {
        let layering = random.one_of(&LAYERINGS[..2]);
        Self::layered(modelpack, layering, Some(bytes), None, random)
    }

    fn layered(
        modelpack: &Path,
        layering: &'static [&'static str],
        large: Option<u64>,
        owner: Option<Owner>,
        random: &mut Random,
    ) -> Result<Self, Violation> {
        let (user, registry) = (Cli::at(modelpack), Cli::at(modelpack));
        let disk = match owner {
            Some(Owner::User) => TinyDisk::mount_over(user.home(), DISK),
            Some(Owner::Registry) => TinyDisk::mount_over(registry.home(), DISK),
            None => None,
        };
        let registry = Registry::start(registry);
        let [old, new] = ["old", "new"].map(|name| user.home().join(name));
        model::write(&old, random);
        model::write_next(&old, &new, large, random);
        let [old, new] = [pack_apart(&user, old, layering)?, pack_apart(&user, new, layering)?];
        let host = registry.address.to_string();
        let scene = Self { disk, user, registry, host, old, new, layering, connections: random.one_of(&["1", "5"]) };
        scene.publish("old", "v1")?;
        scene.publish("old", "keep")?;
        Ok(scene)
    }

    /// The arguments of a command, with those that every command gets.
    pub fn words(&self, words: &[&str]) -> Vec<String> {
        words.iter().chain(&["--store", "store"]).map(|&word| word.to_owned()).collect()
    }

    /// Runs a user's command that must succeed.
    pub fn ok(&self, words: &[&str]) -> Result<String, Violation> {
        ok(&self.user, &self.words(words))
    }

    /// Runs a user's command, with complete arguments, that must succeed.
    pub fn ok_words(&self, words: &[String]) -> Result<String, Violation> {
        ok(&self.user, words)
    }

    /// Runs a command on the separate store, which holds both versions and is not affected by
    /// faults.
    pub fn ok_apart(&self, words: &[&str]) -> Result<String, Violation> {
        ok(&self.user, &[words, &["--store", "apart"]].concat())
    }

    /// Pushes a version to the registry.
    pub fn publish(&self, version: &str, tag: &str) -> Result<(), Violation> {
        let to = self.in_registry("m", tag);
        self.ok_apart(&["cp", &format!("store:m:{version}"), &to]).map(drop)
    }

    /// An artifact in the registry, addressed without the proxy.
    pub fn in_registry(&self, name: &str, tag: &str) -> String {
        format!("docker://{}/{name}:{tag}", self.registry.address)
    }

    /// The digest of the artifact at `place`, after comparing every byte with the packed model;
    /// `None` if there is no artifact.
    pub fn whole(&self, place: &str) -> Result<Option<String>, Violation> {
        let directory = self.user.home().join("unpacked");
        let words = self.words(&["unpack", place, "-o", "unpacked"]);
        let output = run(&self.user, &words)?;
        match output.code {
            0 => {}
            // An error about a missing blob contains its digest.
            3 if !output.stderr.contains("sha256:") => return Ok(None),
            _ => return Err(format!("{place} is visible but incomplete: {}", shown(&words, &output))),
        }
        let digest = output.stdout.trim().to_owned();
        let packed = [&self.old, &self.new].into_iter().find(|version| version.digest == digest);
        if let Some(difference) = packed.and_then(|version| difference(&directory, &version.directory)) {
            return Err(format!("{place} is visible but differs from the packed model: {difference}"));
        }
        fs::remove_dir_all(&directory).map_err(|e| format!("cannot remove {}: {e}", directory.display()))?;
        Ok(Some(digest))
    }

    /// Stops the registry, runs garbage collection, and checks that nothing remains.
    pub fn end(mut self) -> Result<(), Violation> {
        match self.whole(&self.in_registry("m", "keep"))? {
            Some(digest) if digest == self.old.digest => {}
            other => return Err(format!("m:keep, which no command changed, is {other:?}")),
        }
        self.ok(&["prune"])?;
        self.registry.end()?;
        let root = self.registry.root();
        // An upload that its client gave up stays until it expires.
        ok(&self.user, &["prune", "--partial-age", "0", "--store", &root.to_string_lossy()])?;
        match left_over(self.user.home()).or_else(|| left_over(&root)) {
            Some(path) => Err(format!("{} remains after all processes ended and garbage was collected", path.display())),
            None => Ok(()),
        }
    }
}

/// Packs into the separate store, which is not affected by faults, to learn the expected result.
pub fn pack_apart(user: &Cli, directory: PathBuf, layering: &[&str]) -> Result<Version, Violation> {
    let name = directory.file_name().expect("the path has a file name").to_string_lossy().into_owned();
    let digest = ok(user, &[&["pack", &name, "-t", &format!("m:{name}"), "--store", "apart"], layering].concat())?;
    let path = user.home().join("apart/blobs").join(digest.replace(':', "/"));
    let manifest = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let manifest: Value = serde_json::from_slice(&manifest).map_err(|e| format!("{}: {e}", path.display()))?;
    let layers = manifest["layers"].as_array().into_iter().flatten();
    let blob = |blob: &Value| Some(Blob { digest: blob["digest"].as_str()?.to_owned(), size: blob["size"].as_u64()? });
    let blobs = layers.chain([&manifest["config"]]).map(blob).collect::<Option<_>>();
    Ok(Version { directory, digest, blobs: blobs.ok_or_else(|| format!("{} is not a manifest", path.display()))? })
}

/// A file that may exist only while a writer is active, or until the same command is run again: a
/// hidden file below a directory, or a file in a directory of the store for unfinished blobs.
pub fn left_over(root: &Path) -> Option<PathBuf> {
    left_overs(root).next()
}

/// A file that may exist only while a writer is active. Partial blobs may stay: the next command
/// continues them.
pub fn abandoned(root: &Path) -> Option<PathBuf> {
    const PARTIALS: [&str; 2] = ["partials", ".modelpack-partial"];
    let of_partial = |path: &Path| {
        let inside = path.strip_prefix(root).expect("the path is below the root");
        let within = inside.iter().any(|name| PARTIALS.iter().any(|partials| *partials == name));
        within || path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".partial-"))
    };
    left_overs(root).find(|path| !of_partial(path))
}

fn left_overs(root: &Path) -> impl Iterator<Item = PathBuf> {
    const HOMES: [&str; 4] = [".docker", ".config", ".cache", ".local"];
    const UNFINISHED: [&str; 2] = ["ingest", "partials"];
    below(root).into_iter().filter(move |path| {
        let inside = path.strip_prefix(root).expect("the path is below the root");
        let hidden = |name: &OsStr| name.as_encoded_bytes().starts_with(b".") && !HOMES.iter().any(|home| *home == name);
        let parent = inside.parent().and_then(Path::file_name);
        parent.is_some_and(|parent| UNFINISHED.iter().any(|unfinished| *unfinished == parent)) || inside.iter().any(hidden)
    })
}

/// All files and directories below `root`. Entries that disappear meanwhile are left out.
pub fn below(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for path in fs::read_dir(&directory).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
                waiting.push(path.clone());
            }
            found.push(path);
        }
    }
    found
}

/// Runs a command to its end, and checks what must hold for any command.
pub fn run<W: AsRef<str>>(user: &Cli, words: &[W]) -> Result<Output, Violation> {
    finish(user.start(words.iter().map(AsRef::as_ref)), words)
}

/// Waits for a command, and checks what must hold for any command.
pub fn finish<W: AsRef<str>>(running: Running, words: &[W]) -> Result<Output, Violation> {
    let output = running.wait_at_most(PATIENCE);
    let output = output.ok_or_else(|| format!("`{}` did not end within {} s", line(words), PATIENCE.as_secs()))?;
    if output.stderr.contains("panicked") {
        return Err(format!("a panic: {}", shown(words, &output)));
    }
    Ok(output)
}

/// Waits until the bytes that may pass have passed, or until the command has ended.
pub fn wait_for_hold(proxy: &FaultProxy, running: &mut Running) {
    while !proxy.is_holding() && !running.has_ended() {
        thread::sleep(Duration::from_millis(1));
    }
}

pub fn ok<W: AsRef<str>>(user: &Cli, words: &[W]) -> Result<String, Violation> {
    let output = run(user, words)?;
    match output.code {
        0 => Ok(output.stdout.trim().to_owned()),
        _ => Err(format!("the command must succeed: {}", shown(words, &output))),
    }
}

/// A failed command must have no result and exactly one error message, and must not blame its
/// arguments or the machine.
pub fn expect_failure(output: &Output) -> Result<(), Violation> {
    match output.stderr.lines().filter(|line| line.starts_with("error: ")).count() {
        _ if !output.stdout.is_empty() => Err("the failed command printed a result".to_owned()),
        1 if matches!(output.code, 3 | 4 | 5 | 7) => Ok(()),
        1 => Err("the exit code is that of another kind of error".to_owned()),
        errors => Err(format!("it printed {errors} errors")),
    }
}

/// A command and its result, on one line.
pub fn shown<W: AsRef<str>>(words: &[W], output: &Output) -> String {
    let stderr = output.stderr.trim().replace('\n', " / ");
    format!("`{}` ended with {}: {stderr}", line(words), output.code)
}

fn line<W: AsRef<str>>(words: &[W]) -> String {
    let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
    format!("modelpack {}", words.join(" "))
}

/// A registry that the binary serves. After a restart it has the same address.
pub struct Registry {
    cli: Cli,
    running: Option<Running>,
    pub address: SocketAddr,
}

impl Registry {
    /// Starts one in the home of `cli`.
    pub fn start(cli: Cli) -> Self {
        let (running, address) = serve(&cli, "127.0.0.1:0");
        Self { cli, running: Some(running), address }
    }

    /// The root of its store.
    pub fn root(&self) -> PathBuf {
        self.cli.home().join("root")
    }

    /// Sends a signal to it, and waits until it ends.
    pub fn stop(&mut self, signal: Signal) -> Result<Output, Violation> {
        self.signal(signal);
        self.wait()
    }

    /// Sends a signal to it, if it is running.
    pub fn signal(&self, signal: Signal) {
        if let Some(running) = &self.running {
            running.signal(signal);
        }
    }

    /// Waits until it ends.
    pub fn wait(&mut self) -> Result<Output, Violation> {
        finish(self.running.take().ok_or("the registry is not running")?, &["serve"])
    }

    /// Starts it again with the same store.
    pub fn restart(&mut self) {
        self.running = Some(serve(&self.cli, &self.address.to_string()).0);
    }

    /// Stops it as an administrator would.
    pub fn end(&mut self) -> Result<(), Violation> {
        let output = self.stop(Signal::TERM)?;
        if output.code == 0 { Ok(()) } else { Err(shown(&["serve"], &output)) }
    }
}

fn serve(cli: &Cli, listen: &str) -> (Running, SocketAddr) {
    let mut running = cli.start(["serve", "--listen", listen, "--root", "root"]);
    let address = address_of(&mut running);
    (running, address)
}

/// Waits until the registry prints its address, and returns the address.
pub fn address_of(registry: &mut Running) -> SocketAddr {
    let line = registry.wait_for_line("serving http://");
    let address = line.trim_start_matches("serving http://").split(' ').next().and_then(|address| address.parse().ok());
    address.unwrap_or_else(|| panic!("no address in {line:?}"))
}
