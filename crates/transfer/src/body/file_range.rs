//! A range of an open file, and reading it.

use crate::{
    CHUNK, Error, Result, VerifiedBlob, Verifier,
    platform::{is_cached, read_cached},
    verify::verify_part,
};
use modelpack_spec::{Algorithm, Descriptor, Digest, Hasher, MAX_MANIFEST_BYTES};
use rustix::fs::OFlags;
use std::{
    fs::{File, OpenOptions},
    io,
    ops::Range,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A range of an open file.
#[derive(Clone)]
pub struct FileRange {
    /// The file.
    pub file: Arc<File>,
    /// Its name in an error.
    pub path: PathBuf,
    /// Where the range begins.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

impl FileRange {
    /// Opens the whole file at `path`. Fails if it is a pipe, a device or a directory, and does not wait for the other end of a pipe.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok(Self { file: Arc::new(file), path: path.to_owned(), offset: 0, len: metadata.len() })
    }

    /// Reads at most `buffer.len()` bytes at `at`, counted from the beginning of the range. Fails with [`Error::Changed`] if the file has
    /// become shorter.
    pub fn read_at(&self, buffer: &mut [u8], at: u64) -> Result<usize> {
        let want = buffer.len().min(usize::try_from(self.len - at).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        loop {
            match self.file.read_at(&mut buffer[..want], self.offset + at) {
                Ok(0) => return Err(Error::Changed { path: self.path.clone() }),
                Ok(n) => return Ok(n),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read", &self.path)(e)),
            }
        }
    }

    /// Calls `take` with all bytes in order, at most [`CHUNK`] at a time. Stops if it fails, and returns its error.
    pub fn read_all(&self, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut buffer = vec![0; CHUNK.min(usize::try_from(self.len).unwrap_or(CHUNK))];
        let mut at = 0;
        while at < self.len {
            let n = self.read_at(&mut buffer, at)?;
            take(&buffer[..n])?;
            at += n as u64;
        }
        Ok(())
    }

    /// Reads all bytes of a range that the caller knows to be small.
    pub fn read(&self) -> Result<Vec<u8>> {
        // A buffer that grows is copied, and needs the memory twice for that time.
        let mut bytes = Vec::with_capacity(self.len.min(MAX_MANIFEST_BYTES as u64) as usize);
        self.read_all(|piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Reads all bytes and returns their digest.
    pub fn digest(&self, algorithm: Algorithm) -> Result<Digest> {
        let mut hasher = Hasher::new(algorithm);
        self.read_all(|piece| {
            hasher.update(piece);
            Ok(())
        })?;
        Ok(hasher.finish())
    }

    /// Reads all bytes into `verifier`. Fails if they are not the expected ones.
    pub fn verify(&self, mut verifier: Verifier) -> Result<VerifiedBlob> {
        self.read_all(|piece| verifier.update(piece))?;
        verifier.finish()
    }

    /// Whether it is all of its file.
    pub fn is_whole(&self) -> bool {
        self.offset == 0 && self.file.metadata().is_ok_and(|metadata| metadata.len() == self.len)
    }

    /// Whether all bytes are in memory, and there are some. See [`is_cached`](crate::platform::is_cached).
    pub fn is_cached(&self) -> bool {
        is_cached(&self.file, self.offset..self.offset + self.len)
    }

    /// A reader of all bytes, which reads [`CHUNK`] bytes at a time.
    pub fn buffered(&self) -> impl io::BufRead + '_ {
        struct Bytes<'a>(&'a FileRange, u64);
        impl io::Read for Bytes<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let n = self.0.read_at(buffer, self.1).map_err(io::Error::other)?;
                self.1 += n as u64;
                Ok(n)
            }
        }
        io::BufReader::with_capacity(CHUNK, Bytes(self, 0))
    }

    /// A part of this range, which holds all of `blob`. `what` is the blob's name in an error.
    pub fn slice(self, part: Range<u64>, blob: &Descriptor, what: &str) -> Result<Self> {
        verify_part(&part, blob, self.len, what)?;
        Ok(Self { offset: self.offset + part.start, len: part.end - part.start, ..self })
    }

    /// The `len` bytes from `at` on, counted from the beginning of the range, if they are in memory.
    pub(super) fn cached(&self, at: u64, len: u64) -> Option<Self> {
        let part = Self { offset: self.offset + at, len, ..self.clone() };
        part.is_cached().then_some(part)
    }

    /// Like [`read_at`](Self::read_at) if the bytes are in the page cache. `None` if the read might have to wait for the disk, or fails.
    pub(super) fn read_cached(&self, buffer: &mut [u8], at: u64) -> Option<usize> {
        let want = buffer.len().min(usize::try_from(self.len - at).unwrap_or(usize::MAX));
        read_cached(&self.file, &mut buffer[..want], self.offset + at)
    }
}
