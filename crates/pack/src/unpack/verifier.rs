//! A layer's bytes, hashed as they come and compared with its descriptor at the end.

use modelpack_spec::{Descriptor, Hasher};
use modelpack_transfer::{Error, Result, verify_blob};

/// Hashes and counts the bytes of a layer as they come.
pub(super) struct Verifier {
    what: String,
    expected: Descriptor,
    hasher: Hasher,
    len: u64,
}

impl Verifier {
    /// `what` is the layer in an error.
    pub(super) fn new(what: &str, descriptor: &Descriptor) -> Self {
        let hasher = Hasher::new(descriptor.digest.algorithm());
        Self { what: what.to_owned(), expected: descriptor.clone(), hasher, len: 0 }
    }

    /// Takes the next bytes; fails if they are more than the descriptor says.
    pub(super) fn update(&mut self, bytes: &[u8]) -> Result<()> {
        self.len += bytes.len() as u64;
        if self.len > self.expected.size {
            return Err(Error::WrongSize { what: self.what.clone(), expected: self.expected.size, found: self.len });
        }
        self.hasher.update(bytes);
        Ok(())
    }

    /// How many bytes were taken.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Fails if the bytes are fewer than the descriptor says, or others.
    pub(super) fn finish(self) -> Result<()> {
        verify_blob(&self.what, &self.expected, &self.hasher.finish(), self.len)
    }
}
