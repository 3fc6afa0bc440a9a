//! What the program says: results on stdout, everything else on stderr.

use crate::{args::Globals, failure::Failure, text};
use modelpack::{Notice, spec::json::to_line};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};

/// How much is said, and in which form.
#[derive(Clone, Copy)]
pub struct Output {
    pub json: bool,
    pub quiet: bool,
}

impl Output {
    pub fn new(globals: &Globals) -> Self {
        Self { json: globals.json, quiet: globals.quiet }
    }

    /// Prints a result: `text` for a person, `value` for a program.
    pub fn result(&self, text: &str, value: &impl Serialize) -> Result<(), Failure> {
        if self.json {
            self.bytes(format!("{}\n", to_line(value)).as_bytes())
        } else if text.is_empty() {
            Ok(())
        } else {
            self.bytes(format!("{}\n", text::printable_lines(text)).as_bytes())
        }
    }

    /// Prints a result that is bytes already.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Failure::output)
    }

    /// Tells a person what was done or chosen. A program reads the result.
    pub fn note(&self, text: &str) {
        if !self.json && !self.quiet {
            say(text);
        }
    }

    /// Tells a person or a program what is probably not as it should be, and a person how the work goes, while the command goes on.
    pub fn notice(&self, notice: &Notice) {
        if !notice.is_warning() {
            self.note(&notice.to_string());
        } else if self.json {
            say_line(&to_line(&Printed { warning: Warning { message: &text::brief(&notice.to_string()) } }));
        } else {
            self.warn(&notice.to_string());
        }
    }

    /// A line of the log: `text` for a person, `value` for a program.
    pub fn log(&self, text: &str, value: &impl Serialize) {
        if self.json {
            say_line(&to_line(value));
        } else {
            say(text);
        }
    }

    /// Tells a person what is probably not as it should be. A program finds it in the result.
    pub fn warn(&self, text: &str) {
        if !self.json {
            say(&format!("warning: {text}"));
        }
    }
}

/// A notice as a program reads it.
#[derive(Serialize)]
struct Printed<'a> {
    warning: Warning<'a>,
}

#[derive(Serialize)]
struct Warning<'a> {
    message: &'a str,
}

/// A line on stderr, in place of a line of progress that a terminal may show. Nobody is left to tell if that fails.
fn say(text: &str) {
    say_line(&text::printable(&text::brief(text)));
}

/// A line on stderr as it is. On a terminal it takes the place of a progress line, which is drawn again below it.
fn say_line(line: &str) {
    let clear = if io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
    let _ = io::stderr().write_all(format!("{clear}{line}\n").as_bytes());
}
