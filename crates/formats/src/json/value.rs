//! A document as a value, as far as somebody wants it.

use super::{Error, Event, MAX_DEPTH, Reader};
use serde_json::{Map, Value};
use std::io::Read;

/// No field of a config lies deeper. Values that do are passed over, because dropping a value takes stack.
const MAX_KEPT_DEPTH: usize = 128;
/// No text of a config is longer; the longest are chat templates.
const MAX_TEXT_BYTES: usize = 1 << 20;
/// What is kept of a document may take about so many bytes of memory.
const MAX_KEPT_BYTES: usize = 64 << 20;
/// What each value takes, beside its text.
const VALUE_BYTES: usize = 96;
/// What an object takes, be it of one field.
const OBJECT_BYTES: usize = 640;

/// What is kept of a document.
#[derive(Clone, Copy, Debug)]
pub enum Keep<'a> {
    /// All of it.
    All,
    /// These fields of the object that it is.
    Fields(&'a [&'a str]),
}

/// Reads a document to its end.
///
/// What no [`Value`] can hold as it stands there is null: numbers that are not finite, texts with half of a surrogate pair, texts of more than
/// 1 MiB, and what lies more than 128 levels deep. Of keys that are repeated the last counts. Fails too if what is kept would take more
/// than some 64 MiB of memory.
pub fn read(file: impl Read, keep: Keep<'_>) -> Result<Value, Error> {
    let mut reader = Reader::new(file, MAX_TEXT_BYTES);
    let mut open: Vec<Open> = Vec::new();
    let mut kept = 0;
    // How many arrays and objects are open that are passed over.
    let mut passed = 0;
    let mut root = Value::Null;
    loop {
        let next = reader.next()?;
        let is_end = matches!(next, Some(Event::EndObject | Event::EndArray));
        // Whatever ends was wanted, unless it is being passed over.
        let is_passed = is_passed(&open, keep) && !(is_end && passed == 0);
        let value = match next {
            None => return Ok(root),
            Some(Event::BeginObject | Event::BeginArray) if passed > 0 || is_passed || open.len() == MAX_KEPT_DEPTH => {
                passed += 1;
                continue;
            }
            Some(Event::EndObject | Event::EndArray) if passed > 1 => {
                passed -= 1;
                continue;
            }
            Some(Event::EndObject | Event::EndArray) if passed == 1 => {
                passed = 0;
                Value::Null
            }
            Some(_) if passed > 0 => continue,
            Some(Event::BeginObject) => {
                open.push(Open { key: String::new(), value: Value::Object(Map::new()) });
                continue;
            }
            Some(Event::BeginArray) => {
                open.push(Open { key: String::new(), value: Value::Array(Vec::new()) });
                continue;
            }
            Some(Event::Key(key)) => {
                if let Some(innermost) = open.last_mut() {
                    key.text.clone_into(&mut innermost.key);
                }
                continue;
            }
            Some(Event::EndObject | Event::EndArray) => open.pop().map_or(Value::Null, |ended| ended.value),
            Some(_) if is_passed => continue,
            Some(Event::String(text)) if text.is_exact => text.text.into(),
            Some(Event::Number(number)) if number.is_exact => serde_json::from_str(number.text).unwrap_or_default(),
            Some(Event::Bool(is_true)) => is_true.into(),
            Some(Event::String(_) | Event::Number(_) | Event::Null) => Value::Null,
        };
        if is_passed {
            continue;
        }
        kept += open.last().map_or(0, |innermost| innermost.key.len());
        kept += match &value {
            Value::Object(_) => OBJECT_BYTES,
            Value::String(text) => VALUE_BYTES + text.len(),
            _ => VALUE_BYTES,
        };
        if kept > MAX_KEPT_BYTES {
            return Err(reader.characters.error("it has more than is read of such a file", false));
        }
        match open.last_mut() {
            None => root = value,
            Some(Open { key, value: Value::Object(fields) }) => _ = fields.insert(std::mem::take(key), value),
            Some(Open { value: Value::Array(elements), .. }) => elements.push(value),
            Some(_) => unreachable!("only arrays and objects are open"),
        }
    }
}

/// An array or object that is not at its end.
struct Open {
    /// That of the value which comes next, in an object.
    key: String,
    value: Value,
}

/// Whether the value that comes next is one that nobody wants.
fn is_passed(open: &[Open], keep: Keep<'_>) -> bool {
    match (keep, open) {
        (Keep::Fields(fields), [Open { key, value: Value::Object(_) }]) => !fields.contains(&key.as_str()),
        _ => false,
    }
}

const _: () = assert!(MAX_KEPT_DEPTH < MAX_DEPTH);
