//! Errors of packing and unpacking.

use crate::{InvalidPattern, ModelfileError};
use modelpack_spec::{BuildError, FilePath, InvalidPath};
use std::path::PathBuf;

/// The result of packing, unpacking, or a step of them.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What failed, on which file, and why. The variants distinguish the cases for programs; hints are
/// added by the caller.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A source, a sink, or a file operation failed.
    #[error(transparent)]
    Store(#[from] modelpack_transfer::Error),
    /// A line of a Modelfile or Kitfile is invalid, or names a missing file.
    #[error("{}, {source}", path.display())]
    Modelfile {
        /// The file.
        path: PathBuf,
        /// Line, column, text and reason.
        source: ModelfileError,
    },
    /// A value of the model's description does not match the grammar of its field.
    #[error("the specification does not allow this in a config: {0}")]
    Config(#[from] BuildError),
    /// A rule for layers names a path that does not exist.
    #[error("a rule for layers names {path:?}, but no file has this path or is below it")]
    LayerRule {
        /// The path.
        path: String,
    },
    /// The files need more layers than allowed.
    #[error("the files need {needed} layers, but only {limit} are allowed")]
    TooManyLayers {
        /// The minimum number of layers.
        needed: usize,
        /// The allowed number of layers.
        limit: usize,
        /// The number of files that must be raw layers because of a rule.
        raw: usize,
    },
    /// The directory to pack is not a directory.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// No file is left to pack.
    #[error("{files} has no file to pack")]
    Empty {
        /// The directory or artifact.
        files: String,
        /// The patterns that may be the reason, each with its origin.
        rules: Vec<String>,
    },
    /// A file that says which files are packed, a Modelfile or an ignore file, cannot be read as one.
    #[error("{}: {why}", path.display())]
    RulesFile {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A pattern is invalid.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    /// The selection contains no file of the artifact.
    #[error("{what} has no file that is selected by {}; it has {has}", rules.join(", "))]
    NothingSelected {
        /// The artifact.
        what: String,
        /// The rules of the selection, each with its origin.
        rules: Vec<String>,
        /// The files of the artifact, or the first of them.
        has: String,
    },
    /// A symbolic link points out of the directory.
    #[error("{} is a link to {}, which is outside {}", link.display(), target.display(), directory.display())]
    LinkOutside {
        /// The link.
        link: PathBuf,
        /// Its target, with all links resolved.
        target: PathBuf,
        /// The directory, with all links resolved.
        directory: PathBuf,
    },
    /// The target of a symbolic link does not exist.
    #[error("{} is a link to {}, which does not exist", link.display(), target.display())]
    LinkDangling {
        /// The link.
        link: PathBuf,
        /// The text of the link.
        target: PathBuf,
    },
    /// A symbolic link points to a directory that contains the link.
    #[error("{} is a link to {}, a directory that contains the link itself", link.display(), target.display())]
    LinkCycle {
        /// The link.
        link: PathBuf,
        /// Its target, with all links resolved.
        target: PathBuf,
    },
    /// A path is neither a file nor a directory.
    #[error("{} is a {kind}; only files can be packed", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is instead, such as `socket`.
        kind: &'static str,
    },
    /// The name of a file is not UTF-8, so an artifact cannot contain it.
    #[error("the name of {path:?} is not UTF-8")]
    NotUtf8 {
        /// The file.
        path: PathBuf,
    },
    /// The artifact to which a file is attached is not one of the specification, or it has older
    /// names.
    #[error("{what} has a config of the type {media_type:?}; files can only be attached to {:?}", modelpack_spec::media_type::CONFIG)]
    NotModelPack {
        /// The manifest.
        what: String,
        /// The type of its config.
        media_type: String,
    },
    /// An attached file already exists in the artifact with other bytes.
    #[error("the artifact already has another {path}")]
    Attached {
        /// Its path in the artifact.
        path: FilePath,
    },
    /// An attached file is in an archive of the artifact that contains other files too.
    #[error("the artifact already has {path} in {layer}, which contains other files too")]
    InArchive {
        /// Its path in the artifact.
        path: FilePath,
        /// The archive.
        layer: String,
    },
    /// The path of a file is invalid in an artifact, or clashes with another one.
    #[error("{files}: {source}")]
    InvalidPath {
        /// The directory or artifact with the file.
        files: String,
        /// The path below it, and the reason.
        source: InvalidPath,
    },
}
