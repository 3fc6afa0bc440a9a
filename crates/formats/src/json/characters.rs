//! The characters of a document, decoded with the encoding that Python would choose.

use super::Error;
use std::io::{self, Read};

/// The size of one read, in bytes.
const BUFFER: usize = 16 << 10;

/// A character encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf16 { is_big_endian: bool },
    Utf32 { is_big_endian: bool },
}

impl Encoding {
    /// Detects the encoding from the first four bytes (or fewer), as `json.detect_encoding` does.
    /// Also returns the length of the byte order mark.
    fn of(first: &[u8]) -> (Self, usize) {
        let utf16 = |is_big_endian| Self::Utf16 { is_big_endian };
        let utf32 = |is_big_endian| Self::Utf32 { is_big_endian };
        match first {
            [0, 0, 0xfe, 0xff] => (utf32(true), 4),
            [0xff, 0xfe, 0, 0] => (utf32(false), 4),
            [0xfe, 0xff, ..] => (utf16(true), 2),
            [0xff, 0xfe, ..] => (utf16(false), 2),
            [0xef, 0xbb, 0xbf, ..] => (Self::Utf8, 3),
            // A document begins with two ASCII characters.
            [0, 0, _, _] => (utf32(true), 0),
            [0, _, _, _] | [0, _] => (utf16(true), 0),
            [_, 0, 0, 0] => (utf32(false), 0),
            [_, 0, _, _] | [_, 0] => (utf16(false), 0),
            _ => (Self::Utf8, 0),
        }
    }
}

/// Whether a file with these first bytes may be a JSON document that is an array or an object, as
/// config files are.
pub fn begins_like_json(first: &[u8]) -> bool {
    let mut characters = Characters::new(first);
    loop {
        match characters.peek() {
            Ok(Some(0x20 | 0x09 | 0x0a | 0x0d)) if characters.advance().is_ok() => {}
            Ok(Some(next)) => return next == u32::from('{') || next == u32::from('['),
            // Only white space so far.
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// Reads characters in sequence and tracks their position. A character may be an unpaired
/// surrogate.
pub(super) struct Characters<R> {
    file: R,
    buffer: Vec<u8>,
    at: usize,
    encoding: Option<Encoding>,
    /// The next character, if it was already read.
    next: Option<Option<u32>>,
    line: u64,
    column: u64,
}

impl<R: Read> Characters<R> {
    pub(super) fn new(file: R) -> Self {
        Self { file, buffer: Vec::new(), at: 0, encoding: None, next: None, line: 1, column: 1 }
    }

    /// The next character, or `None` at the end.
    pub(super) fn peek(&mut self) -> Result<Option<u32>, Error> {
        if let Some(next) = self.next {
            return Ok(next);
        }
        let next = self.decode()?;
        self.next = Some(next);
        Ok(next)
    }

    /// Moves past the next character.
    pub(super) fn advance(&mut self) -> Result<(), Error> {
        if self.peek()? == Some('\n'.into()) {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        self.next = None;
        Ok(())
    }

    /// An error at the position of the next character.
    pub(super) fn error(&self, why: impl Into<String>, is_invalid: bool) -> Error {
        Error { line: self.line, column: self.column, why: why.into(), is_invalid }
    }

    fn decode(&mut self) -> Result<Option<u32>, Error> {
        match self.encoding()? {
            Encoding::Utf8 => self.utf8(),
            Encoding::Utf16 { is_big_endian } => self.utf16(is_big_endian),
            Encoding::Utf32 { is_big_endian } => {
                let Some(bytes) = self.unit::<4>("UTF-32")? else { return Ok(None) };
                let code = if is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
                if code <= char::MAX.into() { Ok(Some(code)) } else { Err(self.error("its text is not UTF-32", true)) }
            }
        }
    }

    fn encoding(&mut self) -> Result<Encoding, Error> {
        if let Some(encoding) = self.encoding {
            return Ok(encoding);
        }
        while self.buffer.len() < 4 && self.fill()? {}
        let (encoding, mark) = Encoding::of(&self.buffer[..self.buffer.len().min(4)]);
        self.at = mark;
        Ok(*self.encoding.insert(encoding))
    }

    fn utf8(&mut self) -> Result<Option<u32>, Error> {
        let Some(first) = self.byte()? else { return Ok(None) };
        let (more, least) = match first {
            0..0x80 => return Ok(Some(first.into())),
            0xc2..0xe0 => (1, 0x80),
            0xe0..0xf0 => (2, 0x800),
            0xf0..0xf5 => (3, 0x10000),
            _ => return Err(self.error("its text is not UTF-8", true)),
        };
        let mut code = u32::from(first) & (0x3f >> more);
        for _ in 0..more {
            match self.byte()? {
                Some(byte @ 0x80..0xc0) => code = code << 6 | u32::from(byte & 0x3f),
                _ => return Err(self.error("its text is not UTF-8", true)),
            }
        }
        // Surrogates are accepted, as in Python's decoder with `surrogatepass`.
        if (least..=char::MAX.into()).contains(&code) { Ok(Some(code)) } else { Err(self.error("its text is not UTF-8", true)) }
    }

    fn utf16(&mut self, is_big_endian: bool) -> Result<Option<u32>, Error> {
        let of = |bytes| u32::from(if is_big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) });
        let Some(mut first) = self.unit::<2>("UTF-16")?.map(of) else { return Ok(None) };
        if (0xd800..0xdc00).contains(&first)
            && let Some(second) = self.unit::<2>("UTF-16")?.map(of)
        {
            if (0xdc00..0xe000).contains(&second) {
                first = 0x10000 + ((first - 0xd800) << 10 | (second - 0xdc00));
            } else {
                self.at -= 2;
            }
        }
        Ok(Some(first))
    }

    /// The bytes of one code unit.
    fn unit<const N: usize>(&mut self, encoding: &str) -> Result<Option<[u8; N]>, Error> {
        // The whole unit stays in the buffer, so that the reader can go back by one unit.
        while self.buffer.len() - self.at < N && self.fill()? {}
        match self.buffer[self.at..].first_chunk() {
            Some(unit) => {
                self.at += N;
                Ok(Some(*unit))
            }
            None if self.at == self.buffer.len() => Ok(None),
            None => Err(self.error(format!("its text is not {encoding}"), true)),
        }
    }

    fn byte(&mut self) -> Result<Option<u8>, Error> {
        if self.at == self.buffer.len() && !self.fill()? {
            return Ok(None);
        }
        self.at += 1;
        Ok(Some(self.buffer[self.at - 1]))
    }

    /// Reads more bytes into the buffer and keeps those not yet used. Returns whether there were
    /// any.
    fn fill(&mut self) -> Result<bool, Error> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let kept = self.buffer.len();
        self.buffer.resize(kept + BUFFER, 0);
        loop {
            let read = self.file.read(&mut self.buffer[kept..]);
            self.buffer.truncate(kept + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(n) => return Ok(n > 0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => self.buffer.resize(kept + BUFFER, 0),
                Err(error) => return Err(self.error(format!("it cannot be read: {error}"), false)),
            }
        }
    }
}
