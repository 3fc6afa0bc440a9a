//! One line of a Modelfile: its command, and the quoting of its argument.

use super::{ModelfileError, ModelfileProblem};

/// A line with a command; columns count characters from 1.
pub(super) struct Line<'a> {
    pub(super) number: usize,
    pub(super) command: &'a str,
    pub(super) command_column: usize,
    text: &'a str,
    /// What follows the command.
    rest: &'a str,
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

    /// The argument of the command, whose canonical name is `command`.
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
        ModelfileError { line: self.number, column, text: self.text.to_owned(), problem }
    }

    /// The column where `part`, a slice of the line that ends where its trimmed text ends, begins.
    fn column_of(&self, part: &str) -> usize {
        let trimmed = self.text.trim_end();
        trimmed[..trimmed.len() - part.len()].chars().count() + 1
    }
}
