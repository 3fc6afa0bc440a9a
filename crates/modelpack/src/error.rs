//! What can go wrong with a verb.

use crate::InvalidPlace;
use std::path::PathBuf;

/// The result of a verb.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What failed: below, in the store or a registry; in the directory that was packed; or in what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A store, a registry, a layout or an archive.
    #[error(transparent)]
    Store(#[from] modelpack_store::Error),
    /// The directory, its Modelfile, or the directory that was unpacked to.
    #[error(transparent)]
    Pack(modelpack_pack::Error),
    /// A file with a document of which nothing says what it is.
    #[error("{} is neither a config nor a manifest, as far as its fields tell", path.display())]
    UnknownDocument {
        /// The file.
        path: PathBuf,
    },
    /// What was named is not the name of a place.
    #[error(transparent)]
    Place(#[from] InvalidPlace),
}

impl From<modelpack_pack::Error> for Error {
    fn from(error: modelpack_pack::Error) -> Self {
        match error {
            modelpack_pack::Error::Store(error) => Self::Store(error),
            error => Self::Pack(error),
        }
    }
}
