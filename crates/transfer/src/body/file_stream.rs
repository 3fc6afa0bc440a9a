//! A file as a stream of pieces.

use super::FileRange;
use crate::{Result, blocking};
use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The bytes of a range as pieces of at most `size` bytes. What the kernel has in memory is read at once, the rest on a thread that may block.
pub(super) fn file_stream(range: FileRange, size: usize) -> BoxStream<'static, Result<Bytes>> {
    let buffers = Buffers { size: size.min(usize::try_from(range.len).unwrap_or(size)), spare: Arc::default() };
    stream::try_unfold((range, 0, buffers), |(range, at, buffers)| async move {
        if at == range.len {
            return Ok(None);
        }
        let mut buffer = buffers.take();
        let n = match range.read_cached(&mut buffer, at) {
            Some(n) => n,
            None => {
                let of = range.clone();
                let (filled, read) = blocking(move || {
                    let read = of.read_at(&mut buffer, at);
                    (buffer, read)
                })
                .await;
                buffer = filled;
                read?
            }
        };
        Ok(Some((buffers.piece(buffer, n), (range, at + n as u64, buffers))))
    })
    .boxed()
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
