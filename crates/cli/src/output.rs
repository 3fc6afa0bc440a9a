//! Output of the program: results on stdout, everything else on stderr.

use crate::{args::Globals, failure::Failure, text};
use modelpack::{Notice, spec::json::to_line};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// The amount and format of the output.
#[derive(Clone, Copy)]
pub struct Output {
    pub json: bool,
    pub quiet: bool,
}

impl Output {
    pub fn new(globals: &Globals) -> Self {
        Self { json: globals.json, quiet: globals.quiet }
    }

    /// Prints a result: `text`, or `value` with `--json`.
    pub fn result(&self, text: &str, value: &impl Serialize) -> Result<(), Failure> {
        if self.json {
            self.bytes(format!("{}\n", to_line(value)).as_bytes())
        } else if text.is_empty() {
            Ok(())
        } else {
            self.bytes(format!("{}\n", text::printable_lines(text)).as_bytes())
        }
    }

    /// Prints a result that consists of bytes.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Failure::output)
    }

    /// Prints a note about what was done or chosen. Not printed with `--json`, because the result
    /// contains it.
    pub fn note(&self, text: &str) {
        if !self.json && !self.quiet {
            say(text);
        }
    }

    /// Prints a notice while the command continues: a warning, with `--json` too, or information
    /// about the progress, without `--json` only.
    pub fn notice(&self, notice: &Notice) {
        if !notice.is_warning() {
            self.note(&notice.to_string());
        } else if self.json {
            say_line(&to_line(&Printed { warning: Warning { message: &text::brief(&notice.to_string()) } }));
        } else {
            self.warn(&notice.to_string());
        }
    }

    /// Prints a line of the log: `text`, or `value` with `--json`.
    pub fn log(&self, text: &str, value: &impl Serialize) {
        if self.json {
            say_line(&to_line(value));
        } else {
            say(text);
        }
    }

    /// Prints a warning. Not printed with `--json`, because the result contains it.
    pub fn warn(&self, text: &str) {
        if !self.json {
            say(&format!("warning: {text}"));
        }
    }
}

/// A notice as JSON.
#[derive(Serialize)]
struct Printed<'a> {
    warning: Warning<'a>,
}

#[derive(Serialize)]
struct Warning<'a> {
    message: &'a str,
}

/// Prints a line to stderr, instead of a progress line that a terminal may show. Errors are
/// ignored, because they cannot be reported.
fn say(text: &str) {
    say_line(&text::printable(&text::brief(text)));
}

/// Prints a line to stderr unchanged. On a terminal it replaces a progress line, which is then
/// drawn again below it.
fn say_line(line: &str) {
    let clear = if io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
    let _ = io::stderr().write_all(format!("{clear}{line}\n").as_bytes());
}
