//! How servers are reached.

use crate::{Credentials, Proxies};
use modelpack_transfer::Notices;

/// How servers are reached.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// Speak plain HTTP to every server. Loopback hosts are spoken to in plain HTTP in any case.
    pub plain_http: bool,
    /// Accept any TLS certificate.
    pub insecure: bool,
    /// The proxies to go through.
    pub proxies: Proxies,
    /// The logins for registries.
    pub credentials: Credentials,
    /// What the client calls itself (`User-Agent`); empty for its default.
    pub user_agent: String,
    /// Where notices go.
    pub notices: Notices,
}
