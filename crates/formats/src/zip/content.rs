//! The decompressed bytes of an entry.

use crate::{
    Malformed,
    compressed::{LZMA_MEMORY_KIB, ZSTD_WINDOW_LOG},
};
use bzip2::read::BzDecoder;
use flate2::read::DeflateDecoder;
use lzma_rust2::LzmaReader;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// The largest dictionary of an lzma-compressed entry, in bytes. A larger one is refused.
const MAX_DICTIONARY: u32 = LZMA_MEMORY_KIB << 10;

/// The bytes of an entry. They are read forwards, and end at the size that the directory gives.
pub struct Content<R> {
    data: Data<R>,
    /// Bytes left until the end.
    left: u64,
}

enum Data<R> {
    Stored(R),
    Deflated(Box<DeflateDecoder<io::Take<R>>>),
    Bzip2(Box<BzDecoder<io::Take<R>>>),
    Lzma(Box<LzmaReader<io::Take<R>>>),
    Zstd(Box<zstd::Decoder<'static, BufReader<io::Take<R>>>>),
}

impl<R: Read + Seek> Content<R> {
    /// `file` is positioned at the start of the entry's data.
    pub(super) fn new(file: R, method: u16, compressed: u64, size: u64) -> Result<Self, Malformed> {
        let data = match method {
            0 if compressed != size => return Err(Malformed::new("an uncompressed entry has two different sizes")),
            0 => Data::Stored(file),
            8 => Data::Deflated(Box::new(DeflateDecoder::new(file.take(compressed)))),
            12 => Data::Bzip2(Box::new(BzDecoder::new(file.take(compressed)))),
            14 => Data::Lzma(Box::new(lzma(file.take(compressed)).map_err(|e| Malformed::io(&e))?)),
            20 | 93 => Data::Zstd(Box::new(zstd(file.take(compressed)).map_err(|e| Malformed::io(&e))?)),
            other => return Err(Malformed::new(format!("an entry has the unknown compression method {other}"))),
        };
        Ok(Self { data, left: size })
    }
}

/// The layout: a version of two bytes, the length of the properties, the properties, and an lzma
/// stream that may lack an end marker.
fn lzma<R: Read>(mut data: R) -> io::Result<LzmaReader<R>> {
    let mut header = [0; 9];
    data.read_exact(&mut header)?;
    let [_, _, length, 0, properties, dictionary @ ..] = header else { return Err(io::ErrorKind::InvalidData.into()) };
    let dictionary = u32::from_le_bytes(dictionary);
    if length != 5 || dictionary > MAX_DICTIONARY {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut decoder = LzmaReader::new_with_props(data, u64::MAX, properties, dictionary, None)?;
    decoder.set_defer_errors(true);
    Ok(decoder)
}

fn zstd<R: Read>(data: R) -> io::Result<zstd::Decoder<'static, BufReader<R>>> {
    let mut decoder = zstd::Decoder::new(data)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG)?;
    Ok(decoder)
}

impl<R: Read + Seek> Read for Content<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..want];
        let read = match &mut self.data {
            Data::Stored(file) => file.read(buffer)?,
            Data::Deflated(decoder) => decoder.read(buffer)?,
            Data::Bzip2(decoder) => decoder.read(buffer)?,
            Data::Lzma(decoder) => decoder.read(buffer)?,
            Data::Zstd(decoder) => decoder.read(buffer)?,
        };
        self.left -= read as u64;
        Ok(read)
    }
}

impl<R: Read + Seek> Seek for Content<R> {
    /// Seeks forwards from the current position.
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
            _ => match io::copy(&mut self.by_ref().take(by), &mut io::sink())? {
                read if read == by => Ok(0),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            },
        }
    }
}
