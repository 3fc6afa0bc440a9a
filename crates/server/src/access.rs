//! Who may do what with a repository.

use modelpack_spec::RepositoryName;
use std::fmt;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Identity {
    /// Somebody who did not say who they are.
    Anonymous,
}

/// What somebody wants to do with a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Read it: its manifests, blobs, tags and referrers, and its name in a list of repositories.
    Pull,
    /// Add blobs and manifests to it, and move its tags.
    Push,
    /// Remove blobs, manifests and tags from it.
    Delete,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        })
    }
}

/// A policy: who may do what with which repository.
///
/// The server asks it for every request and caches nothing, so an answer should be quick: it is called once for each repository of the
/// store where a list of repositories is asked for. The repository need not exist. One action does not imply another one.
pub trait Access: fmt::Debug + Send + Sync + 'static {
    /// Whether `who` may do this with `repository`.
    fn may(&self, who: &Identity, action: Action, repository: &RepositoryName) -> bool;

    /// Whether [`may`](Self::may) says yes for every repository, so that nobody need ask for each. If in doubt, no.
    fn may_everywhere(&self, who: &Identity, action: Action) -> bool {
        let _ = (who, action);
        false
    }
}

/// Everybody may do everything.
#[derive(Clone, Copy, Debug)]
pub struct Everybody;

impl Access for Everybody {
    fn may(&self, _: &Identity, _: Action, _: &RepositoryName) -> bool {
        true
    }

    fn may_everywhere(&self, _: &Identity, _: Action) -> bool {
        true
    }
}

/// The answer no. It is the same whether or not the repository exists, and whatever is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// What was wanted.
    pub action: Action,
    /// With which repository.
    pub repository: RepositoryName,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "you do not have permission to {} in the repository {}", self.action, self.repository.path())
    }
}

impl std::error::Error for Denied {}
