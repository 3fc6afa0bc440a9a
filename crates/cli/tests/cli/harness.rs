//! Shared by the tests: the program, models, and a registry that the program serves.

use crate::small_model::write_small_model;
use modelpack_testkit::{Cli, Fault, FaultProxy, Output, Running, Signal};
use serde_json::Value;
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// The program in its own home directory.
pub(crate) fn cli() -> Cli {
    Cli::at(env!("CARGO_BIN_EXE_modelpack"))
}

/// The program, with the small model at `model` in its home directory, which is also the working
/// directory.
pub(crate) fn cli_with_model() -> (Cli, PathBuf) {
    let cli = cli();
    let model = cli.home().join("model");
    write_small_model(&model).unwrap();
    (cli, model)
}

/// Runs a command line, whose words contain no spaces, and expects success. Returns its output,
/// such as a digest.
#[track_caller]
pub(crate) fn ok(cli: &Cli, line: &str) -> String {
    run(cli, line).expect_code(0).stdout.trim_end().to_owned()
}

/// Runs a command line, whose words contain no spaces.
#[track_caller]
pub(crate) fn run(cli: &Cli, line: &str) -> Output {
    cli.run(line.split_whitespace())
}

/// Runs a command line with `--json`, expects success, and returns the result.
#[track_caller]
pub(crate) fn json(cli: &Cli, line: &str) -> Value {
    let printed = ok(cli, &format!("{line} --json"));
    serde_json::from_str(&printed).unwrap_or_else(|e| panic!("{e}: {printed}"))
}

/// Runs a command line, and expects it to fail with `code`, to print no result, and to print all of
/// `words` on stderr.
#[track_caller]
pub(crate) fn fails(cli: &Cli, line: &str, code: i32, words: &[&str]) -> Output {
    let output = run(cli, line).expect_code(code);
    assert_eq!(output.stdout, "", "a failed command prints no result");
    let has_error = output.stderr.lines().any(|line| line.starts_with("error: "));
    assert!(has_error && words.iter().all(|word| output.stderr.contains(word)), "{words:?} not all in:\n{}", output.stderr);
    output
}

/// A registry that the program serves until this is dropped.
pub(crate) struct Registry {
    running: Running,
    address: SocketAddr,
    cli: Cli,
    root: PathBuf,
}

impl Registry {
    #[track_caller]
    pub(crate) fn start() -> Self {
        let cli = cli();
        let root = store(&cli).join("registry");
        Self::start_with(cli, "127.0.0.1:0", root)
    }

    /// A registry with its files in `root`.
    #[track_caller]
    pub(crate) fn start_in(root: &Path) -> Self {
        Self::start_with(cli(), "127.0.0.1:0", root.to_owned())
    }

    /// A registry at the address of an earlier one, with its files.
    #[track_caller]
    pub(crate) fn start_at(address: SocketAddr, root: &Path) -> Self {
        Self::start_with(cli(), &address.to_string(), root.to_owned())
    }

    /// Stops it, and serves the same artifacts again.
    #[track_caller]
    pub(crate) fn restart(self) -> Self {
        let (cli, root) = (self.cli.clone(), self.root.clone());
        self.end(Signal::TERM).expect_code(0);
        Self::start_with(cli, "127.0.0.1:0", root)
    }

    #[track_caller]
    fn start_with(cli: Cli, listen: &str, root: PathBuf) -> Self {
        let mut running = cli.start(["serve", "--listen", listen, "--root", root.to_str().unwrap()]);
        let line = running.wait_for_line("serving http://");
        let address = line.trim_start_matches("serving http://").split_whitespace().next().unwrap().parse().unwrap();
        Self { running, address, cli, root }
    }

    /// The root of the store that it serves.
    pub(crate) fn root(&self) -> PathBuf {
        self.root.clone()
    }

    /// The peak memory of the registry so far, in MiB.
    #[track_caller]
    pub(crate) fn peak_memory(&self) -> u64 {
        self.running.peak_memory()
    }

    /// Sends a request without a body, and returns the status.
    #[track_caller]
    pub(crate) fn request(&self, method: &str, path: &str) -> u16 {
        let mut connection = TcpStream::connect(self.address).unwrap();
        write!(connection, "{method} /v2/{path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The reference of `name` in this registry.
    pub(crate) fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// A proxy in front of this registry.
    pub(crate) fn behind(&self, faults: Vec<Fault>) -> FaultProxy {
        FaultProxy::start(self.address, faults)
    }

    /// Stops it with a signal, and returns its output.
    pub(crate) fn end(self, signal: Signal) -> Output {
        self.running.signal(signal);
        self.running.wait()
    }

    /// Whether it accepts connections.
    pub(crate) fn listens(&self) -> bool {
        TcpStream::connect(self.address).is_ok()
    }

    /// Sends a signal without waiting.
    pub(crate) fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }
}

/// Waits until `condition` holds. Only a broken program reaches the timeout.
#[track_caller]
pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited too long until {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The number of files below a directory, including hidden ones; 0 if it does not exist.
pub(crate) fn count_files(directory: &Path) -> usize {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let count = |path: PathBuf| if path.is_dir() { count_files(&path) } else { 1 };
    entries.map(|entry| count(entry.unwrap().path())).sum()
}

/// The default store of the program.
pub(crate) fn store(cli: &Cli) -> PathBuf {
    cli.home().join(".local/share/modelpack")
}

/// Expects that the store lists nothing and contains no incomplete files.
#[track_caller]
pub(crate) fn expect_nothing_visible(cli: &Cli) {
    assert_eq!(json(cli, "ls"), serde_json::json!([]));
    assert_eq!(count_files(&store(cli).join("ingest")), 0, "no incomplete blob remains");
}

/// Expects that every byte of the only artifact in the store is right, and that the store contains
/// no abandoned files.
#[track_caller]
pub(crate) fn expect_sound(cli: &Cli, reference: &str) {
    ok(cli, &format!("verify store:{reference}"));
    let pruned = json(cli, "prune");
    assert_eq!(pruned["abandoned"], serde_json::json!([]), "no incomplete file remains");
    ok(cli, &format!("verify store:{reference}"));
}
