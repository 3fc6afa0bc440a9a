//! What is wrong with a Modelfile, and where.

use super::COMMANDS;
use crate::InvalidValue;

/// What is wrong with a Modelfile, and where.
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

/// What is wrong with a line of a Modelfile.
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
    /// A pattern matches directories, and no file.
    #[error("{0:?} matches directories only; to take the files below them, end the pattern with `/`")]
    OnlyDirectories(String),
}
