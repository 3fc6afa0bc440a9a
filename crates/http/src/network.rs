//! Why a request got no answer, or only a part of one, in plain words.

use crate::{retry::Retry, text::printable};
use std::{error::Error as StdError, io};

pub(crate) const UNANSWERED: &str = "the server closed the connection instead of answering";
pub(crate) const NO_HANDSHAKE: &str = "the server closed the connection during the TLS handshake";
pub(crate) const MAY_SPEAK_TLS: &str = "; the server there may speak TLS";
pub(crate) const MAY_SPEAK_PLAIN_HTTP: &str = "; the server there may speak plain http";

/// An error and its sources, down to the root cause. An I/O error does not return the error that it wraps as its source, so this does.
pub(crate) fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    }
    std::iter::successors(Some(error as &(dyn StdError + 'static)), |error| cause(*error))
}

/// The root cause of a failed request as a sentence, and whether it may be temporary.
pub(crate) fn explain(error: &reqwest::Error) -> (String, Retry) {
    let root = causes(error).last().map_or_else(String::new, |root| printable(&root.to_string()));
    let kinds: Vec<io::ErrorKind> = causes(error).filter_map(|e| e.downcast_ref::<io::Error>()).map(io::Error::kind).collect();
    let of_http = |is: fn(&hyper::Error) -> bool| causes(error).filter_map(|e| e.downcast_ref::<hyper::Error>()).any(is);
    let is_plain = error.url().is_some_and(|url| url.scheme() == "http");
    let is_malformed = kinds.iter().any(|kind| matches!(kind, io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput));
    if causes(error).any(|e| e.is::<rustls::Error>()) {
        let hint = if root.contains("InvalidContentType") { MAY_SPEAK_PLAIN_HTTP } else { "" };
        // A certificate stays as it is, but a record may be damaged on its way.
        return (format!("TLS failed: {root}{hint}"), if error.is_connect() { Retry::Never } else { Retry::Soon });
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
