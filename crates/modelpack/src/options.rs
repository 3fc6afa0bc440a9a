//! What every verb needs to know.

use modelpack_distribution::client::ClientOptions;
use modelpack_transfer::Notices;
use std::path::PathBuf;

/// How many blobs are moved at once where nothing else is said: enough to keep a few cores and a fast network busy.
pub const DEFAULT_CONCURRENCY: u16 = 5;

/// What every verb needs to know.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The directory of the local store; it is created when something is first written to it.
    pub store: PathBuf,
    /// How registries are spoken to.
    pub client: ClientOptions,
    /// How many blobs are moved at once; at least 1.
    pub concurrency: usize,
    /// Where notices go, those of `client` too.
    pub notices: Notices,
}

impl Options {
    /// A local store in the directory `store`; else [`ClientOptions::default`], [`DEFAULT_CONCURRENCY`], and notices are dropped.
    pub fn new(store: impl Into<PathBuf>) -> Self {
        Self { store: store.into(), client: ClientOptions::default(), concurrency: DEFAULT_CONCURRENCY.into(), notices: Notices::default() }
    }

    /// Speaks to registries like this.
    pub fn client(self, client: ClientOptions) -> Self {
        Self { client, ..self }
    }

    /// Moves so many blobs at once; at least 1.
    pub fn concurrency(self, concurrency: usize) -> Self {
        Self { concurrency, ..self }
    }

    /// Gives notices to `notices`.
    pub fn notices(self, notices: Notices) -> Self {
        Self { notices, ..self }
    }
}
