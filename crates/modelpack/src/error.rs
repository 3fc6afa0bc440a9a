//! What can go wrong with a verb.

use crate::{Gap, InvalidPlace, ScanReport};
use modelpack_spec::Reference;
use std::path::PathBuf;

/// The result of a verb.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What failed: below, in the store or a registry; in the directory that was packed; or in what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A store, a registry, a layout or an archive.
    #[error(transparent)]
    Store(#[from] modelpack_transfer::Error),
    /// An artifact of the local store is damaged on its disk.
    #[error("{source}")]
    Damaged {
        /// The artifact.
        reference: Box<Reference>,
        /// What was met.
        source: modelpack_transfer::Error,
    },
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
    /// What was to be packed only if nothing is found in it.
    #[error("{}", unsafe_files(.0))]
    Unsafe(Box<ScanReport>),
    /// What was to be packed only if nothing is missing of it.
    #[error("{}", not_whole(.0))]
    NotWhole(Vec<Gap>),
}

impl From<modelpack_pack::Error> for Error {
    fn from(error: modelpack_pack::Error) -> Self {
        match error {
            modelpack_pack::Error::Store(error) => Self::Store(error),
            error => Self::Pack(error),
        }
    }
}

/// The first finding, and how many there are besides.
fn unsafe_files(report: &ScanReport) -> String {
    let first = report.findings().next().map(|(file, finding)| format!("{}: {finding} ({})", file.path, finding.severity));
    let more = match report.count().saturating_sub(1) {
        0 => String::new(),
        more => format!("; {more} more found"),
    };
    format!("not packed, for it is not safe: {}{more}", first.unwrap_or_default())
}

/// The first gap, and how many there are besides.
fn not_whole(gaps: &[Gap]) -> String {
    let first = gaps.first().map(Gap::to_string).unwrap_or_default();
    let more = match gaps.len().saturating_sub(1) {
        0 => String::new(),
        more => format!("; {more} more found"),
    };
    format!("not packed, for the model is not whole: {first}{more}")
}
