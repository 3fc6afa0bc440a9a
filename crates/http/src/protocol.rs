//! The seam between HTTP and a protocol over it.

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, StatusCode};
use modelpack_transfer::{Error, Result};
use reqwest::Url;

/// What a protocol adds to HTTP: what a server is shown so that it lets a request in, and how it says why it does not.
///
/// An [`Origin`](crate::Origin) asks this for every request to its own server, and never shows what it gets to another one.
#[async_trait]
pub trait Protocol: Send + Sync + 'static {
    /// What a request is about, as far as that decides what is shown with it.
    type Scope: Send + Sync;

    /// The value of `Authorization` for a request of this scope; `None` if nothing is shown, as long as nobody has asked for it.
    async fn authorization(&self, scope: &Self::Scope) -> Result<Option<HeaderValue>>;

    /// Takes note of a 401 with these headers, to a request that had shown `refused`, and if `again` something else before that. Returns
    /// whether [`authorization`](Self::authorization) now has something else to show, so that it is worth sending the request again.
    async fn refused(&self, scope: &Self::Scope, headers: &HeaderMap, refused: Option<&HeaderValue>, again: bool) -> Result<bool>;

    /// What an error answer means in the protocol's own format; by default it has none.
    fn meaning(&self, answer: &ErrorAnswer<'_>) -> Meaning {
        let _ = answer;
        Meaning::default()
    }
}

/// An answer that is not a success.
#[derive(Clone, Copy, Debug)]
pub struct ErrorAnswer<'a> {
    /// What was asked for. Redirects may have led to another host.
    pub url: &'a Url,
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The beginning of the body, at most 16 KiB; empty if it did not come.
    pub text: &'a str,
}

/// What an error answer says.
#[derive(Debug, Default)]
pub struct Meaning {
    /// Why the request failed, as the server says it. Without it, the first line of a body that is plain text counts, or else the reason
    /// phrase of the status.
    pub why: Option<String>,
    /// A failure that says more than the status does. It does not take the place of the failures that 401 and 403 stand for.
    pub error: Option<Error>,
}
