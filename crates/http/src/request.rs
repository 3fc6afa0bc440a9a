//! A request, independent of how many times it is sent.

use crate::payload::Payload;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::Url;
use std::time::Duration;

/// How long to wait for the beginning of an answer, or for the next bytes of a body in either direction.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The same for a request with a body: a server may read the whole body again before it answers.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(10 * 60);

/// A request, independent of how many times it is sent. `S` is what its protocol needs to authorize it, such as the scope of a token
/// ([`Protocol::Scope`](crate::Protocol::Scope)).
pub struct Request<'a, S> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) scope: &'a S,
    pub(crate) what: &'a str,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
    pub(crate) patience: Duration,
}

impl<'a, S> Request<'a, S> {
    /// A request without a body. `what` names the thing in an error: it was not found, or it is not allowed.
    pub fn new(method: Method, url: Url, scope: &'a S, what: &'a str) -> Self {
        Self { method, url, scope, what, headers: HeaderMap::new(), payload: Payload::empty(), patience: PATIENCE }
    }

    /// Adds a header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Adds a body. The answer may then take ten minutes to begin, because the server may read the whole body again.
    pub fn payload(mut self, payload: Payload) -> Self {
        (self.payload, self.patience) = (payload, UPLOAD_PATIENCE);
        self
    }

    /// Sets how long to wait for the beginning of the answer while no byte is sent. The default is one minute, or ten minutes for a request
    /// with a body.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}
