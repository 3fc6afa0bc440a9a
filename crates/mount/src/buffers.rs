//! Memory for the bytes on their way from a file to the kernel.

use modelpack_transfer::{Error, FileRange, Result, platform::read_cached};
use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many buffers there are at the most. The kernel asks for at most 1 MiB at a time.
const MOST: usize = 16;

/// Buffers that are used again: new memory has to be cleared by the kernel, page by page.
pub(crate) struct Buffers {
    free: Mutex<Vec<Vec<u8>>>,
    turns: Arc<Semaphore>,
}

/// A buffer, which goes back when it is dropped.
pub(crate) struct Buffer<'a> {
    of: &'a Buffers,
    bytes: Vec<u8>,
    len: usize,
    turn: Option<OwnedSemaphorePermit>,
}

impl Buffers {
    pub(crate) fn new() -> Self {
        Self { free: Mutex::default(), turns: Arc::new(Semaphore::new(MOST)) }
    }

    fn free(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer for `len` bytes, for one of the few threads that answer the kernel.
    pub(crate) fn take(&self, len: usize) -> Buffer<'_> {
        let mut bytes = self.free().pop().unwrap_or_default();
        if bytes.len() < len {
            bytes.resize(len, 0);
        }
        Buffer { of: self, bytes, len, turn: None }
    }

    /// The same for one of many tasks. It waits while there are many buffers.
    pub(crate) async fn take_in_turn(&self, len: usize) -> Buffer<'_> {
        let turn = self.turns.clone().acquire_owned().await.ok();
        let mut buffer = self.take(len);
        buffer.turn = turn;
        buffer
    }
}

impl Buffer<'_> {
    /// Fills it with bytes of `file` that are in memory. Returns whether all of them were.
    pub(crate) fn fill_from_memory(&mut self, file: &FileRange, at: u64) -> bool {
        let mut filled = 0;
        while filled < self.len {
            match read_cached(&file.file, &mut self.bytes[filled..self.len], file.offset + at + filled as u64) {
                Some(n @ 1..) => filled += n,
                _ => return false,
            }
        }
        true
    }

    /// Fills it with bytes of `file`; blocks.
    pub(crate) fn fill(&mut self, file: &FileRange, range: Range<u64>) -> Result<(), Error> {
        let mut filled = 0;
        while filled < self.len {
            filled += file.read_at(&mut self.bytes[filled..self.len], range.start + filled as u64)?;
        }
        Ok(())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        let mut free = self.of.free();
        if free.len() < MOST {
            free.push(std::mem::take(&mut self.bytes));
        }
        drop(self.turn.take());
    }
}
