//! Login, logout, and the registry server.

use crate::{Modelpack, Result};
use modelpack_distribution::client::Login;
use modelpack_distribution::server::{Registry, RegistryOptions};
use modelpack_server::{Server, ServerOptions};
use modelpack_store::{Store, Untagged};
use modelpack_transfer::blocking;
use std::{net::SocketAddr, path::Path};

impl Modelpack {
    /// Checks the credentials with the registry, and stores them if it accepts them.
    pub async fn login(&self, registry: &str, username: &str, password: &str) -> Result<()> {
        let login = Login::Basic { username: username.to_owned(), password: password.to_owned() };
        self.client()?.ping(registry, Some(login)).await?;
        Ok(self.options.client.credentials.store(registry, username, password, &self.options.notices).await?)
    }

    /// Removes the credentials of a registry; returns whether there were any.
    pub async fn logout(&self, registry: &str) -> Result<bool> {
        Ok(self.options.client.credentials.erase(registry, &self.options.notices).await?)
    }
}

/// Starts a registry server for the store in `root`, which is created if it is missing.
pub async fn serve(root: &Path, listen: SocketAddr, registry: RegistryOptions, options: ServerOptions) -> Result<Server> {
    let root = root.to_owned();
    let store = blocking(move || Store::open(&root, Untagged::Keep)).await?;
    let server = Server::bind(store, listen, options).await?;
    let registry = Registry::new(server.repositories(), registry);
    Ok(server.with_view(registry))
}
