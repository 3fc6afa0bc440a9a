//! Credential helpers: programs named `docker-credential-<name>` that keep logins, and speak JSON over their standard streams.

use super::Login;
use crate::text::printable;
use modelpack_transfer::{Cause, Error, Notice, Notices, Result};
use serde::{Deserialize, Serialize};
use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

/// How the name of the program of every helper begins.
const PREFIX: &str = "docker-credential-";
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

/// A credential helper.
pub(super) struct Helper {
    /// Its program, without the prefix of all helpers.
    name: String,
    /// The file with logins that names it.
    named_by: PathBuf,
}

impl Helper {
    pub(super) fn new(name: &str, named_by: &Path) -> Self {
        Self { name: name.to_owned(), named_by: named_by.to_owned() }
    }

    /// The login that it has for a server. A helper that is not installed has none, which is told by a notice.
    pub(super) async fn get(&self, server: &str, notices: &Notices) -> Result<Option<Login>> {
        let Some(answer) = self.run("get", server.as_bytes(), notices).await? else { return Ok(None) };
        // What is wrong with the answer is not told: it may be a secret.
        let entry: Entry =
            serde_json::from_slice(&answer).map_err(|_| self.failed("its answer is not the JSON object of a login", None))?;
        Ok(Some(Login::of(&entry.username, &entry.secret)))
    }

    /// Gives it a login to keep; false if it is not installed.
    pub(super) async fn store(&self, server: &str, username: &str, secret: &str, notices: &Notices) -> Result<bool> {
        let entry = Entry { server_url: server.to_owned(), username: username.to_owned(), secret: secret.to_owned() };
        let entry = serde_json::to_vec(&entry).expect("strings always serialise");
        self.run("store", &entry, notices).await.map(|kept| kept.is_some())
    }

    /// Lets it forget a login.
    pub(super) async fn erase(&self, server: &str, notices: &Notices) -> Result<()> {
        self.run("erase", server.as_bytes(), notices).await.map(drop)
    }

    /// What it prints; `None` if it says that it has no such login, or if there is no such program. Configurations that come from
    /// another machine name one, so that is told by a notice and is no failure.
    async fn run(&self, action: &str, input: &[u8], notices: &Notices) -> Result<Option<Vec<u8>>> {
        let not_installed = |why: &str| {
            let what = format!("the credential helper {}", self.program());
            notices.give(&Notice::LoginsUnavailable { what, why: format!("{why} ({} names it)", self.named_by.display()) });
            Ok(None)
        };
        if self.name.contains('/') {
            return not_installed("a helper is named without directories");
        }
        let mut command = Command::new(format!("{PREFIX}{}", self.name));
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
            Ok(Err(e)) => return Err(self.failed(e.to_string(), Some(e.into()))),
            Err(_) => return Err(self.failed(format!("it did not answer for {} seconds", PATIENCE.as_secs()), None)),
        };
        if output.status.success() {
            return Ok(Some(output.stdout));
        }
        let said = [&output.stdout[..], &output.stderr].map(|said| printable(String::from_utf8_lossy(said).trim()));
        if said.iter().any(|said| said.contains(NOT_FOUND)) {
            return Ok(None);
        }
        let said = said.into_iter().find(|said| !said.is_empty());
        Err(self.failed(said.unwrap_or_else(|| output.status.to_string()), None))
    }

    /// Its program, as it may stand in a message.
    pub(super) fn program(&self) -> String {
        format!("{PREFIX}{}", printable(&self.name))
    }

    fn failed(&self, why: impl Into<String>, source: Option<Cause>) -> Error {
        Error::CredentialHelper { helper: self.program(), named_by: self.named_by.clone(), why: why.into(), source }
    }
}
