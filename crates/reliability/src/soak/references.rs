//! The expected tags: which ones users pushed, and whether they may be deleted.

use modelpack_testkit::Random;
use std::collections::HashMap;

#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    pub repository: u64,
    pub tag: String,
}

struct State {
    digest: String,
    /// The number of users that currently push it, or read what they pushed.
    holders: usize,
    pushed: bool,
}

/// The tags of all repositories. A tag that all users share is never free.
#[derive(Default)]
pub struct References(HashMap<Reference, State>);

impl References {
    /// A user starts a push.
    pub fn hold(&mut self, reference: &Reference, digest: &str) {
        let state = self.0.entry(reference.clone()).or_insert(State { digest: String::new(), holders: 0, pushed: false });
        digest.clone_into(&mut state.digest);
        state.holders += 1;
    }

    /// The user has checked that the pushed artifact is complete.
    pub fn release(&mut self, reference: &Reference) {
        if let Some(state) = self.0.get_mut(reference) {
            (state.holders, state.pushed) = (state.holders - 1, true);
        }
    }

    /// Whether any push of it succeeded.
    pub fn is_pushed(&self, reference: &Reference) -> bool {
        self.0.get(reference).is_some_and(|state| state.pushed)
    }

    /// Whether a user currently needs this manifest of the repository.
    pub fn is_held(&self, repository: u64, digest: &str) -> bool {
        self.0.iter().any(|(reference, state)| reference.repository == repository && state.digest == digest && state.holders > 0)
    }

    /// A tag that no user currently needs, and its digest.
    pub fn any_free(&self, random: &mut Random) -> Option<(Reference, String)> {
        let mut free: Vec<_> = self.0.iter().filter(|(reference, state)| state.holders == 0 && reference.tag != "latest").collect();
        free.sort_by_key(|(reference, _)| (reference.repository, &reference.tag));
        let index = usize::try_from(random.below(free.len().max(1) as u64)).expect("it is smaller than the length");
        free.get(index).map(|(reference, state)| ((*reference).clone(), state.digest.clone()))
    }

    pub fn forget(&mut self, reference: &Reference) {
        self.0.remove(reference);
    }

    /// The manifest was deleted, with all its tags.
    pub fn forget_all(&mut self, repository: u64, digest: &str) {
        self.0.retain(|reference, state| reference.repository != repository || state.digest != digest);
    }
}
