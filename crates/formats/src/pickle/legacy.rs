//! The format of PyTorch files before PyTorch wrote zip archives: five pickles, then the bytes of
//! the tensors.
//!
//! The pickles are a magic number, the format version, system information, the object, and the keys
//! of its storages. The storages follow in the order of the keys. Only the object contains the type
//! of each storage, and so the length of its elements.

use super::{Event, Step, Value};
use std::collections::HashMap;

/// The maximum number of storages that are kept.
const MAX_STORAGES: usize = 1 << 20;
/// The numbers of the pickles with the object and with the keys of its storages, from 1.
const OBJECT: usize = 4;
const KEYS: usize = 5;
/// The magic number of the first pickle, with the opcode for a ten-byte integer before it.
const MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// Whether these are the first bytes of such a file, for any pickle protocol.
pub(super) fn begins(first: &[u8]) -> bool {
    // The offset depends on the protocol opcode and an optional frame opcode before the number.
    [2, 11].iter().any(|at| first.get(*at..).is_some_and(|rest| rest.starts_with(MAGIC)))
}

/// The storages that follow the pickles of a legacy file, as the pickles describe them.
#[derive(Debug, Default)]
pub struct LegacyTorch {
    /// The element size in bytes, by the key of the storage.
    element_bytes: HashMap<String, u64>,
    keys: Vec<String>,
    /// Some of it was unknown or did not fit.
    is_lost: bool,
}

impl LegacyTorch {
    /// The number of pickles before the storages.
    pub const PICKLES: usize = KEYS;

    /// Records a step of the pickle with this number, from 1.
    pub fn record(&mut self, pickle: usize, step: &Step<'_>) {
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

    /// The element size of each storage in bytes, in the order of the storages; `None` if that is
    /// unknown.
    pub fn storages(&self) -> Option<Vec<u64>> {
        let sizes = self.keys.iter().map(|key| self.element_bytes.get(key).copied());
        if self.is_lost { None } else { sizes.collect() }
    }
}

/// The key of a storage that the object asks for, and its element size in bytes: `("storage",
/// class, key, …)`.
fn storage(id: &Value) -> Option<(String, u64)> {
    let [kind, class, name, ..] = id.tuple()? else { return None };
    let class = class.global().filter(|_| kind.text() == Some("storage"))?;
    Some((key(name)?, element_bytes(&class.name)?))
}

/// A key is a text. In old files it was a number.
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
