//! A client of OCI registries: repositories as [`Source`](modelpack_transfer::Source) and [`Sink`](modelpack_transfer::Sink).
//!
//! Retries, and the resumption of a download that broke, live here and nowhere else.

mod auth;
mod auth_file;
mod credentials;
mod download;
mod failure;
mod helper;
mod listing;
mod payload;
mod registry;
mod repository;
mod retry;
mod scope;
mod upload;

pub use credentials::{Credentials, Login};
pub use repository::RemoteRepository;

use crate::protocol::route::Route;
use failure::Failure;
use http::Method;
use modelpack_spec::RepositoryName;
use modelpack_transfer::{Error, Notices, Result};
use registry::{PATIENCE, Registry, Request};
use reqwest::{NoProxy, Proxy, Response, redirect::Policy};
use scope::Scope;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

const CONNECT_PATIENCE: Duration = Duration::from_secs(15);
/// Connections live longer idle than a registry takes to commit a blob, so that the next one finds them open.
const IDLE_CONNECTIONS_LIVE: Duration = Duration::from_secs(60);
/// Never asked for by proxy.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// How registries are reached.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// Speak plain http to every registry. Loopback hosts are spoken to in plain http in any case.
    pub plain_http: bool,
    /// Take any TLS certificate.
    pub insecure: bool,
    /// Proxies to go through.
    pub proxies: Proxies,
    /// The logins.
    pub credentials: Credentials,
    /// What the client calls itself; empty for its default.
    pub user_agent: String,
    /// Where notices go.
    pub notices: Notices,
}

/// Proxies, as the environment variables of the same names describe them. Loopback hosts are reached directly.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// The URL of the proxy for https, `HTTPS_PROXY`.
    pub https: Option<String>,
    /// The URL of the proxy for plain http, `HTTP_PROXY`.
    pub http: Option<String>,
    /// Hosts, domains and networks that are reached directly, separated by commas, `NO_PROXY`.
    pub no_proxy: Option<String>,
}

/// A client of any number of registries. Clones share connections and tokens.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    http: reqwest::Client,
    options: ClientOptions,
    registries: Mutex<HashMap<String, Arc<Registry>>>,
}

impl Client {
    /// A client; nothing is connected to yet.
    ///
    /// Fails if a proxy or the user agent cannot be understood.
    pub fn new(options: ClientOptions) -> Result<Self> {
        let http = http_client(&options)?;
        Ok(Self { shared: Arc::new(Shared { http, options, registries: Mutex::default() }) })
    }

    /// A repository, which need not exist. Fails if the name has no host.
    pub fn repository(&self, name: &RepositoryName) -> Result<RemoteRepository> {
        let host = name.host().ok_or_else(|| Error::Invalid {
            what: name.to_string(),
            why: "it names no registry; a reference to one begins with a host, as in `registry.example.com/team/model`".to_owned(),
        })?;
        Ok(RemoteRepository::new(self.registry(host)?, name))
    }

    /// A registry, by its host and port.
    fn registry(&self, host: &str) -> Result<Arc<Registry>> {
        let mut registries = self.shared.registries.lock().expect("no one panics while holding the registries");
        if let Some(registry) = registries.get(host) {
            return Ok(registry.clone());
        }
        let registry = Arc::new(Registry::new(host, &self.shared.http, &self.shared.options, None)?);
        registries.insert(host.to_owned(), registry.clone());
        Ok(registry)
    }

    /// Asks a registry, by host and port, whether it lets `login` in; without one, the login that the options have for it.
    ///
    /// Fails with [`Error::Unauthorized`] if it does not.
    pub async fn ping(&self, host: &str, login: Option<Login>) -> Result<()> {
        let registry = Registry::new(host, &self.shared.http, &self.shared.options, login)?;
        let scope = Scope::default();
        let what = format!("the registry API of {host}");
        registry.send(Request::new(Method::GET, registry.url(&Route::Version), &scope, &what)).await?;
        Ok(())
    }
}

fn http_client(options: &ClientOptions) -> Result<reqwest::Client> {
    let built = match configured(options)?.build() {
        Ok(client) => Ok(client),
        // A machine without any CA certificate can still speak plain http; https fails there when it is tried.
        Err(_) => configured(options)?.tls_certs_only([]).build(),
    };
    built.map_err(|e| invalid("the HTTP client", &e))
}

fn configured(options: &ClientOptions) -> Result<reqwest::ClientBuilder> {
    // `reqwest` is built without a TLS provider. If the program that embeds us has set one, that one is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
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
    let why = failure::causes(error).last().map_or_else(String::new, ToString::to_string);
    Error::Invalid { what: what.to_owned(), why }
}

/// The whole body of a response; fails if it is over `limit` bytes, whatever its headers say.
async fn read_limited(mut response: Response, limit: usize, what: &str) -> Result<Vec<u8>, Failure> {
    let url = response.url().clone();
    let mut bytes = Vec::new();
    loop {
        let piece = tokio::time::timeout(PATIENCE, response.chunk()).await.map_err(|_| Failure::stalled(&url, PATIENCE))?;
        let Some(piece) = piece.map_err(|e| Failure::network(&url, &e))? else { return Ok(bytes) };
        if bytes.len() + piece.len() > limit {
            return Err(Error::Invalid { what: what.to_owned(), why: format!("it has more than {limit} bytes") }.into());
        }
        bytes.extend_from_slice(&piece);
    }
}
