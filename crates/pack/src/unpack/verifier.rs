//! Hashes the bytes of a layer as they arrive, and compares them with its descriptor at the end.

use modelpack_spec::{Descriptor, Hasher};
use modelpack_transfer::{Error, Result, verify_blob};

/// Hashes and counts the bytes of a layer as they arrive.
pub(super) struct Verifier {
    what: String,
    expected: Descriptor,
    hasher: Hasher,
    len: u64,
}

impl Verifier {
    /// `what` is the name of the layer in errors.
    pub(super) fn new(what: &str, descriptor: &Descriptor) -> Self {
        let hasher = Hasher::new(descriptor.digest.algorithm());
        Self { what: what.to_owned(), expected: descriptor.clone(), hasher, len: 0 }
    }

    /// Adds the next bytes. Fails if there are more than the descriptor states.
    pub(super) fn update(&mut self, bytes: &[u8]) -> Result<()> {
        self.len += bytes.len() as u64;
        if self.len > self.expected.size {
            return Err(Error::WrongSize { what: self.what.clone(), expected: self.expected.size, found: self.len });
        }
        self.hasher.update(bytes);
        Ok(())
    }

    /// The number of bytes added.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Fails if the bytes do not match the size and digest of the descriptor.
    pub(super) fn finish(self) -> Result<()> {
        verify_blob(&self.what, &self.expected, &self.hasher.finish(), self.len)
    }
}
