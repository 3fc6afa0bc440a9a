//! Connections to servers, and one request over one of them.

use crate::{
    failure::Failure,
    network,
    options::{ClientOptions, Proxies},
    request::Request,
    text::shown,
};
use http::{
    HeaderValue, Method,
    header::{AUTHORIZATION, CONTENT_LENGTH},
};
use modelpack_transfer::{Error, Result};
use reqwest::{NoProxy, Proxy, Response, Url, redirect::Policy};
use std::{pin::pin, time::Duration};

const CONNECT_PATIENCE: Duration = Duration::from_secs(15);
/// Connections live longer idle than a registry takes to commit a blob, so that the next one finds them open.
const IDLE_CONNECTIONS_LIVE: Duration = Duration::from_secs(60);
/// Never asked for by proxy.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// Connections to any number of servers, over HTTP/1.1. Clones share them.
#[derive(Clone, Debug)]
pub struct HttpClient(reqwest::Client);

impl HttpClient {
    /// A client; nothing is connected to yet.
    ///
    /// Fails if a proxy or the user agent cannot be understood.
    pub fn new(options: &ClientOptions) -> Result<Self> {
        let built = match configured(options)?.build() {
            Ok(client) => Ok(client),
            // A machine without any CA certificate can still speak plain http; https fails there when it is tried.
            Err(_) => configured(options)?.tls_certs_only([]).build(),
        };
        built.map(Self).map_err(|e| invalid("the HTTP client", &e))
    }

    /// Sends a request to `url` once, and gives the answer when its head has come, whatever its status is. Nothing is followed, repeated
    /// or shown but `authorization`.
    ///
    /// Fails if no answer comes, if nothing moves for as long as the request's patience, and if the payload cannot be read or was sent
    /// before and cannot be sent again.
    pub async fn exchange<S>(
        &self,
        url: &Url,
        request: &mut Request<'_, S>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let mut sending = self.0.request(request.method.clone(), url.clone()).headers(request.headers.clone());
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
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => return Err(request.payload.failure().map_or_else(|| Failure::network(url, &error), Failure::from)),
                Err(_) if request.payload.sent() > sent => sent = request.payload.sent(),
                Err(_) => return Err(Failure::stalled(url, request.patience)),
            }
        }
    }
}

fn configured(options: &ClientOptions) -> Result<reqwest::ClientBuilder> {
    let user_agent = if options.user_agent.is_empty() { concat!("modelpack/", env!("CARGO_PKG_VERSION")) } else { &options.user_agent };
    let mut builder = reqwest::Client::builder()
        .user_agent(user_agent)
        // Several connections carry more than one connection of HTTP/2 does.
        .http1_only()
        .no_proxy()
        .redirect(Policy::none())
        .referer(false)
        .tls_danger_accept_invalid_certs(options.insecure)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(30))
        .connect_timeout(CONNECT_PATIENCE)
        .pool_idle_timeout(IDLE_CONNECTIONS_LIVE);
    let Proxies { https, http, no_proxy } = &options.proxies;
    let exceptions = no_proxy.as_deref().map_or_else(|| LOOPBACK.to_owned(), |list| format!("{list},{LOOPBACK}"));
    for proxy in [https.as_deref().map(Proxy::https), http.as_deref().map(Proxy::http)].into_iter().flatten() {
        let proxy = proxy.map_err(|e| invalid("the URL of a proxy", &e))?;
        builder = builder.proxy(proxy.no_proxy(NoProxy::from_string(&exceptions)));
    }
    Ok(builder)
}

/// An error about the options, in the words of its root cause.
fn invalid(what: &str, error: &reqwest::Error) -> Error {
    let why = network::causes(error).last().map_or_else(String::new, ToString::to_string);
    Error::Invalid { what: what.to_owned(), why }
}
