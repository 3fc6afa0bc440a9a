//! The certificates of authorities: which servers are trusted.

use modelpack_transfer::{Cause, Error, Result};
use reqwest::{Certificate, ClientBuilder};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Whose certificates are trusted.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Certificates {
    /// The authorities that are trusted instead of those that the operating system trusts; if it is empty, those of the operating system.
    pub authorities: Vec<Authorities>,
}

impl Certificates {
    /// Trusts these authorities instead of those of the operating system.
    pub fn authorities(self, authorities: Vec<Authorities>) -> Self {
        Self { authorities, ..self }
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
            if path.is_dir() {
                let unreadable = |e| self.wrong(format!("the directory {} cannot be read: {e}", path.display()), Some(Box::new(e)));
                for entry in fs::read_dir(path).map_err(unreadable)? {
                    // Such directories also hold links and files of other kinds.
                    certificates.extend(read_pem(&entry.map_err(unreadable)?.path()).unwrap_or_default());
                }
            } else {
                let unreadable = |e| self.wrong(format!("{} cannot be read: {e}", path.display()), Some(Box::new(e)));
                certificates.extend(read_pem(path).map_err(unreadable)?);
            }
        }
        if certificates.is_empty() {
            let paths: Vec<_> = self.paths.iter().map(|path| path.display().to_string()).collect();
            return Err(self.wrong(format!("no certificate in PEM format is in {}", paths.join(" or ")), None));
        }
        Ok(certificates)
    }

    fn wrong(&self, why: String, source: Option<Cause>) -> Error {
        Error::Setting { setting: self.setting.clone(), why, source }
    }
}

/// The certificates in a file. Parts of the file that are not valid certificates are skipped, because bundles of authorities contain some.
fn read_pem(path: &Path) -> std::io::Result<Vec<Certificate>> {
    let bytes = fs::read(path)?;
    let found = CertificateDer::pem_slice_iter(&bytes).filter_map(Result::ok);
    let valid = found.filter(|certificate| RootCertStore::empty().add(certificate.clone()).is_ok());
    Ok(valid.filter_map(|certificate| Certificate::from_der(&certificate).ok()).collect())
}

/// The certificates that a client trusts.
pub(crate) struct Trusted {
    /// `None` for those of the operating system.
    only: Option<Vec<Certificate>>,
}

impl Trusted {
    /// Reads the files. Blocks. Fails with [`Error::Setting`] if one of them is wrong.
    pub(crate) fn read(certificates: &Certificates) -> Result<Self> {
        let mut only = None;
        for authorities in &certificates.authorities {
            only.get_or_insert_with(Vec::new).extend(authorities.read()?);
        }
        Ok(Self { only })
    }

    /// Configures a client to trust them.
    pub(crate) fn configure(&self, builder: ClientBuilder) -> ClientBuilder {
        match &self.only {
            Some(only) => builder.tls_certs_only(only.clone()),
            None => builder,
        }
    }
}
