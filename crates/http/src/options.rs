//! How servers are reached.

use crate::{Credentials, Proxies};
use modelpack_transfer::Notices;

/// How servers are reached.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// Use plain HTTP for every server. For loopback hosts, it is always used.
    pub plain_http: bool,
    /// Accept any TLS certificate.
    pub insecure: bool,
    /// The proxies to go through.
    pub proxies: Proxies,
    /// The logins for registries.
    pub credentials: Credentials,
    /// The `User-Agent`; empty for the default.
    pub user_agent: String,
    /// Receives the notices.
    pub notices: Notices,
}
