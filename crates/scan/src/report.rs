//! The report of a scan.

use serde::{Serialize, Serializer};
use std::fmt;

/// Further findings of a file are only counted.
const MAX_FINDINGS: usize = 100;
/// Further lines about one file are only counted.
const MAX_LINES: usize = 20;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Loading the file runs code, files or programs of an attacker's choice, or is a known way to
    /// do so.
    Dangerous,
    /// Loading the file does something that is not on the list of harmless things.
    Unknown,
    /// The file does not conform to its format, so programs read it differently or fail.
    Malformed,
    /// A loader that runs code from its input opens the file, and all or part of it could not be
    /// read here.
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

/// A fact about a file that users should know before they load it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A description of the finding, to be appended to the name of the file.
    pub message: String,
    /// The entry, if the file is an archive. Nested archives and their entries are separated by ` >
    /// `.
    pub within: Option<String>,
    /// The number of the pickle among the consecutive pickles of the file, from 1.
    pub pickle: Option<usize>,
    /// The position, in bytes from the beginning of the file or entry.
    pub position: Option<u64>,
    /// The imported global, `MODULE.NAME`, if the finding is about one.
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

/// The location within the file, then the description.
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

/// The findings for one file, and the parts of it that were scanned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileReport {
    /// Its path in the model.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// The parts that were scanned, and how; empty if none was.
    pub looked_at: Vec<String>,
    /// The parts that were not judged, because no loader runs code from them or reads them at all.
    pub not_judged: Vec<String>,
    /// The number of pickles that were walked.
    pub pickles: usize,
    /// The findings.
    pub findings: Vec<Finding>,
    /// The number of further findings.
    pub more_findings: usize,
    /// Notes about content that is not a finding but is or runs code.
    pub notes: Vec<String>,
}

impl FileReport {
    pub(crate) fn new(path: impl Into<String>, size: u64) -> Self {
        Self { path: path.into(), size, ..Self::default() }
    }

    pub(crate) fn looked(&mut self, how: impl Into<String>) {
        push(&mut self.looked_at, how.into());
    }

    /// Content that an unsafe loader may open must be reported with [`FileReport::unread`] instead.
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

    /// Takes over the findings of an archive entry, but not its list of scanned parts.
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

/// The results for the files of a model. Its JSON form includes the number of findings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The files in their order in the model.
    pub files: Vec<FileReport>,
}

impl Report {
    /// Every kept finding with its file.
    pub fn findings(&self) -> impl Iterator<Item = (&FileReport, &Finding)> {
        self.files.iter().flat_map(|file| file.findings.iter().map(move |finding| (file, finding)))
    }

    /// The number of findings.
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
