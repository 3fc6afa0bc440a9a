//! Which tags there should be: what one user pushed, and whether it may be taken away from it.

use crate::random::Random;
use std::collections::HashMap;

#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    pub repository: u64,
    pub tag: String,
}

struct State {
    digest: String,
    /// How many users push it now, or read what they pushed.
    holders: usize,
    pushed: bool,
}

/// The tags of all repositories. That which all users share is never free.
#[derive(Default)]
pub struct References(HashMap<Reference, State>);

impl References {
    /// A user begins to push.
    pub fn hold(&mut self, reference: &Reference, digest: &str) {
        let state = self.0.entry(reference.clone()).or_insert(State { digest: String::new(), holders: 0, pushed: false });
        digest.clone_into(&mut state.digest);
        state.holders += 1;
    }

    /// What the user pushed was found to be whole.
    pub fn release(&mut self, reference: &Reference) {
        if let Some(state) = self.0.get_mut(reference) {
            (state.holders, state.pushed) = (state.holders - 1, true);
        }
    }

    /// Whether some push of it succeeded.
    pub fn is_pushed(&self, reference: &Reference) -> bool {
        self.0.get(reference).is_some_and(|state| state.pushed)
    }

    /// Whether a user needs this manifest of the repository.
    pub fn is_held(&self, repository: u64, digest: &str) -> bool {
        self.0.iter().any(|(reference, state)| reference.repository == repository && state.digest == digest && state.holders > 0)
    }

    /// A tag that no user needs, and its digest.
    pub fn any_free(&self, random: &mut Random) -> Option<(Reference, String)> {
        let mut free: Vec<_> = self.0.iter().filter(|(reference, state)| state.holders == 0 && reference.tag != "latest").collect();
        free.sort_by_key(|(reference, _)| (reference.repository, &reference.tag));
        let index = usize::try_from(random.below(free.len().max(1) as u64)).expect("it is less than a length");
        free.get(index).map(|(reference, state)| ((*reference).clone(), state.digest.clone()))
    }

    pub fn forget(&mut self, reference: &Reference) {
        self.0.remove(reference);
    }

    /// The manifest is gone, and all its tags with it.
    pub fn forget_all(&mut self, repository: u64, digest: &str) {
        self.0.retain(|reference, state| reference.repository != repository || state.digest != digest);
    }
}
