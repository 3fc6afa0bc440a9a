//! One line of a Modelfile: its command, and the quoting of its argument.
//!
//! A backslash makes the next character literal, including a line break, so a line may continue
//! after one.

use super::{ModelfileError, ModelfileProblem, Place};

/// A line with a command, including the following lines if its argument continues there. Columns
/// count the characters of all of them, from 1.
pub(super) struct Line<'a> {
    /// The number of the first line.
    pub(super) number: usize,
    pub(super) command: &'a str,
    pub(super) command_column: usize,
    text: &'a str,
    /// The text after the command.
    rest: &'a str,
}

/// The lines of `text`, each with its number.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let (mut rest, mut next) = (text, 1);
    std::iter::from_fn(move || {
        let number = next;
        let mut end = 0;
        while let Some(length) = rest[end..].find('\n') {
            next += 1;
            let line = &rest[..end + length];
            end += length + 1;
            let backslashes = line.len() - line.trim_end_matches('\\').len();
            if backslashes % 2 == 0 || line.trim_start().starts_with('#') {
                rest = &rest[end..];
                return Some((number, line.strip_suffix('\r').unwrap_or(line)));
            }
        }
        let last = std::mem::take(&mut rest);
        (!last.is_empty()).then_some((number, last))
    })
}

/// An argument without its quotes and backslashes.
pub(super) struct Argument {
    pub(super) column: usize,
    /// Each character, and whether a backslash made it literal.
    pub(super) characters: Vec<(char, bool)>,
}

impl Argument {
    pub(super) fn text(&self) -> String {
        self.characters.iter().map(|&(c, _)| c).collect()
    }
}

impl<'a> Line<'a> {
    /// Splits the command off; `None` if the line is blank or a comment.
    pub(super) fn parse(number: usize, text: &'a str) -> Result<Option<Self>, ModelfileError> {
        let trimmed = text.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            return Ok(None);
        }
        let (command, rest) = trimmed.split_at(trimmed.find(char::is_whitespace).unwrap_or(trimmed.len()));
        let mut line = Self { number, command, command_column: 0, text, rest };
        line.command_column = line.column_of(trimmed);
        Ok(Some(line))
    }

    /// The argument of the command with the canonical name `command`.
    pub(super) fn argument(&self, command: &'static str) -> Result<Argument, ModelfileError> {
        match self.rest.chars().next() {
            None => return Err(self.error(self.column_of(self.rest), ModelfileProblem::NoArgument(command))),
            Some(' ') => {}
            Some(found) => return Err(self.error(self.column_of(self.rest), ModelfileProblem::Separator { command, found })),
        }
        let start = self.rest.trim_start();
        let column = self.column_of(start);
        let mut characters = Vec::new();
        let mut quote = None;
        let mut text = start.chars().zip(column..);
        while let Some((c, at)) = text.next() {
            match c {
                '\\' => match text.next() {
                    Some((escaped, _)) => characters.push((escaped, true)),
                    None => return Err(self.error(at, ModelfileProblem::DanglingBackslash)),
                },
                '"' => quote = if quote.is_none() { Some(at) } else { None },
                ' ' | '\t' if quote.is_none() => {
                    let (next, at) = text.find(|(c, _)| !c.is_whitespace()).expect("the line is trimmed, so something follows a space");
                    let problem = if next == '#' { ModelfileProblem::TrailingComment } else { ModelfileProblem::SecondArgument };
                    return Err(self.error(at, problem));
                }
                c => characters.push((c, false)),
            }
        }
        match quote {
            Some(at) => Err(self.error(at, ModelfileProblem::UnclosedQuote)),
            None if characters.is_empty() => Err(self.error(column, ModelfileProblem::EmptyArgument)),
            None => Ok(Argument { column, characters }),
        }
    }

    pub(super) fn error(&self, column: usize, problem: ModelfileProblem) -> ModelfileError {
        self.place(column).error(problem)
    }

    /// The position of a column in its line of the text.
    pub(super) fn place(&self, column: usize) -> Place {
        let at = self.text.char_indices().nth(column - 1).map_or(self.text.len(), |(at, _)| at);
        let before = &self.text[..at];
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let text = self.text[start..].split('\n').next().unwrap_or_default();
        let (line, column) = (self.number + before.matches('\n').count(), before[start..].chars().count() + 1);
        Place { line, column, text: text.to_owned() }
    }

    /// The column at which `part` begins. `part` must be a slice of the line up to the end of its
    /// trimmed text.
    fn column_of(&self, part: &str) -> usize {
        let trimmed = self.text.trim_end();
        trimmed[..trimmed.len() - part.len()].chars().count() + 1
    }
}
