//! Decompression with a bound on the output, because few bytes may decompress to very many.

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

/// The output may always have this many bytes.
const MIN_ALLOWANCE: u64 = 1 << 30;
/// Larger output may have this many times the input's size, which is about the most that gzip can
/// reach.
const MAX_RATIO: u64 = 1000;
/// The largest window that a zstd stream may ask for, as a power of two: 128 MiB of memory.
pub(crate) const ZSTD_WINDOW_LOG: u32 = 27;
/// The memory limit for an xz or lzma stream, in KiB: a dictionary of 128 MiB, and the decoder's
/// own needs.
pub(crate) const LZMA_MEMORY_KIB: u32 = (128 << 10) + (8 << 10);

/// A compression format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not compressed.
    None,
    /// One or more gzip members.
    Gzip,
    /// A zlib stream.
    Zlib,
    /// zstd frames.
    Zstd,
    /// One or more bzip2 streams.
    Bzip2,
    /// One or more xz streams.
    Xz,
    /// A stream of the older lzma format, which lzma tools call "alone".
    Lzma,
    /// lz4 frames.
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

/// The number of bytes that decompression may still produce. Clones share it.
#[derive(Clone, Debug)]
pub struct Allowance(Arc<AtomicU64>);

impl Allowance {
    /// The allowance for `stored` compressed bytes: 1 GiB, or 1000 times their size if that is
    /// more.
    pub fn of(stored: u64) -> Self {
        Self::bytes(MIN_ALLOWANCE.max(stored.saturating_mul(MAX_RATIO)))
    }

    /// An allowance of exactly `bytes` bytes.
    pub fn bytes(bytes: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bytes)))
    }

    /// Fails if fewer than `bytes` are left. Does not reduce the allowance.
    pub fn check(&self, bytes: u64) -> io::Result<()> {
        if bytes > self.0.load(Relaxed) { Err(too_large()) } else { Ok(()) }
    }

    /// Wraps `reader`: each byte read reduces the allowance.
    pub fn limit<R: Read>(&self, reader: R) -> Limited<R> {
        Limited { reader, allowance: self.clone() }
    }
}

/// A reader whose bytes are counted against an [`Allowance`]. Reading fails when the allowance is
/// used up.
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

/// Decompresses `reader`. The output is counted against `allowance`.
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

/// A decoder that is not called again after an error: some decoders misbehave when they are.
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
            return Err(io::Error::other("decompression failed before"));
        }
        let read = self.decoder.read(buffer);
        self.has_failed = read.is_err();
        read
    }
}

/// One lzma stream. Programs treat bytes after its end differently, so such bytes are an error.
struct Lzma<R> {
    /// `None` at its end.
    decoder: Option<LzmaReader<R>>,
}

impl<R: Read> Lzma<R> {
    fn new(reader: R) -> io::Result<Self> {
        let mut decoder = LzmaReader::new_mem_limit(reader, LZMA_MEMORY_KIB, None)?;
        // Data before an error is returned first, as other programs do.
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
                return Err(io::Error::new(io::ErrorKind::InvalidData, "there are bytes after the end of an lzma stream"));
            }
        }
        Ok(read)
    }
}

/// A sequence of lz4 frames. The decoder stops at the end of each frame, and also at an empty block
/// inside a frame.
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
    fn all_decompressed_data_shares_an_allowance() {
        let allowance = Allowance::bytes(1000);
        let mut two = [600, 600].map(|len| allowance.limit(io::repeat(0).take(len)));
        assert_eq!(io::copy(&mut two[0], &mut io::sink()).unwrap(), 600);
        assert!(allowance.check(400).is_ok() && allowance.check(401).is_err());
        assert!(io::copy(&mut two[1], &mut io::sink()).unwrap_err().to_string().contains("1000 times"));
    }

    #[test]
    fn each_format_is_decompressed_and_bounded() {
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

    /// Compresses `content` as other programs do.
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
            _ => unreachable!("no encoder for this format"),
        }
    }

    #[test]
    fn several_streams_are_all_read_or_are_an_error() {
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
        // An empty block inside an lz4 frame does not end the frame.
        let mut frame = compressed(Compression::Lz4, b"text");
        frame.splice(7..7, 0x8000_0000u32.to_le_bytes());
        let mut read = Vec::new();
        decompressed(Compression::Lz4, &frame[..], &Allowance::bytes(100)).unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, b"text");
    }

    #[test]
    fn a_too_large_dictionary_is_refused_before_it_is_allocated() {
        let mut lzma = compressed(Compression::Lzma, b"text");
        lzma[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(decompressed(Compression::Lzma, &lzma[..], &Allowance::bytes(100)).is_err());
        lzma[1..5].copy_from_slice(&(64u32 << 20).to_le_bytes());
        assert!(decompressed(Compression::Lzma, &lzma[..], &Allowance::bytes(100)).is_ok());
        // The dictionary-size property of LZMA2 in the first block's header: 40 means 4 GiB less
        // one byte. The checksum of that header follows it.
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
