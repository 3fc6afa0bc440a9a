//! The one place where a layer's bytes are compared with its descriptor.

use modelpack_spec::{Descriptor, Digest, Hasher};
use modelpack_store::{Error, Result};

/// Hashes and counts the bytes of a layer as they come.
pub(super) struct Verifier {
    what: String,
    expected: Digest,
    size: u64,
    hasher: Hasher,
    len: u64,
}

impl Verifier {
    /// `what` is the layer in an error.
    pub(super) fn new(what: &str, descriptor: &Descriptor) -> Self {
        let hasher = Hasher::new(descriptor.digest.algorithm());
        Self { what: what.to_owned(), expected: descriptor.digest.clone(), size: descriptor.size, hasher, len: 0 }
    }

    /// Takes the next bytes; fails if they are more than the descriptor says.
    pub(super) fn update(&mut self, bytes: &[u8]) -> Result<()> {
        self.len += bytes.len() as u64;
        if self.len > self.size {
            return Err(self.wrong_size());
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
        if self.len != self.size {
            return Err(self.wrong_size());
        }
        let found = self.hasher.finish();
        if found != self.expected {
            return Err(Error::WrongDigest { what: self.what, expected: self.expected, found });
        }
        Ok(())
    }

    fn wrong_size(&self) -> Error {
        Error::WrongSize { what: self.what.clone(), expected: self.size, found: self.len }
    }
}
