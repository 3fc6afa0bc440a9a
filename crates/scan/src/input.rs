//! The input of a scan: bytes that can be read at any position, or only forwards.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

/// An input that can be read at any position.
pub(crate) trait ReadSeek: Read + Seek {}

impl<T: Read + Seek + ?Sized> ReadSeek for T {}

/// The bytes of a file or entry.
pub(crate) enum Input<'a> {
    /// A file of this size that can be read at any position.
    File(&'a mut dyn ReadSeek, u64),
    /// A stream that can be read once, with its size if it is known.
    Stream(&'a mut dyn Read, Option<u64>),
}

/// A stream whose first bytes are in memory. It seeks forwards only.
pub(crate) struct Forward<'a> {
    first: Cursor<Vec<u8>>,
    rest: &'a mut dyn Read,
}

impl<'a> Forward<'a> {
    pub(crate) fn new(first: Vec<u8>, rest: &'a mut dyn Read) -> Self {
        Self { first: Cursor::new(first), rest }
    }
}

impl Read for Forward<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.first.read(buffer)? {
            0 => self.rest.read(buffer),
            read => Ok(read),
        }
    }
}

impl Seek for Forward<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Current(by) = to else { return Err(io::ErrorKind::Unsupported.into()) };
        let by = u64::try_from(by).map_err(|_| io::Error::from(io::ErrorKind::Unsupported))?;
        let skipped = io::copy(&mut self.by_ref().take(by), &mut io::sink())?;
        // The position is never used.
        if skipped == by { Ok(0) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// Reads up to `limit` bytes.
pub(crate) fn beginning(mut file: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.by_ref().take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}
