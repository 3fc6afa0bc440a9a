//! Answers: what was asked for, or a failure with its status, code and reason.

use crate::protocol::{
    error::{ErrorBody, ErrorCode},
    header::CONTENT_DIGEST,
    route::InvalidRoute,
};
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use modelpack_spec::{Digest, InvalidDigest, InvalidManifest};
use modelpack_store::Error;
use std::{fmt, io};

pub(super) type Response = http::Response<UnsyncBoxBody<Bytes, Error>>;
pub(super) type Result<T, E = Failure> = std::result::Result<T, E>;

/// An answer that is being made.
pub(super) struct Answer(Response);

impl Answer {
    /// Without a body.
    pub(super) fn new(status: StatusCode) -> Self {
        let mut response = Response::new(bytes_body(Bytes::new()));
        *response.status_mut() = status;
        Self(response)
    }

    /// With one more header. `value` is made of text that was checked: routes, digests, tags, numbers.
    pub(super) fn header(mut self, name: HeaderName, value: impl fmt::Display) -> Self {
        let value = HeaderValue::try_from(value.to_string()).expect("checked text is visible ASCII");
        self.0.headers_mut().append(name, value);
        self
    }

    /// With the digest of what is answered.
    pub(super) fn digest(self, digest: &Digest) -> Self {
        self.header(CONTENT_DIGEST, digest)
    }

    /// With the type of what is answered.
    pub(super) fn media_type(mut self, media_type: HeaderValue) -> Self {
        self.0.headers_mut().insert(header::CONTENT_TYPE, media_type);
        self
    }

    /// With a body in memory.
    pub(super) fn bytes(self, media_type: HeaderValue, bytes: impl Into<Bytes>) -> Response {
        self.media_type(media_type).0.map(|_| bytes_body(bytes.into()))
    }

    /// With a JSON document.
    pub(super) fn json(self, document: &serde_json::Value) -> Response {
        self.bytes(HeaderValue::from_static("application/json"), document.to_string())
    }

    /// With a body of `len` bytes that come while they are sent.
    pub(super) fn stream(self, pieces: impl Stream<Item = Result<Bytes, Error>> + Send + 'static, len: u64) -> Response {
        let frames = StreamBody::new(pieces.map_ok(Frame::data));
        self.header(header::CONTENT_LENGTH, len).0.map(|_| frames.boxed_unsync())
    }

    /// As it is.
    pub(super) fn done(self) -> Response {
        self.0
    }
}

fn bytes_body(bytes: Bytes) -> UnsyncBoxBody<Bytes, Error> {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// Why a request is refused or failed.
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

    /// Nothing is there.
    pub(super) fn not_found(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// The request makes no sense.
    pub(super) fn bad_request(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// The registry failed.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Unknown, message)
    }

    /// What an error means when something is read: bytes that were verified when they came, and now are wrong, are the registry's fault.
    pub(super) fn of_read(error: Error) -> Self {
        match error {
            Error::WrongDigest { .. } | Error::WrongSize { .. } | Error::InvalidManifest { .. } => {
                Self::internal("the registry's copy of this is damaged")
            }
            error => error.into(),
        }
    }

    /// With one more header.
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
    /// What a store's error means when something is written. Paths of the registry's own files are none of its business.
    fn from(error: Error) -> Self {
        match error {
            Error::WrongDigest { .. } => Self::bad_request(ErrorCode::DigestInvalid, error.to_string()),
            Error::WrongSize { .. } => Self::bad_request(ErrorCode::SizeInvalid, error.to_string()),
            // The body did not come: worth another attempt, which other refusals are not.
            Error::Network { .. } => Self::new(StatusCode::REQUEST_TIMEOUT, ErrorCode::BlobUploadInvalid, error.to_string()),
            Error::InvalidManifest { source, .. } => source.into(),
            Error::MissingReference { .. } => Self::bad_request(ErrorCode::ManifestBlobUnknown, error.to_string()),
            Error::Io { source, .. } if is_full(&source) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, ErrorCode::Unknown, format!("the registry's disk is full: {source}"))
            }
            Error::Io { action, source, .. } => Self::internal(format!("the registry failed at a file of its store ({action}): {source}")),
            Error::ReadOnly { source, .. } => Self::internal(format!("the registry's store is read-only: {source}")),
            _ => Self::internal("the registry's store is damaged"),
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
