//! The interface of a file tree for planning, so that directories and artifacts are planned alike.

use crate::Result;
use modelpack_spec::LayerKind;
use std::ffi::{OsStr, OsString};

/// A tree of files to be planned.
pub(super) trait Tree {
    /// A directory of the tree.
    type Directory;
    /// A directory that is being listed.
    type Open;
    /// A file or directory that is not yet used.
    type Found;
    /// The means to open a file later.
    type Source;

    /// The name of the tree in errors.
    fn name(&self) -> String;

    /// Whether the files were already selected by an author, as in an artifact. Then the default
    /// exclusions do not apply.
    fn is_chosen(&self) -> bool;

    /// The top directory.
    fn root(&self) -> Self::Directory;

    /// Begins to list a directory.
    fn open(&self, directory: &Self::Directory) -> Result<Self::Open>;

    /// The names in a directory, sorted, so that the same one of several errors is reported on
    /// every machine.
    fn names(&self, directory: &Self::Directory, open: &Self::Open) -> Result<Vec<OsString>>;

    /// The text of a file that controls packing, if the directory has it.
    fn rules(&self, directory: &Self::Directory, name: &str) -> Result<Option<Rules>>;

    /// Looks up a name in a directory. Returns whether it is a directory, with links followed, and
    /// the item.
    fn look(&self, directory: &Self::Directory, open: &Self::Open, name: &OsStr) -> Result<(bool, Self::Found)>;

    /// Enters a directory. Fails if it may not be used.
    fn enter(&self, found: Self::Found) -> Result<Self::Directory>;

    /// Takes a file. Fails if it is not a file, or may not be used or read.
    fn take(&self, found: Self::Found) -> Result<Taken<Self::Source>>;
}

/// The text of a file that controls packing.
pub(super) struct Rules {
    /// The name of the file in errors.
    pub(super) name: String,
    pub(super) text: String,
}

/// A selected file.
pub(super) struct Taken<S> {
    /// Its size in bytes.
    pub(super) size: u64,
    pub(super) executable: bool,
    /// The kind and whether it was inferred from the name, if the tree contains them.
    pub(super) kind: Option<(LayerKind, bool)>,
    pub(super) source: S,
}
