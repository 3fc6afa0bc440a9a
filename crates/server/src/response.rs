//! Responses to requests.

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use modelpack_transfer::Error;
use std::fmt;

/// A response. Its body is in memory or is streamed. An error of the body ends the connection.
pub type Response = http::Response<UnsyncBoxBody<Bytes, Error>>;

/// A builder of responses.
pub struct Answer(Response);

impl Answer {
    /// A response without a body.
    pub fn new(status: StatusCode) -> Self {
        let mut response = Response::new(bytes_body(Bytes::new()));
        *response.status_mut() = status;
        Self(response)
    }

    /// Adds a header.
    ///
    /// # Panics
    ///
    /// Panics if `value` is not visible ASCII. Values are made of checked text: routes, digests,
    /// tags, numbers.
    pub fn header(mut self, name: HeaderName, value: impl fmt::Display) -> Self {
        let value = HeaderValue::try_from(value.to_string()).expect("checked text is visible ASCII");
        self.0.headers_mut().append(name, value);
        self
    }

    /// Sets the media type of the body.
    pub fn media_type(mut self, media_type: HeaderValue) -> Self {
        self.0.headers_mut().insert(header::CONTENT_TYPE, media_type);
        self
    }

    /// Adds a body in memory.
    pub fn bytes(self, media_type: HeaderValue, bytes: impl Into<Bytes>) -> Response {
        self.media_type(media_type).0.map(|_| bytes_body(bytes.into()))
    }

    /// Adds a JSON document as the body.
    pub fn json(self, document: &serde_json::Value) -> Response {
        self.bytes(HeaderValue::from_static("application/json"), document.to_string())
    }

    /// Adds plain text as the body.
    pub fn text(self, text: impl Into<Bytes>) -> Response {
        self.bytes(HeaderValue::from_static("text/plain; charset=utf-8"), text)
    }

    /// Adds a streamed body of `len` bytes.
    pub fn stream(self, pieces: impl Stream<Item = Result<Bytes, Error>> + Send + 'static, len: u64) -> Response {
        let frames = StreamBody::new(pieces.map_ok(Frame::data));
        self.header(header::CONTENT_LENGTH, len).0.map(|_| frames.boxed_unsync())
    }

    /// Returns the response unchanged.
    pub fn done(self) -> Response {
        self.0
    }
}

fn bytes_body(bytes: Bytes) -> UnsyncBoxBody<Bytes, Error> {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
