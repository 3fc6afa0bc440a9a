//! Proxies: which proxy a request uses, and how an error names it.

use crate::{
    failure::Failure,
    network,
    text::{printable, shown},
};
use hyper_util::client::proxy::matcher::Matcher;
use modelpack_transfer::{Error, Result};
use reqwest::{ClientBuilder, NoProxy, Proxy, Response, StatusCode, Url};
use std::{error::Error as StdError, fmt};

/// The hosts for which no proxy is ever used.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";
/// The library's text for a proxy that wants a login before it opens a connection (407), and for a proxy that refuses to open one. The type
/// of these errors is private.
const NO_LOGIN: &str = "proxy authorization required";
const REFUSED_TUNNEL: &str = "tunnel error: unsuccessful";
const SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

/// Proxies, as the usual environment variables describe them. No proxy is used for loopback hosts.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// The proxy for https, `HTTPS_PROXY`.
    pub https: Option<ProxyUrl>,
    /// The proxy for plain http, `HTTP_PROXY`.
    pub http: Option<ProxyUrl>,
    /// Hosts, domains and networks for which no proxy is used, separated by commas, `NO_PROXY`.
    pub no_proxy: Option<String>,
}

/// The URL of a proxy, and where it was set.
#[derive(Clone)]
pub struct ProxyUrl {
    /// The URL. Its scheme is http, https, socks4, socks4a, socks5 or socks5h; without a scheme, it is http. It may contain a user name and
    /// a password.
    pub url: String,
    /// The name of the setting in an error, such as the name of the environment variable.
    pub setting: String,
}

impl From<String> for ProxyUrl {
    fn from(url: String) -> Self {
        Self { url, setting: "the proxy".to_owned() }
    }
}

impl From<&str> for ProxyUrl {
    fn from(url: &str) -> Self {
        url.to_owned().into()
    }
}

impl fmt::Debug for ProxyUrl {
    /// Does not print the URL, because it may contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyUrl").field("setting", &self.setting).finish_non_exhaustive()
    }
}

impl ProxyUrl {
    fn parse(&self) -> Result<Url> {
        // `proxy:3128` is a URL too, whose scheme is `proxy`.
        let has_scheme = self.url.contains("://");
        let parsed = if has_scheme { Url::parse(&self.url) } else { Url::parse(&format!("http://{}", self.url)) };
        let url =
            parsed.map_err(|e| self.invalid(format!("it is not the URL of a proxy, such as http://proxy.example.com:3128: {e}"), e))?;
        if SCHEMES.contains(&url.scheme()) && url.has_host() {
            return Ok(url);
        }
        let why = format!("`{}` is not the URL of a proxy, whose scheme is one of {}", shown(&url), SCHEMES.join(", "));
        Err(Error::Setting { setting: self.setting.clone(), why, source: None })
    }

    fn invalid(&self, why: String, error: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::Setting { setting: self.setting.clone(), why, source: Some(Box::new(error)) }
    }
}

/// Which request uses which proxy.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    https: Option<Route>,
    http: Option<Route>,
    exceptions: String,
}

#[derive(Debug)]
struct Route {
    url: Url,
    setting: String,
    matcher: Matcher,
}

impl Routes {
    /// Fails if a URL is invalid, or if its scheme is not one of a proxy.
    pub(crate) fn new(proxies: &Proxies) -> Result<Self> {
        let exceptions = proxies.no_proxy.as_deref().map_or_else(|| LOOPBACK.to_owned(), |list| format!("{list},{LOOPBACK}"));
        let route = |proxy: &Option<ProxyUrl>| {
            let Some(proxy) = proxy else { return Ok(None) };
            let url = proxy.parse()?;
            let matcher = Matcher::builder().all(url.as_str()).no(exceptions.as_str()).build();
            Ok(Some(Route { url, setting: proxy.setting.clone(), matcher }))
        };
        Ok(Self { https: route(&proxies.https)?, http: route(&proxies.http)?, exceptions })
    }

    /// Configures a client to use the proxies.
    pub(crate) fn configure(&self, mut builder: ClientBuilder) -> reqwest::Result<ClientBuilder> {
        let https = self.https.as_ref().map(|route| Proxy::https(route.url.clone()));
        let http = self.http.as_ref().map(|route| Proxy::http(route.url.clone()));
        for proxy in [https, http].into_iter().flatten() {
            builder = builder.proxy(proxy?.no_proxy(NoProxy::from_string(&self.exceptions)));
        }
        Ok(builder)
    }

    /// The proxy for a request to `url`.
    fn route(&self, url: &Url) -> Option<&Route> {
        let route = if url.scheme() == "https" { self.https.as_ref() } else { self.http.as_ref() }?;
        route.matcher.intercept(&url.as_str().parse().ok()?).map(|_| route)
    }

    /// The proxy for a request to `url`, without its password, for the log.
    pub(crate) fn proxy(&self, url: &Url) -> Option<String> {
        self.route(url).map(Route::shown)
    }

    /// The failure of a request to `url`. If a proxy may be the cause, the failure names the proxy and its setting.
    pub(crate) fn explain(&self, url: &Url, mut failure: Failure, error: &(dyn StdError + 'static)) -> Failure {
        let Some(route) = self.route(url).filter(|_| network::is_connect(error) || network::is_timeout(error)) else { return failure };
        let proxy = printable(&route.shown());
        let Error::Network { why, .. } = &mut failure.error else { return failure };
        if why.contains(NO_LOGIN) {
            return route.unauthorized().into();
        }
        if route.url.scheme().starts_with("http") && network::is_dns(error) {
            // An HTTP proxy resolves the requested host itself, so the host that was not found is the proxy.
            let why = format!("the proxy {proxy} cannot be used: {why}");
            failure.error = Error::Setting { setting: route.setting.clone(), why, source: None };
        } else {
            if why == REFUSED_TUNNEL {
                *why = "the proxy refused to open a connection".to_owned();
            }
            why.push_str(&format!(", through the proxy {proxy} ({})", route.setting));
        }
        failure
    }

    /// The error for an answer of a proxy that wants a login.
    pub(crate) fn refusal(&self, response: &Response) -> Option<Error> {
        let route = self.route(response.url()).filter(|_| response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED)?;
        Some(route.unauthorized())
    }
}

impl Route {
    /// The URL of the proxy, without its password.
    fn shown(&self) -> String {
        shown(&self.url).trim_end_matches('/').to_owned()
    }

    fn unauthorized(&self) -> Error {
        let why = format!("the proxy {} asks for a user name and a password, or for other ones", self.shown());
        Error::Setting { setting: self.setting.clone(), why, source: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(url: &str) -> ProxyUrl {
        ProxyUrl { url: url.to_owned(), setting: "HTTPS_PROXY".to_owned() }
    }

    #[test]
    fn a_proxy_is_a_host_with_or_without_a_scheme() {
        for (url, expected) in [
            ("http://proxy.example.com:3128", "http://proxy.example.com:3128/"),
            ("proxy:3128", "http://proxy:3128/"),
            ("10.0.0.1", "http://10.0.0.1/"),
            ("user:pw@proxy:3128", "http://user:pw@proxy:3128/"),
            ("socks5h://proxy:1080", "socks5h://proxy:1080"),
            ("https://[::1]:3128", "https://[::1]:3128/"),
        ] {
            assert_eq!(set(url).parse().unwrap().as_str(), expected, "{url}");
        }
        for (url, why) in [
            ("http://[", "invalid IPv6 address"),
            ("http://", "empty host"),
            ("two words", "invalid"),
            ("proxy:port", "invalid port number"),
            ("ftp://proxy", "`ftp://proxy/` is not the URL of a proxy"),
            ("file:///proxy", "is not the URL of a proxy"),
        ] {
            let error = set(url).parse().unwrap_err().to_string();
            assert!(error.starts_with("HTTPS_PROXY: ") && error.contains(why), "{url}: {error}");
        }
    }

    #[test]
    fn a_password_is_never_told() {
        for url in ["http://user:hidden@[", "ftp://user:hidden@proxy", "user:hidden@proxy:port"] {
            let told = format!("{} {:?}", set(url).parse().unwrap_err(), set(url));
            assert!(!told.contains("hidden"), "{told}");
        }
        let routes = Routes::new(&Proxies { https: Some(set("http://user:hidden@proxy")), ..Proxies::default() }).unwrap();
        let shown = routes.route(&Url::parse("https://a.b/").unwrap()).unwrap().shown();
        assert_eq!(shown, "http://proxy");
    }

    #[test]
    fn a_request_goes_through_the_proxy_for_its_scheme_unless_its_host_is_an_exception() {
        let proxies = Proxies { https: Some(set("https-proxy")), http: Some("http-proxy".into()), no_proxy: Some("c.d,10.0.0.0/8".into()) };
        let routes = Routes::new(&proxies).unwrap();
        for (url, proxy) in [
            ("https://a.b/x", Some("http://https-proxy")),
            ("http://a.b/x", Some("http://http-proxy")),
            ("https://c.d/x", None),
            ("https://sub.c.d/x", None),
            ("http://10.1.2.3/x", None),
            ("http://127.0.0.1:5000/x", None),
            ("http://localhost/x", None),
        ] {
            let found = routes.route(&Url::parse(url).unwrap()).map(Route::shown);
            assert_eq!(found.as_deref(), proxy, "{url}");
        }
    }
}
