//! Connections: those to all servers, those without TLS, and those to a server that has certificates of its own.

use crate::{
    certificates::{ServerCertificates, Trusted},
    network,
    options::{ClientOptions, Timeouts},
    plain::{ChosenConnection, PlainConnections},
    proxy::Routes,
    text::host,
    tls,
};
use http::HeaderValue;
use modelpack_transfer::{Cause, Error, Result, blocking};
use reqwest::{Client, ClientBuilder, Method, RequestBuilder, Response, Url, redirect::Policy};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

const USER_AGENT: &str = concat!("modelpack/", env!("CARGO_PKG_VERSION"));
/// How long an idle connection stays open: longer than a registry takes to commit a blob, so that the next request can use it.
const IDLE_CONNECTIONS_LIVE: Duration = Duration::from_secs(60);
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Connections to any number of servers, over HTTP/1.1. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Pools {
    shared: Client,
    plain: PlainConnections,
    settings: Arc<Settings>,
    /// The connections to single servers, by host and port; `None` for a server that has no certificates of its own.
    single: Arc<Mutex<HashMap<Server, Option<Client>>>>,
}

/// The connections for one request.
pub(crate) struct Pool {
    client: Client,
    plain: Option<(PlainConnections, ChosenConnection)>,
}

impl Pool {
    /// Begins a request.
    pub(crate) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.client.request(method, url)
    }

    /// The connection that the request is going to have, if it can send parts of files.
    pub(crate) fn connection(&self) -> Option<ChosenConnection> {
        self.plain.as_ref().map(|(_, connection)| connection.clone())
    }

    /// Sends a request once, and returns the answer when its head has come.
    pub(crate) async fn send(self, request: RequestBuilder) -> Result<Response, Cause> {
        match self.plain {
            Some((plain, connection)) => plain.send(request.build()?, connection).await,
            None => Ok(request.send().await?),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Server {
    name: String,
    /// Whether any certificate of the server is accepted.
    is_insecure: bool,
}

#[derive(Debug)]
struct Settings {
    user_agent: HeaderValue,
    insecure: bool,
    timeouts: Timeouts,
    trusted: Trusted,
    directories: Vec<PathBuf>,
    routes: Routes,
}

impl Pools {
    /// Fails with [`Error::Setting`] if an option cannot be used.
    pub(crate) fn new(options: &ClientOptions) -> Result<Self> {
        let user_agent = if options.user_agent.is_empty() { USER_AGENT } else { &options.user_agent };
        let user_agent = HeaderValue::try_from(user_agent).map_err(|e| {
            let why = "it has characters that cannot stand in a header".to_owned();
            Error::Setting { setting: "the user agent".to_owned(), why, source: Some(e.into()) }
        })?;
        let settings = Settings {
            user_agent,
            insecure: options.insecure,
            timeouts: options.timeouts,
            trusted: Trusted::read(&options.certificates)?,
            directories: options.certificates.directories.clone(),
            routes: Routes::new(&options.proxies)?,
        };
        let plain = PlainConnections::new(settings.user_agent.clone(), &settings.timeouts, KEEPALIVE, IDLE_CONNECTIONS_LIVE);
        Ok(Self { shared: settings.build(None, false)?, plain, settings: Arc::new(settings), single: Arc::default() })
    }

    /// Which proxy a request uses.
    pub(crate) fn routes(&self) -> &Routes {
        &self.settings.routes
    }

    /// The connections for a request to `url`. If `is_insecure` is set, any certificate of the server is accepted.
    ///
    /// Fails with [`Error::Setting`] if the server has certificates of its own that cannot be used.
    pub(crate) async fn to(&self, url: &Url, is_insecure: bool) -> Result<Pool> {
        let is_plain = url.scheme() == "http" && self.routes().proxy(url).is_none();
        Ok(Pool {
            client: self.client(url, is_insecure).await?,
            plain: is_plain.then(|| (self.plain.clone(), ChosenConnection::default())),
        })
    }

    async fn client(&self, url: &Url, is_insecure: bool) -> Result<Client> {
        if url.scheme() != "https" || self.settings.directories.is_empty() && !is_insecure {
            return Ok(self.shared.clone());
        }
        let server = Server { name: host(url).to_owned(), is_insecure };
        if let Some(known) = self.single().get(&server) {
            return Ok(known.as_ref().unwrap_or(&self.shared).clone());
        }
        let (settings, url) = (self.settings.clone(), url.clone());
        let single = blocking(move || {
            let own = ServerCertificates::find(&settings.directories, &url)?;
            let is_single = own.is_some() || is_insecure;
            is_single.then(|| settings.build(own.as_ref(), is_insecure)).transpose()
        });
        let single = single.await?;
        Ok(self.single().entry(server).or_insert(single).as_ref().unwrap_or(&self.shared).clone())
    }

    fn single(&self) -> MutexGuard<'_, HashMap<Server, Option<Client>>> {
        self.single.lock().expect("no one panics while holding the connections")
    }
}

impl Settings {
    /// Connections to one server that has certificates of its own, or to all others.
    fn build(&self, own: Option<&ServerCertificates>, is_insecure: bool) -> Result<Client> {
        let failed = |why: String, source: Cause| {
            let setting = own.map_or_else(|| "the HTTP client".to_owned(), |own| own.place.clone());
            Error::Setting { setting, why, source: Some(source) }
        };
        let tls = tls::config(&self.trusted, own, self.insecure || is_insecure).map_err(|e| failed(e.to_string(), e.into()))?;
        let builder = Client::builder()
            .user_agent(self.user_agent.clone())
            .http1_only()
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .tls_backend_preconfigured(tls)
            .tcp_nodelay(true)
            .tcp_keepalive(KEEPALIVE)
            .connect_timeout(self.timeouts.connect.min(self.timeouts.idle))
            .pool_idle_timeout(IDLE_CONNECTIONS_LIVE);
        let built = self.routes.configure(builder).and_then(ClientBuilder::build);
        built.map_err(|e| failed(network::causes(&e).last().map_or_else(String::new, ToString::to_string), e.into()))
    }
}
