//! Manifests are verified here, whoever reads them; blobs are verified where they are written.

use crate::{Error, Result};
use modelpack_spec::{Descriptor, Digest, Hasher, Manifest, Selector};

/// Parses a manifest that should have the digest `expected`; `what` names it in an error.
///
/// Fails with [`Error::WrongDigest`] if its bytes have another digest, before anything in them is believed.
pub fn verify_manifest(what: &str, bytes: Vec<u8>, media_type: Option<&str>, expected: &Digest) -> Result<Manifest> {
    let mut hasher = Hasher::new(expected.algorithm());
    hasher.update(&bytes);
    let found = hasher.finish();
    if found != *expected {
        return Err(Error::WrongDigest { what: what.to_owned(), expected: expected.clone(), found });
    }
    let manifest = Manifest::parse(bytes, media_type).map_err(|source| Error::InvalidManifest { what: what.to_owned(), source })?;
    Ok(manifest.with_digest(found))
}

/// Compares bytes that were hashed with what was promised of them: whoever keeps or believes a blob ends here.
///
/// Fails with [`Error::WrongSize`] or [`Error::WrongDigest`].
pub fn verify_blob(expected: &Descriptor, found: &Digest, size: u64) -> Result<()> {
    let what = || format!("blob {}", expected.digest);
    if expected.size != size {
        return Err(Error::WrongSize { what: what(), expected: expected.size, found: size });
    }
    if expected.digest != *found {
        return Err(Error::WrongDigest { what: what(), expected: expected.digest.clone(), found: found.clone() });
    }
    Ok(())
}

/// Refuses a manifest that is written under another digest than its own.
pub(crate) fn verify_selected(at: &Selector, manifest: &Manifest) -> Result<()> {
    match at.digest() {
        Some(expected) if expected != manifest.digest() => {
            Err(Error::WrongDigest { what: "the manifest".to_owned(), expected: expected.clone(), found: manifest.digest().clone() })
        }
        _ => Ok(()),
    }
}
