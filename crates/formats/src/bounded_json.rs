//! JSON input with bounds on what a parser must hold in memory.

use std::io::{self, Read};

/// A parser holds a whole string in memory. The longest strings in real files are training notes.
const MAX_STRING_BYTES: usize = 8 << 20;
/// The header of a real file has three levels.
const MAX_DEPTH: usize = 8;

/// A JSON reader that fails before a parser would hold a very long string or very deep nesting.
pub(crate) struct BoundedJson<R> {
    json: R,
    depth: usize,
    /// The length so far of the string being read, in bytes.
    string: Option<usize>,
    is_escaped: bool,
}

impl<R> BoundedJson<R> {
    pub(crate) fn new(json: R) -> Self {
        Self { json, depth: 0, string: None, is_escaped: false }
    }
}

impl<R: Read> Read for BoundedJson<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.json.read(buffer)?;
        for byte in &buffer[..count] {
            match (self.string, byte) {
                (Some(_), b'"') if !self.is_escaped => self.string = None,
                (Some(length), _) => {
                    self.string = Some(length + 1);
                    self.is_escaped = *byte == b'\\' && !self.is_escaped;
                }
                (None, b'"') => self.string = Some(0),
                (None, b'{' | b'[') => self.depth += 1,
                (None, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
                (None, _) => {}
            }
            if self.depth > MAX_DEPTH || self.string.is_some_and(|length| length > MAX_STRING_BYTES) {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(count)
    }
}
