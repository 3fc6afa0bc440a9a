//! Pickle: the opcodes of a Python object, of protocols 0 to 5. They are read, and nothing that they say is done.
//!
//! A pickle is a program for a stack machine, which may import and call whatever Python finds. The walker keeps that stack and its memo as
//! far as names and shapes need it, in bounded memory, and tells what a loader would import, call and set.

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

/// Something that a loader would do.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// It imports a global: GLOBAL, INST, or STACK_GLOBAL whose two names can be told.
    Import(&'a Global),
    /// It imports a global whose names are made while it loads, or are too long for any: STACK_GLOBAL.
    Unresolved,
    /// It takes what a registry of the process has under this number: EXT1, EXT2, EXT4.
    Extension(u32),
    /// It calls something: REDUCE, INST, OBJ, NEWOBJ, NEWOBJ_EX.
    Call {
        /// What is called.
        callable: &'a Value,
        /// The tuple of arguments, as far as it was kept.
        arguments: &'a Value,
    },
    /// It sets the attributes of an object, or calls its `__setstate__`: BUILD.
    State {
        /// The object.
        object: &'a Value,
        /// Its state.
        state: &'a Value,
    },
    /// It asks the loader for an object that lies outside of the pickle: PERSID, BINPERSID.
    Persistent(&'a Value),
    /// It puts something into a mapping: SETITEM, SETITEMS.
    Item {
        /// The mapping, as [`Ending::Stop`] and [`Object`] number them; `None` if it was lost sight of.
        mapping: Option<u64>,
        /// The key.
        key: &'a Value,
        /// What it gets.
        value: &'a Value,
    },
    /// It puts something into a list or a set: APPEND, APPENDS, LIST, ADDITEMS, FROZENSET.
    Element(&'a Value),
}

/// An event and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The position of the opcode, in bytes from where the walk of the file began.
    pub at: u64,
    /// How many strings of bytes it lies in, each a pickle of its own: 0 is the pickle itself.
    pub nesting: u8,
    /// Whether each opcode found what it needs until then, this one included: a loader fails at the first that does not.
    pub is_sound: bool,
    /// What a loader would do there.
    pub event: Event<'a>,
}

/// How the walk of one pickle ended.
#[derive(Debug)]
pub enum Ending {
    /// With STOP. The number is that of the mapping that it gives, if it gives one.
    Stop(Option<u64>),
    /// It is no pickle from here on: a loader fails here, with all done that stands before.
    Broken(&'static str),
    /// It goes on behind an array of a type that is not known, so that its length is not either.
    Array,
    /// It cannot be read.
    Unreadable(io::Error),
}

/// What was walked.
#[derive(Debug)]
pub struct Walk {
    /// Where it begins, in bytes from where the walk of the file began.
    pub begin: u64,
    /// Where the walk ended.
    pub end: u64,
    /// How.
    pub ending: Ending,
    /// Whether each opcode found what it needs: what is no pickle seldom does, for longer than a few bytes.
    pub is_sound: bool,
}

impl Walk {
    /// Whether it is a whole pickle, and no other bytes that happen to be opcodes.
    pub fn is_whole(&self) -> bool {
        self.is_sound && matches!(self.ending, Ending::Stop(_))
    }
}

/// The pickles of a file, one after the other.
pub struct Pickles<R> {
    reader: Reader<R>,
}

impl<R: Read + Seek> Pickles<R> {
    /// Begins where `file` stands. Of seeking only moves forwards are needed.
    pub fn new(file: R) -> Self {
        Self { reader: Reader::new(file) }
    }

    /// How many bytes were walked or skipped; more than there are, if an item is said to be longer than what is left.
    pub fn position(&self) -> u64 {
        self.reader.at()
    }

    /// Whether no byte is left.
    pub fn is_at_end(&mut self) -> io::Result<bool> {
        self.reader.is_at_end()
    }

    /// Walks the next pickle, and tells `each` what it would do, in order.
    ///
    /// Memory is bounded whatever lengths, depths and counts it claims: where names or values are lost for that, they are
    /// [`Value::Unknown`] and imports [`Event::Unresolved`]. Strings of bytes that are pickles themselves are walked too.
    pub fn walk(&mut self, each: &mut dyn FnMut(Step<'_>)) -> Walk {
        Machine::new().run(&mut self.reader, 0, each)
    }

    /// Whether the next pickle is the number that PyTorch's legacy files begin with.
    pub fn is_at_legacy_torch(&mut self) -> bool {
        self.reader.ahead().is_ok_and(legacy::begins)
    }

    /// Skips a storage of a legacy file of PyTorch: how many elements it has, in 8 bytes, and their bytes. Fails if they cannot be so many.
    ///
    /// A loader that reads one pickle after the other takes them for opcodes, so that they are walked as such too.
    pub fn skip_storage(&mut self, element_bytes: u64, each: &mut dyn FnMut(Step<'_>)) -> io::Result<()> {
        let head: [u8; 8] = self.reader.bytes()?;
        // What is too long for any file is walked, and cannot be skipped.
        let length = u64::from_le_bytes(head).saturating_mul(element_bytes);
        self.reader.part(&head, length, |part| drop(Machine::new().walk_numbers(part, each)))
    }
}
