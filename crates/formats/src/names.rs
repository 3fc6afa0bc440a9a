//! Detection of duplicate names.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
};

/// The names so far, as keyed hashes whose key a file cannot know: some 20 bytes each, whatever
/// their length.
#[derive(Default)]
pub(crate) struct Names {
    hashes: HashSet<u64>,
    hash: RandomState,
}

impl Names {
    /// Adds a name. Returns false if it was added before.
    pub(crate) fn insert(&mut self, name: &[u8]) -> bool {
        self.hashes.insert(self.hash.hash_one(name))
    }
}
