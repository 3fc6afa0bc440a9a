//! What is wrong with a Modelfile or Kitfile, and where.

use super::COMMANDS;
use crate::InvalidValue;

/// What is wrong with a Modelfile or Kitfile, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct ModelfileError {
    /// The line, counted from 1.
    pub line: usize,
    /// The character of the line, counted from 1.
    pub column: usize,
    /// The text of the line.
    pub text: String,
    /// What is wrong.
    pub problem: ModelfileProblem,
}

/// A place in a Modelfile or Kitfile: line, column, and the text of the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) text: String,
}

impl Place {
    /// `problem` at this place.
    pub(super) fn error(self, problem: ModelfileProblem) -> ModelfileError {
        let Self { line, column, text } = self;
        ModelfileError { line, column, text, problem }
    }
}

impl ModelfileError {
    /// The byte `at` of `bytes` is the first that is not UTF-8.
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

/// What is wrong with a line of a Modelfile or Kitfile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelfileProblem {
    /// The bytes are no text.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// The first word is none of the commands.
    #[error("unknown command {command:?}; expected one of {}", COMMANDS.map(|(name, _)| name).join(", "))]
    UnknownCommand {
        /// The word.
        command: String,
    },
    /// Something other than a space, such as a tab, follows the command.
    #[error("expected a space after {command}, found {found:?}")]
    Separator {
        /// The command.
        command: &'static str,
        /// What follows it.
        found: char,
    },
    /// The command stands alone.
    #[error("expected an argument after {0}")]
    NoArgument(&'static str),
    /// The argument is `""`.
    #[error("the argument is empty")]
    EmptyArgument,
    /// More text follows the argument.
    #[error("expected one argument, found a second; put quotes around an argument with white space")]
    SecondArgument,
    /// A comment follows the argument.
    #[error("expected the end of the line, found a comment; a comment stands on a line of its own")]
    TrailingComment,
    /// The line ends within quotes.
    #[error("the quote is not closed")]
    UnclosedQuote,
    /// The line ends with a backslash.
    #[error("expected a character after `\\`")]
    DanglingBackslash,
    /// A command that may stand only once stands again.
    #[error("{command} stands on line {first} already, and may stand only once")]
    Repeated {
        /// The command.
        command: &'static str,
        /// The line of the first.
        first: usize,
    },
    /// A value that its field cannot hold.
    #[error(transparent)]
    Value(InvalidValue),
    /// The path begins with `/`.
    #[error("the path is absolute; expected one below the model's directory")]
    Absolute,
    /// The path has a component `..`.
    #[error("the path contains `..`; expected one below the model's directory")]
    Parent,
    /// The path has a literal backslash, which no path in an artifact may have.
    #[error("the path contains a backslash; directories are separated by `/`")]
    Backslash,
    /// A path without wildcards names nothing.
    #[error("{0:?} does not exist")]
    Missing(String),
    /// A path without wildcards names what an ignore file leaves out.
    #[error("{path:?} is left out by {rule}")]
    Ignored {
        /// The path.
        path: String,
        /// The pattern, and where it stands.
        rule: String,
    },
    /// The YAML parser does not take the Kitfile.
    #[error("the Kitfile cannot be read: {0}")]
    Yaml(String),
    /// The Kitfile is of a version that is not known.
    #[error("the version {0:?} of the Kitfile is not known; expected 1.0.0")]
    ManifestVersion(String),
    /// Two entries of a Kitfile name one path.
    #[error("the path is named on line {first} already; it may be named only once")]
    RepeatedPath {
        /// The line of the first.
        first: usize,
    },
    /// A path of a Kitfile is a reference: the model is in another ModelKit.
    #[error("{0:?} is a reference to another ModelKit, which is not fetched; unpack it into the directory, and name its files")]
    OtherModelKit(String),
    /// A path of a Kitfile is a URL.
    #[error("{0:?} is a URL; expected a path below the model's directory")]
    Url(String),
    /// A data set of a Kitfile is elsewhere.
    #[error("a data set that is elsewhere is not fetched; put it at its `path`, and leave `remotePath` and `remoteHash` out")]
    RemoteDataset,
    /// The type of a model's part is not a word.
    #[error("{0:?} is not the type of a part; expected at most 64 letters, digits, `_`, `.` and `-`")]
    PartType(String),
    /// A pattern matches directories, and no file.
    #[error("{0:?} matches directories only; to take the files below them, end the pattern with `/`")]
    OnlyDirectories(String),
}
