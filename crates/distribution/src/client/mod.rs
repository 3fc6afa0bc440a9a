//! A client of OCI registries: repositories as [`Source`](modelpack_transfer::Source) and [`Sink`](modelpack_transfer::Sink).
//!
//! Retries, redirects and logins, which every client needs, are in [`modelpack_http`]. Here is what registries add.

mod auth;
mod hash_states;
mod listing;
mod mirrored;
mod open_uploads;
mod refusal;
mod registries;
mod registry;
mod repository;
mod scope;
mod upload;

pub use hash_states::KeepHashStates;
pub use mirrored::MirroredRepository;
pub use modelpack_http::{Authorities, Certificates, ClientOptions, Credentials, Login, Proxies, ProxyUrl, RetryOptions, Timeouts};
pub use open_uploads::OpenUploads;
pub use registries::{Registries, RegistriesFile};
pub use repository::RemoteRepository;

use crate::protocol::route::Route;
use http::Method;
use modelpack_http::{HttpClient, Request};
use modelpack_spec::RepositoryName;
use modelpack_transfer::{Error, Result};
use registries::{Location, Locations};
use registry::Registry;
use scope::Scope;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

/// A client of any number of registries. Clones share connections and tokens.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    uploads: Option<Arc<OpenUploads>>,
}

struct Shared {
    http: HttpClient,
    options: ClientOptions,
    registries: Registries,
    opened: Mutex<HashMap<(Host, Role), Arc<Registry>>>,
}

/// A registry, by its host and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Host {
    name: String,
    /// Whether any certificate is accepted, and plain HTTP.
    is_insecure: bool,
}

/// What a registry is asked as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Role {
    Itself,
    /// If it fails, another one is asked, so few attempts are made.
    Mirror,
}

/// How often a mirror is asked while no progress is made.
const MIRROR_ATTEMPTS: u32 = 2;

impl Client {
    /// Creates a client. It does not connect yet.
    ///
    /// Fails if a proxy, the user agent or a file with certificates cannot be used.
    pub fn new(options: ClientOptions) -> Result<Self> {
        Self::with_registries(options, Registries::default())
    }

    /// Remembers open upload sessions in `uploads`, so that an upload that was killed or interrupted can be continued by another process.
    /// Without it, an upload that is dropped ends its session.
    pub fn remembering_uploads(self, uploads: OpenUploads) -> Self {
        Self { uploads: Some(Arc::new(uploads)), ..self }
    }

    /// Creates a client that knows this of registries.
    ///
    /// Fails if a proxy, the user agent or a file with certificates cannot be used.
    pub fn with_registries(options: ClientOptions, registries: Registries) -> Result<Self> {
        let http = HttpClient::new(&options)?;
        Ok(Self { shared: Arc::new(Shared { http, options, registries, opened: Mutex::default() }), uploads: None })
    }

    /// A repository, which does not have to exist.
    ///
    /// Fails if the name has no host, and with [`Error::Setting`] if its registry is blocked.
    pub fn repository(&self, name: &RepositoryName) -> Result<RemoteRepository> {
        self.at(self.locate(name)?.registry, Role::Itself)
    }

    /// A repository for reading: from the mirrors of its registry, and then from the registry.
    ///
    /// Fails as [`repository`](Self::repository) does.
    pub fn mirrored(&self, name: &RepositoryName) -> Result<MirroredRepository> {
        let Locations { mirrors, registry } = self.locate(name)?;
        let mirrors = mirrors.into_iter().map(|(mirror, pulls)| Ok((self.at(mirror, Role::Mirror)?, pulls)));
        let (mirrors, notices) = (mirrors.collect::<Result<_>>()?, self.shared.options.notices.clone());
        Ok(MirroredRepository::new(mirrors, self.at(registry, Role::Itself)?, notices))
    }

    fn locate(&self, name: &RepositoryName) -> Result<Locations> {
        if name.host().is_none() {
            let why = "it names no registry; a reference to one begins with a host, as in `registry.example.com/team/model`".to_owned();
            return Err(Error::InvalidName { name: name.to_string(), why });
        }
        self.shared.registries.locate(&repository::with_namespace(name))
    }

    fn at(&self, Location { name, is_insecure }: Location, role: Role) -> Result<RemoteRepository> {
        let host = Host { name: name.host().unwrap_or_default().to_owned(), is_insecure };
        Ok(RemoteRepository::new(self.opened(host, role)?, &name, self.uploads.clone()))
    }

    /// A registry, by its host and port.
    fn registry(&self, host: &str) -> Result<Arc<Registry>> {
        self.opened(self.host(host), Role::Itself)
    }

    fn host(&self, host: &str) -> Host {
        Host { name: host.to_owned(), is_insecure: self.shared.registries.is_insecure(host) }
    }

    fn opened(&self, host: Host, role: Role) -> Result<Arc<Registry>> {
        let mut opened = self.shared.opened.lock().expect("no one panics while holding the registries");
        let key = (host, role);
        if let Some(registry) = opened.get(&key) {
            return Ok(registry.clone());
        }
        let registry = Arc::new(self.open(&key.0, role, None)?);
        opened.insert(key, registry.clone());
        Ok(registry)
    }

    fn open(&self, host: &Host, role: Role, login: Option<Login>) -> Result<Registry> {
        let Shared { http, options, .. } = &*self.shared;
        let http = match role {
            Role::Itself => http.clone(),
            Role::Mirror => http.clone().attempts(options.retry.attempts.min(MIRROR_ATTEMPTS)),
        };
        Registry::new(&host.name, host.is_insecure, &http, options, login)
    }

    /// Asks a registry, which is named by its host and port, whether it accepts `login`; if `None`, the login from the options is used.
    ///
    /// Fails with [`Error::Unauthorized`] if it does not.
    pub async fn ping(&self, host: &str, login: Option<Login>) -> Result<()> {
        let registry = self.open(&self.host(host), Role::Itself, login)?;
        let scope = Scope::default();
        let what = format!("the registry API of {host}");
        registry.origin.send(Request::new(Method::GET, registry.url(&Route::Version), &scope, &what)).await?;
        Ok(())
    }
}
