//! Access control: which client may perform which action on which repository.

use modelpack_spec::RepositoryName;
use std::fmt;

/// The identity of a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Identity {
    /// A client without credentials.
    Anonymous,
}

/// An action on a repository.
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

/// An access policy: it decides which identity may perform which action on which repository.
///
/// The server asks the policy for every request and caches nothing, so answers should be quick: a
/// list of repositories asks once for each repository of the store. The repository need not exist.
/// No action implies another one.
pub trait Access: fmt::Debug + Send + Sync + 'static {
    /// Whether `who` may perform `action` on `repository`.
    fn may(&self, who: &Identity, action: Action, repository: &RepositoryName) -> bool;

    /// Whether [`may`](Self::may) is true for every repository, so that the server need not ask for
    /// each. Return false in doubt.
    fn may_everywhere(&self, who: &Identity, action: Action) -> bool {
        let _ = (who, action);
        false
    }
}

/// A policy that allows everything to every client.
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

/// Access was denied. The error is the same whether or not the repository exists, and whatever it
/// contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The action that was requested.
    pub action: Action,
    /// The repository of the request.
    pub repository: RepositoryName,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "you do not have permission to {} in the repository {}", self.action, self.repository.path())
    }
}

impl std::error::Error for Denied {}
