//! A refused or failed request, with its status, error code and message in the format of the
//! specification.

use crate::protocol::{
    error::{ErrorBody, ErrorCode},
    route::InvalidRoute,
};
use http::{HeaderName, HeaderValue, StatusCode};
use modelpack_server::{Answer, Denied, Response};
use modelpack_spec::{InvalidDigest, InvalidManifest};
use modelpack_transfer::Error;
use std::{fmt, io};
use tracing::{Level, enabled, error};

pub(super) type Result<T, E = Failure> = std::result::Result<T, E>;

/// A refused or failed request.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    code: ErrorCode,
    message: String,
    headers: Vec<(HeaderName, String)>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), headers: Vec::new() }
    }

    /// The requested resource does not exist.
    pub(super) fn not_found(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// The request is invalid.
    pub(super) fn bad_request(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// The registry failed.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Unknown, message)
    }

    /// Converts an error of a read. Stored bytes were verified when they arrived, so wrong bytes
    /// are a fault of the registry.
    pub(super) fn of_read(error: Error) -> Self {
        match error {
            Error::WrongDigest { .. } | Error::WrongSize { .. } | Error::InvalidManifest { .. } => {
                error!(%error, "stored data is damaged");
                Self::internal("the registry's copy of this is damaged")
            }
            error => error.into(),
        }
    }

    /// Adds a header.
    pub(super) fn header(mut self, name: HeaderName, value: impl fmt::Display) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}

impl From<Failure> for Response {
    fn from(failure: Failure) -> Self {
        let answer = failure.headers.into_iter().fold(Answer::new(failure.status), |answer, (name, value)| answer.header(name, value));
        answer.bytes(HeaderValue::from_static("application/json"), ErrorBody::new(failure.code, failure.message).to_bytes())
    }
}

impl From<Denied> for Failure {
    /// The status is not 401, because the registry has no credentials that could help.
    fn from(denied: Denied) -> Self {
        Self::new(StatusCode::FORBIDDEN, ErrorCode::Denied, denied.to_string())
    }
}

impl From<InvalidRoute> for Failure {
    fn from(invalid: InvalidRoute) -> Self {
        match invalid {
            InvalidRoute::Unknown => Self::not_found(invalid.code(), invalid.to_string()),
            _ => Self::bad_request(invalid.code(), invalid.to_string()),
        }
    }
}

impl From<InvalidDigest> for Failure {
    fn from(invalid: InvalidDigest) -> Self {
        Self::bad_request(ErrorCode::DigestInvalid, invalid.to_string())
    }
}

impl From<InvalidManifest> for Failure {
    fn from(invalid: InvalidManifest) -> Self {
        Self::bad_request(ErrorCode::ManifestInvalid, invalid.to_string())
    }
}

impl From<Error> for Failure {
    /// Converts an error of a write. The message contains no paths, because clients must not see
    /// the registry's file paths; the log contains them.
    fn from(error: Error) -> Self {
        let why = enabled!(Level::ERROR).then(|| error.to_string());
        let failure = Self::of_write(error);
        if failure.status.is_server_error() {
            error!(why, "the store failed");
        }
        failure
    }
}

impl Failure {
    fn of_write(error: Error) -> Self {
        match error {
            Error::WrongDigest { .. } => Self::bad_request(ErrorCode::DigestInvalid, error.to_string()),
            Error::WrongSize { .. } => Self::bad_request(ErrorCode::SizeInvalid, error.to_string()),
            // The body did not arrive. This status tells the client that a retry may help, which is
            // not so for other refusals.
            Error::Network { .. } => Self::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::BlobUploadInvalid, error.to_string()),
            Error::InvalidManifest { source, .. } => source.into(),
            Error::MissingReference { .. } => Self::bad_request(ErrorCode::ManifestBlobUnknown, error.to_string()),
            Error::Io { source, .. } if is_full(&source) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, ErrorCode::Unknown, format!("the registry's disk is full: {source}"))
            }
            Error::Io { action, source, .. } => Self::internal(format!("the registry cannot use a file of its store ({action}): {source}")),
            Error::ReadOnly { source, .. } => Self::internal(format!("the registry's store is read-only: {source}")),
            _ => Self::internal("the registry's store is damaged"),
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
