//! A file as a stream of pieces.

use super::FileRange;
use crate::{CHUNK, Result, blocking};
use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A part of a body whose file is sent by the kernel where possible.
pub enum Window {
    /// A part of the file of at most [`CHUNK`] bytes. They were in memory, so sending them waits for no disk.
    Cached(FileRange),
    /// Bytes that were read.
    Read(Bytes),
}

impl Window {
    /// The number of bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Cached(part) => part.len,
            Self::Read(bytes) => bytes.len() as u64,
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps the first `at` bytes, and returns the others.
    ///
    /// # Panics
    ///
    /// Panics if it has fewer than `at` bytes.
    pub fn split_off(&mut self, at: u64) -> Self {
        assert!(at <= self.len(), "it has only {} bytes", self.len());
        match self {
            Self::Cached(part) => {
                let rest = FileRange { offset: part.offset + at, len: part.len - at, ..part.clone() };
                part.len = at;
                Self::Cached(rest)
            }
            Self::Read(bytes) => Self::Read(bytes.split_off(at as usize)),
        }
    }
}

/// The shortest part of a file that the kernel sends. It is cheaper to read fewer bytes, and to send them together with what is before them.
const SHORTEST_CACHED: u64 = 32 << 10;

/// The bytes of a range as pieces of at most `size` bytes. What the kernel has in memory is read at once, the rest on a thread that may block.
pub(super) fn file_stream(range: FileRange, size: usize) -> BoxStream<'static, Result<Bytes>> {
    stream::try_unfold(Reader::new(range, size), |mut reader| async move { Ok(reader.read().await?.map(|piece| (piece, reader))) }).boxed()
}

/// Like [`file_stream`], but what the kernel has in memory is not read. It comes as parts of at most [`CHUNK`] bytes.
pub(super) fn file_windows(range: FileRange, size: usize) -> BoxStream<'static, Result<Window>> {
    stream::try_unfold(Reader::new(range, size), |mut reader| async move {
        let window = match reader.cached() {
            Some(part) => Some(Window::Cached(part)),
            None => reader.read().await?.map(Window::Read),
        };
        Ok(window.map(|window| (window, reader)))
    })
    .boxed()
}

/// The same pieces in order, for a thread that may block. After an error there are no more.
pub(crate) fn file_pieces(range: &FileRange, size: usize) -> impl Iterator<Item = Result<Bytes>> {
    let mut reader = Reader::new(range.clone(), size);
    std::iter::from_fn(move || reader.read_blocking().transpose())
}

/// A range of a file, and how far it was read.
struct Reader {
    range: FileRange,
    at: u64,
    buffers: Buffers,
}

impl Reader {
    fn new(range: FileRange, size: usize) -> Self {
        let size = size.min(usize::try_from(range.len).unwrap_or(size));
        Self { range, at: 0, buffers: Buffers { size, spare: Arc::default() } }
    }

    /// The next piece, or `None` at the end.
    async fn read(&mut self) -> Result<Option<Bytes>> {
        let at = self.at;
        if at == self.range.len {
            return Ok(None);
        }
        let mut buffer = self.buffers.take();
        let n = match self.range.read_cached(&mut buffer, at) {
            Some(n) => n,
            None => {
                let of = self.range.clone();
                let (filled, read) = blocking(move || {
                    let read = of.read_at(&mut buffer, at);
                    (buffer, read)
                })
                .await;
                buffer = filled;
                read?
            }
        };
        self.at += n as u64;
        Ok(Some(self.buffers.piece(buffer, n)))
    }

    /// The next piece, or `None` at the end; blocks.
    fn read_blocking(&mut self) -> Result<Option<Bytes>> {
        if self.at == self.range.len {
            return Ok(None);
        }
        let mut buffer = self.buffers.take();
        let n = self.range.read_at(&mut buffer, self.at)?;
        self.at += n as u64;
        Ok(Some(self.buffers.piece(buffer, n)))
    }

    /// The next part of at most [`CHUNK`] bytes, if it is in memory and not short. It counts as read.
    fn cached(&mut self) -> Option<FileRange> {
        let len = (CHUNK as u64).min(self.range.len - self.at);
        let part = if len < SHORTEST_CACHED { None } else { self.range.cached(self.at, len) };
        self.at += part.as_ref().map_or(0, |part| part.len);
        part
    }
}

/// Buffers that are used again when the pieces made of them are dropped. A stream needs no more buffers than its reader holds at the same
/// time, and none is cleared or freed in between.
#[derive(Clone)]
struct Buffers {
    size: usize,
    spare: Arc<Mutex<Vec<Box<[u8]>>>>,
}

impl Buffers {
    fn spare(&self) -> MutexGuard<'_, Vec<Box<[u8]>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Box<[u8]> {
        self.spare().pop().unwrap_or_else(|| vec![0; self.size].into())
    }

    /// The first `len` bytes of a buffer.
    fn piece(&self, buffer: Box<[u8]>, len: usize) -> Bytes {
        Bytes::from_owner(Piece { buffer, len, home: self.clone() })
    }
}

struct Piece {
    buffer: Box<[u8]>,
    len: usize,
    home: Buffers,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.home.spare().push(std::mem::take(&mut self.buffer));
    }
}
