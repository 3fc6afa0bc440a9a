//! What went wrong with a request, as a sentence and as a reason to try again or not.

use super::retry::{Retry, retry_after};
use crate::protocol::{
    error::{ErrorBody, ErrorCode},
    route::Route,
};
use http::{Method, StatusCode};
use modelpack_spec::Digest;
use modelpack_transfer::Error;
use reqwest::{Response, Url};
use std::{error::Error as StdError, io, time::Duration};

/// How much of an error response is read, in bytes.
const MAX_ERROR_BYTES: usize = 16 << 10;
/// How much of what somebody else says is repeated, in characters.
const MAX_MESSAGE_CHARACTERS: usize = 500;
const BODY_PATIENCE: Duration = Duration::from_secs(10);
const UNANSWERED: &str = "the server closed the connection instead of answering";
const NO_HANDSHAKE: &str = "the server closed the connection during the TLS handshake";
const MAY_SPEAK_TLS: &str = "; the server there may speak TLS";
const MAY_SPEAK_PLAIN_HTTP: &str = "; the server there may speak plain http";

/// A failure of one attempt.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) retry: Retry,
}

impl From<Error> for Failure {
    /// Another attempt would not help.
    fn from(error: Error) -> Self {
        Self { error, retry: Retry::Never }
    }
}

impl Failure {
    /// The connection failed before there was a response, or in the middle of it.
    pub(crate) fn network(url: &Url, error: &reqwest::Error) -> Self {
        let (why, retry) = explain(error);
        Self { error: Error::Network { url: shown(url), why }, retry }
    }

    /// The same, of a server that has not answered anything yet: it may expect another protocol.
    pub(crate) fn of_stranger(mut self) -> Self {
        if let Error::Network { url, why } = &mut self.error {
            match &**why {
                UNANSWERED if url.starts_with("http:") => why.push_str(MAY_SPEAK_TLS),
                NO_HANDSHAKE => why.push_str(MAY_SPEAK_PLAIN_HTTP),
                _ => {}
            }
        }
        self
    }

    /// Nothing came for so long that nothing will.
    pub(crate) fn stalled(url: &Url, patience: Duration) -> Self {
        let why = format!("nothing came for {} seconds", patience.as_secs());
        Self { error: Error::Network { url: shown(url), why }, retry: Retry::Soon }
    }

    /// A body ended before all of it had come.
    pub(crate) fn cut_off(url: &Url) -> Self {
        Self { error: Error::Network { url: shown(url), why: "the connection ended too early".to_owned() }, retry: Retry::Soon }
    }

    /// A response that is not a success. `what` names what was asked for.
    pub(crate) async fn refused(method: &Method, what: &str, registry: &str, response: Response) -> Self {
        let (status, url) = (response.status(), response.url().clone());
        let retry = Retry::of(status, response.headers());
        let pause = retry_after(response.headers()).map_or(0, |pause| pause.as_secs());
        let text = read_message(response).await;
        let body: Option<ErrorBody> = serde_json::from_str(&text).ok();
        let why = match &body {
            Some(body) => body.errors.iter().map(|e| [&*e.code, &*e.message].join(": ")).collect::<Vec<_>>().join("; "),
            // A proxy's page is no help to anybody, a line of text may be.
            None if text.trim_start().starts_with('<') => String::new(),
            None => text.lines().next().unwrap_or_default().to_owned(),
        };
        let why = printable(why.trim_matches([':', ' ']));
        let mut why = if why.is_empty() { status.canonical_reason().unwrap_or("it did not say why").to_owned() } else { why };
        if pause > 0 {
            why.push_str(&format!("; the registry asks to wait {pause} s"));
        }
        if url.scheme() == "http" && status == StatusCode::BAD_REQUEST && ["HTTPS", "SSL"].iter().any(|name| text.contains(name)) {
            // How servers answer that expect TLS, each in its own words, and most of them with a page.
            why.push_str(MAY_SPEAK_TLS);
        }
        let missing_blob = || {
            let is_missing_blob = body.as_ref()?.errors.iter().any(|e| e.code == ErrorCode::ManifestBlobUnknown.name());
            let Ok(Route::Manifest(repository, _)) = Route::parse(url.path()) else { return None };
            let digest = is_missing_blob.then(|| find_digest(&text))??;
            Some(Error::MissingReference { digest, repository: format!("{registry}/{repository}") })
        };
        let error = match status {
            StatusCode::UNAUTHORIZED => Error::Unauthorized { registry: host(&url).to_owned(), why },
            StatusCode::FORBIDDEN => Error::Denied { what: format!("{} {what}", verb(method)), why },
            _ => missing_blob().unwrap_or_else(|| match status {
                StatusCode::NOT_FOUND => Error::not_found(what),
                _ => Error::Protocol { url: shown(&url), status: status.as_u16(), why },
            }),
        };
        Self { error, retry }
    }
}

/// A response that is a success, and yet not what was asked for.
pub(crate) fn unexpected(response: &Response, why: impl Into<String>) -> Error {
    Error::Protocol { url: shown(response.url()), status: response.status().as_u16(), why: why.into() }
}

/// Whether this is how registries say that they do not know a request.
pub(crate) fn is_unsupported(status: u16) -> bool {
    [StatusCode::BAD_REQUEST, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED].iter().any(|known| known.as_u16() == status)
}

/// The URL as an error shows it: without query and password, since those of object storage are signatures.
pub(crate) fn shown(url: &Url) -> String {
    printable(&format!("{}://{}{}", url.scheme(), host(url), url.path()))
}

/// Host and port.
fn host(url: &Url) -> &str {
    url.authority().rsplit_once('@').map_or(url.authority(), |(_, host)| host)
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => "reading",
        Method::DELETE => "deleting",
        _ => "writing",
    }
}

/// The beginning of an error's body; nothing if it does not come.
async fn read_message(mut response: Response) -> String {
    let mut bytes = Vec::new();
    let read = async {
        while let Ok(Some(piece)) = response.chunk().await {
            bytes.extend_from_slice(&piece[..piece.len().min(MAX_ERROR_BYTES - bytes.len())]);
            if bytes.len() == MAX_ERROR_BYTES {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(BODY_PATIENCE, read).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Text of somebody else that fits into a sentence: one line, without control characters, and of a long text the beginning.
pub(crate) fn printable(text: &str) -> String {
    printable_beginning(text, MAX_MESSAGE_CHARACTERS)
}

/// The same with another limit, in characters.
pub(crate) fn printable_beginning(text: &str, limit: usize) -> String {
    let mut shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(limit).collect();
    let left_out = text.chars().count().saturating_sub(limit);
    if left_out > 0 {
        shown.push_str(&format!("… ({left_out} more characters)"));
    }
    shown
}

/// Registries put the digest of a missing blob into the message or the detail, each in its own way.
fn find_digest(text: &str) -> Option<Digest> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != ':').find_map(|word| word.parse().ok())
}

/// An error and what it was made from, down to the root. An I/O error does not count the one that it wraps among its sources.
pub(crate) fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    }
    std::iter::successors(Some(error as &(dyn StdError + 'static)), |error| cause(*error))
}

/// The root cause of a failed request as a sentence, and whether it may pass.
fn explain(error: &reqwest::Error) -> (String, Retry) {
    let root = causes(error).last().map_or_else(String::new, |root| printable(&root.to_string()));
    let kinds: Vec<io::ErrorKind> = causes(error).filter_map(|e| e.downcast_ref::<io::Error>()).map(io::Error::kind).collect();
    let of_http = |is: fn(&hyper::Error) -> bool| causes(error).filter_map(|e| e.downcast_ref::<hyper::Error>()).any(is);
    let is_plain = error.url().is_some_and(|url| url.scheme() == "http");
    let is_malformed = kinds.iter().any(|kind| matches!(kind, io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput));
    if causes(error).any(|e| e.is::<rustls::Error>()) {
        let hint = if root.contains("InvalidContentType") { MAY_SPEAK_PLAIN_HTTP } else { "" };
        return (format!("TLS failed: {root}{hint}"), Retry::Never);
    }
    if of_http(hyper::Error::is_parse) {
        let hint = if is_plain { MAY_SPEAK_TLS } else { "" };
        return (format!("the answer is not HTTP: {root}{hint}"), Retry::Soon);
    }
    let unanswered = of_http(hyper::Error::is_incomplete_message);
    let is_cut = matches!(
        kinds.last(),
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted | io::ErrorKind::UnexpectedEof)
    );
    let why = match kinds.last() {
        _ if error.is_timeout() => "the connection timed out".to_owned(),
        _ if error.is_dns() => format!("the host name cannot be resolved ({root})"),
        _ if is_cut && error.is_connect() && !is_plain => NO_HANDSHAKE.to_owned(),
        _ if unanswered || is_cut && error.is_request() => UNANSWERED.to_owned(),
        Some(io::ErrorKind::ConnectionRefused) => "the connection was refused: no server listens there".to_owned(),
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted) => {
            "the server cut the connection".to_owned()
        }
        Some(io::ErrorKind::UnexpectedEof) => "the connection ended too early".to_owned(),
        _ if is_malformed && (error.is_body() || error.is_decode()) => format!("the body of the answer is malformed: {root}"),
        _ => root,
    };
    (why, if error.is_builder() { Retry::Never } else { Retry::Soon })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_url_has_no_secrets() {
        let url = Url::parse("https://user:pw@store.example.com:8443/blob?X-Signature=abc").unwrap();
        assert_eq!(shown(&url), "https://store.example.com:8443/blob");
    }

    #[test]
    fn a_digest_is_found_wherever_it_stands() {
        let digest = Digest::of(b"x");
        for text in [
            format!(r#"{{"errors":[{{"detail":"{digest}"}}]}}"#),
            format!(r#"{{"errors":[{{"detail":{{"digest":"{digest}"}}}}]}}"#),
            format!("blob {digest}."),
        ] {
            assert_eq!(find_digest(&text).as_ref(), Some(&digest), "{text}");
        }
        assert_eq!(find_digest("sha256:12"), None);
    }

    #[test]
    fn what_a_registry_says_cannot_steer_a_terminal() {
        assert_eq!(printable("a\x1b[31mb\r\nc"), "a [31mb  c");
        assert_eq!(printable(&"é".repeat(9999)), format!("{}… (9499 more characters)", "é".repeat(MAX_MESSAGE_CHARACTERS)));
        let long = Url::parse(&format!("http://h/{}", "x".repeat(9999))).unwrap();
        assert!(shown(&long).len() < 600 && shown(&long).starts_with("http://h/xx"), "{}", shown(&long));
    }
}
