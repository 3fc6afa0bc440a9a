//! A blob as something that is read from anywhere, on a thread that may block.

use modelpack_spec::Descriptor;
use modelpack_transfer::{Error, Source};
use std::{
    io::{self, Read, Seek, SeekFrom},
    sync::Arc,
};
use tokio::runtime::Handle;

/// How much is asked for at first, and after each move.
const MIN_PIECE: u64 = 64 << 10;
/// How much is asked for at most, when reading goes on and on.
const MAX_PIECE: u64 = 4 << 20;

/// Reads a blob in ranges: larger and larger ones as long as they follow each other.
pub(crate) struct BlobReader {
    source: Arc<dyn Source>,
    blob: Descriptor,
    handle: Handle,
    at: u64,
    piece: Vec<u8>,
    piece_at: u64,
    next: u64,
    /// What failed, for whoever wants to know better than by an I/O error.
    pub(crate) failed: Option<Error>,
}

impl BlobReader {
    pub(crate) fn new(source: Arc<dyn Source>, blob: Descriptor, handle: Handle) -> Self {
        Self { source, blob, handle, at: 0, piece: Vec::new(), piece_at: 0, next: MIN_PIECE, failed: None }
    }

    fn fetch(&mut self) -> Result<(), Error> {
        let is_next = self.at == self.piece_at + self.piece.len() as u64;
        self.next = if is_next { (self.next * 2).min(MAX_PIECE) } else { MIN_PIECE };
        let range = self.at..self.at.saturating_add(self.next).min(self.blob.size);
        let length = range.end - range.start;
        let what = format!("blob {}", self.blob.digest);
        let piece = self.handle.block_on(async {
            self.source.blob(&self.blob, range).await?.collect(usize::try_from(length).unwrap_or(usize::MAX), &what).await
        })?;
        if piece.len() as u64 != length {
            return Err(Error::WrongSize { what, expected: self.blob.size, found: self.at + piece.len() as u64 });
        }
        (self.piece, self.piece_at) = (piece, self.at);
        Ok(())
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.blob.size || buffer.is_empty() {
            return Ok(0);
        }
        let is_here = self.at >= self.piece_at && self.at < self.piece_at + self.piece.len() as u64;
        if !is_here && let Err(error) = self.fetch() {
            let message = error.to_string();
            self.failed.get_or_insert(error);
            return Err(io::Error::other(message));
        }
        let from = usize::try_from(self.at - self.piece_at).expect("a piece fits into memory");
        let n = (&self.piece[from..]).read(buffer)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Seek for BlobReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.blob.size.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
