//! The progress on stderr: a bar and the files in flight on a terminal, occasional lines elsewhere, and
//! nothing with `--quiet` and `--json`.

use crate::harness::{Registry, cli, cli_with_model, json, ok, wait_until};
use modelpack_testkit::{Cli, Failure, Fault, FaultProxy, Signal};
use rustix::{
    process::{Pid, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use serde_json::Value;
use std::{
    fs::{File, OpenOptions},
    io::Read,
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
};

const WEIGHTS: &str = "model-00001-of-00002.safetensors";
const INTERRUPTED: &str = "interrupted; run the same command again to continue";

/// A program whose stderr is a terminal of 24 lines.
struct Terminal {
    child: Child,
    written: Arc<Mutex<Vec<u8>>>,
    reading: JoinHandle<()>,
    columns: u16,
    /// The program lives in its home.
    _cli: Cli,
}

impl Terminal {
    fn start(line: &str, term: &str, columns: u16) -> Self {
        let cli = cli();
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        tcsetwinsize(&terminal, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let path = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
        let stderr = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut command = cli.command();
        command.args(line.split_whitespace()).env("TERM", term).stdout(Stdio::null()).stderr(stderr);
        let child = command.spawn().unwrap();
        // The terminal is closed when the program ends, and not before.
        drop(command);
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let reading = thread::spawn({
            let (mut terminal, written) = (File::from(terminal), written.clone());
            move || {
                let mut buffer = [0; 4096];
                // Reading fails when the program has closed the other side.
                while let Ok(n @ 1..) = terminal.read(&mut buffer) {
                    written.lock().unwrap().extend_from_slice(&buffer[..n]);
                }
            }
        });
        Self { child, written, reading, columns, _cli: cli }
    }

    fn written(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    fn screen(&self) -> vt100::Parser {
        let mut parser = vt100::Parser::new(24, self.columns, 0);
        parser.process(&self.written.lock().unwrap());
        parser
    }

    /// The rows that are not empty.
    fn rows(&self) -> Vec<String> {
        self.screen().screen().rows(0, self.columns).map(|row| row.trim_end().to_owned()).filter(|row| !row.is_empty()).collect()
    }

    #[track_caller]
    fn wait_for_row(&self, beginning: &str) {
        wait_until(&format!("{beginning:?} is on the screen"), || self.rows().iter().any(|row| row.starts_with(beginning)));
    }

    /// Interrupts the program, and returns all that is on the screen in the end.
    #[track_caller]
    fn interrupt(&mut self) -> Vec<String> {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(130));
        wait_until("the terminal is closed", || self.reading.is_finished());
        self.rows()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A registry with a model, behind a proxy with these faults for a file of weights.
fn behind(faults: impl IntoIterator<Item = (Failure, usize)>) -> (Registry, FaultProxy, String) {
    let (packer, _) = cli_with_model();
    let registry = Registry::start();
    let reference = registry.reference("tiny:v1");
    ok(&packer, &format!("push model {reference}"));
    let inspected = json(&packer, &format!("inspect {reference}"));
    let layer = inspected["layers"].as_array().unwrap().iter().find(|layer| layer["path"] == WEIGHTS).unwrap();
    let path = format!("/blobs/{}", layer["digest"].as_str().unwrap());
    let proxy = registry.behind(faults.into_iter().map(|(failure, times)| Fault::on("GET", &path, failure).times(times)).collect());
    let line = format!("pull {}/tiny:v1", proxy.address());
    (registry, proxy, line)
}

#[test]
fn a_terminal_shows_a_bar_and_the_files_in_flight_and_other_lines_stay_whole() {
    let busy = Failure::Status { code: 503, headers: vec![("Retry-After", "2".to_owned())], body: "busy".to_owned() };
    let (_registry, proxy, line) = behind([(busy, 2), (Failure::Stall, usize::MAX)]);
    // The lines of the log are not wrapped.
    let mut wide = Terminal::start(&format!("{line} -v"), "xterm", 400);
    wide.wait_for_row(&format!("  {WEIGHTS}  0 B of "));
    // The second of these answers is logged while the progress is shown.
    wait_until("the proxy has answered", || proxy.befallen() == 3);
    wide.wait_for_row("pulling [");
    let answers = |rows: &[String]| rows.iter().filter(|row| row.starts_with("log: ") && row.contains("status=503")).count();
    wait_until("the answers are logged", || answers(&wide.rows()) == 2);
    wide.wait_for_row(&format!("  {WEIGHTS}  0 B of "));
    let rows = wide.rows();
    let bar = rows.iter().position(|row| row.starts_with("pulling [")).unwrap();
    let is_message = |row: &String| row.starts_with("log: ") || row.starts_with("trying again in 2 s ");
    assert!(rows[..bar].iter().all(is_message) && rows[bar + 1..].iter().all(|row| row.starts_with("  ")), "{rows:#?}");

    let rows = wide.interrupt();
    let (last, before) = rows.split_last().unwrap();
    assert!(last == INTERRUPTED && before.iter().all(is_message), "nothing remains of the progress: {rows:#?}");
    let screen = wide.screen();
    assert!(!screen.screen().hide_cursor() && screen.screen().cursor_position().1 == 0);
}

#[test]
fn elsewhere_there_is_a_line_from_time_to_time_and_none_with_quiet_and_json() {
    let (_registry, _proxy, line) = behind([(Failure::Stall, usize::MAX)]);
    let (homes, flags) = ([(); 3].map(|()| cli()), ["", " --quiet", " --json"]);
    let [mut plain, quiet, json] = [0, 1, 2].map(|at| homes[at].start(format!("{line}{}", flags[at]).split_whitespace()));
    let mut dumb = Terminal::start(&line, "dumb", 80);
    let said = plain.wait_for_line("no bytes for ");
    assert!(said.starts_with("pulling ") && said.contains(" of ") && !said.contains('\u{1b}'), "{said}");
    dumb.wait_for_row("pulling ");
    let rows = dumb.interrupt();
    assert!(!dumb.written().contains('\u{1b}'), "no line is drawn again: {rows:#?}");
    let [plain, quiet, json] = [plain, quiet, json].map(|running| {
        running.signal(Signal::INT);
        running.wait().expect_code(130)
    });
    let others = plain.stderr.lines().filter(|line| !line.starts_with("pulling ")).collect::<Vec<_>>();
    assert_eq!(others, [INTERRUPTED]);
    assert_eq!(quiet.stderr.trim_end(), INTERRUPTED);
    assert_eq!(serde_json::from_str::<Value>(&json.stderr).unwrap()["error"]["kind"], "interrupted");
}
