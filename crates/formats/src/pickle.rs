//! Pickle: the opcodes of a serialized Python object, protocols 0 to 5. The opcodes are read and
//! never executed.
//!
//! A pickle is a program for a stack machine, which may import and call anything that Python finds.
//! The walker simulates the stack and the memo as far as names and shapes need it, in bounded
//! memory. It reports what a loader would import, call and set.

mod array;
mod gate;
mod legacy;
mod machine;
mod memo;
mod reader;
#[cfg(test)]
mod tests;
mod value;

pub use legacy::LegacyTorch;
pub use value::{Global, Object, Value};

use machine::Machine;
use reader::Reader;
use std::io::{self, Read, Seek};

/// An action of a loader.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// It imports a global: GLOBAL, INST, or STACK_GLOBAL with two known names.
    Import(&'a Global),
    /// It imports a global whose names are computed at load time or are too long: STACK_GLOBAL.
    Unresolved,
    /// It takes the object that the process has registered under this extension code: EXT1, EXT2,
    /// EXT4.
    Extension(u32),
    /// It calls a callable: REDUCE, INST, OBJ, NEWOBJ, NEWOBJ_EX.
    Call {
        /// The callable.
        callable: &'a Value,
        /// The tuple of arguments, or the part of it that was kept.
        arguments: &'a Value,
    },
    /// It sets the attributes of an object, or calls its `__setstate__`: BUILD.
    State {
        /// The object.
        object: &'a Value,
        /// Its state.
        state: &'a Value,
    },
    /// It asks the loader for an object outside the pickle: PERSID, BINPERSID.
    Persistent(&'a Value),
    /// It sets an item of a mapping: SETITEM, SETITEMS.
    Item {
        /// The id of the mapping, as in [`Ending::Stop`] and [`Object`]; `None` if the walker lost
        /// track of it.
        mapping: Option<u64>,
        /// The key.
        key: &'a Value,
        /// The value.
        value: &'a Value,
    },
    /// It adds an element to a list or a set: APPEND, APPENDS, LIST, ADDITEMS, FROZENSET.
    Element(&'a Value),
}

/// An event and its position.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The position of the opcode, in bytes from the start of the walk.
    pub at: u64,
    /// The number of byte strings around it, each of which is a pickle itself: 0 for the outermost
    /// pickle.
    pub nesting: u8,
    /// Whether every opcode up to this one found its operands. A loader fails at the first that
    /// does not.
    pub is_sound: bool,
    /// The loader's action.
    pub event: Event<'a>,
}

/// The end of the walk of one pickle.
#[derive(Debug)]
pub enum Ending {
    /// At STOP. The number is the id of the resulting mapping, if the result is one.
    Stop(Option<u64>),
    /// The bytes from here on are not a pickle. A loader fails here, after it has performed all
    /// earlier actions.
    Broken(&'static str),
    /// An array of unknown type, and so of unknown length, precedes the rest of the pickle.
    Array,
    /// The file cannot be read.
    Unreadable(io::Error),
}

/// The walk of one pickle.
#[derive(Debug)]
pub struct Walk {
    /// The start of the pickle, in bytes from the start of the walk.
    pub begin: u64,
    /// The position at which the walk ended.
    pub end: u64,
    /// The reason.
    pub ending: Ending,
    /// Whether every opcode found its operands. In bytes that are not a pickle, this seldom holds
    /// for more than a few bytes.
    pub is_sound: bool,
}

impl Walk {
    /// Whether it is a complete pickle, and not other bytes that happen to be opcodes.
    pub fn is_whole(&self) -> bool {
        self.is_sound && matches!(self.ending, Ending::Stop(_))
    }
}

/// The consecutive pickles of a file.
pub struct Pickles<R> {
    reader: Reader<R>,
}

impl<R: Read + Seek> Pickles<R> {
    /// Starts at the current position of `file`. Seeks only forwards.
    pub fn new(file: R) -> Self {
        Self { reader: Reader::new(file) }
    }

    /// How many bytes were walked or skipped. This exceeds the file's size if the declared length
    /// of an item does.
    pub fn position(&self) -> u64 {
        self.reader.at()
    }

    /// Whether the file is at its end.
    pub fn is_at_end(&mut self) -> io::Result<bool> {
        self.reader.is_at_end()
    }

    /// Walks the next pickle and passes the loader's actions to `each`, in order.
    ///
    /// Memory is bounded whatever lengths, depths and counts the pickle declares. Names and values
    /// that do not fit become [`Value::Unknown`], and their imports [`Event::Unresolved`]. Byte
    /// strings that contain pickles are walked too.
    pub fn walk(&mut self, each: &mut dyn FnMut(Step<'_>)) -> Walk {
        Machine::new().run(&mut self.reader, 0, each)
    }

    /// Whether the next pickle is the magic number of PyTorch's legacy files.
    pub fn is_at_legacy_torch(&mut self) -> bool {
        self.reader.ahead().is_ok_and(legacy::begins)
    }

    /// Skips a storage of a legacy PyTorch file: its number of elements in 8 bytes, and their
    /// bytes. Fails if the number is impossible.
    ///
    /// A loader that reads consecutive pickles takes these bytes for opcodes, so they are also
    /// walked as opcodes.
    pub fn skip_storage(&mut self, element_bytes: u64, each: &mut dyn FnMut(Step<'_>)) -> io::Result<()> {
        let head: [u8; 8] = self.reader.bytes()?;
        // A length larger than any file is still walked, but the skip fails.
        let length = u64::from_le_bytes(head).saturating_mul(element_bytes);
        self.reader.part(&head, length, |part| drop(Machine::new().walk_numbers(part, each)))
    }
}
