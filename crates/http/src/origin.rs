//! One server: authorization, redirects and retries of the requests to it.

use crate::{
    body::read_message,
    client::HttpClient,
    failure::{Failure, says_that_tls_is_expected, unexpected, unexpected_because},
    link,
    options::ClientOptions,
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
    /// Whether the server may speak the other one of HTTPS and plain HTTP.
    may_switch: bool,
    /// Whether it was found that it does.
    has_switched: AtomicBool,
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
            may_switch: false,
            has_switched: AtomicBool::new(false),
            gives_ranges: AtomicBool::new(true),
        }
    }

    /// The same server, which may speak the other one of HTTPS and plain HTTP.
    ///
    /// Instead of HTTPS, plain HTTP is used if the first request gets no answer over TLS, and one without it. Instead of plain HTTP, HTTPS is
    /// used if the server refuses the first request because it expects TLS.
    pub fn or_other_scheme(self) -> Self {
        Self { may_switch: true, ..self }
    }

    fn has_switched(&self) -> bool {
        self.has_switched.load(Relaxed)
    }

    /// Whether the server is spoken to without TLS.
    fn is_plain(&self) -> bool {
        (self.url.scheme() == "http") != self.has_switched()
    }

    /// The URL as the server is spoken to.
    fn spoken(&self, url: Url) -> Url {
        if self.owns(&url) && (url.scheme() == "http") != self.is_plain() { other_scheme(&url) } else { url }
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
    /// If it was found that the server speaks the other one of HTTPS and plain HTTP, both count as its own.
    pub fn owns(&self, url: &Url) -> bool {
        url.origin() == self.url.origin() || self.has_switched() && url.origin() == other_scheme(&self.url).origin()
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
        let mut url = request.url.clone();
        let mut refusals = 0;
        let mut visited = Vec::new();
        loop {
            // No other server may see the credentials.
            let authorization = if self.owns(&url) { self.protocol.authorization(request.scope).await? } else { None };
            // Not before there is an authorization: while this waited, the server may have been found to speak TLS. A redirect to TLS stays one.
            if visited.is_empty() || !self.is_plain() {
                url = self.spoken(url);
            }
            let response = self.exchange(&url, request, authorization.as_ref()).await?;
            // The server may have been found to speak the other scheme.
            url = response.url().clone();
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            if status == StatusCode::UNAUTHORIZED && self.owns(&url) && refusals < MAX_REFUSALS && !request.payload.is_spent() {
                refusals += 1;
                debug!(url = %shown(&url), "credentials are asked for, or other ones");
                if self.protocol.refused(request.scope, &url, response.headers(), authorization.as_ref(), refusals > 1).await? {
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
            "http" if self.is_plain() => Ok(url),
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
        let mut spoken = url.clone();
        let mut response = self.client.exchange(url, request, authorization).await;
        if self.may_switch && self.owns(url) && url.scheme() == self.url.scheme() && !request.payload.is_spent() {
            let other = other_scheme(url);
            match &response {
                Err(Failure { error: Error::Network { .. }, .. }) if url.scheme() == "https" && !self.has_answered() => {
                    if let Ok(answer) = self.client.exchange(&other, request, authorization).await {
                        self.switch(&other);
                        (spoken, response) = (other, Ok(answer));
                    }
                }
                Ok(answer) if url.scheme() == "http" && answer.status() == StatusCode::BAD_REQUEST && self.expects_tls(request).await => {
                    self.switch(&other);
                    response = self.client.exchange(&other, request, authorization).await;
                    spoken = other;
                }
                _ => {}
            }
        }
        match response {
            Ok(response) => {
                self.has_answered.fetch_or(self.owns(&spoken), Relaxed);
                Ok(response)
            }
            Err(failure) if self.owns(&spoken) && self.has_answered() => Err(failure),
            Err(failure) => Err(failure.of_stranger(&spoken)),
        }
    }

    fn has_answered(&self) -> bool {
        self.has_answered.load(Relaxed)
    }

    /// From now on, the server is spoken to as at `url`.
    fn switch(&self, url: &Url) {
        if !self.has_switched.swap(true, Relaxed) {
            info!(url = %shown(url), scheme = url.scheme(), "from now on, the server is spoken to by this scheme");
        }
    }

    /// Whether the server, which has answered 400 to its first request in plain HTTP, expects TLS.
    async fn expects_tls(&self, request: &Request<'_, P::Scope>) -> bool {
        if self.has_switched() || self.has_answered() {
            return self.has_switched();
        }
        // Only the text says it, and the answer to HEAD has none. So this is a request of its own, with nothing secret.
        let url = self.url("/");
        let mut question = Request::new(Method::GET, url.clone(), request.scope, "what the server speaks");
        match self.client.exchange(&url, &mut question, None).await {
            Ok(answer) => says_that_tls_is_expected(answer.status(), &read_message(answer).await),
            Err(_) => false,
        }
    }
}

/// The URL of a server, from its host and an optional port. `None` if `name` is not a host with an optional port.
///
/// The scheme is http for all hosts if the options say so. For loopback hosts, it is http unless there is a directory of certificates for
/// the server. Otherwise, it is https. Blocks to look for the directory of a loopback host.
pub fn origin_url(name: &str, options: &ClientOptions) -> Option<Url> {
    let url = Url::parse(&format!("https://{name}/")).ok()?;
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
        return None;
    }
    if options.plain_http || is_loopback(&url) && !options.certificates.has_directory(&url) {
        // Parsed anew, because the two schemes have different ports by default.
        return Url::parse(&format!("http://{name}/")).ok();
    }
    Some(url)
}

/// The same URL with the other one of https and http.
fn other_scheme(url: &Url) -> Url {
    let mut other = url.clone();
    let scheme = if url.scheme() == "http" { "https" } else { "http" };
    other.set_scheme(scheme).expect("https and http are of one kind");
    other
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

/// Whether a host is this machine itself.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::Certificates;

    fn origin(name: &str, options: &ClientOptions) -> Option<String> {
        origin_url(name, options).map(|url| url.to_string())
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
            assert_eq!(origin(name, &ClientOptions::default()).as_deref(), Some(expected));
        }
        let plain = ClientOptions::default().plain_http(true);
        assert_eq!(origin("registry.example.com:443", &plain).as_deref(), Some("http://registry.example.com:443/"));
        for bad in ["", "a/b", "user@host", "host?x"] {
            assert_eq!(origin(bad, &ClientOptions::default()), None, "{bad}");
        }
    }

    #[test]
    fn a_loopback_host_with_a_directory_of_certificates_is_https() {
        let directories = tempfile::tempdir().unwrap();
        for name in ["localhost:5000", "localhost:443", "[::1]:5000"] {
            std::fs::create_dir(directories.path().join(name)).unwrap();
        }
        let options = ClientOptions::default().certificates(Certificates::default().directories(vec![directories.path().to_owned()]));
        for (name, expected) in [
            ("localhost:5000", "https://localhost:5000/"),
            ("localhost:5001", "http://localhost:5001/"),
            ("localhost:443", "https://localhost/"),
            ("[::1]:5000", "https://[::1]:5000/"),
        ] {
            assert_eq!(origin(name, &options).as_deref(), Some(expected));
        }
        assert_eq!(origin("localhost:5000", &options.plain_http(true)).as_deref(), Some("http://localhost:5000/"));
    }
}
