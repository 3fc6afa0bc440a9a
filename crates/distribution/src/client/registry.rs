//! One registry: its URL, and the authorization of the requests to it.

use super::{ClientOptions, auth::Authority, upload::UploadHabits};
use crate::protocol::route::Route;
use modelpack_http::{HttpClient, Login, Origin, Url, origin_url};
use modelpack_transfer::{Error, Notices, Result};
use std::sync::Arc;

/// A registry.
pub(crate) struct Registry {
    /// Host and port, as a reference names it.
    pub(crate) name: String,
    pub(crate) origin: Arc<Origin<Authority>>,
    pub(crate) notices: Notices,
    pub(crate) upload_habits: UploadHabits,
}

impl Registry {
    /// The registry `name`, a host with an optional port. If there is a `login`, it is used instead of those in the options. If it is
    /// insecure, any of its certificates is accepted, and plain HTTP if it does not speak TLS. On this machine, plain HTTP is tried first,
    /// and TLS if the registry expects it.
    pub(crate) fn new(name: &str, is_insecure: bool, http: &HttpClient, options: &ClientOptions, login: Option<Login>) -> Result<Self> {
        let host = if name == "docker.io" { "registry-1.docker.io" } else { name };
        let url = origin_url(host, options)
            .ok_or_else(|| Error::InvalidName { name: name.to_owned(), why: "it is not a host with an optional port".to_owned() })?;
        let http = if is_insecure { http.clone().trusting(&url) } else { http.clone() };
        let may_switch = if url.scheme() == "http" { !options.plain_http } else { is_insecure };
        let origin = Origin::new(url, http.clone(), Authority::new(name, is_insecure, &http, options, login));
        let origin = Arc::new(if may_switch { origin.or_other_scheme() } else { origin });
        Ok(Self { name: name.to_owned(), origin, notices: options.notices.clone(), upload_habits: UploadHabits::default() })
    }

    /// The URL of a route.
    pub(crate) fn url(&self, route: &Route) -> Url {
        self.origin.url(&route.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(name: &str) -> Result<String> {
        let options = ClientOptions::default();
        let registry = Registry::new(name, false, &HttpClient::new(&options)?, &options, None)?;
        Ok(registry.url(&Route::Version).to_string())
    }

    #[test]
    fn a_registry_is_where_its_name_says_and_docker_hub_is_elsewhere() {
        assert_eq!(url("registry.example.com:5000").unwrap(), "https://registry.example.com:5000/v2/");
        assert_eq!(url("docker.io").unwrap(), "https://registry-1.docker.io/v2/");
        for bad in ["", "a/b", "user@host", "host?x"] {
            assert!(url(bad).unwrap_err().to_string().contains("not a host"), "{bad}");
        }
    }
}
