//! What is compressed, with a bound on what it may become: few bytes can say many.

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use lz4_flex::frame::FrameDecoder;
use lzma_rust2::{LzmaReader, XzReader};
use std::{
    fmt,
    io::{self, BufRead, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// What is compressed may always become this many bytes.
const MIN_ALLOWANCE: u64 = 1 << 30;
/// Beyond that, it may become this many times its size, which is about the most that gzip can do.
const MAX_RATIO: u64 = 1000;
/// The largest window that a zstd stream may ask for, as a power of two: 128 MiB of memory.
pub(crate) const ZSTD_WINDOW_LOG: u32 = 27;
/// The memory that an xz or lzma stream may ask for, in KiB: a dictionary of 128 MiB, and what its decoder needs besides.
pub(crate) const LZMA_MEMORY_KIB: u32 = (128 << 10) + (8 << 10);

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// As one or more gzip members.
    Gzip,
    /// As a zlib stream.
    Zlib,
    /// As zstd frames.
    Zstd,
    /// As one or more bzip2 streams.
    Bzip2,
    /// As one or more xz streams.
    Xz,
    /// As a stream of the older format of lzma, which its tools call "alone".
    Lzma,
    /// As lz4 frames.
    Lz4,
}

/// The name of the format.
impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "nothing",
            Self::Gzip => "gzip",
            Self::Zlib => "zlib",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Lzma => "lzma",
            Self::Lz4 => "lz4",
        })
    }
}

/// How many more bytes what is compressed may become. Clones share it.
#[derive(Clone, Debug)]
pub struct Allowance(Arc<AtomicU64>);

impl Allowance {
    /// What `stored` bytes may become: 1 GiB, or 1000 times their size if that is more.
    pub fn of(stored: u64) -> Self {
        Self::bytes(MIN_ALLOWANCE.max(stored.saturating_mul(MAX_RATIO)))
    }

    /// So many bytes.
    pub fn bytes(bytes: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bytes)))
    }

    /// Fails if fewer than `bytes` are left; takes none.
    pub fn check(&self, bytes: u64) -> io::Result<()> {
        if bytes > self.0.load(Relaxed) { Err(too_large()) } else { Ok(()) }
    }

    /// `reader`, each of whose bytes is taken from the allowance.
    pub fn limit<R: Read>(&self, reader: R) -> Limited<R> {
        Limited { reader, allowance: self.clone() }
    }
}

/// Bytes that are taken from an [`Allowance`] as they are read; reading fails when nothing is left of it.
#[derive(Debug)]
pub struct Limited<R> {
    reader: R,
    allowance: Allowance,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        let left = self.allowance.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(n as u64));
        left.map(|_| n).map_err(|_| too_large())
    }
}

/// What the bytes of `reader` were before they were compressed, each of them taken from `allowance`.
pub fn decompressed<'a>(
    compression: Compression,
    reader: impl BufRead + 'a,
    allowance: &Allowance,
) -> io::Result<Limited<Box<dyn Read + 'a>>> {
    let decoder: Box<dyn Read + 'a> = match compression {
        Compression::None => Box::new(reader),
        Compression::Gzip => Box::new(MultiGzDecoder::new(reader)),
        Compression::Zlib => Box::new(ZlibDecoder::new(reader)),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(reader)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Compression::Bzip2 => Box::new(MultiBzDecoder::new(reader)),
        Compression::Xz => Box::new(UntilError::new(XzReader::new_mem_limit(reader, true, LZMA_MEMORY_KIB))),
        Compression::Lzma => Box::new(Lzma::new(reader)?),
        Compression::Lz4 => Box::new(Lz4(FrameDecoder::new(reader))),
    };
    Ok(allowance.limit(decoder))
}

/// A decoder that is not asked again once it has failed: not all of them can stand that.
struct UntilError<R> {
    decoder: R,
    has_failed: bool,
}

impl<R> UntilError<R> {
    fn new(decoder: R) -> Self {
        Self { decoder, has_failed: false }
    }
}

impl<R: Read> Read for UntilError<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.has_failed {
            return Err(io::Error::other("it could not be decompressed"));
        }
        let read = self.decoder.read(buffer);
        self.has_failed = read.is_err();
        read
    }
}

/// One lzma stream. Programs differ in what they do with bytes behind it, so it is an error that there are some.
struct Lzma<R> {
    /// Nothing at its end.
    decoder: Option<LzmaReader<R>>,
}

impl<R: Read> Lzma<R> {
    fn new(reader: R) -> io::Result<Self> {
        let mut decoder = LzmaReader::new_mem_limit(reader, LZMA_MEMORY_KIB, None)?;
        // What comes before an error is given first, since other programs do that too.
        decoder.set_defer_errors(true);
        Ok(Self { decoder: Some(decoder) })
    }
}

impl<R: Read> Read for Lzma<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(decoder) = &mut self.decoder else { return Ok(0) };
        let read = decoder.read(buffer)?;
        if read == 0
            && !buffer.is_empty()
            && let Some(ended) = self.decoder.take()
        {
            let (mut reader, ahead) = ended.into_parts();
            if !ahead.is_empty() || reader.read(&mut [0])? > 0 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "something follows the end of an lzma stream"));
            }
        }
        Ok(read)
    }
}

/// Frames of lz4, one after the other. The decoder stops at the end of each, and at a block without bytes in their middle.
struct Lz4<R: Read>(FrameDecoder<R>);

impl<R: BufRead> Read for Lz4<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.0.read(buffer)?;
            if read > 0 || buffer.is_empty() || self.0.get_mut().fill_buf()?.is_empty() {
                return Ok(read);
            }
        }
    }
}

fn too_large() -> io::Error {
    io::Error::other(format!("it unpacks to more than 1 GiB and more than {MAX_RATIO} times its size"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn all_that_is_decompressed_shares_an_allowance() {
        let allowance = Allowance::bytes(1000);
        let mut two = [600, 600].map(|len| allowance.limit(io::repeat(0).take(len)));
        assert_eq!(io::copy(&mut two[0], &mut io::sink()).unwrap(), 600);
        assert!(allowance.check(400).is_ok() && allowance.check(401).is_err());
        assert!(io::copy(&mut two[1], &mut io::sink()).unwrap_err().to_string().contains("1000 times"));
    }

    #[test]
    fn each_compression_is_undone_and_bounded() {
        let content = vec![7; 100_000];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&content).unwrap();
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(&content).unwrap();
        let of_each = [
            (Compression::None, content.clone()),
            (Compression::Gzip, gzip.finish().unwrap()),
            (Compression::Zlib, zlib.finish().unwrap()),
            (Compression::Zstd, zstd::encode_all(&content[..], 1).unwrap()),
            (Compression::Bzip2, compressed(Compression::Bzip2, &content)),
            (Compression::Xz, compressed(Compression::Xz, &content)),
            (Compression::Lzma, compressed(Compression::Lzma, &content)),
            (Compression::Lz4, compressed(Compression::Lz4, &content)),
        ];
        for (compression, bytes) in of_each {
            let read = |allowed| {
                let mut read = Vec::new();
                decompressed(compression, &bytes[..], &Allowance::bytes(allowed))?.read_to_end(&mut read).map(|_| read)
            };
            assert_eq!(read(100_000).unwrap(), content, "{compression:?}");
            assert!(read(99_999).is_err(), "{compression:?}");
        }
    }

    /// Compressed as other programs do it.
    fn compressed(compression: Compression, content: &[u8]) -> Vec<u8> {
        match compression {
            Compression::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Xz => {
                let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Lzma => {
                let options = lzma_rust2::LzmaOptions::with_preset(1);
                let mut encoder = lzma_rust2::LzmaWriter::new_use_header(Vec::new(), &options, None).unwrap();
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(content).unwrap();
                encoder.finish().unwrap()
            }
            _ => unreachable!("made otherwise"),
        }
    }

    #[test]
    fn streams_one_after_the_other_are_all_read_or_an_error() {
        for compression in [Compression::Bzip2, Compression::Xz, Compression::Lz4, Compression::Lzma] {
            let two = [compressed(compression, b"first "), compressed(compression, b"second")].concat();
            let mut read = Vec::new();
            let whole = decompressed(compression, &two[..], &Allowance::bytes(100)).unwrap().read_to_end(&mut read);
            if compression == Compression::Lzma {
                assert_eq!((read.as_slice(), whole.is_err()), (&b"first "[..], true));
            } else {
                assert_eq!(read, b"first second", "{compression}");
            }
        }
        // A block of no bytes in the middle of a frame of lz4 is not its end.
        let mut frame = compressed(Compression::Lz4, b"text");
        frame.splice(7..7, 0x8000_0000u32.to_le_bytes());
        let mut read = Vec::new();
        decompressed(Compression::Lz4, &frame[..], &Allowance::bytes(100)).unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, b"text");
    }

    #[test]
    fn a_dictionary_larger_than_memory_is_refused_before_it_is_made() {
        let mut lzma = compressed(Compression::Lzma, b"text");
        lzma[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(decompressed(Compression::Lzma, &lzma[..], &Allowance::bytes(100)).is_err());
        lzma[1..5].copy_from_slice(&(64u32 << 20).to_le_bytes());
        assert!(decompressed(Compression::Lzma, &lzma[..], &Allowance::bytes(100)).is_ok());
        // The property of LZMA2 in the header of the first block: 40 is 4 GiB less one byte. The checksum of that header follows it.
        let mut xz = compressed(Compression::Xz, b"text");
        let property = 12 + 4;
        assert_eq!(xz[property - 2], 0x21);
        xz[property] = 40;
        let end = 12 + (usize::from(xz[12]) + 1) * 4;
        let mut crc = flate2::Crc::new();
        crc.update(&xz[12..end - 4]);
        xz[end - 4..end].copy_from_slice(&crc.sum().to_le_bytes());
        let error = decompressed(Compression::Xz, &xz[..], &Allowance::bytes(100)).unwrap().read(&mut [0; 10]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory, "{error}");
    }
}
