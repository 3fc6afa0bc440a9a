//! What can go wrong between a directory and an artifact.

use crate::{InvalidPattern, ModelfileError};
use modelpack_spec::{BuildError, FilePath, InvalidPath};
use std::path::PathBuf;

/// The result of packing, unpacking, or a step of them.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What failed, on which file, and why. Programs tell the cases apart by variant; what to do about them is for the caller to say.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A source, a sink, or a file operation failed.
    #[error(transparent)]
    Store(#[from] modelpack_transfer::Error),
    /// A line of a Modelfile or Kitfile is not right, or names what is not there.
    #[error("{}, {source}", path.display())]
    Modelfile {
        /// The file.
        path: PathBuf,
        /// Line, column, text and reason.
        source: ModelfileError,
    },
    /// What is said of the model is outside the grammar of its field.
    #[error("the specification does not allow this in a config: {0}")]
    Config(#[from] BuildError),
    /// A rule says how files at a path become layers, and none is there.
    #[error("a rule for layers is for {path:?}, and no file has that path or lies below it")]
    LayerRule {
        /// The path.
        path: String,
    },
    /// The files need more layers than there may be.
    #[error("the files need {needed} layers, and {limit} are allowed")]
    TooManyLayers {
        /// How many layers there would be at the least.
        needed: usize,
        /// How many there may be.
        limit: usize,
        /// How many files have to be raw layers because a rule says so.
        raw: usize,
    },
    /// What should be packed is not a directory.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// What it is instead.
        path: PathBuf,
    },
    /// No file is left to pack.
    #[error("{files} has no file to pack")]
    Empty {
        /// The directory or artifact.
        files: String,
        /// The patterns that may be why, each with where it was said.
        rules: Vec<String>,
    },
    /// A pattern cannot be understood.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    /// Nothing in an artifact is what was selected.
    #[error("{what} has nothing that is selected by {}; it has {has}", rules.join(", "))]
    NothingSelected {
        /// The artifact.
        what: String,
        /// What was selected, each with where it was said.
        rules: Vec<String>,
        /// The files that it has, or the first of them.
        has: String,
    },
    /// A symbolic link leads out of the directory.
    #[error("{} is a link to {}, which is outside {}", link.display(), target.display(), directory.display())]
    LinkOutside {
        /// The link.
        link: PathBuf,
        /// Where it leads, with every link on the way followed.
        target: PathBuf,
        /// The directory that may not be left, with every link on the way followed.
        directory: PathBuf,
    },
    /// A symbolic link leads nowhere.
    #[error("{} is a link to {}, which does not exist", link.display(), target.display())]
    LinkDangling {
        /// The link.
        link: PathBuf,
        /// The text of the link.
        target: PathBuf,
    },
    /// A symbolic link leads to a directory that it is in itself.
    #[error("{} is a link to {}, which the link itself is in", link.display(), target.display())]
    LinkCycle {
        /// The link.
        link: PathBuf,
        /// Where it leads, with every link on the way followed.
        target: PathBuf,
    },
    /// Something that is neither a file nor a directory.
    #[error("{} is a {kind}, and only files can be packed", path.display())]
    NotAFile {
        /// Where it is.
        path: PathBuf,
        /// What it is, such as `socket`.
        kind: &'static str,
    },
    /// A file's name is not UTF-8, so no artifact can hold it.
    #[error("the name of {path:?} is not UTF-8")]
    NotUtf8 {
        /// The file.
        path: PathBuf,
    },
    /// What a file is attached to is no artifact of the specification, or one in its older names.
    #[error("{what} has a config of the type {media_type:?}, and files are attached to {:?} only", modelpack_spec::media_type::CONFIG)]
    NotModelPack {
        /// The manifest.
        what: String,
        /// The type of its config.
        media_type: String,
    },
    /// A file that is attached is in the artifact already, with other bytes.
    #[error("the artifact has another {path} already")]
    Attached {
        /// Its path in the artifact.
        path: FilePath,
    },
    /// A file that is attached is in an archive of the artifact, together with others.
    #[error("the artifact has {path} already, in {layer}, which holds other files too")]
    InArchive {
        /// Its path in the artifact.
        path: FilePath,
        /// The archive.
        layer: String,
    },
    /// A file's path cannot be one of an artifact, or not together with another's.
    #[error("{files}: {source}")]
    InvalidPath {
        /// The directory or artifact that the file is in.
        files: String,
        /// The path below it, and why.
        source: InvalidPath,
    },
}
