//! A request as it is meant, however often it is sent.

use crate::payload::Payload;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::Url;
use std::time::Duration;

/// How long an answer may take to begin, or the next bytes of a body to come or go.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// A server may read what was sent once more before it says that it has it.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(10 * 60);

/// A request as it is meant, however often it is sent. `S` is what its protocol has to know to get it let in, such as the scope of a
/// token ([`Protocol::Scope`](crate::Protocol::Scope)).
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
    /// A request without a body. `what` is what an error says was not found or is not allowed.
    pub fn new(method: Method, url: Url, scope: &'a S, what: &'a str) -> Self {
        Self { method, url, scope, what, headers: HeaderMap::new(), payload: Payload::empty(), patience: PATIENCE }
    }

    /// With a header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// With a body, whose answer may take ten minutes, because the server may read it once more.
    pub fn payload(mut self, payload: Payload) -> Self {
        (self.payload, self.patience) = (payload, UPLOAD_PATIENCE);
        self
    }

    /// With another limit to how long nothing may move until the answer begins. It is a minute, or ten for a request with a body.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}
