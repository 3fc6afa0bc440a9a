//! What is wrong with a document.

use serde::Serialize;
use serde_json::Value;
use std::fmt;

/// How many problems are kept; of more only the number is.
pub const MAX_PROBLEMS: usize = 1000;

/// How much of a value or a pointer is kept, in characters: a hostile document may have megabytes in one place.
const SHOWN: usize = 300;

/// A kind of document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Document {
    /// The model config.
    Config,
    /// The manifest of an artifact.
    Manifest,
    /// The value of the annotation `org.cncf.model.file.metadata+json`.
    FileMetadata,
    /// Text that should be JSON, of which nothing tells what it is.
    Json,
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "config",
            Self::Manifest => "manifest",
            Self::FileMetadata => "file metadata",
            Self::Json => "document",
        })
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// In which document.
    pub document: Document,
    /// Where, as a JSON pointer (RFC 6901): of the field that is missing, unknown or wrong. Empty for the document as a whole.
    pub pointer: String,
    /// What is there.
    pub found: String,
    /// What may be there.
    pub allowed: String,
    /// Who says so: a keyword of the document's JSON Schema, such as `required`, or the name of one of [`RULES`](crate::RULES).
    pub rule: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { document, pointer, found, allowed, rule } = self;
        let space = if pointer.is_empty() { "" } else { " " };
        write!(f, "{document}{space}{pointer}: found {found}; allowed: {allowed} ({rule})")
    }
}

/// What came of looking at a document, or at the documents of an artifact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What is wrong, at most [`MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// How many more there are.
    pub omitted: usize,
    /// The layers, counted from 0, whose diffIds nobody compared with their content.
    pub unread: Vec<usize>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_valid(&self) -> bool {
        self.problems.is_empty()
    }

    /// Adds a problem that the caller found, of the rule that is called `rule`.
    pub(crate) fn add(
        &mut self,
        document: Document,
        pointer: impl AsRef<str>,
        found: impl AsRef<str>,
        allowed: impl Into<String>,
        rule: &str,
    ) {
        if self.problems.len() >= MAX_PROBLEMS {
            self.omitted += 1;
            return;
        }
        let (pointer, found) = (shortened(pointer.as_ref()), shortened(found.as_ref()));
        self.problems.push(Problem { document, pointer, found, allowed: allowed.into(), rule: rule.to_owned() });
    }
}

/// The beginning of a text that may be long.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A value and its type, in words.
pub(crate) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => format!("a boolean, {flag}"),
        Value::Number(number) => format!("a number, {number}"),
        Value::String(text) => quoted(text),
        Value::Array(items) if items.is_empty() => "an empty array".to_owned(),
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// A text, as JSON writes it.
pub(crate) fn quoted(text: &str) -> String {
    format!("a string, {}", Value::from(shortened(text)))
}

/// A field of an object or an item of an array, as a part of a JSON pointer.
pub(crate) fn escape(key: &str) -> String {
    shortened(key).replace('~', "~0").replace('/', "~1")
}
