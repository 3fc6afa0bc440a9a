//! Certificates: whose servers are trusted, and what is shown to a server that wants to know who asks.

use crate::{
    text::host,
    tls::{self, ClientCertificates},
};
use modelpack_transfer::{Cause, Error, Result};
use reqwest::Url;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

const HTTPS_PORT: u16 = 443;

/// Whose certificates are trusted, and the certificates of the client.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Certificates {
    /// The authorities that are trusted instead of those that the operating system trusts; if it is empty, those of the operating system.
    pub authorities: Vec<Authorities>,
    /// The authorities that are trusted in addition.
    pub additional: Vec<Authorities>,
    /// Directories in which a directory has the certificates for one server, and its host and port as its name, as Docker and Podman have
    /// them (containers-certs.d(5)). The first that exists for a server is used. In it, `NAME.crt` is an authority that is trusted in
    /// addition, for this server only, and `NAME.cert` with the key `NAME.key` is a certificate of the client. Of several, the server sees
    /// one: the first that comes from an authority that it names, or else the first.
    pub directories: Vec<PathBuf>,
}

impl Certificates {
    /// Trusts these authorities instead of those of the operating system.
    pub fn authorities(self, authorities: Vec<Authorities>) -> Self {
        Self { authorities, ..self }
    }

    /// Trusts these authorities in addition.
    pub fn additional(self, additional: Vec<Authorities>) -> Self {
        Self { additional, ..self }
    }

    /// Looks for the certificates for single servers in these directories.
    pub fn directories(self, directories: Vec<PathBuf>) -> Self {
        Self { directories, ..self }
    }

    /// Whether there is a directory for the server at `url`. Blocks.
    pub(crate) fn has_directory(&self, url: &Url) -> bool {
        ServerCertificates::directory(&self.directories, url).is_some()
    }
}

/// Files with the certificates of authorities, in PEM.
#[derive(Clone, Debug)]
pub struct Authorities {
    /// Files, and directories of such files. In a directory, files without a certificate are ignored.
    pub paths: Vec<PathBuf>,
    /// The name of the setting in an error, such as the name of the environment variable.
    pub setting: String,
}

impl Authorities {
    /// The certificates; at least one. Blocks.
    ///
    /// Fails with [`Error::Setting`] if a path cannot be read, or if no certificate is found.
    fn read(&self) -> Result<Vec<CertificateDer<'static>>> {
        let mut certificates = Vec::new();
        for path in &self.paths {
            let unreadable = |e| wrong(&self.setting, format!("{} cannot be read: {e}", path.display()), Some(Box::new(e)));
            if path.is_dir() {
                for entry in fs::read_dir(path).map_err(unreadable)? {
                    // Such directories also hold links and files of other kinds.
                    certificates.extend(read_authorities(&entry.map_err(unreadable)?.path()).unwrap_or_default());
                }
            } else {
                certificates.extend(read_authorities(path).map_err(unreadable)?);
            }
        }
        if certificates.is_empty() {
            let paths: Vec<_> = self.paths.iter().map(|path| path.display().to_string()).collect();
            return Err(wrong(&self.setting, format!("no certificate in PEM format is in {}", paths.join(" or ")), None));
        }
        Ok(certificates)
    }
}

/// The certificates in a file. Parts of the file that are not valid certificates are skipped, because bundles of authorities contain some.
fn read_authorities(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let bytes = fs::read(path)?;
    let found = CertificateDer::pem_slice_iter(&bytes).filter_map(Result::ok);
    Ok(found.filter(|certificate| RootCertStore::empty().add(certificate.clone()).is_ok()).collect())
}

fn wrong(setting: &str, why: String, source: Option<Cause>) -> Error {
    Error::Setting { setting: setting.to_owned(), why, source }
}

/// The certificates that all servers have in common.
#[derive(Debug)]
pub(crate) struct Trusted {
    /// `None` for those of the operating system.
    only: Option<Vec<CertificateDer<'static>>>,
    additional: Vec<CertificateDer<'static>>,
}

impl Trusted {
    /// Reads the files. Blocks. Fails with [`Error::Setting`] if one of them is wrong.
    pub(crate) fn read(certificates: &Certificates) -> Result<Self> {
        let read = |all: &[Authorities]| all.iter().map(Authorities::read).collect::<Result<Vec<_>>>().map(|all| all.concat());
        let only = if certificates.authorities.is_empty() { None } else { Some(read(&certificates.authorities)?) };
        Ok(Self { only, additional: read(&certificates.additional)? })
    }

    /// Whether they are trusted instead of those of the operating system.
    pub(crate) fn are_only(&self) -> bool {
        self.only.is_some()
    }

    /// All that were named.
    pub(crate) fn all(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.only.iter().flatten().chain(&self.additional)
    }
}

/// The certificates for one server.
pub(crate) struct ServerCertificates {
    /// Their directory, as it is shown.
    pub(crate) place: String,
    pub(crate) authorities: Vec<CertificateDer<'static>>,
    /// What the client shows; `None` if there is nothing to show.
    pub(crate) client: Option<Arc<ClientCertificates>>,
}

impl ServerCertificates {
    /// The directory for the server at `url`, if there is one. Blocks.
    pub(crate) fn directory(directories: &[PathBuf], url: &Url) -> Option<PathBuf> {
        let name = host(url);
        // A name from a redirect must not lead out of the directories.
        if name.starts_with('.') {
            return None;
        }
        // A URL leaves out the port of its scheme, but a reference and the directory for it may have it.
        let names = [Some(name.to_owned()), url.port().is_none().then(|| format!("{name}:{HTTPS_PORT}"))];
        let names: Vec<_> = names.into_iter().flatten().collect();
        let paths = directories.iter().flat_map(|directory| names.iter().map(|name| directory.join(name)));
        paths.into_iter().find(|path| path.is_dir())
    }

    /// Those for the server at `url`; `None` if it has none of its own. Blocks.
    ///
    /// Fails with [`Error::Setting`] if one of them cannot be used.
    pub(crate) fn find(directories: &[PathBuf], url: &Url) -> Result<Option<Self>> {
        Self::directory(directories, url).map(|directory| Self::read(&directory)).transpose()
    }

    fn read(directory: &Path) -> Result<Self> {
        let shown = directory.display().to_string();
        let unreadable = |e: io::Error| wrong(&shown, format!("it cannot be read: {e}"), Some(e.into()));
        let entries = fs::read_dir(directory).map_err(unreadable)?;
        let mut files = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>().map_err(unreadable)?;
        // The order decides which certificate of the client is the first.
        files.sort();
        let (mut authorities, mut client) = (Vec::new(), Vec::new());
        for file in &files {
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => authorities.extend(Authorities { paths: vec![file.clone()], setting: shown.clone() }.read()?),
                Some("cert") => client.push(Arc::new(client_certificate(file)?)),
                Some("key") if !files.contains(&file.with_extension("cert")) => {
                    let why = format!("it is the key of a certificate that is not there, {}", file.with_extension("cert").display());
                    return Err(wrong(&file.display().to_string(), why, None));
                }
                _ => {}
            }
        }
        let client = (!client.is_empty()).then(|| Arc::new(ClientCertificates(client)));
        Ok(Self { place: shown, authorities, client })
    }
}

/// The certificate of the client in a file, with the key in the file beside it.
fn client_certificate(file: &Path) -> Result<CertifiedKey> {
    let setting = file.display().to_string();
    let certificates = fs::read(file).map_err(|e| wrong(&setting, format!("it cannot be read: {e}"), Some(e.into())))?;
    let key = file.with_extension("key");
    let unreadable = |e: io::Error| {
        let why = format!("its key {} cannot be read: {e}; the certificate of an authority is a file `.crt`", key.display());
        wrong(&setting, why, Some(e.into()))
    };
    let pem = fs::read(&key).map_err(unreadable)?;
    let certificates = CertificateDer::pem_slice_iter(&certificates).collect::<Result<Vec<_>, _>>().ok();
    let pair = certificates.zip(PrivateKeyDer::from_pem_slice(&pem).ok());
    let pair = pair.and_then(|(certificates, key)| CertifiedKey::from_der(certificates, key, &tls::provider()).ok());
    // The cause is not told, because it may show a part of the key.
    pair.ok_or_else(|| wrong(&setting, format!("it and its key {} are not a pair in PEM format", key.display()), None))
}
