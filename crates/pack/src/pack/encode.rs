//! Compression of archives: the same bytes on every machine, for one version of the libraries.
//!
//! - gzip uses `zlib-rs` directly and not through `flate2`, whose back end another crate of the
//!   program may choose. In its compressor, only the comparison of bytes and the sliding of tables
//!   have variants for different processors, and these have a single correct result. Unlike other
//!   zlibs, it does not choose a hash function by the processor. The header contains no time, name
//!   or system.
//! - zstd runs on one thread. From level 5 on, it would search differently on processors without
//!   vector instructions; at level 3 it does not. The frame contains the length of the archive and
//!   no checksum, because every layer has a digest.
//!
//! Both get pieces that depend only on the files, so the result does not depend on the reads from a
//! disk. Tests contain the digests of both outputs.

use modelpack_spec::Encoding;
use std::io::{self, Write};
use zlib_rs::{Deflate, DeflateFlush, Status};

const GZIP_LEVEL: i32 = 6;
/// The header. Its effort field has the value for neither the least nor the most effort.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
const WINDOW_BITS: u8 = 15;
const ZSTD_LEVEL: i32 = 3;

/// An encoder for an archive in one of the encodings.
pub(super) enum Encoder<W: Write> {
    Plain(W),
    Gzip(Box<Gzip<W>>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    /// `len` is the size of the archive in bytes.
    pub(super) fn new(encoding: Encoding, len: u64, out: W) -> io::Result<Self> {
        Ok(match encoding {
            Encoding::Raw | Encoding::Tar => Self::Plain(out),
            Encoding::TarGzip => Self::Gzip(Box::new(Gzip::new(out)?)),
            Encoding::TarZstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?;
                encoder.set_pledged_src_size(Some(len))?;
                encoder.include_contentsize(true)?;
                encoder.include_checksum(false)?;
                encoder.include_dictid(false)?;
                Self::Zstd(encoder)
            }
        })
    }

    /// Writes the remaining bytes.
    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(out) => Ok(out),
            Self::Gzip(gzip) => gzip.finish(),
            Self::Zstd(zstd) => zstd.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Gzip(gzip) => gzip.write(bytes),
            Self::Zstd(zstd) => zstd.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // Flushing a compressor would change its output.
        Ok(())
    }
}

/// A gzip stream with one member.
pub(super) struct Gzip<W> {
    out: W,
    deflate: Deflate,
    buffer: Box<[u8]>,
    checksum: u32,
}

impl<W: Write> Gzip<W> {
    fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&GZIP_HEADER)?;
        let deflate = Deflate::new(GZIP_LEVEL, false, WINDOW_BITS);
        Ok(Self { out, deflate, buffer: vec![0; 32 << 10].into(), checksum: zlib_rs::crc32::crc32(0, &[]) })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let before = self.deflate.total_in();
        // The compressor may use a call only to write output. Returning zero would mean the end to
        // the caller, so the loop continues.
        while self.deflate.total_in() == before && !bytes.is_empty() {
            self.deflate(bytes, DeflateFlush::NoFlush)?;
        }
        let taken = (self.deflate.total_in() - before) as usize;
        self.checksum = zlib_rs::crc32::crc32(self.checksum, &bytes[..taken]);
        Ok(taken)
    }

    fn finish(mut self) -> io::Result<W> {
        while self.deflate(&[], DeflateFlush::Finish)? != Status::StreamEnd {}
        self.out.write_all(&self.checksum.to_le_bytes())?;
        // The length is stored modulo 4 GiB.
        self.out.write_all(&(self.deflate.total_in() as u32).to_le_bytes())?;
        Ok(self.out)
    }

    /// Compresses a part of `bytes`, and writes the output.
    fn deflate(&mut self, bytes: &[u8], flush: DeflateFlush) -> io::Result<Status> {
        let before = self.deflate.total_out();
        let status = self.deflate.compress(bytes, &mut self.buffer, flush).map_err(|error| io::Error::other(error.as_str()))?;
        let made = (self.deflate.total_out() - before) as usize;
        self.out.write_all(&self.buffer[..made])?;
        Ok(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use modelpack_spec::Digest;
    use std::io::Read;

    /// Bytes that are neither uniform nor random.
    fn sample(len: usize) -> Vec<u8> {
        let mut state = 1u32;
        let mut word = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            format!("{} ", state >> 20)
        };
        let mut bytes = Vec::new();
        while bytes.len() < len {
            bytes.extend(word().into_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    fn encoded(encoding: Encoding, bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut encoder = Encoder::new(encoding, bytes.len() as u64, Vec::new()).unwrap();
        bytes.chunks(piece).for_each(|piece| encoder.write_all(piece).unwrap());
        encoder.finish().unwrap()
    }

    #[test]
    fn the_bytes_never_change() {
        let bytes = sample(1_000_000);
        let digest = |encoding| Digest::of(&encoded(encoding, &bytes, 10_240)).to_string();
        assert_eq!(digest(Encoding::Tar), Digest::of(&bytes).to_string());
        let expected = [
            "sha256:50c87319fcb850d5c53380068d6bbcc27b6b999a4a76086e1a10eb64095715be",
            "sha256:4c4a430d5998b8613837c22704c4b678a3d0a9cdf3b416cceb2999184aba0e2b",
        ];
        assert_eq!([Encoding::TarGzip, Encoding::TarZstd].map(digest), expected);
    }

    #[test]
    fn compressed_bytes_are_decompressed_unchanged() {
        for len in [0, 1, 100_000] {
            let bytes = sample(len);
            let mut read = Vec::new();
            flate2::bufread::GzDecoder::new(&encoded(Encoding::TarGzip, &bytes, 999)[..]).read_to_end(&mut read).unwrap();
            assert!(read == bytes);
            assert!(zstd::decode_all(&encoded(Encoding::TarZstd, &bytes, 999)[..]).unwrap() == bytes);
        }
    }

    #[test]
    fn random_bytes_are_decompressed_unchanged() {
        let mut state = 1_u64;
        let mut word = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        // After some six million of these bytes, the compressor must write a full buffer before it
        // accepts more.
        let bytes: Vec<u8> = std::iter::repeat_with(&mut word).take(900_000).flatten().collect();
        let mut read = Vec::new();
        flate2::bufread::GzDecoder::new(&encoded(Encoding::TarGzip, &bytes, 1 << 16)[..]).read_to_end(&mut read).unwrap();
        assert!(read == bytes);
        assert!(zstd::decode_all(&encoded(Encoding::TarZstd, &bytes, 1 << 16)[..]).unwrap() == bytes);
    }

    #[test]
    fn the_headers_are_independent_of_the_machine() {
        assert_eq!(encoded(Encoding::TarGzip, b"x", 1)[..10], GZIP_HEADER);
        let frame = encoded(Encoding::TarZstd, &sample(1000), 1000);
        assert_eq!(zstd::zstd_safe::get_frame_content_size(&frame).unwrap(), Some(1000));
    }
}
