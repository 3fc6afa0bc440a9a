//! Why a request failed, and whether to send it again.

use crate::{
    body::read_message,
    network::{self, MAY_SPEAK_PLAIN_HTTP, MAY_SPEAK_TLS, NO_HANDSHAKE, UNANSWERED},
    protocol::{ErrorAnswer, Protocol},
    retry::{Retry, retry_after},
    text::{host, printable, shown},
};
use http::{Method, StatusCode};
use modelpack_transfer::{Cause, Error};
use reqwest::{Response, Url};
use std::{error::Error as StdError, time::Duration};

/// A failure of one attempt.
#[derive(Debug)]
pub struct Failure {
    /// What failed, on what, and why.
    pub error: Error,
    /// Whether another attempt may succeed.
    pub retry: Retry,
    /// How long nothing had moved when the attempt failed.
    pub waited: Duration,
}

impl From<Error> for Failure {
    /// A failure after which another attempt does not help.
    fn from(error: Error) -> Self {
        Self { error, retry: Retry::Never, waited: Duration::ZERO }
    }
}

impl Failure {
    /// The connection failed before the response or within it.
    pub(crate) fn network(url: &Url, error: reqwest::Error) -> Self {
        Self::explained(url, &error).caused_by(error.without_url())
    }

    /// The same in words, without the source.
    pub(crate) fn explained(url: &Url, error: &(dyn StdError + 'static)) -> Self {
        let (why, retry) = network::explain(url, error);
        Self { error: Error::network(shown(url), why), retry, waited: Duration::ZERO }
    }

    /// Sets the source of an error that has none. The source must not show secrets; the URL in an error of the HTTP library may have some.
    pub(crate) fn caused_by(mut self, cause: impl Into<Cause>) -> Self {
        if let Error::Network { source: source @ None, .. } | Error::Setting { source: source @ None, .. } = &mut self.error {
            *source = Some(cause.into());
        }
        self
    }

    /// Adds to the failure of a server at `url` that has not answered any request that it may expect another protocol.
    pub(crate) fn of_stranger(mut self, url: &Url) -> Self {
        // A payload may be read from another server; a failure of that one is not a failure of this one.
        if let Error::Network { url: failed, why, .. } = &mut self.error
            && *failed == shown(url)
        {
            match why {
                _ if why.starts_with(UNANSWERED) && url.scheme() == "http" => why.push_str(MAY_SPEAK_TLS),
                _ if why.starts_with(NO_HANDSHAKE) => why.push_str(MAY_SPEAK_PLAIN_HTTP),
                _ => {}
            }
        }
        self
    }

    /// No byte came for a long time.
    pub(crate) fn stalled(url: &Url, patience: Duration) -> Self {
        let why = format!("nothing came for {} s", patience.as_secs_f64());
        Self { error: Error::network(shown(url), why), retry: Retry::Soon, waited: patience }
    }

    /// The server read nothing for a long time, although there was more to send.
    pub(crate) fn blocked(url: &Url, patience: Duration) -> Self {
        let why = format!("the server took no byte for {} s", patience.as_secs_f64());
        Self { error: Error::network(shown(url), why), retry: Retry::Soon, waited: patience }
    }

    /// A body ended too early.
    pub(crate) fn cut_off(url: &Url) -> Self {
        Self { error: Error::network(shown(url), "the connection ended too early"), retry: Retry::Soon, waited: Duration::ZERO }
    }

    /// The same after nothing had moved for this long.
    pub fn after(self, waited: Duration) -> Self {
        Self { waited, ..self }
    }

    /// Why it failed, without the URL that it is about.
    pub(crate) fn why(&self) -> String {
        match &self.error {
            Error::Network { why, .. } => why.clone(),
            error => error.to_string(),
        }
    }

    /// A response that is not a success, to a request that asked for `what`. `protocol` says what it means.
    pub async fn refused(method: &Method, what: &str, protocol: &impl Protocol, response: Response) -> Self {
        let (status, url, headers) = (response.status(), response.url().clone(), response.headers().clone());
        let text = read_message(response).await;
        let meaning = protocol.meaning(&ErrorAnswer { url: &url, status, headers: &headers, text: &text });
        let why = match &meaning.why {
            Some(why) => why,
            // An HTML page does not help; a line of text may.
            None if text.trim_start().starts_with('<') => "",
            None => text.lines().next().unwrap_or_default(),
        };
        let why = printable(why.trim_matches([':', ' ']));
        let mut why = if why.is_empty() { status.canonical_reason().unwrap_or("it did not say why").to_owned() } else { why };
        let pause = retry_after(&headers).map_or(0, |pause| pause.as_secs());
        if pause > 0 {
            why.push_str(&format!("; the server asks to wait {pause} s"));
        }
        if url.scheme() == "http" && says_that_tls_is_expected(status, &text) {
            why.push_str(MAY_SPEAK_TLS);
        }
        let error = match status {
            StatusCode::UNAUTHORIZED => Error::Unauthorized { registry: host(&url).to_owned(), why },
            StatusCode::FORBIDDEN => Error::Denied { what: format!("{} {what}", verb(method)), why },
            _ => meaning.error.unwrap_or_else(|| match status {
                StatusCode::NOT_FOUND => Error::not_found(what),
                _ => Error::Protocol { url: shown(&url), status: status.as_u16(), why, source: None },
            }),
        };
        Self { error, retry: Retry::of(status, &headers), waited: Duration::ZERO }
    }
}

/// The error for a response that is a success but not the expected answer.
pub fn unexpected(response: &Response, why: impl Into<String>) -> Error {
    Error::Protocol { url: shown(response.url()), status: response.status().as_u16(), why: why.into(), source: None }
}

/// The same, with the error that was found in the response.
pub fn unexpected_because(response: &Response, why: impl Into<String>, source: impl Into<Cause>) -> Error {
    Error::Protocol { url: shown(response.url()), status: response.status().as_u16(), why: why.into(), source: Some(source.into()) }
}

/// Whether an answer to a request in plain HTTP says that the server expects TLS. Servers have different words for it, most of them a page.
pub(crate) fn says_that_tls_is_expected(status: StatusCode, text: &str) -> bool {
    status == StatusCode::BAD_REQUEST && ["HTTPS", "SSL"].iter().any(|name| text.contains(name))
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => "reading",
        Method::DELETE => "deleting",
        _ => "writing",
    }
}
