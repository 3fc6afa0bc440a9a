//! A request as it is meant, however often it is sent.

use crate::{options::Timeouts, payload::Payload};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::Url;
use std::time::Duration;

/// A request as it is meant, however often it is sent. `S` is what its protocol has to know to get it let in, such as the scope of a
/// token ([`Protocol::Scope`](crate::Protocol::Scope)).
pub struct Request<'a, S> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) scope: &'a S,
    pub(crate) what: &'a str,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
    is_upload: bool,
}

impl<'a, S> Request<'a, S> {
    /// A request without a body. `what` is what an error says was not found or is not allowed.
    pub fn new(method: Method, url: Url, scope: &'a S, what: &'a str) -> Self {
        Self { method, url, scope, what, headers: HeaderMap::new(), payload: Payload::empty(), is_upload: false }
    }

    /// With a header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// With a body, whose answer may take longer, because the server may read it once more ([`Timeouts::upload`]).
    pub fn payload(mut self, payload: Payload) -> Self {
        (self.payload, self.is_upload) = (payload, true);
        self
    }

    /// With a small body, whose answer takes no longer than others.
    pub fn form(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    /// How long nothing may move until the answer begins.
    pub(crate) fn patience(&self, timeouts: &Timeouts) -> Duration {
        if self.is_upload { timeouts.upload } else { timeouts.idle }
    }
}
