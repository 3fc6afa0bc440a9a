//! Reads JSON strictly: duplicate fields are problems, and size and depth are limited.

use crate::{
    Document, Report,
    report::escape,
    rule::{DEPTH, DUPLICATE_KEY, JSON, SIZE},
};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value, map::Entry};
use std::fmt;

/// The maximum size of a document in bytes: the size of manifests that the OCI distribution
/// specification asks registries to accept.
pub const MAX_BYTES: usize = modelpack_spec::MAX_MANIFEST_BYTES;
/// The maximum number of values in a document. Every layer that fits into a manifest of
/// [`MAX_BYTES`] is allowed, and memory is bounded even if all values are invalid.
pub const MAX_VALUES: usize = 250_000;
/// The maximum depth of nested values.
pub const MAX_DEPTH: usize = 32;

/// Parses `bytes`. Returns `None` if they cannot be read, and reports why. Duplicate fields are
/// reported as problems too.
pub(crate) fn parse(document: Document, bytes: &[u8], report: &mut Report) -> Option<Value> {
    if bytes.len() > MAX_BYTES {
        report.add(document, "", format!("more than {MAX_BYTES} bytes"), format!("at most {MAX_BYTES} bytes (4 MiB)"), SIZE);
        return None;
    }
    let mut reader = Reader { document, report, path: Vec::new(), values: 0, stopped: None };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = Node(&mut reader).deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    let error = match read {
        Ok(value) => return Some(value),
        Err(error) => error,
    };
    let at = format!("line {}, column {}", error.line(), error.column());
    let (pointer, stopped) = (reader.pointer(), reader.stopped);
    match stopped {
        Some(Stop::Depth) => {
            report.add(document, pointer, format!("deeper nesting at {at}"), format!("at most {MAX_DEPTH} nested levels"), DEPTH)
        }
        Some(Stop::Values) => report.add(document, pointer, format!("more values at {at}"), format!("at most {MAX_VALUES} values"), SIZE),
        None => {
            let text = error.to_string();
            let reason = if error.is_eof() { "the text ends too early" } else { text.split(" at line ").next().unwrap_or(&text) };
            report.add(document, "", format!("at {at}: {reason}"), "one JSON text (RFC 8259)", JSON);
        }
    }
    None
}

struct Reader<'a> {
    document: Document,
    report: &'a mut Report,
    path: Vec<String>,
    values: usize,
    stopped: Option<Stop>,
}

enum Stop {
    Depth,
    Values,
}

impl Reader<'_> {
    fn pointer(&self) -> String {
        self.path.iter().flat_map(|part| ["/", part]).collect()
    }

    /// Counts a value. Fails if there are too many values, or if this one is nested too deeply.
    fn enter<E: Error>(&mut self) -> Result<(), E> {
        self.values += 1;
        if self.values > MAX_VALUES {
            self.stopped = Some(Stop::Values);
        } else if self.path.len() > MAX_DEPTH {
            self.stopped = Some(Stop::Depth);
        }
        if self.stopped.is_some() { Err(E::custom("")) } else { Ok(()) }
    }
}

/// Reads the next value.
struct Node<'r, 'a>(&'r mut Reader<'a>);

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.0.enter()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        self.0.path.push("0".to_owned());
        while let Some(item) = list.next_element_seed(Node(self.0))? {
            items.push(item);
            *self.0.path.last_mut().expect("this list is on the path") = items.len().to_string();
        }
        self.0.path.pop();
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            self.0.path.push(escape(&key));
            let value = map.next_value_seed(Node(self.0))?;
            match fields.entry(key) {
                Entry::Vacant(entry) => {
                    entry.insert(value);
                }
                Entry::Occupied(_) => {
                    let pointer = self.0.pointer();
                    self.0.report.add(self.0.document, pointer, "a duplicate of this field", "each field once", DUPLICATE_KEY);
                }
            }
            self.0.path.pop();
        }
        Ok(fields.into())
    }
}
