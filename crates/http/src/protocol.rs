//! The seam between HTTP and a protocol on top of it.

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, StatusCode};
use modelpack_transfer::{Error, Result};
use reqwest::Url;

/// What a protocol adds to HTTP: how requests are authorized, and what error answers mean.
///
/// An [`Origin`](crate::Origin) uses it for every request to its own server, and never sends the authorization to another server.
#[async_trait]
pub trait Protocol: Send + Sync + 'static {
    /// What a request needs permission for. It decides which authorization is sent.
    type Scope: Send + Sync;

    /// The value of the header `Authorization` for a request of this scope; `None` to send none, for example because the server has not asked
    /// for one yet.
    async fn authorization(&self, scope: &Self::Scope) -> Result<Option<HeaderValue>>;

    /// Is called for an answer 401 of `url`, which is on the server itself, with these headers. The request had the authorization `refused`; `again` is set if it had been refused
    /// before with another one. Returns whether [`authorization`](Self::authorization) now returns something else, so that the request
    /// should be sent again.
    async fn refused(
        &self,
        scope: &Self::Scope,
        url: &Url,
        headers: &HeaderMap,
        refused: Option<&HeaderValue>,
        again: bool,
    ) -> Result<bool>;

    /// What an error answer means. By default, the protocol has no format of its own for errors.
    fn meaning(&self, answer: &ErrorAnswer<'_>) -> Meaning {
        let _ = answer;
        Meaning::default()
    }
}

/// An answer whose status is not a success.
#[derive(Clone, Copy, Debug)]
pub struct ErrorAnswer<'a> {
    /// The URL that answered. After redirects, it may be on another host.
    pub url: &'a Url,
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The beginning of the body, at most 16 KiB; empty if it could not be read.
    pub text: &'a str,
}

/// What an error answer says.
#[derive(Debug, Default)]
pub struct Meaning {
    /// Why the request failed, in the words of the server. If it is `None`, the first line of a body in plain text is used, or else the
    /// reason phrase of the status.
    pub why: Option<String>,
    /// An error that says more than the status. It is not used for the statuses 401 and 403, which have errors of their own.
    pub error: Option<Error>,
}
