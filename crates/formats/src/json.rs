//! JSON as Python reads it: `json.loads` on bytes, which transformers, diffusers and Keras use.
//!
//! Python accepts more than the standard, and so does this reader: `NaN`, `Infinity`, numbers of
//! any size and length, unpaired surrogates, duplicate keys, and UTF-16 and UTF-32 besides UTF-8,
//! each with or without a byte order mark. A stricter reader would not see everything that the
//! loader sees. Python's nesting is limited by its stack; this reader needs no stack, and its limit
//! is [`MAX_DEPTH`].

mod characters;
mod value;

#[cfg(test)]
mod tests;

use crate::malformed::shown;
use characters::Characters;
use std::io::Read;

pub use characters::begins_like_json;
pub use value::{Keep, read};

/// The maximum nesting of arrays and objects: more than any Python's stack allows.
pub const MAX_DEPTH: usize = 100_000;

/// Why a document cannot be read to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {why}")]
pub struct Error {
    /// The line of the first character that cannot be read, from 1.
    pub line: u64,
    /// The position of that character in its line, from 1.
    pub column: u64,
    why: String,
    is_invalid: bool,
}

impl Error {
    /// Whether the document is invalid, so that Python refuses it too. Otherwise the input failed,
    /// or a limit of this reader was exceeded.
    pub fn is_invalid(&self) -> bool {
        self.is_invalid
    }
}

/// A text of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// The text without quotes and escapes. Each unpaired surrogate is replaced by U+FFFD.
    pub text: &'a str,
    /// Whether this is the complete original text: it has no unpaired surrogate, and was not cut at
    /// the reader's limit.
    pub is_exact: bool,
}

/// A part of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// An object begins. Its keys follow, each with its value.
    BeginObject,
    /// The key of the next value.
    Key(Text<'a>),
    /// The innermost object ends.
    EndObject,
    /// An array begins.
    BeginArray,
    /// The innermost array ends.
    EndArray,
    /// A text.
    String(Text<'a>),
    /// A number as it is written, including `NaN` and `Infinity`.
    Number(Text<'a>),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
}

/// The tokens that the grammar allows next.
#[derive(Clone, Copy)]
enum Expected {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    CommaOrEnd,
    Nothing,
}

/// Reads a document in sequence, and holds at most one text of it in memory.
pub struct Reader<R> {
    characters: Characters<R>,
    expected: Expected,
    /// One entry for each open array or object: whether it is an object.
    open: Vec<bool>,
    max_text: usize,
    text: String,
    is_exact: bool,
}

impl<R: Read> Reader<R> {
    /// A reader of the bytes of `file`. At most `max_text` bytes of each text are kept.
    pub fn new(file: R, max_text: usize) -> Self {
        let characters = Characters::new(file);
        Self { characters, expected: Expected::Value, open: Vec::new(), max_text, text: String::new(), is_exact: true }
    }

    /// The next part, or `None` at the end of the document. Parts returned before an error are
    /// valid whatever follows.
    ///
    /// This is not `Iterator::next`, because an event borrows its text.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Event<'_>>, Error> {
        loop {
            let next = self.skip_space()?;
            match (self.expected, next) {
                (Expected::Nothing, None) => return Ok(None),
                (Expected::Nothing, Some(_)) => return Err(self.invalid("there is more text after the end of the document")),
                (_, None) => return Err(self.invalid("the file ends before the end of the document")),
                (Expected::KeyOrEnd, Some('}')) | (Expected::ValueOrEnd, Some(']')) => return self.end().map(Some),
                (Expected::KeyOrEnd | Expected::Key, Some('"')) => return self.key().map(Some),
                (Expected::KeyOrEnd | Expected::Key, Some(_)) => return Err(self.invalid("expected a key in double quotes")),
                (Expected::Value | Expected::ValueOrEnd, Some(first)) => return self.value(first).map(Some),
                (Expected::CommaOrEnd, Some(next)) => {
                    let is_object = self.open.last() == Some(&true);
                    match next {
                        ',' => {
                            self.characters.advance()?;
                            self.expected = if is_object { Expected::Key } else { Expected::Value };
                        }
                        '}' if is_object => return self.end().map(Some),
                        ']' if !is_object => return self.end().map(Some),
                        _ if is_object => return Err(self.invalid("expected a comma or `}`")),
                        _ => return Err(self.invalid("expected a comma or `]`")),
                    }
                }
            }
        }
    }

    /// Reads the rest of the document.
    pub fn finish(&mut self) -> Result<(), Error> {
        while self.next()?.is_some() {}
        Ok(())
    }

    /// The next character that is not white space. An unpaired surrogate is returned as U+FFFD.
    fn skip_space(&mut self) -> Result<Option<char>, Error> {
        loop {
            match self.characters.peek()? {
                Some(0x20 | 0x09 | 0x0a | 0x0d) => self.characters.advance()?,
                other => return Ok(other.map(|code| char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))),
            }
        }
    }

    fn invalid(&self, why: impl Into<String>) -> Error {
        self.characters.error(why, true)
    }

    fn text(&self) -> Text<'_> {
        Text { text: &self.text, is_exact: self.is_exact }
    }

    fn begin(&mut self, is_object: bool) -> Result<Event<'_>, Error> {
        if self.open.len() == MAX_DEPTH {
            return Err(self.characters.error(format!("arrays and objects are nested more than {MAX_DEPTH} deep"), false));
        }
        self.characters.advance()?;
        self.open.push(is_object);
        self.expected = if is_object { Expected::KeyOrEnd } else { Expected::ValueOrEnd };
        Ok(if is_object { Event::BeginObject } else { Event::BeginArray })
    }

    fn end(&mut self) -> Result<Event<'_>, Error> {
        self.characters.advance()?;
        let is_object = self.open.pop() == Some(true);
        self.value_ends();
        Ok(if is_object { Event::EndObject } else { Event::EndArray })
    }

    fn value_ends(&mut self) {
        self.expected = if self.open.is_empty() { Expected::Nothing } else { Expected::CommaOrEnd };
    }

    fn key(&mut self) -> Result<Event<'_>, Error> {
        self.string()?;
        if self.skip_space()? != Some(':') {
            return Err(self.invalid(format!("expected a colon after the key {}", shown(&self.text))));
        }
        self.characters.advance()?;
        self.expected = Expected::Value;
        Ok(Event::Key(self.text()))
    }

    fn value(&mut self, first: char) -> Result<Event<'_>, Error> {
        match first {
            '{' => return self.begin(true),
            '[' => return self.begin(false),
            '"' => {
                self.string()?;
                self.value_ends();
                return Ok(Event::String(self.text()));
            }
            '-' | '0'..='9' => {
                self.number()?;
                self.value_ends();
                return Ok(Event::Number(self.text()));
            }
            _ => {}
        }
        const WORDS: [(&str, Event<'static>); 5] = [
            ("null", Event::Null),
            ("true", Event::Bool(true)),
            ("false", Event::Bool(false)),
            ("NaN", Event::Number(Text { text: "NaN", is_exact: true })),
            ("Infinity", Event::Number(Text { text: "Infinity", is_exact: true })),
        ];
        let Some((word, event)) = WORDS.iter().find(|(word, _)| word.starts_with(first)) else {
            return Err(self.invalid("expected a value"));
        };
        self.word(word)?;
        self.value_ends();
        Ok(*event)
    }

    fn word(&mut self, word: &str) -> Result<(), Error> {
        for letter in word.chars() {
            if self.characters.peek()? != Some(letter.into()) {
                return Err(self.invalid(format!("expected a value, such as `{word}`")));
            }
            self.characters.advance()?;
        }
        Ok(())
    }

    /// Reads a number into `text`.
    fn number(&mut self) -> Result<(), Error> {
        self.begin_text();
        if self.take_if(|c| c == '-')? && self.characters.peek()? == Some('I'.into()) {
            self.word("Infinity")?;
            self.text.push_str("Infinity");
            return Ok(());
        }
        if !self.take_if(|c| c == '0')? && !self.take_digits()? {
            return Err(self.invalid("expected a digit"));
        }
        if self.take_if(|c| c == '.')? && !self.take_digits()? {
            return Err(self.invalid("expected a digit after the decimal point"));
        }
        if self.take_if(|c| matches!(c, 'e' | 'E'))? {
            self.take_if(|c| matches!(c, '+' | '-'))?;
            if !self.take_digits()? {
                return Err(self.invalid("expected a digit in the exponent"));
            }
        }
        Ok(())
    }

    fn take_digits(&mut self) -> Result<bool, Error> {
        let mut has_any = false;
        while self.take_if(|c| c.is_ascii_digit())? {
            has_any = true;
        }
        Ok(has_any)
    }

    fn take_if(&mut self, is_such: impl Fn(char) -> bool) -> Result<bool, Error> {
        let Some(next) = self.characters.peek()?.and_then(char::from_u32).filter(|next| is_such(*next)) else { return Ok(false) };
        self.characters.advance()?;
        self.push(next.into());
        Ok(true)
    }

    /// Reads a text in quotes into `text`.
    fn string(&mut self) -> Result<(), Error> {
        self.begin_text();
        self.characters.advance()?;
        loop {
            let Some(next) = self.characters.peek()? else { return Err(self.invalid("the file ends inside a text")) };
            match next {
                0x22 => return self.characters.advance(),
                0x5c => {
                    self.characters.advance()?;
                    self.escaped()?;
                }
                0..0x20 => return Err(self.invalid("a control character in a text must be escaped")),
                _ => {
                    self.characters.advance()?;
                    self.push(next);
                }
            }
        }
    }

    /// Reads an escape sequence after its backslash.
    fn escaped(&mut self) -> Result<(), Error> {
        let escaped = match self.characters.peek()?.and_then(char::from_u32) {
            Some(same @ ('"' | '\\' | '/')) => same,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => return self.escaped_code(),
            _ => return Err(self.invalid("the character after `\\` is not a valid escape")),
        };
        self.characters.advance()?;
        self.push(escaped.into());
        Ok(())
    }

    /// Reads `uXXXX` after a backslash: a character, or a high surrogate whose low surrogate must
    /// follow in the same form.
    fn escaped_code(&mut self) -> Result<(), Error> {
        let mut code = self.hex()?;
        while (0xd800..0xdc00).contains(&code) && self.characters.peek()? == Some('\\'.into()) {
            self.characters.advance()?;
            if self.characters.peek()? != Some('u'.into()) {
                self.push(code);
                return self.escaped();
            }
            let second = self.hex()?;
            if (0xdc00..0xe000).contains(&second) {
                code = 0x10000 + ((code - 0xd800) << 10 | (second - 0xdc00));
            } else {
                self.push(code);
                code = second;
            }
        }
        self.push(code);
        Ok(())
    }

    /// Reads the code of `uXXXX`.
    fn hex(&mut self) -> Result<u32, Error> {
        self.characters.advance()?;
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.characters.peek()?.and_then(char::from_u32).and_then(|c| c.to_digit(16));
            let Some(digit) = digit else { return Err(self.invalid("expected four hexadecimal digits after `\\u`")) };
            self.characters.advance()?;
            code = code << 4 | digit;
        }
        Ok(code)
    }

    fn begin_text(&mut self) {
        self.text.clear();
        self.is_exact = true;
    }

    fn push(&mut self, code: u32) {
        let c = char::from_u32(code).unwrap_or_else(|| {
            self.is_exact = false;
            char::REPLACEMENT_CHARACTER
        });
        if self.text.len() + c.len_utf8() > self.max_text {
            self.is_exact = false;
        } else {
            self.text.push(c);
        }
    }
}
