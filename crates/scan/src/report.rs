//! What a scan says.

use serde::{Serialize, Serializer};
use std::fmt;

/// More findings of one file are only counted.
const MAX_FINDINGS: usize = 100;
/// More of what was looked at or not judged within one file is only counted.
const MAX_LINES: usize = 20;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Loading the file runs code, files or programs of somebody's choice, or is known to be a way to do so.
    Dangerous,
    /// Loading the file does what is not on the list of harmless things.
    Unknown,
    /// The file is not what its format wants, so that programs read different things in it, or fail.
    Malformed,
    /// A loader that runs what it reads opens the file, and all or some of it could not be read here.
    Unread,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dangerous => "dangerous",
            Self::Unknown => "unknown",
            Self::Malformed => "malformed",
            Self::Unread => "unread",
        })
    }
}

/// Something in a file that whoever loads it should know before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What the file does or is, as it follows the file's name.
    pub message: String,
    /// The entry, if the file is an archive; with ` > ` between an archive and its entry.
    pub within: Option<String>,
    /// Which of the pickles one after the other it is in, from 1.
    pub pickle: Option<usize>,
    /// Where it stands, in bytes from the beginning of the file or entry.
    pub position: Option<u64>,
    /// What is imported, `MODULE.NAME`, if that is the finding.
    pub global: Option<String>,
}

impl Finding {
    pub(crate) fn new(severity: Severity, message: impl Into<String>) -> Self {
        Self { severity, message: message.into(), within: None, pickle: None, position: None, global: None }
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(Severity::Malformed, message)
    }

    pub(crate) fn at(self, pickle: usize, position: u64) -> Self {
        Self { pickle: Some(pickle), position: Some(position), ..self }
    }
}

/// The place within the file, then what is found there.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(within) = &self.within {
            write!(f, "{within}: ")?;
        }
        if let Some(pickle) = self.pickle {
            write!(f, "pickle {pickle}, ")?;
        }
        if let Some(position) = self.position {
            write!(f, "byte {position}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// What was found in one file, and how much of it was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileReport {
    /// Its path in the model.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// What was looked at, and how; empty if nothing was.
    pub looked_at: Vec<String>,
    /// What was not judged, since no loader runs anything of it by itself, or reads it at all.
    pub not_judged: Vec<String>,
    /// How many pickles were walked in it.
    pub pickles: usize,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
    /// How many more findings there are.
    pub more_findings: usize,
    /// What is not wrong, but runs or is run.
    pub notes: Vec<String>,
}

impl FileReport {
    pub(crate) fn new(path: impl Into<String>, size: u64) -> Self {
        Self { path: path.into(), size, ..Self::default() }
    }

    pub(crate) fn looked(&mut self, how: impl Into<String>) {
        push(&mut self.looked_at, how.into());
    }

    /// What a loader that runs what it reads may open must not be passed over by this, but by [`FileReport::unread`].
    pub(crate) fn not_judged(&mut self, what: impl Into<String>) {
        push(&mut self.not_judged, what.into());
    }

    pub(crate) fn unread(&mut self, why: impl Into<String>) {
        self.find(Finding::new(Severity::Unread, why));
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        push(&mut self.notes, note.into());
    }

    pub(crate) fn find(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS { self.findings.push(finding) } else { self.more_findings += 1 }
    }

    /// Takes over what was found in the entry of an archive, but not how it was looked at.
    pub(crate) fn take_entry(&mut self, entry: Self) {
        let named = |text: String| format!("{}: {text}", entry.path);
        for finding in entry.findings {
            let within = match &finding.within {
                Some(within) => format!("{} > {within}", entry.path),
                None => entry.path.clone(),
            };
            self.find(Finding { within: Some(within), ..finding });
        }
        self.more_findings += entry.more_findings;
        self.pickles += entry.pickles;
        entry.not_judged.into_iter().for_each(|what| self.not_judged(named(what)));
        entry.notes.into_iter().for_each(|note| self.note(named(note)));
    }
}

fn push(lines: &mut Vec<String>, line: String) {
    match lines.len() {
        length if length < MAX_LINES => lines.push(line),
        MAX_LINES => lines.push("and more".to_owned()),
        _ => {}
    }
}

/// What was found in the files of a model. It serialises with how many findings there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The files in the order in which they lie there.
    pub files: Vec<FileReport>,
}

impl Report {
    /// Every finding that is kept, with its file.
    pub fn findings(&self) -> impl Iterator<Item = (&FileReport, &Finding)> {
        self.files.iter().flat_map(|file| file.findings.iter().map(move |finding| (file, finding)))
    }

    /// How many findings there are.
    pub fn count(&self) -> usize {
        self.files.iter().map(|file| file.findings.len() + file.more_findings).sum()
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Counted<'a> {
            findings: usize,
            files: &'a [FileReport],
        }
        Counted { findings: self.count(), files: &self.files }.serialize(serializer)
    }
}
