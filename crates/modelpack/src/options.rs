//! Settings of all operations.

use modelpack_distribution::client::{ClientOptions, KeepHashStates, RegistriesFile};
use modelpack_transfer::{DEFAULT_CONNECTIONS, Notices};
use std::path::PathBuf;

/// The default for the number of blobs that are moved at once: sufficient to keep a few cores and a
/// fast network busy.
pub const DEFAULT_CONCURRENCY: u16 = 5;

/// Settings of all operations.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The directory of the local store. It is created on the first write.
    pub store: PathBuf,
    /// Settings of the registry client.
    pub client: ClientOptions,
    /// The files in which registries, their mirrors and short names are described.
    pub registries: Vec<RegistriesFile>,
    /// The maximum number of blobs that are moved at once; at least 1.
    pub concurrency: usize,
    /// The maximum number of connections that fetch blobs; at least 1. Fewer are used if more do not
    /// make it faster.
    pub connections: usize,
    /// The receiver of notices, including those of `client`.
    pub notices: Notices,
    /// Whether packed layers name the lists of their hash states, unless it is
    /// [`Never`](KeepHashStates::Never), and when registries keep the lists.
    pub hash_states: KeepHashStates,
}

impl Options {
    /// Sets the local store to the directory `store`. The defaults are [`ClientOptions::default`],
    /// [`DEFAULT_CONCURRENCY`], [`DEFAULT_CONNECTIONS`], and no receiver of notices.
    pub fn new(store: impl Into<PathBuf>) -> Self {
        Self {
            store: store.into(),
            client: ClientOptions::default(),
            registries: Vec::new(),
            concurrency: DEFAULT_CONCURRENCY.into(),
            connections: DEFAULT_CONNECTIONS,
            notices: Notices::default(),
            hash_states: KeepHashStates::default(),
        }
    }

    /// Sets the settings of the registry client.
    pub fn client(self, client: ClientOptions) -> Self {
        Self { client, ..self }
    }

    /// Sets the files in which registries, their mirrors and short names are described. Later files
    /// override earlier ones. They are read when a registry is used for the first time.
    pub fn registries(self, registries: Vec<RegistriesFile>) -> Self {
        Self { registries, ..self }
    }

    /// Sets the maximum number of blobs that are moved at once; at least 1.
    pub fn concurrency(self, concurrency: usize) -> Self {
        Self { concurrency, ..self }
    }

    /// Sets the maximum number of connections that fetch blobs; at least 1.
    pub fn connections(self, connections: usize) -> Self {
        Self { connections, ..self }
    }

    /// Sets whether layers name the lists of their hash states, and when registries keep the lists.
    pub fn hash_states(self, hash_states: KeepHashStates) -> Self {
        Self { hash_states, ..self }
    }

    /// Sets the receiver of notices.
    pub fn notices(self, notices: Notices) -> Self {
        Self { notices, ..self }
    }
}
