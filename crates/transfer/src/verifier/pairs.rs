//! Reading and hashing parts of files on one thread, two at a time.
//!
//! Both buffers stay in the cache of the processor, so this is faster than hashing what another thread has read.

use super::Verifier;
use crate::{CHUNK, FileRange, Result};

/// Bytes of a file that are read and hashed in order.
pub(super) trait Part {
    /// The file, and where in it the part ends. It begins after the bytes that its verifier has taken.
    fn source(&self) -> (&FileRange, u64);

    /// Takes the bytes.
    fn verifier(&mut self) -> &mut Verifier;

    /// Called with each piece and its position in the file before it is hashed. If it fails, the part ends.
    fn read(&mut self, at: u64, piece: &[u8]) -> Result<()>;

    /// Called at the end: when the verifier has taken all bytes, or with the first error.
    fn finish(self, read: Result<()>);
}

/// Reads and hashes parts until there is no next one; blocks. `next` is told how many are being hashed at that time.
pub(super) fn hash_in_pairs<P: Part>(mut next: impl FnMut(usize) -> Option<P>) {
    let (mut one, mut other) = (Slot::new(), Slot::new());
    loop {
        one.fill(|| next(usize::from(other.part.is_some())));
        other.fill(|| next(usize::from(one.part.is_some())));
        match (&mut one.part, &mut other.part) {
            (Some(part), Some(other_part)) => {
                let len = (one.len - one.used).min(other.len - other.used);
                let (bytes, other_bytes) = (one.used..one.used + len, other.used..other.used + len);
                Verifier::update_pair(part.verifier(), &one.buffer[bytes], other_part.verifier(), &other.buffer[other_bytes]);
                (one.used, other.used) = (one.used + len, other.used + len);
            }
            (Some(_), None) => one.hash(),
            (None, Some(_)) => other.hash(),
            (None, None) => return,
        }
    }
}

struct Slot<P> {
    part: Option<P>,
    buffer: Vec<u8>,
    /// How many bytes are in the buffer, and how many of them the verifier has taken.
    len: usize,
    used: usize,
}

impl<P: Part> Slot<P> {
    fn new() -> Self {
        Self { part: None, buffer: Vec::new(), len: 0, used: 0 }
    }

    /// Reads the next piece if the buffer is used up: of its part or, if that is finished, of the next one.
    fn fill(&mut self, mut next: impl FnMut() -> Option<P>) {
        while self.used == self.len {
            let Some(mut part) = self.part.take().or_else(&mut next) else { return };
            let at = part.verifier().count();
            let (file, end) = part.source();
            if at >= end {
                part.finish(Ok(()));
                continue;
            }
            self.buffer.resize(CHUNK, 0);
            let want = usize::try_from(end - at).map_or(CHUNK, |left| left.min(CHUNK));
            let read = file.read_at(&mut self.buffer[..want], at);
            match read.and_then(|len| part.read(at, &self.buffer[..len]).map(|()| len)) {
                Ok(len) => (self.part, self.len, self.used) = (Some(part), len, 0),
                Err(error) => part.finish(Err(error)),
            }
        }
    }

    /// Hashes what was read.
    fn hash(&mut self) {
        if let Some(part) = &mut self.part {
            part.verifier().take(&self.buffer[self.used..self.len]);
            self.used = self.len;
        }
    }
}
