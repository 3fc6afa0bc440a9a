//! What is compressed, with a bound on what it may become: few bytes can say many.

use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use std::{
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
const ZSTD_WINDOW_LOG: u32 = 27;

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
    };
    Ok(allowance.limit(decoder))
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
}
