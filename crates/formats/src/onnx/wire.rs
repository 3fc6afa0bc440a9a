//! The protobuf wire format: a sequence of fields, each with a number and a value.

use crate::Malformed;
use std::io::{BufReader, Read, Seek};

/// How many bytes of a file are read. Skipped bytes do not count. The largest graphs have some tens
/// of MiB.
const MAX_READ_BYTES: u64 = 256 << 20;

/// The value of a field.
pub(super) enum Value {
    Varint(u64),
    /// A fixed-size value with this many bytes, which were skipped.
    Fixed(u64),
    /// A text, a message or an array with this many bytes, which come next.
    Bytes(u64),
}

/// Reads the fields of messages, and never reads after the end of a message.
pub(super) struct Reader<R> {
    file: BufReader<R>,
    pub(super) at: u64,
    /// The number of bytes that may still be read.
    budget: u64,
}

impl<R: Read + Seek> Reader<R> {
    pub(super) fn new(file: R) -> Self {
        Self { file: BufReader::new(file), at: 0, budget: MAX_READ_BYTES }
    }

    /// An error about the value that was read last.
    pub(super) fn malformed(&self, why: &str) -> Malformed {
        Malformed::new(format!("{why}, before byte {}", self.at))
    }

    /// The next field of the message that ends at `end`; `None` at its end.
    pub(super) fn field(&mut self, end: u64) -> Result<Option<(u64, Value)>, Malformed> {
        if self.at == end {
            return Ok(None);
        }
        let tag = self.varint(end)?;
        let (number, kind) = (tag >> 3, tag & 7);
        if number == 0 || number >= 1 << 29 {
            return Err(self.malformed("a field without a number"));
        }
        let value = match kind {
            0 => Value::Varint(self.varint(end)?),
            1 | 5 => {
                let bytes = if kind == 1 { 8 } else { 4 };
                self.within(bytes, end)?;
                self.skip(bytes)?;
                Value::Fixed(bytes)
            }
            2 => {
                let length = self.varint(end)?;
                self.within(length, end)?;
                Value::Bytes(length)
            }
            _ => return Err(self.malformed(&format!("a field of the unknown wire type {kind}"))),
        };
        Ok(Some((number, value)))
    }

    /// A number of up to 64 bits, seven bits per byte.
    pub(super) fn varint(&mut self, end: u64) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            self.within(1, end)?;
            let [byte] = self.bytes()?;
            if shift == 63 && byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.malformed("a number with more than 64 bits"))
    }

    /// A text of `length` bytes, the length that its field gave. A text longer than `limit` is
    /// skipped and gives `None`.
    pub(super) fn text(&mut self, length: u64, limit: u64) -> Result<Option<String>, Malformed> {
        if length > limit {
            return self.skip(length).map(|()| None);
        }
        self.spend(length)?;
        let mut bytes = vec![0; usize::try_from(length).expect("a limit fits into memory")];
        self.file.read_exact(&mut bytes).map_err(|e| Malformed::io(&e))?;
        String::from_utf8(bytes).map(Some).map_err(|_| self.malformed("a text that is not UTF-8"))
    }

    pub(super) fn skip(&mut self, length: u64) -> Result<(), Malformed> {
        self.at += length;
        let length = i64::try_from(length).map_err(|_| self.malformed("a value with more bytes than a file can have"))?;
        self.file.seek_relative(length).map_err(|e| Malformed::io(&e))
    }

    fn within(&self, length: u64, end: u64) -> Result<(), Malformed> {
        if length <= end - self.at {
            Ok(())
        } else {
            Err(self.malformed(&format!("a value of {length} bytes, more than the rest of its message")))
        }
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.spend(N as u64)?;
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes).map_err(|e| Malformed::io(&e))?;
        Ok(bytes)
    }

    fn spend(&mut self, length: u64) -> Result<(), Malformed> {
        self.at += length;
        let too_much = || Malformed::new(format!("it has more than {MAX_READ_BYTES} bytes besides its tensors"));
        self.budget = self.budget.checked_sub(length).ok_or_else(too_much)?;
        Ok(())
    }
}
