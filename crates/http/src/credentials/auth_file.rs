//! A file with logins: Docker's `config.json`, or Podman's `auth.json`, which has the same form (containers-auth.json(5)).

use super::{
    Login,
    helper::{Helper, TOKEN_USER},
};
use crate::text::printable;
use base64::{Engine, engine::general_purpose::STANDARD};
use modelpack_transfer::{Error, Result, follow_links};
use serde_json::{Map, Value, json};
use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

/// Under this name Docker keeps the login of Docker Hub.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// What such a file holds. Fields that are not known are kept as they are.
pub(super) struct AuthFile {
    path: PathBuf,
    content: Map<String, Value>,
}

impl AuthFile {
    /// Reads a file; one that is not there or has no bytes holds nothing. Blocks.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let content = match fs::read(path) {
            Ok(bytes) if bytes.trim_ascii().is_empty() => Map::new(),
            Ok(bytes) => parse(&bytes, path)?,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Map::new(),
            Err(e) => return Err(Error::io("read", path)(e)),
        };
        Ok(Self { path: path.to_owned(), content })
    }

    /// Changes a file, and replaces it as a whole if `change` says that it changed something. Blocks.
    ///
    /// While it works nobody else does: whoever changes the file through this function waits. A link to the file stays one.
    pub(super) fn update(path: &Path, change: impl FnOnce(&mut Self) -> Result<bool>) -> Result<bool> {
        let path = follow_links(path).map_err(Error::io("look at", path))?;
        let directory = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(Error::io("create", directory))?;
        let replacement = Replacement::of(&path)?;
        let mut file = Self::read(&path)?;
        let changed = change(&mut file)?;
        if changed {
            replacement.put(&path, &file.content)?;
        }
        Ok(changed)
    }

    /// The helper that keeps the logins of a repository: its own, or the one for all.
    pub(super) fn helper(&self, registry: &str, repository: &str) -> Option<Helper> {
        let own = self.entries("credHelpers", registry, repository).into_iter().next();
        let helper = own.map(|(_, helper)| helper).or_else(|| self.content.get("credsStore"))?.as_str()?;
        (!helper.is_empty()).then(|| Helper::new(helper, &self.path))
    }

    /// The login for a repository: that of the longest part of its name that has one.
    pub(super) fn login(&self, registry: &str, repository: &str) -> Result<Option<Login>> {
        // Docker leaves empty entries behind for logins that a helper keeps, so the next one may have more to say.
        let logins = self.entries("auths", registry, repository).into_iter().map(|(key, entry)| login(key, entry, &self.path));
        logins.filter_map(Result::transpose).next().transpose()
    }

    /// Keeps the login for a registry, in the place of those that it has under any of its names.
    pub(super) fn put(&mut self, registry: &str, username: &str, secret: &str) -> Result<()> {
        self.remove(registry);
        let auths = self.content.entry("auths").or_insert_with(|| json!({}));
        let Some(auths) = auths.as_object_mut() else { return Err(invalid(&self.path, "`auths` is not an object")) };
        auths.insert(key_of(registry), json!({ "auth": STANDARD.encode(format!("{username}:{secret}")) }));
        Ok(())
    }

    /// Forgets the logins of a registry as a whole; false if there were none. Those of its namespaces stay.
    pub(super) fn remove(&mut self, registry: &str) -> bool {
        let Some(auths) = self.content.get_mut("auths").and_then(Value::as_object_mut) else { return false };
        let before = auths.len();
        auths.retain(|key, _| Key::parse(key) != Key { host: hub(registry), namespace: "" });
        auths.len() < before
    }

    /// The entries of an object whose keys cover a repository, the most specific first. Of several spellings of a key, the one that
    /// Docker writes comes first.
    fn entries(&self, object: &str, registry: &str, repository: &str) -> Vec<(&str, &Value)> {
        let Some(object) = self.content.get(object).and_then(Value::as_object) else { return Vec::new() };
        let covering = object.iter().filter_map(|(text, value)| {
            let key = Key::parse(text);
            let rank = (key.namespace.len(), *text == key_of(registry), text == registry);
            key.covers(registry, repository).then_some((rank, (text.as_str(), value)))
        });
        let mut covering: Vec<_> = covering.collect();
        covering.sort_by(|(a, _), (b, _)| b.cmp(a));
        covering.into_iter().map(|(_, entry)| entry).collect()
    }
}

/// What a key of `auths` or `credHelpers` is about: a registry, or a namespace or repository in one.
#[derive(Debug, PartialEq, Eq)]
struct Key<'a> {
    /// Host and port.
    host: &'a str,
    /// Empty for the whole registry.
    namespace: &'a str,
}

impl<'a> Key<'a> {
    /// Reads a key. Those with a scheme, and those that end with the version of an API, are Docker's old form and name a registry.
    fn parse(key: &'a str) -> Self {
        let (has_scheme, rest) = key.split_once("://").map_or((false, key), |(_, rest)| (true, rest));
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = path.trim_matches('/');
        let namespace = if has_scheme || matches!(path, "v1" | "v2") { "" } else { path };
        Self { host: hub(host), namespace }
    }

    /// Whether this is about a repository of a registry.
    fn covers(&self, registry: &str, repository: &str) -> bool {
        let is_within = |rest: &str| self.namespace.is_empty() || rest.is_empty() || rest.starts_with('/');
        self.host == hub(registry) && repository.strip_prefix(self.namespace).is_some_and(is_within)
    }
}

/// A host; Docker Hub has several.
fn hub(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    }
}

/// The name under which a registry's login is kept, by a helper too.
pub(super) fn key_of(registry: &str) -> String {
    if hub(registry) == "docker.io" { DOCKER_HUB_KEY.to_owned() } else { registry.to_owned() }
}

/// What an entry of `auths` says.
fn login(key: &str, entry: &Value, path: &Path) -> Result<Option<Login>> {
    let field = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(token) = field("identitytoken") {
        return Ok(Some(Login::IdentityToken(token.to_owned())));
    }
    if let (Some(username), Some(password)) = (field("username"), field("password")) {
        return Ok(Some(Login::of(username, password)));
    }
    let Some(auth) = field("auth") else { return Ok(None) };
    let decoded = STANDARD.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let Some((username, password)) = decoded.as_deref().and_then(|text| text.split_once(':')) else {
        return Err(invalid(path, format!("the `auth` of {:?} is not the Base64 form of `user:password`", printable(key))));
    };
    Ok(Some(Login::of(username, password.trim_end_matches('\0'))))
}

impl Login {
    /// A name and a password, as the field's files and helpers keep them: one name stands for a token.
    pub(super) fn of(username: &str, password: &str) -> Self {
        match username {
            TOKEN_USER => Self::IdentityToken(password.to_owned()),
            _ => Self::Basic { username: username.to_owned(), password: password.to_owned() },
        }
    }
}

/// The object that is all of a file. What is wrong with it is told by its place: its text may be a secret.
fn parse(bytes: &[u8], path: &Path) -> Result<Map<String, Value>> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(content)) => Ok(content),
        Ok(_) => Err(invalid(path, "it is not a JSON object")),
        Err(e) => {
            let why = format!("it is not a JSON object: {}", printable(&e.to_string()));
            Err(Error::CredentialsFile { path: path.to_owned(), why, source: Some(e.into()) })
        }
    }
}

fn invalid(path: &Path, why: impl Into<String>) -> Error {
    Error::CredentialsFile { path: path.to_owned(), why: why.into(), source: None }
}

/// The file that takes the place of another. It is the lock too: whoever has it locked, and under its name, is the only one who
/// changes the other. A process that ends, however it ends, holds nothing, and what it leaves behind is used by the next.
struct Replacement {
    path: PathBuf,
    file: File,
    is_in_place: bool,
}

impl Replacement {
    /// Waits until nobody else replaces `path`.
    fn of(path: &Path) -> Result<Self> {
        let mut name = path.file_name().map(OsString::from).ok_or_else(|| invalid(path, "it names no file"))?;
        name.push(".lock");
        let lock = path.with_file_name(name);
        loop {
            let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(&lock);
            let file = file.map_err(Error::io("open the lock", &lock))?;
            file.lock().map_err(Error::io("lock", &lock))?;
            // What was waited for may have become the other file meanwhile.
            let held = file.metadata().map_err(Error::io("look at", &lock))?;
            if fs::symlink_metadata(&lock).is_ok_and(|there| (there.dev(), there.ino()) == (held.dev(), held.ino())) {
                return Ok(Self { path: lock, file, is_in_place: false });
            }
        }
    }

    /// Puts `content` in the place of `path`.
    fn put(mut self, path: &Path, content: &Map<String, Value>) -> Result<()> {
        self.write(path, content).map_err(Error::io("write", &self.path))?;
        fs::rename(&self.path, path).map_err(Error::io("replace", path))?;
        self.is_in_place = true;
        Ok(())
    }

    fn write(&mut self, path: &Path, content: &Map<String, Value>) -> io::Result<()> {
        self.file.set_len(0)?;
        // A file that everybody may read becomes its owner's; a group that was let in stays.
        let mut mode = 0o600;
        if let Ok(before) = fs::metadata(path) {
            let permissions = before.mode() & 0o777;
            mode = if permissions & 0o007 == 0 { permissions | 0o600 } else { mode };
            // Only root can give a file away, and only root replaces those of others.
            let _ = fchown(&self.file, Some(before.uid()), Some(before.gid()));
        }
        self.file.set_permissions(Permissions::from_mode(mode))?;
        serde_json::to_writer_pretty(&mut self.file, content)?;
        self.file.write_all(b"\n")?;
        self.file.sync_all()
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.is_in_place {
            // If it cannot be removed, the next one uses it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_registry_or_a_namespace() {
        for (key, host, namespace) in [
            ("a.b", "a.b", ""),
            ("a.b:5000", "a.b:5000", ""),
            ("https://a.b", "a.b", ""),
            ("https://a.b/v1/", "a.b", ""),
            ("http://a.b/any/path", "a.b", ""),
            ("index.docker.io/v1/", "docker.io", ""),
            ("a.b/v2", "a.b", ""),
            ("a.b/team", "a.b", "team"),
            ("a.b/team/model/", "a.b", "team/model"),
            ("docker.io/library", "docker.io", "library"),
        ] {
            assert_eq!(Key::parse(key), Key { host, namespace }, "{key}");
        }
        let covers = |key, repository| Key::parse(key).covers("a.b", repository);
        assert!(covers("a.b", "team/model") && covers("a.b/team", "team/model") && covers("a.b/team/model", "team/model"));
        assert!(covers("a.b", "") && !covers("a.b/team", "") && !covers("a.b/tea", "team/model") && !covers("c.d", "team/model"));
    }
}
