//! The memo: what a pickle puts aside to use it again.

use super::Value;
use std::collections::HashMap;

/// More entries in the memo than this are lost.
const MAX_MEMO: usize = 1 << 20;

/// What opcodes have put aside.
#[derive(Default)]
pub(super) struct Memo {
    entries: HashMap<u64, Value>,
    /// How many entries a loader has.
    pub(super) count: u64,
    /// Some entries were not kept.
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

    /// The entry; `Err` if there can be none.
    pub(super) fn get(&self, index: u64) -> Result<Value, ()> {
        // Which entries are counted cannot be told once some that were numbered are lost.
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
