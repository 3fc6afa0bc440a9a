//! Connections to servers, and one request.

use crate::{
    certificates::Trusted,
    failure::Failure,
    network,
    options::{ClientOptions, RetryOptions, Timeouts},
    proxy::Routes,
    request::Request,
    retry::Backoff,
    text::shown,
};
use http::{
    HeaderName, HeaderValue, Method,
    header::{AUTHORIZATION, CONTENT_LENGTH, RANGE},
};
use modelpack_transfer::{Connections, Error, RateLimit, Result};
use reqwest::{Response, Url, redirect::Policy};
use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};
use tracing::{debug, info};

const USER_AGENT: &str = concat!("modelpack/", env!("CARGO_PKG_VERSION"));
/// How long an idle connection stays open: longer than a registry takes to commit a blob, so that the next request can use it.
const IDLE_CONNECTIONS_LIVE: Duration = Duration::from_secs(60);

/// Connections to any number of servers, over HTTP/1.1. Clones share them.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: reqwest::Client,
    routes: Arc<Routes>,
    retry: RetryOptions,
    timeouts: Timeouts,
    rate_limit: Option<Arc<RateLimit>>,
    connections: Option<Arc<Connections>>,
}

impl HttpClient {
    /// Creates a client. It does not connect yet.
    ///
    /// Fails with [`Error::Setting`] if a proxy or the user agent cannot be understood, or if a file with certificates cannot be used.
    pub fn new(options: &ClientOptions) -> Result<Self> {
        // `reqwest` is built without a TLS provider. If the program that embeds us has set one, that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let routes = Routes::new(&options.proxies)?;
        let trusted = Trusted::read(&options.certificates)?;
        let user_agent = if options.user_agent.is_empty() { USER_AGENT } else { &options.user_agent };
        let user_agent = HeaderValue::try_from(user_agent).map_err(|e| {
            let why = "it has characters that cannot stand in a header".to_owned();
            Error::Setting { setting: "the user agent".to_owned(), why, source: Some(e.into()) }
        })?;
        let configured = || {
            let builder = reqwest::Client::builder()
                .user_agent(user_agent.clone())
                // Several connections are faster than one connection of HTTP/2.
                .http1_only()
                .no_proxy()
                .redirect(Policy::none())
                .referer(false)
                .tls_danger_accept_invalid_certs(options.insecure)
                .tcp_nodelay(true)
                .tcp_keepalive(Duration::from_secs(30))
                .connect_timeout(options.timeouts.connect)
                .pool_idle_timeout(IDLE_CONNECTIONS_LIVE);
            routes.configure(trusted.configure(builder))
        };
        let built = match configured().and_then(reqwest::ClientBuilder::build) {
            Ok(client) => Ok(client),
            // A machine without CA certificates can still use plain http; https fails when it is used.
            Err(_) => configured().and_then(|builder| builder.tls_certs_only([]).build()),
        };
        let client = built.map_err(|e| {
            let why = network::causes(&e).last().map_or_else(String::new, ToString::to_string);
            Error::Setting { setting: "the HTTP client".to_owned(), why, source: Some(e.into()) }
        })?;
        Ok(Self {
            client,
            routes: Arc::new(routes),
            retry: options.retry,
            timeouts: options.timeouts,
            rate_limit: options.rate_limit.clone(),
            connections: options.connections.clone(),
        })
    }

    /// How often a request that failed is repeated.
    pub fn retry(&self) -> &RetryOptions {
        &self.retry
    }

    /// Counts the attempts of one request.
    pub fn backoff(&self) -> Backoff {
        Backoff::new(self.retry, self.connections.clone())
    }

    /// What limits the rate of all transfers together.
    pub(crate) fn rate_limit(&self) -> Option<&Arc<RateLimit>> {
        self.rate_limit.as_ref()
    }

    /// How long it waits for a server.
    pub(crate) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Sends a request to `url` once, and returns the answer when its head has come, whatever its status is. Redirects are not followed. Of
    /// all credentials, only `authorization` is sent.
    ///
    /// Fails if no answer comes, if no byte is sent or received for as long as the time-outs allow, if the payload cannot be read, or if
    /// it was sent before and cannot be sent again.
    pub async fn exchange<S>(
        &self,
        url: &Url,
        request: &mut Request<'_, S>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let begun = Instant::now();
        debug!(
            method = %request.method,
            url = %shown(url),
            range = header(request, RANGE),
            bytes = request.payload.len(),
            shows = authorization.map(scheme),
            proxy = self.routes.proxy(url),
            "request"
        );
        let answer = self.send(url, request, authorization).await;
        let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        match &answer {
            Ok(response) => {
                let (status, bytes) = (response.status().as_u16(), response.content_length());
                info!(method = %request.method, url = %shown(url), status, bytes, milliseconds, "answer");
            }
            Err(failure) => info!(method = %request.method, url = %shown(url), why = failure.why(), milliseconds, "no answer"),
        }
        answer
    }

    async fn send<S>(&self, url: &Url, request: &mut Request<'_, S>, authorization: Option<&HeaderValue>) -> Result<Response, Failure> {
        let mut sending = self.client.request(request.method.clone(), url.clone()).headers(request.headers.clone());
        if let Some(authorization) = authorization {
            sending = sending.header(AUTHORIZATION, authorization.clone());
        }
        if !matches!(request.method, Method::GET | Method::HEAD | Method::DELETE) {
            if let Some(len) = request.payload.len() {
                sending = sending.header(CONTENT_LENGTH, len);
            }
            let body = request.payload.for_attempt(self.rate_limit.clone());
            sending = sending.body(body.ok_or_else(|| Error::network(shown(url), "what was sent cannot be sent again"))?);
        }
        let patience = request.patience(&self.timeouts);
        let mut answer = pin!(sending.send());
        let mut sent = 0;
        loop {
            match tokio::time::timeout(patience, &mut answer).await {
                Ok(Ok(response)) => return self.routes.refusal(&response).map_or(Ok(response), |error| Err(error.into())),
                Ok(Err(error)) => {
                    let failure = || self.routes.explain(url, Failure::explained(url, &error), &error).caused_by(error.without_url());
                    return Err(request.payload.failure().map_or_else(failure, Failure::from));
                }
                Err(_) if request.payload.sent() > sent => sent = request.payload.sent(),
                Err(_) => return Err(Failure::stalled(url, patience)),
            }
        }
    }
}

/// A header of a request, for the log.
fn header<'r, S>(request: &'r Request<'_, S>, name: HeaderName) -> Option<&'r str> {
    request.headers.get(name)?.to_str().ok()
}

/// The scheme of an authorization, without the credentials.
fn scheme(authorization: &HeaderValue) -> &str {
    let scheme = authorization.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
    // Without a scheme, the first word would be the secret itself.
    match scheme {
        b"Basic" => "Basic",
        b"Bearer" => "Bearer",
        _ => "something else",
    }
}
