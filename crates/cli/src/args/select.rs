//! Which files are taken: the arguments of what packs, and of what unpacks.

use crate::failure::Failure;
use modelpack::{FileFilter, Patterns, Preset, Selection};

const INCLUDE: &str = "--include";
const EXCLUDE: &str = "--exclude";

/// Which files of a directory are packed.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub struct FilterArgs {
    /// Pack only files that match this pattern, hidden and ignored files too; the grammar is that of .gitignore; may be repeated
    #[arg(long = "include", value_name = "PATTERN")]
    include: Vec<String>,
    /// Leave out files that match this pattern, even if something else names them; may be repeated
    #[arg(long = "exclude", value_name = "PATTERN")]
    exclude: Vec<String>,
}

impl FilterArgs {
    pub fn read(&self) -> Result<FileFilter, Failure> {
        let (include, exclude) = (Patterns::new(INCLUDE, &self.include)?, Patterns::new(EXCLUDE, &self.exclude)?);
        Ok(FileFilter { include, exclude, only_included: true })
    }
}

/// Which files a Modelfile is written for. As modctl has it, an include adds to what is found.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct InitFilterArgs {
    /// Add files that match this pattern, even hidden ones; the grammar is that of .gitignore; may be repeated
    #[arg(long = "include", value_name = "PATTERN")]
    include: Vec<String>,
    /// Leave out files that match this pattern; may be repeated
    #[arg(long = "exclude", value_name = "PATTERN")]
    exclude: Vec<String>,
}

impl InitFilterArgs {
    pub fn read(&self) -> Result<FileFilter, Failure> {
        let (include, exclude) = (Patterns::new(INCLUDE, &self.include)?, Patterns::new(EXCLUDE, &self.exclude)?);
        Ok(FileFilter { include, exclude, only_included: false })
    }
}

/// Which files of an artifact are unpacked.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
pub struct SelectionArgs {
    /// Write only files that match this pattern; the grammar is that of .gitignore; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub include: Vec<String>,
    /// Leave out files that match this pattern, even if another option selects them; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Write only the files of this group, and those of --include: weights, config (with the tokenizer), tokenizer, docs; may be repeated
    #[arg(long = "preset", value_name = "PRESET", value_delimiter = ',')]
    pub presets: Vec<Preset>,
}

impl SelectionArgs {
    pub fn read(&self) -> Result<Selection, Failure> {
        let (include, exclude) = (Patterns::new(INCLUDE, &self.include)?, Patterns::new(EXCLUDE, &self.exclude)?);
        Ok(Selection { include, exclude, presets: self.presets.clone() })
    }
}
