//! Options that select files, for packing and for unpacking.

use crate::failure::Failure;
use modelpack::{FileFilter, Patterns, Preset, Selection};

const INCLUDE: &str = "--include";
const EXCLUDE: &str = "--exclude";

/// The selection of the files of a directory that are packed.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub struct FilterArgs {
    /// Pack only files that match this .gitignore pattern, including hidden and ignored ones;
    /// repeatable
    #[arg(long = "include", value_name = "PATTERN")]
    include: Vec<String>,
    /// Leave out files that match this pattern, even if a Modelfile or `--include` names them;
    /// repeatable
    #[arg(long = "exclude", value_name = "PATTERN")]
    exclude: Vec<String>,
}

impl FilterArgs {
    pub fn read(&self) -> Result<FileFilter, Failure> {
        let (include, exclude) = (Patterns::new(INCLUDE, &self.include)?, Patterns::new(EXCLUDE, &self.exclude)?);
        Ok(FileFilter::default().include(include).exclude(exclude).only_included(true))
    }
}

/// Files for which a Modelfile is written. As in modctl, an include adds files.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct InitFilterArgs {
    /// Also include files that match this .gitignore pattern, even if they are hidden; repeatable
    #[arg(long = "include", value_name = "PATTERN")]
    include: Vec<String>,
    /// Leave out files that match this pattern; repeatable
    #[arg(long = "exclude", value_name = "PATTERN")]
    exclude: Vec<String>,
}

impl InitFilterArgs {
    pub fn read(&self) -> Result<FileFilter, Failure> {
        let (include, exclude) = (Patterns::new(INCLUDE, &self.include)?, Patterns::new(EXCLUDE, &self.exclude)?);
        Ok(FileFilter::default().include(include).exclude(exclude).only_included(false))
    }
}

/// The selection of the files of an artifact that are unpacked.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub struct SelectionArgs {
    /// Only files that match this .gitignore pattern; repeatable
    #[arg(long, value_name = "PATTERN")]
    pub include: Vec<String>,
    /// Leave out files that match this pattern, even if `--include` or `--preset`
    /// selects them; repeatable
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Only these files, in addition to --include: weights, config (with the tokenizer), tokenizer,
    /// docs; repeatable
    #[arg(long = "preset", value_name = "PRESET", value_delimiter = ',')]
    pub presets: Vec<Preset>,
}

impl SelectionArgs {
    pub fn read(&self) -> Result<Selection, Failure> {
        let (include, exclude) = (Patterns::new(INCLUDE, &self.include)?, Patterns::new(EXCLUDE, &self.exclude)?);
        Ok(Selection::default().include(include).exclude(exclude).presets(self.presets.clone()))
    }
}
