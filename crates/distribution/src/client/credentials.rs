//! Who a registry is told that one is: logins in Docker's `config.json`, and in the credential helpers that it names.

use super::{failure::printable, helper};
use base64::{Engine, engine::general_purpose::STANDARD};
use modelpack_store::{Error, Result, blocking};
use serde_json::{Map, Value, json};
use std::{
    fmt,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Under this name Docker keeps the login of Docker Hub.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// What a registry, or its token service, is shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// A user's name and password.
    Basic {
        /// The name.
        username: String,
        /// The password, or a personal access token.
        password: String,
    },
    /// A token that the token service exchanges for those that the registry takes.
    IdentityToken(String),
}

impl fmt::Debug for Login {
    /// Without secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { username, .. } => f.debug_struct("Basic").field("username", username).finish_non_exhaustive(),
            Self::IdentityToken(_) => f.write_str("IdentityToken"),
        }
    }
}

/// Where logins are kept: nowhere, or in a file like Docker's `config.json` and the helpers that it names.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    config: Option<PathBuf>,
}

impl Credentials {
    /// Logins in the file `config`, which need not exist.
    pub fn in_file(config: impl Into<PathBuf>) -> Self {
        Self { config: Some(config.into()) }
    }

    /// The login for a registry, which is named by host and port; `None` if there is none.
    ///
    /// A helper is asked first, if the file names one for this registry. Fails if the file cannot be understood, or a helper fails.
    pub async fn get(&self, registry: &str) -> Result<Option<Login>> {
        let Some(path) = self.config.clone() else { return Ok(None) };
        let config = read(path.clone()).await?;
        if let Some(helper) = helper_for(&config, registry)
            && let Some(login) = helper::get(&helper, &key(registry)).await?
        {
            return Ok(Some(login));
        }
        entry(&config, "auths", registry).map_or(Ok(None), |(_, entry)| login(entry, &path))
    }

    /// Keeps a login, in the helper that the file names for this registry or else in the file, which only its owner may then read.
    ///
    /// Fails if there is no file to keep it in.
    pub async fn store(&self, registry: &str, username: &str, secret: &str) -> Result<()> {
        let what = || Error::Invalid { what: format!("the login for {registry}"), why: "no file is named to keep it in".to_owned() };
        let path = self.config.clone().ok_or_else(what)?;
        let mut config = read(path.clone()).await?;
        if let Some(helper) = helper_for(&config, registry) {
            return helper::store(&helper, &key(registry), username, secret).await;
        }
        remove(&mut config, registry);
        let auths = config.entry("auths").or_insert_with(|| json!({}));
        let Some(auths) = auths.as_object_mut() else { return Err(invalid(&path, "`auths` is not an object")) };
        auths.insert(key(registry), json!({ "auth": STANDARD.encode(format!("{username}:{secret}")) }));
        blocking(move || write(&path, &config)).await
    }

    /// Forgets the login for a registry; false if there was none.
    pub async fn erase(&self, registry: &str) -> Result<bool> {
        let Some(path) = self.config.clone() else { return Ok(false) };
        let mut config = read(path.clone()).await?;
        let mut erased = false;
        if let Some(helper) = helper_for(&config, registry)
            && helper::get(&helper, &key(registry)).await?.is_some()
        {
            helper::erase(&helper, &key(registry)).await?;
            erased = true;
        }
        if remove(&mut config, registry) {
            blocking(move || write(&path, &config)).await?;
            erased = true;
        }
        Ok(erased)
    }
}

/// The name under which a registry's login is kept.
fn key(registry: &str) -> String {
    if host(registry) == "docker.io" { DOCKER_HUB_KEY.to_owned() } else { registry.to_owned() }
}

/// The host and port in a key, which may have a scheme and a path; Docker Hub has several names.
fn host(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    match rest.split('/').next().unwrap_or_default() {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

/// The entry of a registry in one of the file's objects, and its key: the exact one if there is, else any of the same host.
fn entry<'a>(config: &'a Map<String, Value>, object: &str, registry: &str) -> Option<(&'a String, &'a Value)> {
    let entries = config.get(object)?.as_object()?;
    let exact = entries.get_key_value(&key(registry)).or_else(|| entries.get_key_value(registry));
    exact.or_else(|| entries.iter().find(|(key, _)| host(key) == host(registry)))
}

fn remove(config: &mut Map<String, Value>, registry: &str) -> bool {
    let Some(auths) = config.get_mut("auths").and_then(Value::as_object_mut) else { return false };
    let before = auths.len();
    auths.retain(|key, _| host(key) != host(registry));
    auths.len() < before
}

fn helper_for(config: &Map<String, Value>, registry: &str) -> Option<String> {
    let own = entry(config, "credHelpers", registry).map(|(_, helper)| helper);
    let helper = own.or_else(|| config.get("credsStore"))?.as_str()?;
    (!helper.is_empty()).then(|| helper.to_owned())
}

/// What an entry of `auths` says. Docker leaves an empty one behind for a login that a helper keeps.
fn login(entry: &Value, path: &Path) -> Result<Option<Login>> {
    let field = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(token) = field("identitytoken") {
        return Ok(Some(Login::IdentityToken(token.to_owned())));
    }
    if let (Some(username), Some(password)) = (field("username"), field("password")) {
        return Ok(Some(Login::Basic { username: username.to_owned(), password: password.to_owned() }));
    }
    let Some(auth) = field("auth") else { return Ok(None) };
    let decoded = STANDARD.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let Some((username, password)) = decoded.as_deref().and_then(|text| text.split_once(':')) else {
        return Err(invalid(path, "an `auth` is not the Base64 form of `user:password`"));
    };
    Ok(Some(Login::Basic { username: username.to_owned(), password: password.trim_end_matches('\0').to_owned() }))
}

fn invalid(path: &Path, why: impl Into<String>) -> Error {
    Error::Invalid { what: path.display().to_string(), why: why.into() }
}

async fn read(path: PathBuf) -> Result<Map<String, Value>> {
    blocking(move || match fs::read(&path) {
        Ok(bytes) if bytes.trim_ascii().is_empty() => Ok(Map::new()),
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| invalid(&path, printable(&format!("it is not a JSON object: {e}")))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Map::new()),
        Err(e) => Err(Error::io("read", &path)(e)),
    })
    .await
}

/// Replaces the file as a whole. A link to it stays one.
fn write(path: &Path, config: &Map<String, Value>) -> Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
    let random = getrandom::u64().map_err(|e| Error::io("name a file beside", &path)(io::Error::other(e)))?;
    let temporary = directory.join(format!(".config.json.{random:016x}"));
    let result = write_new(&temporary, config)
        .map_err(Error::io("write", &temporary))
        .and_then(|()| fs::rename(&temporary, &path).map_err(Error::io("replace", &path)));
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result
}

fn write_new(path: &Path, config: &Map<String, Value>) -> io::Result<()> {
    let mut file: File = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    serde_json::to_writer_pretty(&mut file, config)?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
