//! The problems of a document.

use serde::Serialize;
use serde_json::Value;
use std::fmt;

/// The maximum number of problems in a report. Further problems are only counted.
pub const MAX_PROBLEMS: usize = 1000;

/// The maximum length in characters of a shown value or of a part of a pointer. In a hostile
/// document they may have megabytes.
const SHOWN: usize = 300;

/// The type of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Document {
    /// The model config.
    Config,
    /// The manifest of an artifact.
    Manifest,
    /// The value of the annotation `org.cncf.model.file.metadata+json`.
    FileMetadata,
    /// Text of an unknown type that should be JSON.
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

/// A problem in a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The document.
    pub document: Document,
    /// A JSON pointer (RFC 6901) to the field that is missing, unknown or wrong. It is empty if the
    /// problem concerns the whole document.
    pub pointer: String,
    /// What was found.
    pub found: String,
    /// What is allowed.
    pub allowed: String,
    /// The keyword of the JSON Schema that is broken, such as `required`, or the name of the rule
    /// in [`RULES`](crate::RULES).
    pub rule: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { document, pointer, found, allowed, rule } = self;
        let space = if pointer.is_empty() { "" } else { " " };
        write!(f, "{document}{space}{pointer}: found {found}; allowed: {allowed} ({rule})")
    }
}

/// The result of checking a document, or the documents of an artifact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The problems, at most [`MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// The number of further problems.
    pub omitted: usize,
    /// The indexes, from 0, of layers whose diffIds were not compared with their content.
    pub unread: Vec<usize>,
}

impl Report {
    /// Whether there are no problems.
    pub fn is_valid(&self) -> bool {
        self.problems.is_empty()
    }

    /// Adds a problem. `rule` is the name of the rule or keyword that is broken.
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

/// The text, or its beginning if it is long.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The type of a value, and its content if that is short.
pub(crate) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => format!("a boolean, {flag}"),
        Value::Number(number) => format!("a number, {number}"),
        Value::String(text) => quoted(text),
        Value::Array(items) if items.is_empty() => "an empty array".to_owned(),
        Value::Array(items) => format!("an array of {}", self::items(items.len())),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// A number of items, in words.
pub(crate) fn items(count: usize) -> String {
    if count == 1 { "1 item".to_owned() } else { format!("{count} items") }
}

/// A text as a JSON string, shortened if it is long.
pub(crate) fn quoted(text: &str) -> String {
    format!("a string, {}", Value::from(shortened(text)))
}

/// The name of a field or the index of an item, as a part of a JSON pointer. Long names are
/// shortened.
pub(crate) fn escape(key: &str) -> String {
    shortened(key).replace('~', "~0").replace('/', "~1")
}
