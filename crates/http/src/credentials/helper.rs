//! Credential helpers: programs named `docker-credential-<name>` that keep logins, and speak JSON over their standard streams.

use super::Login;
use crate::text::printable;
use modelpack_transfer::{Error, Notice, Notices, Result};
use serde::{Deserialize, Serialize};
use std::{io::ErrorKind, process::Stdio, time::Duration};
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

/// A helper may ask its user to unlock something.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a helper says when it has no login.
const NOT_FOUND: &str = "credentials not found";
/// The user's name that stands for an identity token.
pub(super) const TOKEN_USER: &str = "<token>";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(rename = "ServerURL", default)]
    server_url: String,
    username: String,
    secret: String,
}

/// The login that a helper has for a server. A helper that is not installed has none, which is told by a notice.
pub(super) async fn get(helper: &str, server: &str, notices: &Notices) -> Result<Option<Login>> {
    let Some(answer) = run(helper, "get", server.as_bytes(), notices).await? else { return Ok(None) };
    let entry: Entry = serde_json::from_slice(&answer).map_err(|_| failed(helper, "its answer is not the JSON object of a login"))?;
    Ok(Some(Login::of(&entry.username, &entry.secret)))
}

/// Gives a helper a login to keep; false if it is not installed.
pub(super) async fn store(helper: &str, server: &str, username: &str, secret: &str, notices: &Notices) -> Result<bool> {
    let entry = Entry { server_url: server.to_owned(), username: username.to_owned(), secret: secret.to_owned() };
    let entry = serde_json::to_vec(&entry).expect("strings always serialise");
    run(helper, "store", &entry, notices).await.map(|kept| kept.is_some())
}

/// Lets a helper forget a login.
pub(super) async fn erase(helper: &str, server: &str, notices: &Notices) -> Result<()> {
    run(helper, "erase", server.as_bytes(), notices).await.map(drop)
}

/// What a helper prints; `None` if it says that it has no such login, or if there is no such program. Configurations that come from
/// another machine name one, so that is told by a notice and is no failure.
async fn run(helper: &str, action: &str, input: &[u8], notices: &Notices) -> Result<Option<Vec<u8>>> {
    let not_installed = |why: &str| {
        notices.give(&Notice::LoginsUnavailable { what: name(helper), why: why.to_owned() });
        Ok(None)
    };
    if helper.contains('/') {
        return not_installed("a helper is named without directories");
    }
    let mut command = Command::new(format!("docker-credential-{helper}"));
    command.arg(action).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) if e.kind() == ErrorKind::NotFound => return not_installed("there is no such program"),
        Err(e) => return not_installed(&format!("it cannot be started: {e}")),
    };
    let talk = async move {
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that ends before it has read everything tells by its status whether that is a failure.
            let _ = stdin.write_all(input).await;
        }
        child.wait_with_output().await
    };
    let output = match timeout(PATIENCE, talk).await {
        Ok(Ok(output)) => output,
        Ok(Err(e)) => return Err(failed(helper, e.to_string())),
        Err(_) => return Err(failed(helper, format!("it did not answer for {} seconds", PATIENCE.as_secs()))),
    };
    if output.status.success() {
        return Ok(Some(output.stdout));
    }
    let said = [&output.stdout[..], &output.stderr].map(|said| printable(String::from_utf8_lossy(said).trim()));
    if said.iter().any(|said| said.contains(NOT_FOUND)) {
        return Ok(None);
    }
    let said = said.into_iter().find(|said| !said.is_empty());
    Err(failed(helper, said.unwrap_or_else(|| output.status.to_string())))
}

/// A helper in an error or notice.
fn name(helper: &str) -> String {
    format!("the credential helper docker-credential-{}", printable(helper))
}

fn failed(helper: &str, why: impl Into<String>) -> Error {
    Error::Invalid { what: name(helper), why: why.into() }
}
