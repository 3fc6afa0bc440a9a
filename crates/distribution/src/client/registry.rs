//! One registry: where it is, and how a request gets an answer out of it, through authentication, redirects and retries.

use super::{
    ClientOptions,
    auth::Authority,
    credentials::Login,
    failure::{Failure, shown, unexpected},
    payload::Payload,
    retry::Backoff,
    scope::Scope,
};
use crate::protocol::route::Route;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_LENGTH, LOCATION},
};
use modelpack_transfer::{Error, Notices, Result};
use reqwest::{Response, Url};
use std::{
    net::IpAddr,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

/// How long an answer may take to begin, or the next bytes of a body to come or go.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// A registry may read a blob once more before it says that it has it.
const UPLOAD_PATIENCE: Duration = Duration::from_secs(10 * 60);
const MAX_REDIRECTS: usize = 8;
/// How often one request may be refused while there is something else to show: at first nothing is shown, then a token that has expired in
/// the meantime, then tokens for less and less.
const MAX_REFUSALS: usize = 5;

/// A registry, and what is known of it.
pub(crate) struct Registry {
    /// Host and port, as a reference names it.
    pub(crate) name: String,
    origin: Url,
    http: reqwest::Client,
    authority: Authority,
    pub(crate) notices: Notices,
    /// Whether it has ever answered.
    has_answered: AtomicBool,
}

/// A request as it is meant, however often it is sent.
pub(crate) struct Request<'a> {
    method: Method,
    url: Url,
    scope: &'a Scope,
    what: &'a str,
    headers: HeaderMap,
    payload: Payload,
    patience: Duration,
}

impl<'a> Request<'a> {
    /// A request without a body. `what` is what an error says was not found.
    pub(crate) fn new(method: Method, url: Url, scope: &'a Scope, what: &'a str) -> Self {
        Self { method, url, scope, what, headers: HeaderMap::new(), payload: Payload::empty(), patience: PATIENCE }
    }

    /// With a header.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// With a body.
    pub(crate) fn payload(mut self, payload: Payload) -> Self {
        (self.payload, self.patience) = (payload, UPLOAD_PATIENCE);
        self
    }
}

impl Registry {
    /// The registry `name`, a host with an optional port. With a login, that one is used instead of those in the options.
    pub(crate) fn new(name: &str, http: &reqwest::Client, options: &ClientOptions, login: Option<Login>) -> Result<Self> {
        let host = if name == "docker.io" { "registry-1.docker.io" } else { name };
        let invalid = || Error::Invalid { what: name.to_owned(), why: "it is not a host with an optional port".to_owned() };
        let mut origin = Url::parse(&format!("https://{host}/")).map_err(|_| invalid())?;
        if origin.path() != "/" || origin.query().is_some() || origin.fragment().is_some() || !origin.username().is_empty() {
            return Err(invalid());
        }
        if options.plain_http || is_loopback(&origin) {
            // Parsed anew, because the two schemes have different ports by default.
            origin = Url::parse(&format!("http://{host}/")).map_err(|_| invalid())?;
        }
        let authority = Authority::new(name, &origin, http, options, login);
        Ok(Self {
            name: name.to_owned(),
            origin,
            http: http.clone(),
            authority,
            notices: options.notices.clone(),
            has_answered: AtomicBool::new(false),
        })
    }

    /// The URL of a route.
    pub(crate) fn url(&self, route: &Route) -> Url {
        let mut url = self.origin.clone();
        url.set_path(&route.to_string());
        url
    }

    /// Whether the URL is the registry's own.
    pub(crate) fn owns(&self, url: &Url) -> bool {
        url.origin() == self.origin.origin()
    }

    /// Sends a request until it is answered with success, as far as it can be repeated.
    pub(crate) async fn send(&self, mut request: Request<'_>) -> Result<Response> {
        let mut backoff = Backoff::default();
        loop {
            match self.attempt(&mut request).await {
                Ok(response) => return Ok(response),
                Err(failure) => match backoff.pause(failure.retry) {
                    Some(pause) if !request.payload.is_spent() => tokio::time::sleep(pause).await,
                    _ => return Err(failure.error),
                },
            }
        }
    }

    /// Sends a request once, but for authentication and redirects; fails unless the answer is a success.
    pub(crate) async fn attempt(&self, request: &mut Request<'_>) -> Result<Response, Failure> {
        let mut url = request.url.clone();
        let mut refusals = 0;
        let mut visited = Vec::new();
        loop {
            // What authenticates is for the registry's eyes only.
            let authorization = if self.owns(&url) { self.authority.authorization(request.scope).await? } else { None };
            let response = self.exchange(&url, request, authorization.as_ref()).await?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            if status == StatusCode::UNAUTHORIZED && self.owns(&url) && refusals < MAX_REFUSALS && !request.payload.is_spent() {
                refusals += 1;
                if self.authority.refused(request.scope, response.headers(), authorization.as_ref(), refusals > 1).await? {
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
                    continue;
                };
                return Err(unexpected(&response, why).into());
            }
            return Err(Failure::refused(&request.method, request.what, &self.name, response).await);
        }
    }

    /// Where a response leads to.
    pub(crate) fn location(&self, response: &Response) -> Result<Url> {
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| unexpected(response, "it does not say where to go on (Location)"))?;
        let url = response.url().join(location).map_err(|_| unexpected(response, "its Location is not a URL"))?;
        match url.scheme() {
            "https" => Ok(url),
            "http" if self.origin.scheme() == "http" => Ok(url),
            _ => Err(unexpected(response, format!("it leads to {}, which is less secure", shown(&url)))),
        }
    }

    /// One request and the beginning of its response.
    async fn exchange(&self, url: &Url, request: &mut Request<'_>, authorization: Option<&HeaderValue>) -> Result<Response, Failure> {
        let mut sending = self.http.request(request.method.clone(), url.clone()).headers(request.headers.clone());
        if let Some(authorization) = authorization {
            sending = sending.header(AUTHORIZATION, authorization.clone());
        }
        if !matches!(request.method, Method::GET | Method::HEAD | Method::DELETE) {
            if let Some(len) = request.payload.len() {
                sending = sending.header(CONTENT_LENGTH, len);
            }
            let body = request.payload.for_attempt();
            sending =
                sending.body(body.ok_or_else(|| Error::Network { url: shown(url), why: "what was sent cannot be sent again".to_owned() })?);
        }
        let mut answer = pin!(sending.send());
        let mut sent = 0;
        loop {
            match tokio::time::timeout(request.patience, &mut answer).await {
                Ok(Ok(response)) => {
                    self.has_answered.fetch_or(self.owns(url), Relaxed);
                    return Ok(response);
                }
                Ok(Err(error)) => return Err(request.payload.failure().map_or_else(|| self.unanswered(url, &error), Failure::from)),
                Err(_) if request.payload.sent() > sent => sent = request.payload.sent(),
                Err(_) => return Err(Failure::stalled(url, request.patience)),
            }
        }
    }

    /// What it means that a request got no response.
    fn unanswered(&self, url: &Url, error: &reqwest::Error) -> Failure {
        let failure = Failure::network(url, error);
        if self.owns(url) && self.has_answered.load(Relaxed) { failure } else { failure.of_stranger() }
    }
}

/// A redirect that keeps the method. Of the older ones, which may turn it into GET, only those of GET and HEAD do.
fn is_redirect(status: StatusCode, method: &Method) -> bool {
    match status.as_u16() {
        307 | 308 => true,
        301..=303 => matches!(*method, Method::GET | Method::HEAD),
        _ => false,
    }
}

/// Whether a host is this machine itself, which is spoken to without TLS.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(name: &str, plain_http: bool) -> String {
        let options = ClientOptions { plain_http, ..ClientOptions::default() };
        Registry::new(name, &crate::client::http_client(&options).unwrap(), &options, None)
            .map_or_else(|e| e.to_string(), |r| r.origin.to_string())
    }

    #[test]
    fn only_loopback_and_what_the_caller_says_is_plain_http() {
        for (name, expected) in [
            ("registry.example.com", "https://registry.example.com/"),
            ("registry.example.com:5000", "https://registry.example.com:5000/"),
            ("docker.io", "https://registry-1.docker.io/"),
            ("localhost:5000", "http://localhost:5000/"),
            ("localhost", "http://localhost/"),
            ("127.1.2.3", "http://127.1.2.3/"),
            ("[::1]:5000", "http://[::1]:5000/"),
            ("localhost.example.com", "https://localhost.example.com/"),
            ("10.0.0.1:443", "https://10.0.0.1/"),
        ] {
            assert_eq!(origin(name, false), expected);
        }
        assert_eq!(origin("registry.example.com:443", true), "http://registry.example.com:443/");
        for bad in ["", "a/b", "user@host", "host?x"] {
            assert!(origin(bad, false).contains("not a host"), "{bad}");
        }
    }
}
