//! What is left out of a plan, and what is taken anyway: includes, excludes, and ignore files.

use super::tree::Rules;
use crate::{Patterns, Result};
use std::{fs::File, io::Read, path::Path, rc::Rc};

/// An ignore file that is larger than this is something else.
const MAX_BYTES: u64 = 1 << 20;

/// Which files of a directory are packed, whatever its Modelfile says; paths are those below the directory.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FileFilter {
    /// Files that are left out, whatever takes them; directories are not looked into.
    pub exclude: Patterns,
    /// Files that are taken though they are usually left out, if a component of a pattern means their names and those of the directories
    /// they are in: `.env*`, `.github/` and `*.pyc` mean some, `*`, `**` and `src/` none.
    pub include: Patterns,
    /// Whether nothing else is taken than what `include` takes, unless it is empty. Ignore files do not count then.
    pub only_included: bool,
}

impl FileFilter {
    /// Takes the files that match, though they are usually left out.
    pub fn include(self, include: Patterns) -> Self {
        Self { include, ..self }
    }

    /// Leaves out the files that match, whatever takes them.
    pub fn exclude(self, exclude: Patterns) -> Self {
        Self { exclude, ..self }
    }

    /// Whether nothing else is taken than what is included, unless nothing is.
    pub fn only_included(self, only_included: bool) -> Self {
        Self { only_included, ..self }
    }

    /// Whether nothing else is taken than what is included.
    pub(super) fn takes_included_only(&self) -> bool {
        self.only_included && !self.include.is_empty()
    }

    /// The patterns, each with where it was said.
    pub(super) fn rules(&self) -> impl Iterator<Item = &str> {
        self.include.rules().chain(self.exclude.rules())
    }
}

/// The ignore files of a directory and of those it is in, nearest first.
#[derive(Clone, Default)]
pub(super) struct Ignores(Option<Rc<IgnoreFile>>);

struct IgnoreFile {
    /// The directory that it is in, below the top.
    directory: String,
    patterns: Patterns,
    outer: Ignores,
}

impl Ignores {
    /// These and the ignore file of `directory`.
    pub(super) fn with(&self, directory: &str, file: &Rules) -> Result<Self> {
        let patterns = Patterns::parse(&file.name, &file.text)?;
        Ok(Self(Some(Rc::new(IgnoreFile { directory: directory.to_owned(), patterns, outer: self.clone() }))))
    }

    /// The rule that leaves out the file or directory `path` below the top: that of the nearest ignore file which says something of it.
    pub(super) fn rule(&self, path: &str, is_directory: bool) -> Option<String> {
        let mut file = self.0.as_deref();
        while let Some(IgnoreFile { directory, patterns, outer }) = file {
            let below = path.strip_prefix(directory.as_str()).expect("an ignore file counts in its own directory");
            if let Some(said) = patterns.decide(Path::new(below.trim_start_matches('/')), is_directory) {
                return said.is_match.then_some(said.rule);
            }
            file = outer.0.as_deref();
        }
        None
    }
}

/// The text of an ignore file, which is called `shown`.
pub(super) fn read_rules(file: File, shown: &Path) -> Result<String> {
    let invalid = |why: &str| modelpack_transfer::Error::Invalid { what: shown.display().to_string(), why: why.to_owned() };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(modelpack_transfer::Error::io("read", shown))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(invalid("it has more than 1 MiB, so it is no ignore file").into());
    }
    Ok(String::from_utf8(bytes).map_err(|_| invalid("its text is not UTF-8"))?)
}
