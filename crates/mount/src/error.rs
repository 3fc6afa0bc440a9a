//! What can go wrong.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

/// The result of a call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a model could not be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel or `fusermount3` refused.
    #[error("{}: cannot {what}: {source}", directory.display())]
    Directory {
        /// What was tried.
        what: &'static str,
        /// Where.
        directory: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The artifact cannot be a directory.
    #[error("{what}: {why}")]
    Artifact {
        /// The artifact.
        what: String,
        /// Why not.
        why: String,
    },
}

/// Why bytes of a file could not be read. Whoever reads gets `EIO`, and the log has this.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// They could not be fetched, or are wrong.
    #[error(transparent)]
    Failed(Arc<modelpack_transfer::Error>),
    /// Nothing has arrived for a while.
    #[error("nothing of {what} has arrived for {} s", patience.as_secs())]
    Stalled {
        /// The blob.
        what: String,
        /// How long.
        patience: Duration,
    },
}
