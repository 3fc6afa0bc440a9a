//! Reads the values of a GGUF header in sequence.

use crate::Malformed;
use std::io::{BufReader, Read, Seek};

pub(super) const U32: u32 = 4;
pub(super) const STRING: u32 = 8;
pub(super) const ARRAY: u32 = 9;
pub(super) const U16: u32 = 2;
pub(super) const I32: u32 = 5;
pub(super) const U64: u32 = 10;

/// A longer array of texts is data, not metadata for display.
const MAX_TEXTS: u64 = 1000;

/// Reads values of the format, and never reads after `end`.
pub(super) struct Reader<R> {
    file: BufReader<R>,
    pub(super) at: u64,
    end: u64,
    is_big_endian: bool,
}

impl<R: Read + Seek> Reader<R> {
    /// Reads at most the first `end` bytes of `file`.
    pub(super) fn new(file: R, end: u64) -> Self {
        Self { file: BufReader::new(file), at: 0, end, is_big_endian: false }
    }

    /// Reads the version, which also tells the byte order: valid versions are smaller than 65,536.
    pub(super) fn version(&mut self) -> Result<u32, Malformed> {
        let version = self.u32()?;
        self.is_big_endian = version & 0xffff == 0;
        Ok(if self.is_big_endian { version.swap_bytes() } else { version })
    }

    /// An error about the value that was read last.
    pub(super) fn malformed(&self, why: &str) -> Malformed {
        Malformed::new(format!("{why}, before byte {}", self.at))
    }

    /// Advances by `length` bytes. Fails if the header has fewer left.
    fn advance(&mut self, length: u64) -> Result<(), Malformed> {
        match self.at.checked_add(length) {
            Some(at) if at <= self.end => self.at = at,
            _ => {
                return Err(Malformed::new(format!("the value at byte {} has {length} bytes, more than the rest of the header", self.at)));
            }
        }
        Ok(())
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.advance(N as u64)?;
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes).map_err(|e| Malformed::io(&e))?;
        Ok(bytes)
    }

    fn skip(&mut self, length: u64) -> Result<(), Malformed> {
        self.advance(length)?;
        let length = i64::try_from(length).map_err(|_| self.malformed("a value with more bytes than a file can have"))?;
        self.file.seek_relative(length).map_err(|e| Malformed::io(&e))
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        let bytes = self.bytes()?;
        Ok(if self.is_big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        let bytes = self.bytes()?;
        Ok(if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        let bytes = self.bytes()?;
        Ok(if self.is_big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
    }

    /// A text. `None` if it is longer than `limit`, is not UTF-8, or contains a NUL (at which many
    /// programs end a text). The format allows all three, but no value that is kept needs them.
    pub(super) fn text(&mut self, limit: u64) -> Result<Option<String>, Malformed> {
        Ok(self.name(limit)?.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|text| !text.contains('\0')))
    }

    /// The bytes of a text. A text longer than `limit` is skipped, and the result is `None`.
    pub(super) fn name(&mut self, limit: u64) -> Result<Option<Vec<u8>>, Malformed> {
        let length = self.u64()?;
        if length > limit {
            return self.skip(length).map(|()| None);
        }
        self.advance(length)?;
        let mut bytes = vec![0; usize::try_from(length).expect("a limit fits into memory")];
        self.file.read_exact(&mut bytes).map_err(|e| Malformed::io(&e))?;
        Ok(Some(bytes))
    }

    fn skip_text(&mut self) -> Result<(), Malformed> {
        let length = self.u64()?;
        self.skip(length)
    }

    /// An array of texts without those that are longer than `limit` or not UTF-8. An array of
    /// another type gives an empty result.
    pub(super) fn texts(&mut self, limit: u64) -> Result<Vec<String>, Malformed> {
        let (kind, count) = (self.u32()?, self.u64()?);
        if kind != STRING || count > MAX_TEXTS {
            self.skip_elements(kind, count)?;
            return Ok(Vec::new());
        }
        (0..count).filter_map(|_| self.text(limit).transpose()).collect()
    }

    pub(super) fn skip_value(&mut self, kind: u32) -> Result<(), Malformed> {
        match kind {
            ARRAY => {
                let (kind, count) = (self.u32()?, self.u64()?);
                self.skip_elements(kind, count)
            }
            _ => self.skip_elements(kind, 1),
        }
    }

    fn skip_elements(&mut self, kind: u32, count: u64) -> Result<(), Malformed> {
        let bytes = match kind {
            0 | 1 | 7 => 1,
            U16 | 3 => 2,
            U32 | I32 | 6 => 4,
            10..=12 => 8,
            STRING => return (0..count).try_for_each(|_| self.skip_text()),
            _ => return Err(self.malformed(&format!("a value of the unknown type {kind}"))),
        };
        self.skip(count.saturating_mul(bytes))
    }
}
