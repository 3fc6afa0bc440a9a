//! The files that PyTorch wrote before it wrote archives: five pickles, and then the bytes of the tensors.
//!
//! The pickles are a number that marks the format, its version, what the machine was like, the object, and the keys of its storages. The
//! storages follow in the order of the keys. Of which type each one is, and so how long its elements are, stands in the object alone.

use super::{Event, Step, Value};
use std::collections::HashMap;

/// More storages are not remembered.
const MAX_STORAGES: usize = 1 << 20;
/// Which pickle is the object, and which the keys of its storages, from 1.
const OBJECT: usize = 4;
const KEYS: usize = 5;
/// The number of the first pickle, behind the opcode for a whole number of ten bytes.
const MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// Whether these are the first bytes of such a file, whichever protocol its pickles are of.
pub(super) fn begins(first: &[u8]) -> bool {
    // Behind the protocol, and a frame.
    [2, 11].iter().any(|at| first.get(*at..).is_some_and(|rest| rest.starts_with(MAGIC)))
}

/// What the pickles of a legacy file say of the storages behind them.
#[derive(Debug, Default)]
pub struct LegacyTorch {
    /// The bytes of an element, by the key of the storage.
    element_bytes: HashMap<String, u64>,
    keys: Vec<String>,
    /// Not all of it could be told or kept.
    is_lost: bool,
}

impl LegacyTorch {
    /// How many pickles stand before the storages.
    pub const PICKLES: usize = KEYS;

    /// Takes note of a step in the pickle of this number, from 1.
    pub fn hear(&mut self, pickle: usize, step: &Step<'_>) {
        match step.event {
            Event::Persistent(id) if pickle == OBJECT => match storage(id) {
                Some((key, bytes)) if self.element_bytes.len() < MAX_STORAGES => drop(self.element_bytes.insert(key, bytes)),
                _ => self.is_lost = true,
            },
            Event::Element(element) if pickle == KEYS => match key(element) {
                Some(key) if self.keys.len() < MAX_STORAGES => self.keys.push(key),
                _ => self.is_lost = true,
            },
            _ => {}
        }
    }

    /// How many bytes the elements of each storage have, in the order of the storages; `None` if that cannot be told.
    pub fn storages(&self) -> Option<Vec<u64>> {
        let sizes = self.keys.iter().map(|key| self.element_bytes.get(key).copied());
        if self.is_lost { None } else { sizes.collect() }
    }
}

/// The key of a storage that the object asks for, and the bytes of its elements: `("storage", class, key, …)`.
fn storage(id: &Value) -> Option<(String, u64)> {
    let [kind, class, name, ..] = id.tuple()? else { return None };
    let class = class.global().filter(|_| kind.text() == Some("storage"))?;
    Some((key(name)?, element_bytes(&class.name)?))
}

/// A key is a text, and was a number once.
fn key(value: &Value) -> Option<String> {
    value.text().map(str::to_owned).or_else(|| value.int().map(|number| number.to_string()))
}

fn element_bytes(class: &str) -> Option<u64> {
    Some(match class.strip_suffix("Storage")? {
        "ComplexDouble" => 16,
        "Double" | "Long" | "ComplexFloat" => 8,
        "Float" | "Int" | "QInt32" => 4,
        "Half" | "BFloat16" | "Short" => 2,
        "Byte" | "Char" | "Bool" | "QInt8" | "QUInt8" | "QUInt4x2" | "QUInt2x4" | "Untyped" => 1,
        _ => return None,
    })
}
