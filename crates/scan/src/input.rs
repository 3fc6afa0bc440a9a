//! What is scanned: bytes with a way to go anywhere in them, or only forwards.

use std::io::{self, Cursor, Read, Seek, SeekFrom};

/// Bytes that are read from wherever one wants.
pub(crate) trait ReadSeek: Read + Seek {}

impl<T: Read + Seek + ?Sized> ReadSeek for T {}

/// The bytes of a file or entry.
pub(crate) enum Input<'a> {
    /// Of this size, read from anywhere.
    File(&'a mut dyn ReadSeek, u64),
    /// Read once; of this size, if it is known beforehand.
    Stream(&'a mut dyn Read, Option<u64>),
}

/// Bytes that are read once, of which the first are in memory; seeking goes forwards only.
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
        // Where this is, nobody asks.
        if skipped == by { Ok(0) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// Reads as many bytes as there are, at most `limit`.
pub(crate) fn beginning(mut file: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.by_ref().take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}
