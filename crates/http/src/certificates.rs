//! Certificates: whose servers are trusted, and what is shown to a server that wants to know who asks.

use modelpack_transfer::{Cause, Error, Result};
use reqwest::{Certificate, ClientBuilder, Identity};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

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
    /// addition, for this server only, and `NAME.cert` with the key `NAME.key` is the certificate of the client. Only one is
    /// allowed.
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
    fn read(&self) -> Result<Vec<Certificate>> {
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
fn read_authorities(path: &Path) -> io::Result<Vec<Certificate>> {
    let bytes = fs::read(path)?;
    let found = CertificateDer::pem_slice_iter(&bytes).filter_map(Result::ok);
    let valid = found.filter(|certificate| RootCertStore::empty().add(certificate.clone()).is_ok());
    Ok(valid.filter_map(|certificate| Certificate::from_der(&certificate).ok()).collect())
}

fn wrong(setting: &str, why: String, source: Option<Cause>) -> Error {
    Error::Setting { setting: setting.to_owned(), why, source }
}

/// The certificates that all servers have in common.
#[derive(Debug)]
pub(crate) struct Trusted {
    /// `None` for those of the operating system.
    only: Option<Vec<Certificate>>,
    additional: Vec<Certificate>,
}

impl Trusted {
    /// Reads the files. Blocks. Fails with [`Error::Setting`] if one of them is wrong.
    pub(crate) fn read(certificates: &Certificates) -> Result<Self> {
        let read = |all: &[Authorities]| all.iter().map(Authorities::read).collect::<Result<Vec<_>>>().map(|all| all.concat());
        let only = if certificates.authorities.is_empty() { None } else { Some(read(&certificates.authorities)?) };
        Ok(Self { only, additional: read(&certificates.additional)? })
    }

    /// Configures a client to trust them, and to use what one server has of its own.
    pub(crate) fn configure(&self, mut builder: ClientBuilder, own: Option<&ServerCertificates>) -> ClientBuilder {
        let additional = self.additional.iter().chain(own.iter().flat_map(|own| &own.authorities)).cloned();
        builder = match &self.only {
            Some(only) => builder.tls_certs_only(only.iter().cloned().chain(additional)),
            None => builder.tls_certs_merge(additional),
        };
        match own.and_then(|own| own.identity.clone()) {
            Some(identity) => builder.identity(identity),
            None => builder,
        }
    }

    /// The same for a machine without authorities.
    pub(crate) fn configure_without_system(&self, builder: ClientBuilder) -> ClientBuilder {
        builder.tls_certs_only(self.additional.clone())
    }
}

/// The certificates for one server.
pub(crate) struct ServerCertificates {
    /// Their directory, as it is shown.
    pub(crate) place: String,
    authorities: Vec<Certificate>,
    identity: Option<Identity>,
}

impl ServerCertificates {
    /// Those for the server `name`, its host and port; `None` if it has none of its own. Blocks.
    ///
    /// Fails with [`Error::Setting`] if one of them cannot be used.
    pub(crate) fn find(directories: &[PathBuf], name: &str) -> Result<Option<Self>> {
        // A name from a redirect must not lead out of the directories.
        if name.starts_with('.') {
            return Ok(None);
        }
        let directory = directories.iter().map(|directory| directory.join(name)).find(|directory| directory.is_dir());
        directory.map(|directory| Self::read(&directory)).transpose()
    }

    fn read(directory: &Path) -> Result<Self> {
        let shown = directory.display().to_string();
        let unreadable = |e: io::Error| wrong(&shown, format!("it cannot be read: {e}"), Some(e.into()));
        let entries = fs::read_dir(directory).map_err(unreadable)?;
        let mut files = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>().map_err(unreadable)?;
        files.sort();
        let mut own = Self { place: shown.clone(), authorities: Vec::new(), identity: None };
        let of_client = files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "cert"));
        let of_client: Vec<_> = of_client.filter_map(|file| file.file_name()?.to_str()).collect();
        if of_client.len() > 1 {
            let why = format!("it has several certificates of the client: {}; only one can be used for a server", of_client.join(", "));
            return Err(wrong(&shown, why, None));
        }
        for file in &files {
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => {
                    let authorities = Authorities { paths: vec![file.clone()], setting: shown.clone() };
                    own.authorities.extend(authorities.read()?);
                }
                Some("cert") => {
                    own.identity = Some(identity(file)?);
                }
                Some("key") if !files.contains(&file.with_extension("cert")) => {
                    let why = format!("it is the key of a certificate that is not there, {}", file.with_extension("cert").display());
                    return Err(wrong(&file.display().to_string(), why, None));
                }
                _ => {}
            }
        }
        Ok(own)
    }
}

/// The certificate of the client in a file, with the key in the file beside it.
fn identity(certificate: &Path) -> Result<Identity> {
    let setting = certificate.display().to_string();
    let mut pem = fs::read(certificate).map_err(|e| wrong(&setting, format!("it cannot be read: {e}"), Some(e.into())))?;
    let key = certificate.with_extension("key");
    let unreadable = |e: io::Error| {
        let why = format!("its key {} cannot be read: {e}; the certificate of an authority is a file `.crt`", key.display());
        wrong(&setting, why, Some(e.into()))
    };
    pem.push(b'\n');
    pem.extend(fs::read(&key).map_err(unreadable)?);
    // The cause is not told, because it may show a part of the key.
    Identity::from_pem(&pem).map_err(|_| wrong(&setting, format!("it and its key {} are not a pair in PEM format", key.display()), None))
}
