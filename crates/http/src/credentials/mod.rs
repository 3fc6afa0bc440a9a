//! Logins in files like Docker's `config.json`, and in the credential helpers that these files name.

mod auth_file;
mod helper;

use auth_file::{AuthFile, key_of};
use modelpack_transfer::{Error, Notice, Notices, Result, blocking};
use std::{
    fmt,
    io::ErrorKind,
    path::{Path, PathBuf},
};
use tracing::debug;

/// A login for a registry or its token service.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// A user's name and password.
    Basic {
        /// The name.
        username: String,
        /// The password, or a personal access token.
        password: String,
    },
    /// A token that the token service exchanges for the tokens that the registry accepts.
    IdentityToken(String),
}

impl fmt::Debug for Login {
    /// Prints no secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { username, .. } => f.debug_struct("Basic").field("username", username).finish_non_exhaustive(),
            Self::IdentityToken(_) => f.write_str("IdentityToken"),
        }
    }
}

/// Where logins are stored: nowhere, or in files like Docker's `config.json` and the helpers that they name.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// New logins are stored in the first one.
    files: Vec<PathBuf>,
}

impl Credentials {
    /// Logins in one file, which does not have to exist.
    pub fn in_file(file: impl Into<PathBuf>) -> Self {
        Self { files: vec![file.into()] }
    }

    /// Logins in several files, which do not have to exist. They are searched in this order. New logins are stored in the first file; the
    /// other files are only read.
    pub fn in_files(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { files: files.into_iter().collect() }
    }

    /// The login for a repository of a registry, which is named by its host and port. If the repository is empty, the login for the whole
    /// registry. `None` if there is none.
    ///
    /// In each file, the helper that it names for this registry is asked first. Then the logins in the file are searched; the one with the
    /// longest key that covers the repository is used. A helper that is not installed is skipped with a notice, and so is a file that may
    /// not be read, except the first. Fails if a file is invalid, or if a helper fails.
    pub async fn get(&self, registry: &str, repository: &str, notices: &Notices) -> Result<Option<Login>> {
        for (number, path) in self.files.iter().enumerate() {
            let file = match read(path).await {
                Err(Error::Io { source, .. }) if number > 0 && source.kind() == ErrorKind::PermissionDenied => {
                    let (what, why) = (path.display().to_string(), source.to_string());
                    notices.give(&Notice::LoginsUnavailable { what, why });
                    continue;
                }
                read => read?,
            };
            if let Some(helper) = file.helper(registry, repository)
                && let Some(login) = helper.get(&key_of(registry), notices).await?
            {
                debug!(registry, file = %path.display(), helper = helper.program(), "login found");
                return Ok(Some(login));
            }
            if let Some(login) = file.login(registry, repository)? {
                debug!(registry, file = %path.display(), "login found");
                return Ok(Some(login));
            }
        }
        debug!(registry, "no login found");
        Ok(None)
    }

    /// Stores a login in the helper that the first file names for this registry, or else in the first file. Afterwards, only the owner of
    /// the file can read it, and a group that could read it before. A helper that is not installed is skipped with a notice.
    ///
    /// Fails if there is no file, or if it cannot be changed.
    pub async fn store(&self, registry: &str, username: &str, secret: &str, notices: &Notices) -> Result<()> {
        let no_file = || Error::Setting {
            setting: format!("the login for {registry}"),
            why: "no file is named to keep it in".to_owned(),
            source: None,
        };
        let path = self.files.first().cloned().ok_or_else(no_file)?;
        if let Some(helper) = read(&path).await?.helper(registry, "")
            && helper.store(&key_of(registry), username, secret, notices).await?
        {
            return Ok(());
        }
        let (registry, username, secret) = (registry.to_owned(), username.to_owned(), secret.to_owned());
        let put = move |file: &mut AuthFile| file.put(&registry, &username, &secret).map(|()| true);
        blocking(move || AuthFile::update(&path, put)).await.map(drop)
    }

    /// Removes the login for a registry from the first file and its helper. Returns false if there was none. A notice says if another file
    /// still has a login; other programs own those files, so they are not changed.
    pub async fn erase(&self, registry: &str, notices: &Notices) -> Result<bool> {
        let Some((path, others)) = self.files.split_first() else { return Ok(false) };
        let mut file = read(path).await?;
        let mut erased = false;
        if let Some(helper) = file.helper(registry, "")
            && helper.get(&key_of(registry), notices).await?.is_some()
        {
            helper.erase(&key_of(registry), notices).await?;
            erased = true;
        }
        // A file without the login is not changed, and a missing file is not created.
        if file.remove(registry) {
            let (path, registry) = (path.clone(), registry.to_owned());
            erased |= blocking(move || AuthFile::update(&path, move |file| Ok(file.remove(&registry)))).await?;
        }
        for other in others {
            if read(other).await.is_ok_and(|file| matches!(file.login(registry, ""), Ok(Some(_)))) {
                notices.give(&Notice::LoginRemains { registry: registry.to_owned(), file: other.clone() });
            }
        }
        Ok(erased)
    }
}

async fn read(path: &Path) -> Result<AuthFile> {
    let path = path.to_owned();
    blocking(move || AuthFile::read(&path)).await
}

#[cfg(test)]
mod tests;
