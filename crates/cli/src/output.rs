//! Output of the program: results on stdout, everything else on stderr.

use crate::{args::Globals, failure::Failure, progress::Screen, text};
use modelpack::{Notice, spec::json::to_line};
use serde::Serialize;
use std::io::{self, Write};

/// The amount and format of the output, and what of it may still be redrawn.
#[derive(Clone, Default)]
pub struct Output {
    pub json: bool,
    pub quiet: bool,
    pub screen: Screen,
}

impl Output {
    pub fn new(globals: &Globals) -> Self {
        Self { json: globals.json, quiet: globals.quiet, screen: Screen::default() }
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
            self.say(text);
        }
    }

    /// Prints a notice while the command continues: a warning, with `--json` too, or information
    /// about the progress, without `--json` only.
    pub fn notice(&self, notice: &Notice) {
        if !notice.is_warning() {
            self.note(&notice.to_string());
        } else if self.json {
            self.say_line(&to_line(&Printed { warning: Warning { message: &text::brief(&notice.to_string()) } }));
        } else {
            self.warn(&notice.to_string());
        }
    }

    /// Prints a line of the log: `text`, or `value` with `--json`.
    pub fn log(&self, text: &str, value: &impl Serialize) {
        if self.json {
            self.say_line(&to_line(value));
        } else {
            self.say(text);
        }
    }

    /// Prints a warning. Not printed with `--json`, because the result contains it.
    pub fn warn(&self, text: &str) {
        if !self.json {
            self.say(&format!("warning: {text}"));
        }
    }

    /// Prints a line to stderr, with control characters escaped.
    fn say(&self, text: &str) {
        self.say_line(&text::printable(&text::brief(text)));
    }

    /// Prints a line to stderr unchanged. Errors are ignored, because they cannot be reported.
    fn say_line(&self, line: &str) {
        self.screen.above(|| {
            let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
        });
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
