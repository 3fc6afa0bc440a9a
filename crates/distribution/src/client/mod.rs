//! A client of OCI registries: repositories as [`Source`](modelpack_transfer::Source) and [`Sink`](modelpack_transfer::Sink).
//!
//! Retries, redirects and logins, which every client needs, are in [`modelpack_http`]. Here is what registries add.

mod auth;
mod listing;
mod open_uploads;
mod refusal;
mod registry;
mod repository;
mod scope;
mod upload;

pub use modelpack_http::{Authorities, Certificates, ClientOptions, Credentials, Login, Proxies, ProxyUrl, RetryOptions, Timeouts};
pub use open_uploads::OpenUploads;
pub use repository::RemoteRepository;

use crate::protocol::route::Route;
use http::Method;
use modelpack_http::{HttpClient, Request};
use modelpack_spec::RepositoryName;
use modelpack_transfer::{Error, Result};
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
    registries: Mutex<HashMap<String, Arc<Registry>>>,
}

impl Client {
    /// Creates a client. It does not connect yet.
    ///
    /// Fails if a proxy or the user agent cannot be understood.
    pub fn new(options: ClientOptions) -> Result<Self> {
        let http = HttpClient::new(&options)?;
        Ok(Self { shared: Arc::new(Shared { http, options, registries: Mutex::default() }), uploads: None })
    }

    /// Remembers open upload sessions in `uploads`, so that an upload that was killed or interrupted can be continued by another process.
    /// Without it, an upload that is dropped ends its session.
    pub fn remembering_uploads(self, uploads: OpenUploads) -> Self {
        Self { uploads: Some(Arc::new(uploads)), ..self }
    }

    /// A repository, which does not have to exist. Fails if the name has no host.
    pub fn repository(&self, name: &RepositoryName) -> Result<RemoteRepository> {
        let host = name.host().ok_or_else(|| Error::InvalidName {
            name: name.to_string(),
            why: "it names no registry; a reference to one begins with a host, as in `registry.example.com/team/model`".to_owned(),
        })?;
        Ok(RemoteRepository::new(self.registry(host)?, name, self.uploads.clone()))
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

    /// Asks a registry, which is named by its host and port, whether it accepts `login`; if `None`, the login from the options is used.
    ///
    /// Fails with [`Error::Unauthorized`] if it does not.
    pub async fn ping(&self, host: &str, login: Option<Login>) -> Result<()> {
        let registry = Registry::new(host, &self.shared.http, &self.shared.options, login)?;
        let scope = Scope::default();
        let what = format!("the registry API of {host}");
        registry.origin.send(Request::new(Method::GET, registry.url(&Route::Version), &scope, &what)).await?;
        Ok(())
    }
}
