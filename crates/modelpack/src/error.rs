//! The errors of the operations.

use crate::{Gap, InvalidPlace, ScanReport};
use modelpack_spec::Reference;
use std::path::PathBuf;

/// The result of an operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The errors: of the store or a registry, of the packed directory, or of the request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A store, a registry, a layout or an archive.
    #[error(transparent)]
    Store(#[from] modelpack_transfer::Error),
    /// An artifact of the local store is damaged on disk.
    #[error("{source}")]
    Damaged {
        /// The artifact.
        reference: Box<Reference>,
        /// The error that revealed the damage.
        source: modelpack_transfer::Error,
    },
    /// The directory, its Modelfile, or the directory to unpack into.
    #[error(transparent)]
    Pack(modelpack_pack::Error),
    /// A file with a document of unknown type.
    #[error("{} is neither a config nor a manifest, according to its fields", path.display())]
    UnknownDocument {
        /// The file.
        path: PathBuf,
    },
    /// The given name is not a valid place.
    #[error(transparent)]
    Place(#[from] InvalidPlace),
    /// The scan of the files has findings, but the request requires none.
    #[error("{}", unsafe_files(.0))]
    Unsafe(Box<ScanReport>),
    /// Parts of the model are missing, but the request requires a complete model.
    #[error("{}", incomplete_model(.0))]
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

/// The first finding, and the number of further findings.
fn unsafe_files(report: &ScanReport) -> String {
    let first = report.findings().next().map(|(file, finding)| format!("{}: {finding} ({})", file.path, finding.severity));
    let more = match report.count().saturating_sub(1) {
        0 => String::new(),
        more => format!("; {more} more found"),
    };
    format!("not packed, because it is not safe: {}{more}", first.unwrap_or_default())
}

/// The first gap, and the number of further gaps.
fn incomplete_model(gaps: &[Gap]) -> String {
    let first = gaps.first().map(Gap::to_string).unwrap_or_default();
    let more = match gaps.len().saturating_sub(1) {
        0 => String::new(),
        more => format!("; {more} more found"),
    };
    format!("not packed, because the model is incomplete: {first}{more}")
}
