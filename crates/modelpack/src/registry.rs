//! Registries themselves: logging in and out, and serving one.

use crate::{Modelpack, Result};
use modelpack_distribution::client::Login;
use modelpack_distribution::server::{Registry, RegistryOptions};
use modelpack_server::{Server, ServerOptions};
use modelpack_store::{Store, Untagged};
use modelpack_transfer::blocking;
use std::{net::SocketAddr, path::Path};

impl Modelpack {
    /// Tries the credentials at the registry, and stores them if it takes them.
    pub async fn login(&self, registry: &str, username: &str, password: &str) -> Result<()> {
        let login = Login::Basic { username: username.to_owned(), password: password.to_owned() };
        self.client()?.ping(registry, Some(login)).await?;
        Ok(self.options.client.credentials.store(registry, username, password, &self.options.notices).await?)
    }

    /// Forgets the credentials of a registry; says whether there were any.
    pub async fn logout(&self, registry: &str) -> Result<bool> {
        Ok(self.options.client.credentials.erase(registry, &self.options.notices).await?)
    }
}

/// Begins to listen as a registry over the store in `root`, which is created if it is not there.
pub async fn serve(root: &Path, listen: SocketAddr, registry: RegistryOptions, options: ServerOptions) -> Result<Server> {
    let root = root.to_owned();
    let store = blocking(move || Store::open(&root, Untagged::Keep)).await?;
    let server = Server::bind(store, listen, options).await?;
    let registry = Registry::new(server.repositories(), registry);
    Ok(server.with_view(registry))
}
