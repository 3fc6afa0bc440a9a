//! One server: authorization, redirects and retries of the requests to it.

use crate::{
    client::HttpClient,
    failure::{Failure, unexpected, unexpected_because},
    link,
    protocol::Protocol,
    request::Request,
    text::{printable, shown},
};
use http::{
    HeaderValue, Method, StatusCode,
    header::{LINK, LOCATION},
};
use modelpack_transfer::{Error, Result};
use reqwest::{Response, Url};
use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};
use tracing::{debug, info};

const MAX_REDIRECTS: usize = 8;
/// How many times one request may be answered with 401 and be repeated with another authorization: at first there is none, then a token that
/// has expired, then tokens with smaller and smaller scopes.
const MAX_REFUSALS: usize = 5;

/// A server, and the protocol that it speaks.
pub struct Origin<P> {
    /// Only the scheme, the host and the port matter.
    url: Url,
    client: HttpClient,
    protocol: P,
    /// Whether the server has answered any request.
    has_answered: AtomicBool,
    /// Whether plain HTTP is tried if the server does not speak TLS.
    may_be_plain: bool,
    /// Whether it was found that the server speaks plain HTTP.
    is_plain: AtomicBool,
    /// Whether the server has sent no more than the range that was requested, each time that one was.
    gives_ranges: AtomicBool,
}

impl<P: Protocol> Origin<P> {
    /// The server at `url`. Only the scheme, the host and the port of the URL matter.
    pub fn new(url: Url, client: HttpClient, protocol: P) -> Self {
        Self {
            url,
            client,
            protocol,
            has_answered: AtomicBool::new(false),
            may_be_plain: false,
            is_plain: AtomicBool::new(false),
            gives_ranges: AtomicBool::new(true),
        }
    }

    /// The same server, which may speak plain HTTP: that is tried if the first request over TLS gets no answer.
    pub fn or_plain_http(self) -> Self {
        Self { may_be_plain: self.url.scheme() == "https", ..self }
    }

    /// The URL as the server is spoken to.
    fn spoken(&self, mut url: Url) -> Url {
        if self.is_plain.load(Relaxed) && self.owns(&url) {
            set_plain(&mut url);
        }
        url
    }

    /// The URL of a path on this server. The path must be percent-encoded.
    pub fn url(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(path);
        self.spoken(url)
    }

    /// The client that its requests are sent by.
    pub fn client(&self) -> &HttpClient {
        &self.client
    }

    /// Whether the server has given ranges until now. True as long as none was requested.
    pub fn gives_ranges(&self) -> bool {
        self.gives_ranges.load(Relaxed)
    }

    /// A range was requested, and the server did not give it.
    pub(crate) fn ignores_ranges(&self) {
        self.gives_ranges.store(false, Relaxed);
    }

    /// Whether the URL belongs to this server: it has the same scheme, host and port.
    ///
    /// If it was found that the server speaks plain HTTP, that counts as the same scheme.
    pub fn owns(&self, url: &Url) -> bool {
        let is_plain = || {
            let mut plain = self.url.clone();
            set_plain(&mut plain);
            url.origin() == plain.origin()
        };
        url.origin() == self.url.origin() || self.is_plain.load(Relaxed) && is_plain()
    }

    /// Sends a request, and repeats it after failures that may be temporary, if its payload can be sent again. Returns the first successful
    /// answer.
    pub async fn send(&self, mut request: Request<'_, P::Scope>) -> Result<Response> {
        let mut backoff = self.client.backoff();
        loop {
            let failure = match self.attempt(&mut request).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            if request.payload.is_spent() {
                return Err(failure.error);
            }
            backoff.wait(failure).await.map_err(|failure| failure.error)?;
        }
    }

    /// Sends a request once. It is repeated only for authorization and redirects. Fails unless the answer is a success.
    pub async fn attempt(&self, request: &mut Request<'_, P::Scope>) -> Result<Response, Failure> {
        let mut url = self.spoken(request.url.clone());
        let mut refusals = 0;
        let mut visited = Vec::new();
        loop {
            // No other server may see the credentials.
            let authorization = if self.owns(&url) { self.protocol.authorization(request.scope).await? } else { None };
            let response = self.exchange(&url, request, authorization.as_ref()).await?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            if status == StatusCode::UNAUTHORIZED && self.owns(&url) && refusals < MAX_REFUSALS && !request.payload.is_spent() {
                refusals += 1;
                debug!(url = %shown(&url), "credentials are asked for, or other ones");
                if self.protocol.refused(request.scope, response.headers(), authorization.as_ref(), refusals > 1).await? {
                    continue;
                }
            }
            if is_redirect(status, &request.method) {
                visited.push(std::mem::replace(&mut url, self.location(&response)?));
                let to = shown(&url);
                let why = if visited.contains(&url) {
                    format!("the redirects lead in a circle, back to {to}")
                } else if visited.len() > MAX_REDIRECTS {
                    format!("there are more than {MAX_REDIRECTS} redirects in a row, the last one to {to}")
                } else if request.payload.is_spent() {
                    format!("it redirects to {to} after the bytes were sent, and they cannot be sent a second time")
                } else {
                    info!(status = status.as_u16(), %to, "redirected");
                    continue;
                };
                return Err(unexpected(&response, why).into());
            }
            return Err(Failure::refused(&request.method, request.what, &self.protocol, response).await.after(request.waited()));
        }
    }

    /// The URL in the `Location` of a response. Fails if there is none, or if it is less secure than the URL of this server.
    pub fn location(&self, response: &Response) -> Result<Url> {
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| unexpected(response, "it does not say where to go on (Location)"))?;
        let url = response.url().join(location).map_err(|e| unexpected_because(response, "its Location is not a URL", e))?;
        match url.scheme() {
            "https" => Ok(url),
            "http" if self.url.scheme() == "http" || self.is_plain.load(Relaxed) => Ok(url),
            _ => Err(unexpected(response, format!("it leads to {}, which is less secure", shown(&url)))),
        }
    }

    /// The URL of the next page of a list, which the `Link` of a response names; `None` if there is no other page. Fails if it is not on this
    /// server.
    pub fn next_page(&self, response: &Response) -> Result<Option<Url>> {
        let links = response.headers().get_all(LINK).iter().filter_map(|value| value.to_str().ok());
        let Some(next) = links.filter_map(link::parse_next).next() else { return Ok(None) };
        match response.url().join(next) {
            Ok(url) if self.owns(&url) => Ok(Some(url)),
            _ => Err(unexpected(response, format!("its next page is not its own: {}", printable(next)))),
        }
    }

    /// Sends one request and returns its answer.
    async fn exchange(
        &self,
        url: &Url,
        request: &mut Request<'_, P::Scope>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let mut response = self.client.exchange(url, request, authorization).await;
        let may_be_plain = self.may_be_plain && self.owns(url) && url.scheme() == "https" && !self.has_answered.load(Relaxed);
        if may_be_plain && !request.payload.is_spent() && matches!(&response, Err(Failure { error: Error::Network { .. }, .. })) {
            let mut plain = url.clone();
            set_plain(&mut plain);
            if let Ok(answer) = self.client.exchange(&plain, request, authorization).await {
                info!(url = %shown(&plain), "the server speaks plain HTTP");
                self.is_plain.store(true, Relaxed);
                response = Ok(answer);
            }
        }
        match response {
            Ok(response) => {
                self.has_answered.fetch_or(self.owns(url), Relaxed);
                Ok(response)
            }
            Err(failure) if self.owns(url) && self.has_answered.load(Relaxed) => Err(failure),
            Err(failure) => Err(failure.of_stranger(url)),
        }
    }
}

/// The URL of a server, from its host and an optional port. The scheme is https; it is http for loopback hosts, and for all hosts if
/// `plain_http` is set. `None` if `name` is not a host with an optional port.
pub fn origin_url(name: &str, plain_http: bool) -> Option<Url> {
    let url = Url::parse(&format!("https://{name}/")).ok()?;
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return None;
    }
    // Parsed anew, because the two schemes have different ports by default.
    if plain_http || is_loopback(&url) { Url::parse(&format!("http://{name}/")).ok() } else { Some(url) }
}

/// Makes a URL one of plain HTTP.
fn set_plain(url: &mut Url) {
    url.set_scheme("http").expect("https and http are of one kind");
}

/// Whether a status is a redirect that keeps the method. The older statuses, with which clients may change the method to GET, count only for
/// GET and HEAD.
fn is_redirect(status: StatusCode, method: &Method) -> bool {
    match status.as_u16() {
        307 | 308 => true,
        301..=303 => matches!(*method, Method::GET | Method::HEAD),
        _ => false,
    }
}

/// Whether a host is this machine itself. It is used without TLS.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(name: &str, plain_http: bool) -> Option<String> {
        origin_url(name, plain_http).map(|url| url.to_string())
    }

    #[test]
    fn only_loopback_and_what_the_caller_says_is_plain_http() {
        for (name, expected) in [
            ("registry.example.com", "https://registry.example.com/"),
            ("registry.example.com:5000", "https://registry.example.com:5000/"),
            ("localhost:5000", "http://localhost:5000/"),
            ("localhost", "http://localhost/"),
            ("127.1.2.3", "http://127.1.2.3/"),
            ("[::1]:5000", "http://[::1]:5000/"),
            ("localhost.example.com", "https://localhost.example.com/"),
            ("10.0.0.1:443", "https://10.0.0.1/"),
        ] {
            assert_eq!(origin(name, false).as_deref(), Some(expected));
        }
        assert_eq!(origin("registry.example.com:443", true).as_deref(), Some("http://registry.example.com:443/"));
        for bad in ["", "a/b", "user@host", "host?x"] {
            assert_eq!(origin(bad, false), None, "{bad}");
        }
    }
}
