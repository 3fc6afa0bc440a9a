//! Judgement of the imports and calls of pickles.

use crate::{
    FileReport, Finding, Severity,
    file::Context,
    globals::{is_of_torch_script, judge},
};
use modelpack_formats::pickle::{Ending, Event, Global, LegacyTorch, Pickles, Step, Value, Walk};
use std::{
    collections::HashSet,
    io::{self, Read, Seek},
};

/// The largest number of different findings for a pickle.
const MAX_KINDS: usize = 1000;

/// How likely a file is a pickle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suspicion {
    /// It has the magic bytes, and a name or place of a pickle.
    Named,
    /// It has the magic bytes.
    Marked,
    /// Only the name indicates a pickle: an incomplete pickle does not count, unless it imports
    /// something.
    NamedOnly,
    /// Nothing indicates a pickle: an incomplete pickle does not count, unless it calls something.
    None,
}

/// Scans the consecutive pickles of a file. Returns whether there was one.
pub(crate) fn scan(file: impl Read + Seek, size: Option<u64>, suspicion: Suspicion, context: Context<'_>, report: &mut FileReport) -> bool {
    let mut pickles = Pickles::new(file);
    let mut legacy = pickles.is_at_legacy_torch().then(LegacyTorch::default);
    let (mut number, mut has_effect) = (0, false);
    loop {
        number += 1;
        let mut judge = Judge::new(number, suspicion == Suspicion::NamedOnly, context.is_torch_script);
        let walk = pickles.walk(&mut |step| {
            if let Some(legacy) = &mut legacy {
                legacy.record(number, &step);
            }
            judge.record(step);
        });
        let is_meant = walk.is_whole() || judge.is_active || number == 1 && matches!(suspicion, Suspicion::Named | Suspicion::Marked);
        if !is_meant {
            if let Ending::Unreadable(error) = &walk.ending {
                report.unread(format!("cannot be read from byte {} on: {error}", walk.end));
            }
            // A pickle that only creates values, with more bytes after it, is a text: LICENSE
            // begins with "Copyright", which reads as a string opcode.
            if suspicion == Suspicion::None && !has_effect {
                return false;
            }
            if number > 1 {
                say_walked(number - 1, report);
                report.not_judged(behind(walk.begin, size, "the last pickle"));
            }
            return number > 1;
        }
        has_effect |= judge.has_effect;
        let has_findings = !judge.findings.is_empty();
        judge.findings.into_iter().for_each(|finding| report.find(finding));
        if let Some(goes_on) = end(&walk, number, suspicion, has_findings, size, report) {
            if goes_on && legacy.is_some() && number == LegacyTorch::PICKLES {
                say_walked(number, report);
                skip_storages(&mut pickles, legacy.and_then(|legacy| legacy.storages()), size, report);
                return true;
            }
            if goes_on && has_more(&mut pickles, report) {
                continue;
            }
            say_walked(number, report);
        } else if number > 1 {
            say_walked(number - 1, report);
        }
        return true;
    }
}

/// Skips the storages after the pickles of a legacy PyTorch file, each with its element size in
/// bytes.
fn skip_storages(pickles: &mut Pickles<impl Read + Seek>, storages: Option<Vec<u64>>, size: Option<u64>, report: &mut FileReport) {
    let begin = pickles.position();
    let mut judge = Judge::new(LegacyTorch::PICKLES + 1, false, false);
    let mut skip = |element_bytes: &u64| match pickles.skip_storage(*element_bytes, &mut |step| judge.record(step)) {
        Ok(()) if size.is_some_and(|size| pickles.position() > size) => Err("the file ends inside its tensors".to_owned()),
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err("the file ends inside its tensors".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let skipped = storages.as_ref().map(|storages| storages.iter().try_for_each(&mut skip));
    judge.findings.into_iter().for_each(|finding| report.find(finding));
    match (storages, skipped) {
        (Some(storages), Some(Ok(()))) => {
            let storages = if storages.len() == 1 { "1 storage".to_owned() } else { format!("{} storages", storages.len()) };
            report.looked(format!("{storages} of tensors, by their length"));
            if has_more(pickles, report) {
                report.not_judged(behind(pickles.position(), size, "the last tensor"));
            }
        }
        (_, Some(Err(error))) => report.find(Finding::malformed(format!("is not a valid legacy PyTorch file: {error}"))),
        (_, None) | (None, _) => report.not_judged(behind(begin, size, "the last pickle")),
    }
}

/// Whether bytes are left. Read errors are reported and count as no.
fn has_more(pickles: &mut Pickles<impl Read + Seek>, report: &mut FileReport) -> bool {
    match pickles.is_at_end() {
        Ok(is_at_end) => !is_at_end,
        Err(error) => {
            report.unread(format!("cannot be read from byte {} on: {error}", pickles.position()));
            false
        }
    }
}

/// Reports how a pickle ended. Returns whether another pickle may follow, or `None` if it was not a
/// pickle.
fn end(walk: &Walk, number: usize, suspicion: Suspicion, has_findings: bool, size: Option<u64>, report: &mut FileReport) -> Option<bool> {
    match &walk.ending {
        Ending::Stop(_) if walk.is_sound => Some(true),
        Ending::Stop(_) => {
            report.find(Finding::malformed("uses missing values, so loaders fail").at(number, walk.end));
            Some(true)
        }
        Ending::Broken(why) => {
            if has_findings || suspicion == Suspicion::Named {
                report.find(
                    Finding::malformed(format!("is broken: {why}. Loaders still perform everything before this point"))
                        .at(number, walk.end),
                );
                report.not_judged(behind(walk.end, size, "the broken end of its pickle"));
                Some(false)
            } else {
                report.not_judged(format!("begins like a pickle, but is not one from byte {} on", walk.end));
                None
            }
        }
        Ending::Array => {
            report.unread(format!("was not read completely: {}", behind(walk.end, size, "an array of unknown length in its pickle")));
            Some(false)
        }
        Ending::Unreadable(error) => {
            report.unread(format!("cannot be read from byte {} on: {error}", walk.end));
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
        Some(bytes) => format!("{bytes} bytes after {what}, from byte {at} on"),
        None => format!("the content after {what}, from byte {at} on"),
    }
}

/// Whether the names could belong to an installed module. Names that occur in a text by chance
/// seldom could: `mport os`.
///
/// This applies to imports alone, which have no other effect. Calls are findings whatever the name.
fn can_be_imported(global: &Global) -> bool {
    let is_name = |part: &str| !part.is_empty() && part.chars().all(|c| c == '_' || c.is_alphanumeric());
    [&global.module, &global.name].iter().all(|names| names.split('.').all(is_name))
}

/// Judges the actions of a pickle.
struct Judge {
    number: usize,
    findings: Vec<Finding>,
    reported: HashSet<String>,
    /// Whether it imported something dangerous or called something, and was sound until then.
    is_active: bool,
    /// Whether it imports something that is not harmless, or calls something.
    has_effect: bool,
    /// Whether an import alone counts as an effect.
    is_expected: bool,
    is_torch_script: bool,
}

impl Judge {
    fn new(number: usize, is_expected: bool, is_torch_script: bool) -> Self {
        Self { number, findings: Vec::new(), reported: HashSet::new(), is_active: false, has_effect: false, is_expected, is_torch_script }
    }

    fn record(&mut self, step: Step<'_>) {
        match step.event {
            Event::Import(global) => {
                let Some(severity) = judge(global).filter(|_| !(self.is_torch_script && is_of_torch_script(global))) else { return };
                let name = format!("{}.{}", global.module, global.name);
                self.has_effect = true;
                let is_dangerous = severity == Severity::Dangerous && can_be_imported(global);
                self.is_active |= (is_dangerous || self.is_expected) && step.is_sound;
                let finding = Finding { global: Some(name.clone()), ..Finding::new(severity, format!("imports {name}")) };
                self.find(step, finding);
            }
            Event::Unresolved => {
                self.find(step, Finding::new(Severity::Unknown, "imports a global whose name is only known when it is loaded"));
            }
            Event::Extension(code) => {
                let message = format!("uses the object that the loading process has registered as extension {code}");
                self.find(step, Finding::new(Severity::Unknown, message));
            }
            Event::Call { callable, .. } => {
                self.has_effect = true;
                if callable.global().is_some() {
                    self.is_active |= step.is_sound;
                } else {
                    self.find(step, Finding::new(Severity::Unknown, "calls an object that is only known when it is loaded"));
                }
            }
            Event::State { object: Value::Global(global), .. } => {
                let message = format!("changes {}.{} itself, for the whole process", global.module, global.name);
                self.find(step, Finding::new(Severity::Dangerous, message));
            }
            Event::State { .. } | Event::Persistent(_) | Event::Item { .. } | Event::Element(_) => {}
        }
    }

    /// Each finding is reported once, at its first position.
    fn find(&mut self, step: Step<'_>, finding: Finding) {
        if self.reported.len() >= MAX_KINDS || !self.reported.insert(finding.message.clone()) {
            return;
        }
        let message = if step.nesting > 0 { format!("{} (in a nested pickle)", finding.message) } else { finding.message };
        self.findings.push(Finding { message, ..finding }.at(self.number, step.at));
    }
}
