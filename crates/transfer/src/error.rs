//! What can go wrong between a source and a sink.

use modelpack_spec::{Digest, InvalidManifest, InvalidPath};
use std::{error::Error as StdError, io, path::PathBuf};

/// What made something fail.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// The result of an operation on a source or sink.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What failed, on what, and why. Programs tell the cases apart by variant; what to do about them is for the caller to say.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing is there under that name.
    #[error("{what} was not found")]
    NotFound {
        /// What was looked for, and where.
        what: String,
    },
    /// The registry wants credentials, or other ones.
    #[error("{registry} did not let the request in: {why}")]
    Unauthorized {
        /// Host and port.
        registry: String,
        /// What it said.
        why: String,
    },
    /// The registry knows who asks, and does not allow it.
    #[error("{what} is not allowed: {why}")]
    Denied {
        /// What was asked for.
        what: String,
        /// What the registry said.
        why: String,
    },
    /// The bytes are not those that the digest names.
    #[error("{what} does not have the digest {expected}: its bytes have {found}")]
    WrongDigest {
        /// The blob or manifest, and where it came from.
        what: String,
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of the bytes that came.
        found: Digest,
    },
    /// There are more or fewer bytes than the descriptor says.
    #[error("{what} does not have the size {expected}: {}", came(*expected, *found))]
    WrongSize {
        /// The blob or manifest, and where it came from.
        what: String,
        /// Bytes expected.
        expected: u64,
        /// Bytes that came. If they are more than expected, more may have followed.
        found: u64,
    },
    /// A manifest that may not be used.
    #[error("{what}: {source}")]
    InvalidManifest {
        /// The manifest.
        what: String,
        /// Why.
        source: InvalidManifest,
    },
    /// A path in an artifact that may not be used.
    #[error("{what}: {source}")]
    InvalidPath {
        /// The artifact or layer.
        what: String,
        /// Why.
        source: InvalidPath,
    },
    /// Anything else in an artifact, document or archive that may not be used.
    #[error("{what}: {why}")]
    Invalid {
        /// The document.
        what: String,
        /// Why.
        why: String,
    },
    /// A name that cannot be used: of a registry, a repository or a file.
    #[error("{name}: {why}")]
    InvalidName {
        /// The name.
        name: String,
        /// Why.
        why: String,
    },
    /// A setting that cannot be used, such as the URL of a proxy.
    #[error("{setting}: {why}")]
    Setting {
        /// Where it was set: an environment variable or an option.
        setting: String,
        /// Why, without secrets.
        why: String,
        /// What made it fail, if there is more to know.
        source: Option<Cause>,
    },
    /// A file with logins that cannot be understood.
    #[error("{}: {why}", path.display())]
    CredentialsFile {
        /// The file.
        path: PathBuf,
        /// Why, with line and column where they are known, and without secrets.
        why: String,
        /// What made it fail, if there is more to know.
        source: Option<Cause>,
    },
    /// A credential helper that failed, or answered what cannot be understood.
    #[error("the credential helper {helper}: {why} ({} names it)", named_by.display())]
    CredentialHelper {
        /// The program.
        helper: String,
        /// The file with logins that names it.
        named_by: PathBuf,
        /// Why, without secrets.
        why: String,
        /// What made it fail, if there is more to know.
        source: Option<Cause>,
    },
    /// A layout or archive holds several manifests that could be meant.
    #[error("{what} could be any of several manifests, so one must be named: {}{}", candidates.join(", "), if *omitted { " and more" } else { "" })]
    Ambiguous {
        /// What was asked for, and where.
        what: String,
        /// The names to choose from, as they end the name of a place; `@DIGEST` of what has none. At most 20.
        candidates: Vec<String>,
        /// Whether there are more.
        omitted: bool,
    },
    /// A manifest names a blob or manifest that its repository does not hold.
    #[error("the manifest names {digest}, which {repository} does not hold")]
    MissingReference {
        /// What it names.
        digest: Digest,
        /// Where it should be.
        repository: String,
    },
    /// What refers to an artifact, such as a signature, could not be listed or copied.
    #[error("{what}: {source}")]
    Referrers {
        /// What could not be done, with the digest of the manifest.
        what: String,
        /// Why.
        source: Box<Error>,
    },
    /// Something is in the way, and is left as it is.
    #[error("{} is in the way: {why}", path.display())]
    Conflict {
        /// What is in the way.
        path: PathBuf,
        /// Why it is not replaced.
        why: String,
    },
    /// A file changed while it was read.
    #[error("{} changed while it was read", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The operating system failed a file operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The operation, as it follows "cannot".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A repository of the store was damaged on its disk: its index or a file that it links to cannot be read or is gone.
    #[error("the repository {repository} of the store is damaged: {why}")]
    Damaged {
        /// The repository.
        repository: String,
        /// What is damaged, and how.
        why: String,
    },
    /// The store may only be read.
    #[error("the store {} is read-only: {source}", store.display())]
    ReadOnly {
        /// Its directory.
        store: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection failed, or ended too early.
    #[error("{url}: {why}")]
    Network {
        /// The URL.
        url: String,
        /// What happened.
        why: String,
        /// What made it fail, if there is more to know. It names no secrets of the URL.
        source: Option<Cause>,
    },
    /// The registry answered something that the protocol does not foresee.
    #[error("{url} answered {status}: {why}")]
    Protocol {
        /// The URL.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        why: String,
        /// What made it fail, if there is more to know.
        source: Option<Cause>,
    },
}

/// Bytes beyond those that are expected are not counted to their end.
fn came(expected: u64, found: u64) -> String {
    if found > expected { format!("at least {found} bytes came") } else { format!("{found} bytes came") }
}

impl Error {
    /// Makes an I/O error a sentence: `result.map_err(Error::io("open", path))`.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.into(), source }
    }

    /// [`Error::Network`] without a source.
    pub fn network(url: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Network { url: url.into(), why: why.into(), source: None }
    }

    /// [`Error::NotFound`] of `what`.
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::NotFound { what: what.into() }
    }

    /// Whether the operating system did not allow a file operation, so that somebody else's might succeed.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// Whether this is [`Error::NotFound`].
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}
