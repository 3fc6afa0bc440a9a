//! Who a registry is told that one is: logins in files like Docker's `config.json`, and in the credential helpers that they name.

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

/// Where logins are kept: nowhere, or in files like Docker's `config.json` and the helpers that they name.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The first one is where new logins are kept.
    files: Vec<PathBuf>,
}

impl Credentials {
    /// Logins in one file, which need not exist.
    pub fn in_file(file: impl Into<PathBuf>) -> Self {
        Self { files: vec![file.into()] }
    }

    /// Logins in several files, which need not exist. They are looked for in this order. New ones are kept in the first; the others
    /// are only read.
    pub fn in_files(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { files: files.into_iter().collect() }
    }

    /// The login for a repository of a registry, which is named by host and port; with an empty repository, the one for all of the
    /// registry. `None` if there is none.
    ///
    /// In each file, the helper that it names for this registry is asked first, then its own logins count, the one with the longest
    /// key that covers the repository. What cannot be asked is passed over with a notice: a helper that is not installed, and any
    /// file but the first that may not be read. Fails if a file cannot be understood, or a helper fails.
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

    /// Keeps a login, in the helper that the first file names for this registry, or else in that file, which only its owner, and a
    /// group that may read it now, can then read. A helper that is not installed is passed over with a notice.
    ///
    /// Fails if there is no file to keep it in.
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

    /// Forgets the login for a registry, in the first file and its helper; false if there was none. That another file has one, which
    /// is not this program's to remove, is told by a notice.
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
        // A file without the login is not touched, and one that is not there is not made.
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
