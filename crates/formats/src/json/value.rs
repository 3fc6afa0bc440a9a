//! A document, or selected fields of it, as a value.

use super::{Error, Event, MAX_DEPTH, Reader};
use serde_json::{Map, Value};
use std::io::Read;

/// No config field is nested deeper. Deeper values are skipped, because dropping a value
/// recursively uses stack.
const MAX_KEPT_DEPTH: usize = 128;
/// No config text is longer. The longest are chat templates.
const MAX_TEXT_BYTES: usize = 1 << 20;
/// The approximate memory limit for the kept values, in bytes.
const MAX_KEPT_BYTES: usize = 64 << 20;
/// The memory of each value besides its text.
const VALUE_BYTES: usize = 96;
/// The memory of an object, even with one field.
const OBJECT_BYTES: usize = 640;

/// The parts of a document that are kept.
#[derive(Clone, Copy, Debug)]
pub enum Keep<'a> {
    /// The whole document.
    All,
    /// These fields of the document, which is an object.
    Fields(&'a [&'a str]),
}

/// Reads a document to its end.
///
/// Values that [`Value`] cannot hold exactly become null: numbers that are not finite, texts with
/// an unpaired surrogate, texts of more than 1 MiB, and values nested more than 128 deep. Of
/// duplicate keys the last one wins. Also fails if the kept values would use more than some 64 MiB
/// of memory.
pub fn read(file: impl Read, keep: Keep<'_>) -> Result<Value, Error> {
    let mut reader = Reader::new(file, MAX_TEXT_BYTES);
    let mut open: Vec<Open> = Vec::new();
    let mut kept = 0;
    // How many nested arrays and objects are being skipped.
    let mut passed = 0;
    let mut root = Value::Null;
    loop {
        let next = reader.next()?;
        let is_end = matches!(next, Some(Event::EndObject | Event::EndArray));
        // The end of a container belongs to a kept one, unless a container is being skipped.
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
            return Err(reader.characters.error("its values need more than 64 MiB of memory", false));
        }
        match open.last_mut() {
            None => root = value,
            Some(Open { key, value: Value::Object(fields) }) => _ = fields.insert(std::mem::take(key), value),
            Some(Open { value: Value::Array(elements), .. }) => elements.push(value),
            Some(_) => unreachable!("only arrays and objects are open"),
        }
    }
}

/// An array or object that has not ended.
struct Open {
    /// In an object, the key of the next value.
    key: String,
    value: Value,
}

/// Whether the next value is to be skipped.
fn is_passed(open: &[Open], keep: Keep<'_>) -> bool {
    match (keep, open) {
        (Keep::Fields(fields), [Open { key, value: Value::Object(_) }]) => !fields.contains(&key.as_str()),
        _ => false,
    }
}

const _: () = assert!(MAX_KEPT_DEPTH < MAX_DEPTH);
