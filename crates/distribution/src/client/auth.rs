//! How requests to a registry are authorized: without credentials at first, then in the way that the registry asks for.
//!
//! Credentials are sent only to the registry itself and to the token service that it names. After a refusal, neither is asked for the same
//! thing again.

use super::{ClientOptions, refusal, scope::Scope};
use crate::protocol::challenge::Challenge;
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method,
    header::{CONTENT_TYPE, WWW_AUTHENTICATE},
};
use modelpack_http::{
    Credentials, ErrorAnswer, Failure, HttpClient, Login, Meaning, Payload, Protocol, Request, Response, Retry, Url, shown, unexpected,
};
use modelpack_transfer::{Error, Notices, Result};
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};
use tokio::sync::Mutex;
use tracing::{debug, info};

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const MAX_TOKEN_BYTES: usize = 1 << 20;
/// How long a token is valid if the token service does not say (distribution token specification).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
/// How long before its end a token is renewed; a fifth of its lifetime if that is shorter.
const MARGIN: Duration = Duration::from_secs(10);

/// Authorizes the requests to one registry. All requests share the tokens.
pub(crate) struct Authority {
    registry: String,
    /// Whether the registry may speak plain HTTP.
    is_insecure: bool,
    http: HttpClient,
    credentials: Credentials,
    /// A login that is used instead of the stored ones.
    given: Option<Login>,
    notices: Notices,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What the registry last asked for. Before that, no authorization is sent.
    demand: Option<Demand>,
    /// The logins that have been looked up, by repository.
    logins: HashMap<String, Option<Login>>,
    /// The newest identity token (OAuth 2 calls it a refresh token) that the token service has given for the one of a login. It may have
    /// ended the one before.
    renewed: HashMap<String, String>,
    /// By the scope of the requests that need them.
    tokens: HashMap<Scope, Token>,
    /// The scopes that the token service has refused. It may grant parts of them.
    refused: HashSet<String>,
}

impl State {
    /// The scope to ask the token service for: the whole scope, or the largest part that was not refused before.
    fn worth_asking(&self, mut scope: Scope) -> Scope {
        while self.refused.contains(&scope.to_string())
            && let Some(narrower) = scope.narrower()
        {
            scope = narrower;
        }
        scope
    }

    /// The login, with the newest token if it is an identity token.
    fn newest(&self, login: Login) -> Login {
        match login {
            Login::IdentityToken(stored) => Login::IdentityToken(self.renewed.get(&stored).cloned().unwrap_or(stored)),
            login => login,
        }
    }

    /// A valid token for a scope: the scope's own token, or another one that covers the scope.
    fn token(&self, scope: &Scope) -> Option<&Token> {
        let own = self.tokens.get(scope);
        let wanted = self.worth_asking(own.map_or(scope, |token| &token.scope).clone());
        let others = self.tokens.values().filter(|token| token.scope.covers(&wanted));
        own.into_iter().chain(others).find(|token| token.renew_at > Instant::now())
    }
}

#[derive(Clone, PartialEq)]
enum Demand {
    Basic,
    Bearer { realm: Url, service: Option<String> },
}

struct Token {
    header: HeaderValue,
    /// The scope that was requested: that of the request, and what the registry named in addition.
    scope: Scope,
    renew_at: Instant,
}

/// What a token service answers.
#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<Value>,
    refresh_token: Option<String>,
}

impl TokenAnswer {
    /// How long the token is valid. Some services send the seconds as text, or with decimals.
    fn lifetime(&self) -> Option<Duration> {
        let seconds = match self.expires_in.as_ref()? {
            Value::String(text) => text.trim().parse().ok()?,
            value => value.as_f64()?,
        };
        Duration::try_from_secs_f64(seconds).ok()
    }
}

impl Authority {
    pub(crate) fn new(registry: &str, is_insecure: bool, http: &HttpClient, options: &ClientOptions, login: Option<Login>) -> Self {
        Self {
            registry: registry.to_owned(),
            is_insecure,
            http: http.clone(),
            credentials: options.credentials.clone(),
            given: login,
            notices: options.notices.clone(),
            state: Mutex::default(),
        }
    }

    /// The login for the repository of a request.
    async fn login(&self, state: &mut State, scope: &Scope) -> Result<Option<Login>> {
        if self.given.is_some() {
            return Ok(self.given.clone());
        }
        if let Some(login) = state.logins.get(scope.subject()) {
            return Ok(login.clone());
        }
        let login = self.credentials.get(&self.registry, scope.subject(), &self.notices).await?;
        state.logins.insert(scope.subject().to_owned(), login.clone());
        Ok(login)
    }

    /// The URL of a token service, if it may get credentials: it must be as secure as the registry, which has answered at the URL `answered`,
    /// and without TLS it must be on the same host. A relative URL is resolved against the registry.
    fn realm(&self, text: &str, answered: &Url) -> Result<Url> {
        let joined = Some(text).filter(|text| !text.trim().is_empty()).and_then(|text| answered.join("/").ok()?.join(text).ok());
        let realm = joined.ok_or_else(|| self.unauthorized("it names no token service, or not by a URL"))?;
        let may_be_plain = answered.scheme() == "http" || self.is_insecure;
        let is_safe = realm.scheme() == "https" || realm.scheme() == "http" && may_be_plain && realm.host_str() == answered.host_str();
        if is_safe {
            Ok(realm)
        } else {
            Err(self.unauthorized(format!("the token service that it names, {}, may not be shown credentials", shown(&realm))))
        }
    }

    /// Requests a token from the token service for requests of a scope (distribution "Token Authentication", and its OAuth 2 form for an
    /// identity token). If the service refuses the wanted scope, smaller scopes are requested.
    async fn fetch<'s>(&self, state: &'s mut State, realm: &Url, service: Option<&str>, scope: &Scope, wanted: Scope) -> Result<&'s Token> {
        let stored = self.login(state, scope).await?;
        let login = stored.clone().map(|login| state.newest(login));
        let mut wanted = state.worth_asking(wanted);
        let mut backoff = self.http.backoff();
        let response = loop {
            match self.ask(realm, service, &wanted, &login).await {
                Ok(response) => break response,
                Err(failure) => match wanted.narrower().filter(|_| is_refusal(&failure)) {
                    Some(narrower) => {
                        info!(refused = %wanted, asking_for = %narrower, "the token service refused a scope");
                        state.refused.insert(wanted.to_string());
                        wanted = narrower;
                    }
                    None => backoff.wait(failure).await.map_err(|failure| failure.error)?,
                },
            }
        };
        let asked_at = Instant::now();
        let what = format!("the token service of {}", self.registry);
        let status = unexpected(&response, "its answer holds no token");
        let bytes = self.http.read_limited(response, MAX_TOKEN_BYTES, &what).await.map_err(|failure| failure.error)?;
        let answer: Option<TokenAnswer> = serde_json::from_slice(&bytes).ok();
        let token = answer.as_ref().and_then(|a| [&a.token, &a.access_token].into_iter().flatten().find(|t| !t.is_empty()));
        let header = token.and_then(|token| secret(format!("Bearer {token}"))).ok_or(status)?;
        let renewed = answer.as_ref().and_then(|answer| answer.refresh_token.clone()).filter(|token| !token.is_empty());
        if let (Some(Login::IdentityToken(stored)), Some(renewed)) = (stored, renewed) {
            state.renewed.insert(stored, renewed);
        }
        let lifetime = answer.as_ref().and_then(TokenAnswer::lifetime).unwrap_or(DEFAULT_LIFETIME);
        // At most one day, so that no answer can overflow the clock.
        let lifetime = lifetime.min(Duration::from_secs(24 * 60 * 60));
        debug!(registry = self.registry, scope = %wanted, seconds = lifetime.as_secs(), "token");
        let token = Token { header, scope: wanted, renew_at: asked_at + lifetime - MARGIN.min(lifetime / 5) };
        Ok(state.tokens.entry(scope.clone()).insert_entry(token).into_mut())
    }

    async fn ask(&self, realm: &Url, service: Option<&str>, scope: &Scope, login: &Option<Login>) -> Result<Response, Failure> {
        let mut url = realm.clone();
        let mut request = if let Some(Login::IdentityToken(token)) = login {
            // A form is encoded like a query.
            let mut form = realm.clone();
            form.set_query(None);
            form.query_pairs_mut()
                .extend_pairs([("grant_type", "refresh_token"), ("client_id", "modelpack"), ("refresh_token", token)])
                .extend_pairs(service.map(|service| ("service", service)))
                .append_pair("scope", &scope.to_string());
            let form = Bytes::from(form.query().unwrap_or_default().to_owned());
            Request::new(Method::POST, url.clone(), &(), "a token").header(CONTENT_TYPE, FORM).form(Payload::from(form))
        } else {
            let scopes: Vec<String> = scope.resources().collect();
            if service.is_some() || !scopes.is_empty() {
                url.query_pairs_mut()
                    .extend_pairs(service.map(|service| ("service", service)))
                    .extend_pairs(scopes.iter().map(|scope| ("scope", scope)));
            }
            Request::new(Method::GET, url.clone(), &(), "a token")
        };
        let authorization = login.as_ref().and_then(basic);
        let response = self.http.exchange(&url, &mut request, authorization.as_ref()).await?;
        let waited = request.waited();
        if response.status().is_success() {
            return Ok(response);
        }
        let failure = Failure::refused(&Method::GET, "a token", self, response).await.after(waited);
        Err(match failure.error {
            Error::Unauthorized { why, .. } | Error::Denied { why, .. } => {
                self.unauthorized(format!("its token service says {why}")).into()
            }
            _ => failure,
        })
    }

    fn unauthorized(&self, why: impl Into<String>) -> Error {
        Error::Unauthorized { registry: self.registry.clone(), why: why.into() }
    }
}

#[async_trait]
impl Protocol for Authority {
    type Scope = Scope;

    async fn authorization(&self, scope: &Scope) -> Result<Option<HeaderValue>> {
        // The lock is held while a token is fetched, so that other requests wait for the same token.
        let mut state = self.state.lock().await;
        match state.demand.clone() {
            None => Ok(None),
            Some(Demand::Basic) => Ok(self.login(&mut state, scope).await?.as_ref().and_then(basic)),
            Some(Demand::Bearer { realm, service }) => {
                if let Some(token) = state.token(scope) {
                    return Ok(Some(token.header.clone()));
                }
                let wanted = state.tokens.get(scope).map_or_else(|| scope.clone(), |token| token.scope.clone());
                let token = self.fetch(&mut state, &realm, service.as_deref(), scope, wanted).await?;
                Ok(Some(token.header.clone()))
            }
        }
    }

    async fn refused(&self, scope: &Scope, url: &Url, headers: &HeaderMap, refused: Option<&HeaderValue>, again: bool) -> Result<bool> {
        let mut state = self.state.lock().await;
        if state.token(scope).is_some_and(|token| Some(&token.header) != refused) {
            // Another request was refused as well, and has already renewed the token.
            return Ok(true);
        }
        let challenges: Vec<Challenge> =
            headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|h| h.to_str().ok()).flat_map(Challenge::parse).collect();
        let challenge = |scheme| challenges.iter().find(|c| c.scheme == scheme);
        if let Some(bearer) = challenge("bearer") {
            let realm = self.realm(bearer.parameters.get("realm").map_or("", String::as_str), url)?;
            let service = bearer.parameters.get("service").cloned();
            let named = bearer.parameters.get("scope").map_or_else(Scope::default, |named| Scope::parse(named));
            let wanted = match state.tokens.get(scope).filter(|_| again) {
                None => scope.clone().and_named(named),
                // A token service may grant less than was requested without saying so.
                Some(token) => match token.scope.narrower() {
                    Some(narrower) => narrower,
                    None => return Ok(false),
                },
            };
            self.fetch(&mut state, &realm, service.as_deref(), scope, wanted).await?;
            state.demand = Some(Demand::Bearer { realm, service });
            Ok(true)
        } else if challenge("basic").is_some() {
            state.demand = Some(Demand::Basic);
            let login = self.login(&mut state, scope).await?;
            let Some(header) = login.as_ref().and_then(basic) else {
                return Err(self.unauthorized("it asks for a user name and a password, and none are known for it"));
            };
            Ok(Some(&header) != refused)
        } else {
            Ok(false)
        }
    }

    fn meaning(&self, answer: &ErrorAnswer<'_>) -> Meaning {
        refusal::meaning(&self.registry, answer)
    }
}

/// Whether a token service answered and refused.
fn is_refusal(failure: &Failure) -> bool {
    let is_client_error = |status: u16| (400..500).contains(&status);
    failure.retry == Retry::Never
        && match failure.error {
            Error::Unauthorized { .. } | Error::Denied { .. } | Error::NotFound { .. } => true,
            Error::Protocol { status, .. } => is_client_error(status),
            _ => false,
        }
}

/// The header of Basic authentication; `None` for an identity token.
fn basic(login: &Login) -> Option<HeaderValue> {
    match login {
        Login::Basic { username, password } => secret(format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))),
        Login::IdentityToken(_) => None,
    }
}

fn secret(text: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lifetime_of_a_token_is_read_in_each_form() {
        let lifetime = |json: &str| serde_json::from_str::<TokenAnswer>(json).unwrap().lifetime();
        for (json, seconds) in [("300", 300), ("300.0", 300), ("\"300\"", 300), ("0", 0)] {
            assert_eq!(lifetime(&format!(r#"{{"expires_in":{json}}}"#)), Some(Duration::from_secs(seconds)), "{json}");
        }
        for none in [r#"{}"#, r#"{"expires_in":null}"#, r#"{"expires_in":"soon"}"#, r#"{"expires_in":-1}"#, r#"{"expires_in":1e300}"#] {
            assert_eq!(lifetime(none), None, "{none}");
        }
    }

    #[test]
    fn a_token_service_must_be_as_secure_as_its_registry() {
        let options = ClientOptions::default();
        let authority = Authority::new("registry.example.com", false, &HttpClient::new(&options).unwrap(), &options, None);
        let realm = |realm: &str, answered: &str| authority.realm(realm, &Url::parse(answered).unwrap());
        let (secure, plain) = ("https://registry.example.com/v2/a/b/tags/list", "http://127.0.0.1:5000/v2/");
        for (answered, relative, expected) in [
            (secure, "https://auth.example.org/token", "https://auth.example.org/token"),
            (secure, "/token", "https://registry.example.com/token"),
            (secure, "token?x=1", "https://registry.example.com/token?x=1"),
            (secure, "//auth.example.org/token", "https://auth.example.org/token"),
            (plain, "/token", "http://127.0.0.1:5000/token"),
            (plain, "https://auth.example.org/token", "https://auth.example.org/token"),
            (plain, "http://127.0.0.1:5001/token", "http://127.0.0.1:5001/token"),
        ] {
            assert_eq!(realm(relative, answered).unwrap().as_str(), expected);
        }
        for (answered, refused) in [
            (secure, "http://registry.example.com/token"),
            (secure, "http://auth.example.org/token"),
            (secure, "ftp://registry.example.com/token"),
            (secure, ""),
            (secure, " "),
            (secure, "https://"),
            (plain, "//auth.example.org/token"),
            (plain, "http://auth.example.org/token"),
            (plain, "http://localhost:5000/token"),
        ] {
            let found = realm(refused, answered);
            assert!(matches!(found, Err(Error::Unauthorized { .. })), "{refused}: {found:?}");
        }
    }
}
