//! An error in a Modelfile or Kitfile, with its position.

use super::COMMANDS;
use crate::InvalidValue;

/// An error in a Modelfile or Kitfile, with its position.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct ModelfileError {
    /// The line, from 1.
    pub line: usize,
    /// The character of the line, from 1.
    pub column: usize,
    /// The text of the line.
    pub text: String,
    /// The problem.
    pub problem: ModelfileProblem,
}

/// A position in a Modelfile or Kitfile: line, column, and the text of the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) text: String,
}

impl Place {
    /// An error with `problem` at this position.
    pub(super) fn error(self, problem: ModelfileProblem) -> ModelfileError {
        let Self { line, column, text } = self;
        ModelfileError { line, column, text, problem }
    }
}

impl ModelfileError {
    /// The position of the byte `at` of `bytes`, the first that is not UTF-8.
    pub(super) fn not_utf8(bytes: &[u8], at: usize) -> Self {
        let before = String::from_utf8_lossy(&bytes[..at]);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let rest = bytes[at..].split(|&b| b == b'\n').next().unwrap_or_default();
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            text: format!("{}{}", &before[line_start..], String::from_utf8_lossy(rest)),
            problem: ModelfileProblem::NotUtf8,
        }
    }
}

/// A problem in a line of a Modelfile or Kitfile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelfileProblem {
    /// The bytes are not text.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// The first word is not a command.
    #[error("unknown command {command:?}; expected one of {}", COMMANDS.map(|(name, _)| name).join(", "))]
    UnknownCommand {
        /// The word.
        command: String,
    },
    /// A character other than a space, such as a tab, follows the command.
    #[error("expected a space after {command}, found {found:?}")]
    Separator {
        /// The command.
        command: &'static str,
        /// The character after the command.
        found: char,
    },
    /// The command has no argument.
    #[error("expected an argument after {0}")]
    NoArgument(&'static str),
    /// The argument is `""`.
    #[error("the argument is empty")]
    EmptyArgument,
    /// The argument is followed by more text.
    #[error("expected one argument, found a second; put quotes around an argument with white space")]
    SecondArgument,
    /// The argument is followed by a comment.
    #[error("expected the end of the line, found a comment; a comment must be on a separate line")]
    TrailingComment,
    /// The line ends inside quotes.
    #[error("the quote is not closed")]
    UnclosedQuote,
    /// The line ends with a backslash.
    #[error("expected a character after `\\`")]
    DanglingBackslash,
    /// A command that may be given only once is repeated.
    #[error("{command} was already given on line {first}, and may be given only once")]
    Repeated {
        /// The command.
        command: &'static str,
        /// The line of the first command.
        first: usize,
    },
    /// A value that its field does not allow.
    #[error(transparent)]
    Value(InvalidValue),
    /// The path begins with `/`.
    #[error("the path is absolute; expected one below the model's directory")]
    Absolute,
    /// The path has a component `..`.
    #[error("the path contains `..`; expected one below the model's directory")]
    Parent,
    /// The path contains a literal backslash, which paths in artifacts cannot contain.
    #[error("the path contains a backslash; directories are separated by `/`")]
    Backslash,
    /// A path without wildcards does not exist.
    #[error("{0:?} does not exist")]
    Missing(String),
    /// A path without wildcards is excluded by an ignore file.
    #[error("{path:?} is left out by {rule}")]
    Ignored {
        /// The path.
        path: String,
        /// The pattern and its position.
        rule: String,
    },
    /// The YAML parser refuses the Kitfile.
    #[error("the Kitfile cannot be read: {0}")]
    Yaml(String),
    /// The version of the Kitfile is unknown.
    #[error("the Kitfile has the unknown version {0:?}; expected 1.0.0")]
    ManifestVersion(String),
    /// Two entries of a Kitfile name the same path.
    #[error("the path was already named on line {first}; it may be named only once")]
    RepeatedPath {
        /// The line of the first entry.
        first: usize,
    },
    /// A path of a Kitfile is a reference to another ModelKit.
    #[error("{0:?} is a reference to another ModelKit, which is not fetched; unpack it into the directory, and name its files")]
    OtherModelKit(String),
    /// A path of a Kitfile is a URL.
    #[error("{0:?} is a URL; expected a path below the model's directory")]
    Url(String),
    /// A data set of a Kitfile is remote.
    #[error("remote data sets are not fetched; put the data set at its `path`, and remove `remotePath` and `remoteHash`")]
    RemoteDataset,
    /// The type of a model part is not a word.
    #[error("{0:?} is not the type of a part; expected at most 64 letters, digits, `_`, `.` and `-`")]
    PartType(String),
    /// A pattern matches directories but no file.
    #[error("{0:?} matches directories only; to take the files below them, end the pattern with `/`")]
    OnlyDirectories(String),
}
