//! A request, independent of how many times it is sent.

use crate::payload::Payload;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::Url;
use std::time::Duration;

/// A request, independent of how many times it is sent. `S` is what its protocol needs to authorize it, such as the scope of a token
/// ([`Protocol::Scope`](crate::Protocol::Scope)).
pub struct Request<'a, S> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) scope: &'a S,
    pub(crate) what: &'a str,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
    /// How long nothing had moved when the last attempt ended.
    pub(crate) waited: Duration,
    is_upload: bool,
}

impl<'a, S> Request<'a, S> {
    /// A request without a body. `what` names the thing in an error: it was not found, or it is not allowed.
    pub fn new(method: Method, url: Url, scope: &'a S, what: &'a str) -> Self {
        Self { method, url, scope, what, headers: HeaderMap::new(), payload: Payload::empty(), waited: Duration::ZERO, is_upload: false }
    }

    /// Adds a header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Adds a body. The answer may then take longer, because the server may read the whole body again ([`Timeouts::upload`](crate::Timeouts::upload)).
    pub fn payload(mut self, payload: Payload) -> Self {
        (self.payload, self.is_upload) = (payload, true);
        self
    }

    /// Adds a small body. The answer takes no longer than that to a request without a body.
    pub fn form(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    /// How long nothing had moved when the last attempt ended, or its answer came.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Whether only the answer is missing, which may take longer than the next byte ([`Timeouts::upload`](crate::Timeouts::upload)).
    pub(crate) fn is_uploaded(&self) -> bool {
        self.is_upload && self.payload.is_sent()
    }
}
