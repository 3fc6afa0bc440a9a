//! Why a request got no answer, or only a part of one, in plain words.

use crate::{retry::Retry, text::printable};
use reqwest::Url;
use rustls::{CertificateError, OtherError};
use std::{error::Error as StdError, io};

pub(crate) const UNANSWERED: &str = "the server closed the connection instead of answering";
pub(crate) const NO_HANDSHAKE: &str = "the server closed the connection during the TLS handshake";
pub(crate) const MAY_SPEAK_TLS: &str = "; the server there may speak TLS";
pub(crate) const MAY_SPEAK_PLAIN_HTTP: &str = "; the server there may speak plain http";

const OF_AUTHORITY: &str = "the server shows the certificate of an authority, which is accepted only if it is named itself";

/// The library's text for a host without an address. The type of this error is private.
const NO_ADDRESS: &str = "dns error";

/// An error and its sources, down to the root cause. An I/O error does not return the error that it wraps as its source, so this does.
pub(crate) fn causes<'e>(error: &'e (dyn StdError + 'static)) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        }
    }
    std::iter::successors(Some(error), |error| cause(*error))
}

/// Whether any cause is an error of this type of which this is true.
fn is_any<E: StdError + 'static>(error: &(dyn StdError + 'static), is: impl Fn(&E) -> bool) -> bool {
    causes(error).filter_map(|cause| cause.downcast_ref::<E>()).any(is)
}

/// Whether there was no connection.
pub(crate) fn is_connect(error: &(dyn StdError + 'static)) -> bool {
    is_any(error, hyper_util::client::legacy::Error::is_connect)
}

/// Whether nothing came for too long.
pub(crate) fn is_timeout(error: &(dyn StdError + 'static)) -> bool {
    is_any(error, reqwest::Error::is_timeout) || is_any(error, |e: &io::Error| e.kind() == io::ErrorKind::TimedOut)
}

/// Whether the name of a host cannot be resolved.
pub(crate) fn is_dns(error: &(dyn StdError + 'static)) -> bool {
    is_any(error, reqwest::Error::is_dns) || causes(error).any(|cause| cause.to_string() == NO_ADDRESS)
}

/// Whether the certificate of a server was refused because it is that of an authority.
fn is_of_authority(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(why))) = error else { return false };
    matches!(why.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// The root cause of a failed request as a sentence, and whether it may be temporary.
pub(crate) fn explain(url: &Url, error: &(dyn StdError + 'static)) -> (String, Retry) {
    let root = causes(error).last().map_or_else(String::new, |root| printable(&root.to_string()));
    let kinds: Vec<io::ErrorKind> = causes(error).filter_map(|e| e.downcast_ref::<io::Error>()).map(io::Error::kind).collect();
    let is_plain = url.scheme() == "http";
    let is_of_body = is_any(error, |e: &reqwest::Error| e.is_body() || e.is_decode());
    let is_malformed = kinds.iter().any(|kind| matches!(kind, io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput));
    if is_any(error, |_: &rustls::Error| true) {
        let hint = if root.contains("InvalidContentType") { MAY_SPEAK_PLAIN_HTTP } else { "" };
        let root = if is_any(error, is_of_authority) { OF_AUTHORITY.to_owned() } else { root };
        // A certificate stays as it is, but a record may be damaged on its way.
        return (format!("TLS failed: {root}{hint}"), if is_connect(error) { Retry::Never } else { Retry::Soon });
    }
    if is_any(error, hyper::Error::is_parse) {
        let hint = if is_plain { MAY_SPEAK_TLS } else { "" };
        return (format!("the answer is not HTTP: {root}{hint}"), Retry::Soon);
    }
    let unanswered = is_any(error, hyper::Error::is_incomplete_message);
    let is_cut = matches!(
        kinds.last(),
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted | io::ErrorKind::UnexpectedEof)
    );
    let why = match kinds.last() {
        _ if is_timeout(error) => "the connection timed out".to_owned(),
        _ if is_dns(error) => format!("the host name cannot be resolved ({root})"),
        _ if is_cut && is_connect(error) && !is_plain => NO_HANDSHAKE.to_owned(),
        _ if unanswered || is_cut && !is_of_body => UNANSWERED.to_owned(),
        Some(io::ErrorKind::ConnectionRefused) => "the connection was refused: no server listens there".to_owned(),
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted) => {
            "the server cut the connection".to_owned()
        }
        Some(io::ErrorKind::UnexpectedEof) => "the connection ended too early".to_owned(),
        _ if is_malformed && is_of_body => format!("the body of the answer is malformed: {root}"),
        _ => root,
    };
    (why, if is_any(error, reqwest::Error::is_builder) { Retry::Never } else { Retry::Soon })
}
