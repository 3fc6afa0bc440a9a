//! What the program says: results on stdout, everything else on stderr.

use crate::{args::Globals, failure::Failure, text::printable};
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
            let line = serde_json::to_string(value).expect("results have string keys only, so they always serialise");
            self.bytes(format!("{line}\n").as_bytes())
        } else if text.is_empty() {
            Ok(())
        } else {
            self.bytes(format!("{text}\n").as_bytes())
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

    /// Tells a person what is probably not as it should be. A program finds it in the result.
    pub fn warn(&self, text: &str) {
        if !self.json {
            say(&format!("warning: {text}"));
        }
    }
}

/// A line on stderr, in place of a line of progress that a terminal may show. Nobody is left to tell if that fails.
fn say(text: &str) {
    let start = if io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
    let _ = writeln!(io::stderr(), "{start}{}", printable(text));
}
