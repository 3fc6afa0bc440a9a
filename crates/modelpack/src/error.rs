//! The errors of the operations.

use crate::{Gap, InvalidPlace, ScanReport};
use modelpack_pack::Error as PackError;
use modelpack_spec::Reference;
use modelpack_transfer::Error as StoreError;
use serde::{Serialize, Serializer};
use std::{fmt, io, path::PathBuf};

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
    /// A model could not be mounted or unmounted.
    #[cfg(feature = "mount")]
    #[error(transparent)]
    Mount(#[from] modelpack_mount::Error),
}

/// The kinds of errors. The program has an exit code for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An invalid request: a reference or place that does not parse or is ambiguous, or an option
    /// that does not apply.
    Usage,
    /// A directory, tag, manifest or blob does not exist.
    NotFound,
    /// The registry requires credentials, rejects the given ones, or denies the operation.
    Unauthorized,
    /// A wrong digest or size, or an artifact that is invalid or malicious.
    Verification,
    /// A file or disk error: not readable, not writable, full.
    Io,
    /// No server, a broken connection, or an answer that violates the protocol.
    Network,
    /// A conflict with existing files.
    Conflict,
    /// The files to pack: a Modelfile with an error, an empty directory, a link out of the
    /// directory, a file that changed.
    Input,
    /// Loading a file could run code, or the file violates its format or could not be read.
    Unsafe,
    /// Parts of the model are missing, but a complete model is required.
    NotWhole,
    /// Any other error.
    Other,
}

impl ErrorKind {
    /// The name in JSON output, such as `notFound`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::NotFound => "notFound",
            Self::Unauthorized => "unauthorized",
            Self::Verification => "verification",
            Self::Io => "io",
            Self::Network => "network",
            Self::Conflict => "conflict",
            Self::Input => "input",
            Self::Unsafe => "unsafe",
            Self::NotWhole => "notWhole",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for ErrorKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl Error {
    /// The kind of the error.
    ///
    /// ```
    /// # use modelpack::{ErrorKind, Modelpack, Options};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// # let modelpack = Modelpack::new(Options::new(scratch.path().join("store")));
    /// let error = modelpack.inspect(&"store:absent:v1".parse()?).await.unwrap_err();
    /// assert_eq!((error.kind(), error.kind().name()), (ErrorKind::NotFound, "notFound"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) | Self::Damaged { source: error, .. } => kind_of_store(error),
            Self::Pack(error) => kind_of_pack(error),
            Self::Place(InvalidPlace::Unknown(_)) => ErrorKind::NotFound,
            Self::Place(_) | Self::UnknownDocument { .. } => ErrorKind::Usage,
            Self::Unsafe(_) => ErrorKind::Unsafe,
            Self::NotWhole(_) => ErrorKind::NotWhole,
            #[cfg(feature = "mount")]
            Self::Mount(error) => kind_of_mount(error),
        }
    }
}

#[cfg(feature = "mount")]
fn kind_of_mount(error: &modelpack_mount::Error) -> ErrorKind {
    match error {
        modelpack_mount::Error::Directory { source, .. } => match source.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            io::ErrorKind::ResourceBusy => ErrorKind::Conflict,
            _ => ErrorKind::Io,
        },
        modelpack_mount::Error::Artifact { .. } => ErrorKind::Verification,
        _ => ErrorKind::Other,
    }
}

fn kind_of_store(error: &StoreError) -> ErrorKind {
    match error {
        StoreError::NotFound { .. } | StoreError::MissingReference { .. } => ErrorKind::NotFound,
        StoreError::Unauthorized { .. } | StoreError::Denied { .. } => ErrorKind::Unauthorized,
        StoreError::WrongDigest { .. }
        | StoreError::WrongSize { .. }
        | StoreError::InvalidManifest { .. }
        | StoreError::InvalidPath { .. }
        | StoreError::Damaged { .. }
        | StoreError::Invalid { .. } => ErrorKind::Verification,
        StoreError::Ambiguous { .. }
        | StoreError::InvalidName { .. }
        | StoreError::Setting { .. }
        | StoreError::CredentialsFile { .. }
        | StoreError::CredentialHelper { .. } => ErrorKind::Usage,
        StoreError::Referrers { source, .. } => kind_of_store(source),
        StoreError::Conflict { .. } => ErrorKind::Conflict,
        StoreError::Changed { .. } => ErrorKind::Input,
        StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::NotFound,
        StoreError::Io { .. } | StoreError::ReadOnly { .. } => ErrorKind::Io,
        StoreError::Network { .. } | StoreError::Protocol { .. } => ErrorKind::Network,
        _ => ErrorKind::Other,
    }
}

fn kind_of_pack(error: &PackError) -> ErrorKind {
    match error {
        PackError::Store(error) => kind_of_store(error),
        PackError::Attached { .. } | PackError::InArchive { .. } => ErrorKind::Conflict,
        PackError::NotModelPack { .. } => ErrorKind::Verification,
        PackError::NothingSelected { .. } => ErrorKind::NotFound,
        _ => ErrorKind::Input,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use modelpack_spec::FilePath;

    #[test]
    fn an_error_has_one_kind() {
        let io = |kind: io::ErrorKind| StoreError::Io { action: "open", path: "x".into(), source: kind.into() };
        let denied = StoreError::Denied { what: "x".into(), why: "y".into() };
        let network = StoreError::network("http://x", "y");
        for (error, kind) in [
            (StoreError::not_found("x"), "notFound"),
            (io(io::ErrorKind::NotFound), "notFound"),
            (denied, "unauthorized"),
            (StoreError::InvalidPath { what: "x".into(), source: "../x".parse::<FilePath>().unwrap_err() }, "verification"),
            (io(io::ErrorKind::StorageFull), "io"),
            (network, "network"),
            (StoreError::Conflict { path: "x".into(), why: "y".into() }, "conflict"),
            (StoreError::InvalidName { name: "x".into(), why: "y".into() }, "usage"),
            (StoreError::Setting { setting: "x".into(), why: "y".into(), source: None }, "usage"),
            (StoreError::CredentialsFile { path: "x".into(), why: "y".into(), source: None }, "usage"),
            (StoreError::CredentialHelper { helper: "x".into(), named_by: "y".into(), why: "z".into(), source: None }, "usage"),
            (StoreError::Changed { path: "x".into() }, "input"),
        ] {
            assert_eq!(Error::Store(error).kind().name(), kind);
        }
    }

    #[test]
    fn an_error_keeps_what_it_came_from() {
        let full = StoreError::Io { action: "write", path: "x".into(), source: io::ErrorKind::StorageFull.into() };
        let error: &dyn std::error::Error = &Error::from(PackError::from(full));
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>()).expect("the error of the system");
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
        let reference: Reference = "a:v1".parse().unwrap();
        let damaged =
            Error::Damaged { reference: reference.into(), source: StoreError::Damaged { repository: "a".into(), why: "w".into() } };
        assert!(std::error::Error::source(&damaged).is_some_and(|source| source.is::<StoreError>()));
    }
}
