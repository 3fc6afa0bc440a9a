//! Names of which none may come twice.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
};

/// The names so far, as hashes by a key that no file knows: some 20 bytes each, however long they are.
#[derive(Default)]
pub(crate) struct Names {
    hashes: HashSet<u64>,
    hash: RandomState,
}

impl Names {
    /// Takes a name; false if it was there already.
    pub(crate) fn insert(&mut self, name: &[u8]) -> bool {
        self.hashes.insert(self.hash.hash_one(name))
    }
}
