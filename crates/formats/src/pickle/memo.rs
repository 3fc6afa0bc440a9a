//! The memo: values that a pickle stores to use them again.

use super::Value;
use std::collections::HashMap;

/// The largest number of entries kept. Further entries are lost.
const MAX_MEMO: usize = 1 << 20;

/// The stored values.
#[derive(Default)]
pub(super) struct Memo {
    entries: HashMap<u64, Value>,
    /// The number of entries that a loader would have.
    pub(super) count: u64,
    /// Whether some entries were not kept.
    pub(super) is_full: bool,
    pub(super) has_numbered: bool,
    pub(super) has_counted: bool,
}

impl Memo {
    pub(super) fn put(&mut self, index: u64, value: Value, has_room: bool) {
        let is_new = !self.entries.contains_key(&index);
        self.count += u64::from(is_new);
        if !is_new || has_room && self.entries.len() < MAX_MEMO {
            self.entries.insert(index, value);
        } else {
            self.is_full = true;
        }
    }

    /// The entry; `Err` if no such entry can exist.
    pub(super) fn get(&self, index: u64) -> Result<Value, ()> {
        // MEMOIZE numbers entries by count. The count is unknown once entries with explicit numbers
        // were lost.
        if self.is_full && self.has_numbered && self.has_counted {
            return Ok(Value::Unknown);
        }
        match self.entries.get(&index) {
            Some(value) => Ok(value.clone()),
            None if self.is_full => Ok(Value::Unknown),
            None => Err(()),
        }
    }
}
