//! The patterns that apply in one directory, so that a walk visits only directories to which a
//! pattern leads.

use super::left_out::{is_foreign, is_hidden};
use crate::modelfile::{Component, Glob, Pattern};
use std::collections::HashMap;

/// A pattern by its number, and how many of its components have matched directories. If all have,
/// everything below is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) pattern: usize,
    pub(super) matched: usize,
}

/// The states of all patterns in one directory, arranged for lookups by name.
pub(super) struct Level<'a> {
    patterns: &'a [&'a Pattern],
    names: HashMap<&'a str, Vec<State>>,
    globs: Vec<(&'a Glob, State)>,
    below: Vec<State>,
    at_top: bool,
}

/// The patterns that want a name.
#[derive(Default)]
pub(super) struct Wanted {
    /// The patterns that take it if it is a file.
    pub(super) as_file: Vec<usize>,
    /// The states inside it if it is a directory.
    pub(super) as_directory: Vec<State>,
}

impl Wanted {
    pub(super) fn is_empty(&self) -> bool {
        self.as_file.is_empty() && self.as_directory.is_empty()
    }
}

impl<'a> Level<'a> {
    pub(super) fn new(patterns: &'a [&'a Pattern], states: &[State], at_top: bool) -> Self {
        let mut level = Self { patterns, names: HashMap::new(), globs: Vec::new(), below: Vec::new(), at_top };
        for &state in states {
            level.add(state);
        }
        level
    }

    fn add(&mut self, state: State) {
        let components = &self.patterns[state.pattern].components;
        match components.get(state.matched) {
            None => self.below.push(state),
            Some(Component::Name(name)) => self.names.entry(name).or_default().push(state),
            Some(Component::Glob(glob)) => self.globs.push((glob, state)),
            Some(Component::Below) => {
                self.below.push(state);
                if !self.is_all_below(state) {
                    self.add(State { matched: state.matched + 1, ..state });
                }
            }
        }
    }

    fn is_last(&self, state: State) -> bool {
        state.matched + 1 == self.patterns[state.pattern].components.len()
    }

    /// Whether everything below is wanted.
    fn is_all_below(&self, state: State) -> bool {
        state.matched == self.patterns[state.pattern].components.len() || self.is_last(state)
    }

    /// The patterns that want everything below this directory.
    pub(super) fn all_below(&self) -> impl Iterator<Item = usize> {
        self.below.iter().filter(|state| self.is_all_below(**state)).map(|state| state.pattern)
    }

    /// The patterns that want the file or directory `name`. A name that is left out by default is
    /// wanted only if a pattern names it without wildcards, or if `anyway` is set.
    pub(super) fn wanted(&self, name: &str, anyway: bool) -> Wanted {
        let mut wanted = Wanted::default();
        for &state in self.names.get(name).into_iter().flatten() {
            if self.is_last(state) {
                wanted.as_file.push(state.pattern);
            }
            wanted.as_directory.push(State { matched: state.matched + 1, ..state });
        }
        if !anyway && is_foreign(name, self.at_top) {
            return wanted;
        }
        for &(_, state) in self.globs.iter().filter(|(glob, _)| glob.matches(name)) {
            if self.is_last(state) {
                wanted.as_file.push(state.pattern);
            } else {
                wanted.as_directory.push(State { matched: state.matched + 1, ..state });
            }
        }
        if anyway || !is_hidden(name) {
            for &state in &self.below {
                if self.is_all_below(state) {
                    wanted.as_file.push(state.pattern);
                }
                wanted.as_directory.push(state);
            }
        }
        wanted
    }
}
