//! What the proxy answers instead of the server: its token service, URLs that expire, and upload sessions that have moved.

use super::{http::Head, lock};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Mutex,
};

const TOKEN_SERVICE: &str = "/proxy-token";
/// Begins the path of a URL that is valid for one request. Its number and the path at the server follow.
const SIGNED: &str = "/signed/";
/// Begins the path of an upload session that has moved, likewise.
const MOVED: &str = "/moved/";

/// Where a request goes.
pub(super) enum Way {
    /// To the server.
    On {
        /// Whether it came to a URL that a redirect led to.
        redirected: bool,
    },
    /// Nowhere: this is the answer.
    Ended(Answer),
}

/// An answer of the proxy itself.
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

#[derive(Default)]
pub(super) struct Detours(Mutex<State>);

#[derive(Default)]
struct State {
    /// How often all tokens have expired. Before the first time, none is required.
    expiries: u64,
    /// The last number of a URL.
    last: u64,
    /// The redirects that have not been used.
    valid: BTreeSet<u64>,
    /// The number under which each session that has moved is found.
    moved: BTreeMap<String, u64>,
}

impl State {
    fn token(&self) -> String {
        format!("token-{}", self.expiries)
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

impl Detours {
    /// Where a request goes. If it goes to the server, its path becomes that at the server.
    pub(super) fn way(&self, request: &mut Head, proxy: SocketAddr) -> Way {
        let mut state = lock(&self.0);
        if request.path().starts_with(TOKEN_SERVICE) {
            let body = format!(r#"{{"token":"{}","expires_in":300}}"#, state.token());
            return Way::Ended(Answer { code: 200, headers: Vec::new(), body });
        }
        if let Some((number, path)) = numbered(request.path(), SIGNED) {
            if !state.valid.remove(&number) {
                let body = "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>".to_owned();
                return Way::Ended(Answer { code: 403, headers: Vec::new(), body });
            }
            request.set_path(&path);
            return Way::On { redirected: true };
        }
        if state.expiries > 0 && request.get("authorization") != Some(&format!("Bearer {}", state.token())) {
            return Way::Ended(unauthorized(proxy));
        }
        let (number, path) = match numbered(request.path(), MOVED) {
            Some((number, path)) => (Some(number), path),
            None => (None, request.path().to_owned()),
        };
        if state.moved.get(session(&path)).copied() != number {
            let body = r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"the session has moved"}]}"#.to_owned();
            return Way::Ended(Answer { code: 404, headers: Vec::new(), body });
        }
        request.set_path(&path);
        Way::On { redirected: false }
    }

    /// All tokens that were given expire. Returns the answer that says so.
    pub(super) fn expire_tokens(&self, proxy: SocketAddr) -> Answer {
        lock(&self.0).expiries += 1;
        unauthorized(proxy)
    }

    /// The redirect to a URL for the same thing, which is valid once.
    pub(super) fn redirect(&self, request: &Head, proxy: SocketAddr) -> Answer {
        let mut state = lock(&self.0);
        let number = state.number();
        state.valid.insert(number);
        let location = format!("http://{proxy}{SIGNED}{number}{}", request.path());
        Answer { code: 307, headers: vec![("Location", location)], body: String::new() }
    }

    /// Rewrites the `Location` of a response if it is the path of a session that has moved, or that moves now.
    pub(super) fn locate(&self, request: &Head, response: &mut Head, moves: bool) {
        let Some(location) = response.get("location").filter(|_| request.path().contains("/blobs/uploads/")) else { return };
        let Some(start) = location.find("/v2/") else { return };
        let (origin, path) = location.split_at(start);
        let mut state = lock(&self.0);
        if !path.contains("/blobs/uploads/") {
            return;
        }
        if moves {
            let number = state.number();
            state.moved.insert(session(path).to_owned(), number);
        }
        if let Some(number) = state.moved.get(session(path)) {
            let location = format!("{origin}{MOVED}{number}{path}");
            response.set("Location", location);
        }
    }
}

fn unauthorized(proxy: SocketAddr) -> Answer {
    let challenge = format!("Bearer realm=\"http://{proxy}{TOKEN_SERVICE}\",service=\"proxy\",error=\"invalid_token\"");
    let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"the token has expired"}]}"#.to_owned();
    Answer { code: 401, headers: vec![("WWW-Authenticate", challenge)], body }
}

/// The path of a session, without its query.
fn session(path: &str) -> &str {
    path.split('?').next().unwrap_or_default()
}

/// Splits a path after `prefix` into a number and the path at the server.
fn numbered(path: &str, prefix: &str) -> Option<(u64, String)> {
    let (number, rest) = path.strip_prefix(prefix)?.split_once('/')?;
    Some((number.parse().ok()?, format!("/{rest}")))
}
