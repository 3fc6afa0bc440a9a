//! Login, logout, and the registry server.

use crate::{Modelpack, Result};
use modelpack_distribution::client::Login;
use modelpack_distribution::server::{Registry, RegistryOptions};
use modelpack_server::{Server, ServerOptions};
use modelpack_store::{Store, Untagged};
use modelpack_transfer::blocking;
use serde::Serialize;
use std::{net::SocketAddr, path::Path};

/// A login that the registry accepted, and that was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct LoggedIn {
    /// The registry: host and port.
    pub registry: String,
    /// The name of the user.
    pub username: String,
}

/// A registry whose login was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct LoggedOut {
    /// The registry: host and port.
    pub registry: String,
    /// Whether there was a login.
    pub removed: bool,
}

impl Modelpack {
    /// Checks the credentials with the registry, and stores them if it accepts them.
    ///
    /// ```no_run
    /// # async fn run(modelpack: modelpack::Modelpack) -> Result<(), Box<dyn std::error::Error>> {
    /// let token = std::fs::read_to_string("token")?;
    /// modelpack.login("registry.example.com", "me", token.trim()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn login(&self, registry: &str, username: &str, password: &str) -> Result<LoggedIn> {
        let login = Login::Basic { username: username.to_owned(), password: password.to_owned() };
        self.client()?.ping(registry, Some(login)).await?;
        self.options.client.credentials.store(registry, username, password, &self.options.notices).await?;
        Ok(LoggedIn { registry: registry.to_owned(), username: username.to_owned() })
    }

    /// Removes the credentials of a registry.
    ///
    /// ```
    /// # use modelpack::{ClientOptions, Credentials, Modelpack, Options};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// let credentials = Credentials::in_files(vec![scratch.path().join("auth.json")]);
    /// let client = ClientOptions::default().credentials(credentials);
    /// let modelpack = Modelpack::new(Options::new(scratch.path().join("store")).client(client));
    /// assert!(!modelpack.logout("registry.example.com").await?.removed, "there was no login");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn logout(&self, registry: &str) -> Result<LoggedOut> {
        let removed = self.options.client.credentials.erase(registry, &self.options.notices).await?;
        Ok(LoggedOut { registry: registry.to_owned(), removed })
    }
}

/// Starts a registry server for the store in `root`, which is created if it is missing.
///
/// ```
/// # use modelpack::{RegistryOptions, ServerOptions, serve};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let root = tempfile::tempdir()?;
/// let server = serve(root.path(), "127.0.0.1:0".parse()?, RegistryOptions::default(), ServerOptions::default()).await?;
/// println!("serving http://{}", server.address());
/// // It serves until this future completes.
/// server.run(async {}).await?;
/// # Ok(())
/// # }
/// ```
pub async fn serve(root: &Path, listen: SocketAddr, registry: RegistryOptions, options: ServerOptions) -> Result<Server> {
    let root = root.to_owned();
    let store = blocking(move || Store::open(&root, Untagged::Keep)).await?;
    let server = Server::bind(store, listen, options).await?;
    let registry = Registry::new(server.repositories(), registry);
    Ok(server.with_view(registry))
}
