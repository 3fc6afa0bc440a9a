//! Which files are taken: the arguments of what packs, and of what unpacks.

use crate::failure::Failure;
use modelpack::{FileFilter, Patterns, Preset, Selection};

const INCLUDE: &str = "--include";
const EXCLUDE: &str = "--exclude";

/// Which files of a directory are packed.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub struct FilterArgs {
    /// Pack only files that match this pattern of .gitignore's grammar, hidden and ignored ones too; may be given again
    #[arg(long = "include", value_name = "PATTERN")]
    include: Vec<String>,
    /// Leave out files that match this pattern, whatever else names them; may be given again
    #[arg(long = "exclude", value_name = "PATTERN")]
    exclude: Vec<String>,
}

impl FilterArgs {
    pub fn read(&self) -> Result<FileFilter, Failure> {
        let (include, exclude) = (Patterns::new(INCLUDE, &self.include)?, Patterns::new(EXCLUDE, &self.exclude)?);
        Ok(FileFilter::default().include(include).exclude(exclude).only_included(true))
    }
}

/// Which files a Modelfile is written for. As modctl has it, an include adds to what is found.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct InitFilterArgs {
    /// Take files that match this pattern of .gitignore's grammar too, though they are hidden; may be given again
    #[arg(long = "include", value_name = "PATTERN")]
    include: Vec<String>,
    /// Leave out files that match this pattern; may be given again
    #[arg(long = "exclude", value_name = "PATTERN")]
    exclude: Vec<String>,
}

impl InitFilterArgs {
    pub fn read(&self) -> Result<FileFilter, Failure> {
        let (include, exclude) = (Patterns::new(INCLUDE, &self.include)?, Patterns::new(EXCLUDE, &self.exclude)?);
        Ok(FileFilter::default().include(include).exclude(exclude).only_included(false))
    }
}

/// Which files of an artifact are unpacked.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub struct SelectionArgs {
    /// Only files that match this pattern of .gitignore's grammar; may be given again
    #[arg(long, value_name = "PATTERN")]
    pub include: Vec<String>,
    /// No files that match this pattern, whatever else takes them; may be given again
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Only these files, beside those of --include: weights, config (the tokenizer's too), tokenizer, docs; may be given again
    #[arg(long = "preset", value_name = "PRESET", value_delimiter = ',')]
    pub presets: Vec<Preset>,
}

impl SelectionArgs {
    pub fn read(&self) -> Result<Selection, Failure> {
        let (include, exclude) = (Patterns::new(INCLUDE, &self.include)?, Patterns::new(EXCLUDE, &self.exclude)?);
        Ok(Selection::default().include(include).exclude(exclude).presets(self.presets.clone()))
    }
}
