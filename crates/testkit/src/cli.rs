//! The real binary, run as a user runs it, in a home of its own.

pub use rustix::process::Signal;

use rustix::process::{Pid, kill_process};
use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long a line may be waited for. Only a broken program reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program with an empty home directory of its own, in which its store, settings and credentials lie.
///
/// It sees nothing of the environment but `PATH`, so that no test depends on who runs it. Clones share the home.
#[derive(Clone)]
pub struct Cli {
    program: PathBuf,
    home: Arc<TempDir>,
}

impl Cli {
    /// The program at `path`, for a test in `crates/cli/tests`: `Cli::at(env!("CARGO_BIN_EXE_modelpack"))`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory can be made");
        Self { program: path.into(), home: Arc::new(home) }
    }

    /// The home directory, which is also the working directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A command with the isolated environment and no arguments, for a test that wants to add more than those.
    pub fn command(&self) -> Command {
        let home = self.home();
        let mut command = Command::new(&self.program);
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.env("HOME", home).env("DOCKER_CONFIG", home.join(".docker")).env("TMPDIR", home);
        for (variable, directory) in [
            ("XDG_CACHE_HOME", ".cache"),
            ("XDG_CONFIG_HOME", ".config"),
            ("XDG_DATA_HOME", ".local/share"),
            ("XDG_STATE_HOME", ".local/state"),
        ] {
            command.env(variable, home.join(directory));
        }
        command.current_dir(home).stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    #[track_caller]
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Output {
        self.command().args(arguments).output().expect("the program can be started").into()
    }

    /// Starts the program and goes on.
    #[track_caller]
    pub fn start<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Running {
        let mut command = self.command();
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running::new(command.spawn().expect("the program can be started"), self.home.clone())
    }
}

/// How a program ended, and what it wrote.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit code; 128 and the number of the signal, as shells say, if a signal ended it.
    pub code: i32,
    /// The standard output; what is not UTF-8 is replaced.
    pub stdout: String,
    /// The standard error, likewise.
    pub stderr: String,
}

impl Output {
    /// Panics, and shows what the program wrote, unless it ended with `code`.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        let Self { code: ended, stdout, stderr } = &self;
        assert!(*ended == code, "ended with {ended}, not with {code}\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
        self
    }
}

impl From<std::process::Output> for Output {
    fn from(output: std::process::Output) -> Self {
        let code = output.status.code().or_else(|| output.status.signal().map(|signal| 128 + signal));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: code.expect("the program has ended"), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

/// A program that runs, killed when dropped.
pub struct Running {
    child: Child,
    /// Each with the index of its stream in `written`.
    lines: Receiver<(usize, Vec<u8>)>,
    written: [Vec<u8>; 2],
    /// The program lives in it, even if its [`Cli`] is gone.
    _home: Arc<TempDir>,
}

impl Running {
    fn new(mut child: Child, home: Arc<TempDir>) -> Self {
        let (sender, lines) = channel();
        send_lines(child.stdout.take().expect("the output is piped"), 0, sender.clone());
        send_lines(child.stderr.take().expect("the error is piped"), 1, sender);
        Self { child, lines, written: Default::default(), _home: home }
    }

    /// Waits for the next line with `fragment` in it, on either stream. Panics if the program falls silent instead.
    #[track_caller]
    pub fn wait_for_line(&mut self, fragment: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok((stream, line)) => {
                    self.written[stream].extend(&line);
                    let line = String::from_utf8_lossy(&line);
                    if line.contains(fragment) {
                        return line.trim_end().to_owned();
                    }
                }
                Err(error) => {
                    let why = if error == RecvTimeoutError::Timeout { "waited too long" } else { "the program ended" };
                    let [stdout, stderr] = self.written.each_ref().map(|bytes| String::from_utf8_lossy(bytes));
                    panic!("no line with {fragment:?}: {why}\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
                }
            }
        }
    }

    /// The most memory that it has had at once so far, in MiB.
    #[track_caller]
    pub fn peak_memory(&self) -> u64 {
        self.memory("VmHWM:") >> 10
    }

    /// The same in KiB, without what it maps from files, such as the program itself.
    #[track_caller]
    pub fn peak_data(&self) -> u64 {
        self.memory("VmHWM:").saturating_sub(self.memory("RssFile:"))
    }

    /// A line of `/proc/PID/status`, in KiB.
    #[track_caller]
    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the program runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux says it");
        line.trim().trim_end_matches(" kB").parse().expect("a number of KiB")
    }

    /// Sends a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the child was not waited for, so its number is its own");
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended already.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Waits for the end, and gives all that was written from the beginning.
    pub fn wait(mut self) -> Output {
        while let Ok((stream, line)) = self.lines.recv() {
            self.written[stream].extend(line);
        }
        self.end()
    }

    /// Waits for the end as [`wait`](Self::wait) does, but not longer than this: then it is killed, and there is no output.
    pub fn wait_at_most(mut self, patience: Duration) -> Option<Output> {
        let deadline = Instant::now() + patience;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((stream, line)) => self.written[stream].extend(line),
                Err(RecvTimeoutError::Disconnected) => return Some(self.end()),
                Err(RecvTimeoutError::Timeout) => return None,
            }
        }
    }

    fn end(mut self) -> Output {
        let status = self.child.wait().expect("the child was not waited for");
        let [stdout, stderr] = std::mem::take(&mut self.written);
        std::process::Output { status, stdout, stderr }.into()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send_lines(pipe: impl Read + Send + 'static, stream: usize, sender: Sender<(usize, Vec<u8>)>) {
    thread::spawn(move || {
        let (mut pipe, mut line) = (BufReader::new(pipe), Vec::new());
        while pipe.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            // Nobody listens when the test is over; the pipe is read on, so that the program can end in peace.
            let _ = sender.send((stream, std::mem::take(&mut line)));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell() -> Cli {
        Cli::at("/bin/sh")
    }

    #[test]
    fn a_run_gives_the_code_and_both_streams() {
        let output = shell().run(["-c", "echo out; echo err >&2; exit 3"]).expect_code(3);
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
    }

    #[test]
    fn a_program_sees_only_its_own_home() {
        let cli = shell();
        let output = cli.run(["-c", "pwd; env"]).expect_code(0);
        let (directory, environment) = output.stdout.split_once('\n').unwrap();
        assert_eq!(Path::new(directory), cli.home().canonicalize().unwrap());
        assert!(environment.lines().any(|line| line == format!("HOME={}", cli.home().display())), "{environment}");
        assert!(!environment.contains("CARGO"), "{environment}");
    }

    #[test]
    fn a_started_program_is_listened_to_and_signalled() {
        let mut running = shell().start(["-c", "echo first >&2; echo 'listening on 127.0.0.1:1'; exec sleep 600"]);
        assert_eq!(running.wait_for_line("listening"), "listening on 127.0.0.1:1");
        running.signal(Signal::TERM);
        let output = running.wait().expect_code(128 + 15);
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("listening on 127.0.0.1:1\n", "first\n"));
    }

    #[test]
    fn a_program_that_does_not_end_is_given_up() {
        assert!(shell().start(["-c", "exec sleep 600"]).wait_at_most(Duration::from_millis(10)).is_none());
        assert_eq!(shell().start(["-c", "exit 3"]).wait_at_most(PATIENCE).unwrap().code, 3);
    }

    #[test]
    #[should_panic(expected = "no line with \"ready\": the program ended")]
    fn waiting_for_a_line_fails_when_the_program_ends() {
        shell().start(["-c", "echo unhappy >&2"]).wait_for_line("ready");
    }

    #[test]
    fn a_dropped_program_is_killed() {
        let mut running = shell().start(["-c", "echo $$; exec sleep 600"]);
        let number: i32 = running.wait_for_line("").parse().unwrap();
        drop(running);
        let pid = Pid::from_raw(number).unwrap();
        assert_eq!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH));
    }
}
