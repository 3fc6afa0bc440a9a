//! Pickles: what they import and call, judged.

use crate::{FileReport, Finding, Severity, globals::judge};
use modelpack_formats::pickle::{Ending, Event, Pickles, Step, Value, Walk};
use std::{
    collections::HashSet,
    io::{Read, Seek},
};

/// More kinds of findings of one pickle are one.
const MAX_KINDS: usize = 1000;

/// How sure it is that a file is a pickle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suspicion {
    /// It says so, and has a name or place that pickles have.
    Named,
    /// It says so.
    Marked,
    /// Only its name says so: what is no whole pickle is none, unless it imports something.
    NamedOnly,
    /// Nothing says so: what is no whole pickle is none, unless it calls something.
    None,
}

/// Scans the pickles of a file, one after the other. Says whether there was one.
pub(crate) fn scan(file: impl Read + Seek, size: Option<u64>, suspicion: Suspicion, report: &mut FileReport) -> bool {
    let mut pickles = Pickles::new(file);
    let mut number = 0;
    loop {
        number += 1;
        let mut judge = Judge::new(number, suspicion == Suspicion::NamedOnly);
        let walk = pickles.walk(&mut |step| judge.hear(step));
        let is_meant = walk.is_whole() || judge.is_active || number == 1 && matches!(suspicion, Suspicion::Named | Suspicion::Marked);
        if !is_meant {
            if number > 1 {
                say_walked(number - 1, report);
                report.not_looked(behind(walk.begin, size, "the last pickle"));
            }
            return number > 1;
        }
        let has_findings = !judge.findings.is_empty();
        judge.findings.into_iter().for_each(|finding| report.find(finding));
        if let Some(goes_on) = end(&walk, number, suspicion, has_findings, size, report) {
            if goes_on && pickles.is_at_end().is_ok_and(|is_at_end| !is_at_end) {
                continue;
            }
            say_walked(number, report);
        } else if number > 1 {
            say_walked(number - 1, report);
        }
        return true;
    }
}

/// Says how a pickle ended. Gives whether another may follow, or nothing if it was none.
fn end(walk: &Walk, number: usize, suspicion: Suspicion, has_findings: bool, size: Option<u64>, report: &mut FileReport) -> Option<bool> {
    match &walk.ending {
        Ending::Stop(_) if walk.is_sound => Some(true),
        Ending::Stop(_) => {
            report.find(Finding::malformed("takes values that are not there, so that loaders fail").at(number, walk.end));
            Some(true)
        }
        Ending::Broken(why) => {
            if has_findings || suspicion == Suspicion::Named {
                report.find(Finding::malformed(format!("breaks off: {why}. What stands before is done all the same")).at(number, walk.end));
                report.not_looked(behind(walk.end, size, "where its pickle breaks off"));
                Some(false)
            } else {
                report.not_looked(format!("begins like a pickle, and is none from byte {} on", walk.end));
                None
            }
        }
        Ending::Array => {
            report.not_looked(behind(walk.end, size, "an array of unknown length in its pickle"));
            Some(false)
        }
        Ending::Unreadable(error) => {
            report.not_looked(format!("cannot be read from byte {} on: {error}", walk.end));
            Some(false)
        }
    }
}

fn say_walked(pickles: usize, report: &mut FileReport) {
    report.pickles += pickles;
    report.looked(if pickles == 1 { "a pickle, each opcode".to_owned() } else { format!("{pickles} pickles, each opcode") });
}

fn behind(at: u64, size: Option<u64>, what: &str) -> String {
    match size.and_then(|size| size.checked_sub(at)) {
        Some(bytes) => format!("{bytes} bytes behind {what}, from byte {at} on"),
        None => format!("what lies behind {what}, from byte {at} on"),
    }
}

/// Judges what a pickle would do.
struct Judge {
    number: usize,
    findings: Vec<Finding>,
    said: HashSet<String>,
    /// It imported and called something, and was sound until then.
    is_active: bool,
    /// Whether an import alone is enough for that.
    is_expected: bool,
}

impl Judge {
    fn new(number: usize, is_expected: bool) -> Self {
        Self { number, findings: Vec::new(), said: HashSet::new(), is_active: false, is_expected }
    }

    fn hear(&mut self, step: Step<'_>) {
        match step.event {
            Event::Import(global) => {
                let Some(severity) = judge(global) else { return };
                let name = format!("{}.{}", global.module, global.name);
                self.is_active |= (severity == Severity::Dangerous || self.is_expected) && step.is_sound;
                let finding = Finding { global: Some(name.clone()), ..Finding::new(severity, format!("imports {name}")) };
                self.find(step, finding);
            }
            Event::Unresolved => {
                self.find(step, Finding::new(Severity::Unknown, "imports something whose name is only known when it is loaded"));
            }
            Event::Extension(code) => {
                let message = format!("takes what is registered as extension {code} where it is loaded");
                self.find(step, Finding::new(Severity::Unknown, message));
            }
            Event::Call { callable, .. } => {
                if callable.global().is_some() {
                    self.is_active |= step.is_sound;
                } else {
                    self.find(step, Finding::new(Severity::Unknown, "calls something that is only known when it is loaded"));
                }
            }
            Event::State { object: Value::Global(global), .. } => {
                let message = format!("changes {}.{} itself, for the whole process", global.module, global.name);
                self.find(step, Finding::new(Severity::Dangerous, message));
            }
            Event::State { .. } | Event::Persistent(_) | Event::Item { .. } => {}
        }
    }

    /// Each thing once, where it comes first.
    fn find(&mut self, step: Step<'_>, finding: Finding) {
        if self.said.len() >= MAX_KINDS || !self.said.insert(finding.message.clone()) {
            return;
        }
        let message = if step.nesting > 0 { format!("{} (in a pickle within the pickle)", finding.message) } else { finding.message };
        self.findings.push(Finding { message, ..finding }.at(self.number, step.at));
    }
}
