//! Changes to the selection of a plan: includes, excludes, and ignore files.

use super::tree::Rules;
use crate::{Error, Patterns, Result};
use std::{fs::File, io::Read, path::Path, rc::Rc};

/// A larger file is not an ignore file.
const MAX_BYTES: u64 = 1 << 20;

/// A filter for the files of a directory, which overrides its Modelfile. Paths are relative to the
/// directory.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FileFilter {
    /// Files that are left out in any case. Excluded directories are not searched.
    pub exclude: Patterns,
    /// Files that are taken although they are left out by default, if components of a pattern
    /// specifically name them and their directories. `.env*`, `.github/` and `*.pyc` name some
    /// specifically; `*`, `**` and `src/` do not.
    pub include: Patterns,
    /// Whether only files that `include` matches are taken, unless it is empty. Ignore files do not
    /// apply then.
    pub only_included: bool,
}

impl FileFilter {
    /// Includes the files that match, even if they are left out by default.
    pub fn include(self, include: Patterns) -> Self {
        Self { include, ..self }
    }

    /// Leaves out the files that match, even if other rules include them.
    pub fn exclude(self, exclude: Patterns) -> Self {
        Self { exclude, ..self }
    }

    /// Sets whether only the included files are packed, if there are any.
    pub fn only_included(self, only_included: bool) -> Self {
        Self { only_included, ..self }
    }

    /// Whether only included files are taken.
    pub(super) fn takes_included_only(&self) -> bool {
        self.only_included && !self.include.is_empty()
    }

    /// The patterns with their origins.
    pub(super) fn rules(&self) -> impl Iterator<Item = &str> {
        self.include.rules().chain(self.exclude.rules())
    }
}

/// The ignore files of a directory and of its parents, nearest first.
#[derive(Clone, Default)]
pub(super) struct Ignores(Option<Rc<IgnoreFile>>);

struct IgnoreFile {
    /// Its directory, below the top.
    directory: String,
    patterns: Patterns,
    outer: Ignores,
}

impl Ignores {
    /// These, and in addition the ignore file of `directory`.
    pub(super) fn with(&self, directory: &str, file: &Rules) -> Result<Self> {
        let patterns = Patterns::parse(&file.name, &file.text)?;
        Ok(Self(Some(Rc::new(IgnoreFile { directory: directory.to_owned(), patterns, outer: self.clone() }))))
    }

    /// The rule that excludes the file or directory `path`, relative to the top. The nearest ignore
    /// file with a decision wins.
    pub(super) fn rule(&self, path: &str, is_directory: bool) -> Option<String> {
        let mut file = self.0.as_deref();
        while let Some(IgnoreFile { directory, patterns, outer }) = file {
            let below = path.strip_prefix(directory.as_str()).expect("an ignore file counts in its own directory");
            if let Some(decision) = patterns.decide(Path::new(below.trim_start_matches('/')), is_directory) {
                return decision.is_match.then_some(decision.rule);
            }
            file = outer.0.as_deref();
        }
        None
    }
}

/// The text of an ignore file with the name `shown`.
pub(super) fn read_rules(file: File, shown: &Path) -> Result<String> {
    let invalid = |why: &str| Error::RulesFile { path: shown.to_owned(), why: why.to_owned() };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(modelpack_transfer::Error::io("read", shown))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(invalid("it has more than 1 MiB, so it is not an ignore file"));
    }
    String::from_utf8(bytes).map_err(|_| invalid("its text is not UTF-8"))
}
