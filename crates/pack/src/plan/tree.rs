//! What a walk over a tree of files asks of it, so that a directory and an artifact are planned alike.

use crate::Result;
use modelpack_spec::LayerKind;
use std::ffi::{OsStr, OsString};

/// A tree of files that is planned.
pub(super) trait Tree {
    /// A directory of the tree.
    type Directory;
    /// A directory that is being listed.
    type Open;
    /// A file or directory that nobody has asked for yet.
    type Found;
    /// What opens a file later.
    type Source;

    /// What errors call the tree.
    fn name(&self) -> String;

    /// Whether somebody has chosen the files already, as those of an artifact: then nothing is left out by habit.
    fn is_chosen(&self) -> bool;

    /// The top directory.
    fn root(&self) -> Self::Directory;

    /// Begins to list a directory.
    fn open(&self, directory: &Self::Directory) -> Result<Self::Open>;

    /// The names in a directory, sorted, so that of several errors the same one is reported on every machine.
    fn names(&self, directory: &Self::Directory, open: &Self::Open) -> Result<Vec<OsString>>;

    /// The text of a file that says which files are packed, if the directory has it.
    fn rules(&self, directory: &Self::Directory, name: &str) -> Result<Option<Rules>>;

    /// What has this name in a directory: whether it is a directory, with links followed, and what it is.
    fn look(&self, directory: &Self::Directory, open: &Self::Open, name: &OsStr) -> Result<(bool, Self::Found)>;

    /// Goes into a directory. Fails if it may not be taken.
    fn enter(&self, found: Self::Found) -> Result<Self::Directory>;

    /// Takes a file. Fails if it is not one, or may not be taken or read.
    fn take(&self, found: Self::Found) -> Result<Taken<Self::Source>>;
}

/// The text of a file that says which files are packed.
pub(super) struct Rules {
    /// What errors call the file.
    pub(super) name: String,
    pub(super) text: String,
}

/// A file that is taken.
pub(super) struct Taken<S> {
    /// Its size in bytes.
    pub(super) size: u64,
    pub(super) executable: bool,
    /// What it is to the model and whether that was told from its name, if the tree says so.
    pub(super) kind: Option<(LayerKind, bool)>,
    pub(super) source: S,
}
