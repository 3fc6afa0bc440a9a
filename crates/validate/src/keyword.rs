//! A JSON Schema (draft 2020-12) as data, with the keywords that our schemas use.
//!
//! Parsing fails for a schema with another keyword, so no keyword is ignored. The tests compare the
//! results with those of a general evaluator.

use regex_lite::Regex;
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::{Number, Value};
use std::{cmp::Ordering, collections::BTreeMap, fmt};

/// A schema.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Node {
    /// A schema that accepts every value (`true`) or no value (`false`).
    Any(bool),
    /// A schema with keywords.
    Keywords(Box<Keywords>),
}

/// A schema that is an object. A value has to satisfy every keyword.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Keywords {
    #[serde(rename = "$schema")]
    _draft: Option<IgnoredAny>,
    #[serde(rename = "$id")]
    _id: Option<IgnoredAny>,
    #[serde(rename = "title")]
    _title: Option<IgnoredAny>,
    pub(crate) description: Option<String>,
    #[serde(rename = "$defs", default)]
    definitions: BTreeMap<String, Keywords>,
    #[serde(rename = "$ref")]
    pub(crate) reference: Option<Reference>,
    #[serde(rename = "type")]
    pub(crate) kind: Option<Type>,
    #[serde(rename = "const", default, deserialize_with = "present")]
    pub(crate) constant: Option<Constant>,
    #[serde(rename = "enum")]
    pub(crate) options: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) properties: BTreeMap<String, Node>,
    #[serde(default)]
    pub(crate) required: Vec<String>,
    pub(crate) additional_properties: Option<Node>,
    pub(crate) items: Option<Node>,
    pub(crate) min_items: Option<usize>,
    pub(crate) min_length: Option<usize>,
    pub(crate) minimum: Option<Bound>,
    pub(crate) maximum: Option<Bound>,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) format: Option<Format>,
}

impl Keywords {
    /// The definition in this document to which `reference` points.
    pub(crate) fn referenced(&self, reference: &Reference) -> &Self {
        self.definitions.get(&reference.0).expect("the tests check that our schemas define what they refer to")
    }
}

/// Deserializes a keyword that is present. Without this, serde treats the value `null` as a missing
/// keyword.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The name of a definition in the same document.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Reference(String);

impl TryFrom<String> for Reference {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let name = text.strip_prefix("#/$defs/").filter(|name| !name.contains(['/', '~', '%']));
        name.map(|name| Self(name.to_owned())).ok_or_else(|| format!("{text} is not a definition in this document"))
    }
}

/// The type of a value.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Type {
    Array,
    Boolean,
    /// A number without a fraction, such as `1` or `1.0`.
    Integer,
    Object,
    String,
}

impl Type {
    pub(crate) fn is_of(self, value: &Value) -> bool {
        match self {
            Self::Array => value.is_array(),
            Self::Boolean => value.is_boolean(),
            Self::Integer => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
            Self::Object => value.is_object(),
            Self::String => value.is_string(),
        }
    }

    pub(crate) fn with_article(self) -> &'static str {
        match self {
            Self::Array => "an array",
            Self::Boolean => "a boolean",
            Self::Integer => "a whole number",
            Self::Object => "an object",
            Self::String => "a string",
        }
    }
}

/// The only allowed value.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Constant {
    Text(String),
    Number(Bound),
}

impl Constant {
    pub(crate) fn equals(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Text(constant), Value::String(text)) => constant == text,
            (Self::Number(constant), Value::Number(number)) => compare(number, *constant) == Ordering::Equal,
            _ => false,
        }
    }
}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{}", Value::from(text.as_str())),
            Self::Number(Bound(number)) => write!(f, "{number}"),
        }
    }
}

/// An integer with which numbers are compared.
#[derive(Clone, Copy, Deserialize)]
#[serde(transparent)]
pub(crate) struct Bound(pub(crate) i64);

/// Compares a number with a bound, without rounding. The number may exceed every integer type, or
/// have a fraction.
pub(crate) fn compare(number: &Number, Bound(bound): Bound) -> Ordering {
    match (number.as_i64(), number.as_f64()) {
        (Some(whole), _) => whole.cmp(&bound),
        (None, Some(other)) => {
            // The conversion saturates at the limits of `i128`, which are outside every bound.
            let fraction = other.fract().partial_cmp(&0.0).unwrap_or(Ordering::Equal);
            (other.trunc() as i128).cmp(&bound.into()).then(fraction)
        }
        (None, None) => Ordering::Greater,
    }
}

/// A regular expression that a part of the text has to match.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Pattern(Regex);

impl Pattern {
    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl TryFrom<String> for Pattern {
    type Error = regex_lite::Error;

    /// This engine does not backtrack, because the texts may be hostile.
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Regex::new(&text).map(Self)
    }
}

/// A format of texts that a pattern cannot express.
#[derive(Clone, Copy, Deserialize)]
pub(crate) enum Format {
    /// A time (RFC 3339).
    #[serde(rename = "date-time")]
    DateTime,
}
