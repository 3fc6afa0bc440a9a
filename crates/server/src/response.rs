//! Answers to requests.

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use modelpack_transfer::Error;
use std::fmt;

/// An answer. Its body is in memory, or comes while it is sent; an error of the body ends the connection.
pub type Response = http::Response<UnsyncBoxBody<Bytes, Error>>;

/// An answer that is being made.
pub struct Answer(Response);

impl Answer {
    /// Without a body.
    pub fn new(status: StatusCode) -> Self {
        let mut response = Response::new(bytes_body(Bytes::new()));
        *response.status_mut() = status;
        Self(response)
    }

    /// With one more header.
    ///
    /// # Panics
    ///
    /// If `value` is not visible ASCII. It is made of text that was checked: routes, digests, tags, numbers.
    pub fn header(mut self, name: HeaderName, value: impl fmt::Display) -> Self {
        let value = HeaderValue::try_from(value.to_string()).expect("checked text is visible ASCII");
        self.0.headers_mut().append(name, value);
        self
    }

    /// With the type of what is answered.
    pub fn media_type(mut self, media_type: HeaderValue) -> Self {
        self.0.headers_mut().insert(header::CONTENT_TYPE, media_type);
        self
    }

    /// With a body in memory.
    pub fn bytes(self, media_type: HeaderValue, bytes: impl Into<Bytes>) -> Response {
        self.media_type(media_type).0.map(|_| bytes_body(bytes.into()))
    }

    /// With a JSON document.
    pub fn json(self, document: &serde_json::Value) -> Response {
        self.bytes(HeaderValue::from_static("application/json"), document.to_string())
    }

    /// With plain text.
    pub fn text(self, text: impl Into<Bytes>) -> Response {
        self.bytes(HeaderValue::from_static("text/plain; charset=utf-8"), text)
    }

    /// With a body of `len` bytes that come while they are sent.
    pub fn stream(self, pieces: impl Stream<Item = Result<Bytes, Error>> + Send + 'static, len: u64) -> Response {
        let frames = StreamBody::new(pieces.map_ok(Frame::data));
        self.header(header::CONTENT_LENGTH, len).0.map(|_| frames.boxed_unsync())
    }

    /// As it is.
    pub fn done(self) -> Response {
        self.0
    }
}

fn bytes_body(bytes: Bytes) -> UnsyncBoxBody<Bytes, Error> {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
