//! JSON of which a parser never has to hold much.

use std::io::{self, Read};

/// A parser holds a whole string in memory. The longest are notes on the training.
const MAX_STRING_BYTES: usize = 8 << 20;
/// A header is three deep.
const MAX_DEPTH: usize = 8;

/// JSON that ends in an error before a parser must hold much of it.
pub(crate) struct BoundedJson<R> {
    json: R,
    depth: usize,
    /// Bytes so far of the string that is being read.
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
