//! The bytes of an entry, decompressed if need be.

use crate::Malformed;
use flate2::read::DeflateDecoder;
use std::io::{self, Read, Seek, SeekFrom};

/// The bytes of an entry. They are read forwards, and end where the directory says.
pub struct Content<R> {
    data: Data<R>,
    /// Bytes until the end.
    left: u64,
}

enum Data<R> {
    Stored(R),
    Deflated(Box<DeflateDecoder<io::Take<R>>>),
}

impl<R: Read + Seek> Content<R> {
    /// `file` stands where the entry's data begins.
    pub(super) fn new(file: R, method: u16, compressed: u64, size: u64) -> Result<Self, Malformed> {
        let data = match method {
            0 if compressed != size => return Err(Malformed::new("an entry that is not compressed has two sizes")),
            0 => Data::Stored(file),
            8 => Data::Deflated(Box::new(DeflateDecoder::new(file.take(compressed)))),
            other => return Err(Malformed::new(format!("an entry is compressed by method {other}, and 0 and 8 are known"))),
        };
        Ok(Self { data, left: size })
    }
}

impl<R: Read + Seek> Read for Content<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..want];
        let read = match &mut self.data {
            Data::Stored(file) => file.read(buffer)?,
            Data::Deflated(decoder) => decoder.read(buffer)?,
        };
        self.left -= read as u64;
        Ok(read)
    }
}

impl<R: Read + Seek> Seek for Content<R> {
    /// Moves forwards, from where it stands.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Current(by) = to else { return Err(io::ErrorKind::Unsupported.into()) };
        let by = u64::try_from(by).map_err(|_| io::Error::from(io::ErrorKind::Unsupported))?;
        if by > self.left {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match &mut self.data {
            Data::Stored(file) => {
                self.left -= by;
                file.seek(to)
            }
            Data::Deflated(_) => match io::copy(&mut self.by_ref().take(by), &mut io::sink())? {
                read if read == by => Ok(0),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            },
        }
    }
}
