//! Manifests are verified here, whoever reads them; blobs are verified where they are written.

use crate::{Error, Result};
use modelpack_spec::{Descriptor, Digest, Manifest, Selector};
use std::ops::Range;

/// Parses a manifest that should have the digest `expected`; `what` names it in an error.
///
/// Fails with [`Error::WrongDigest`] if its bytes have another digest, before anything in them is believed.
pub fn verify_manifest(what: &str, bytes: Vec<u8>, media_type: Option<&str>, expected: &Digest) -> Result<Manifest> {
    verify_bytes(what, &bytes, expected)?;
    let manifest = Manifest::parse(bytes, media_type).map_err(|source| Error::InvalidManifest { what: what.to_owned(), source })?;
    Ok(manifest.with_digest(expected.clone()))
}

/// Fails with [`Error::WrongDigest`] unless `bytes` have the digest `expected`; `what` names them in the error.
pub fn verify_bytes(what: &str, bytes: &[u8], expected: &Digest) -> Result<()> {
    verify_digest(what, expected, &expected.algorithm().digest(bytes))
}

/// Compares bytes that were hashed with what was promised of them: whoever keeps or believes a blob ends here. `what` names the
/// blob in an error.
///
/// Fails with [`Error::WrongSize`] or [`Error::WrongDigest`].
pub fn verify_blob(what: &str, expected: &Descriptor, found: &Digest, size: u64) -> Result<()> {
    if expected.size != size {
        return Err(Error::WrongSize { what: what.to_owned(), expected: expected.size, found: size });
    }
    verify_digest(what, &expected.digest, found)
}

/// Fails unless a blob has bytes `part`, and the `found` bytes that are there are as many as it should have. `what` names the blob in the
/// error.
///
/// Fails with [`Error::WrongSize`] if there are fewer or more, and with [`Error::Invalid`] if the blob has no such bytes.
pub(crate) fn verify_part(part: &Range<u64>, blob: &Descriptor, found: u64, what: &str) -> Result<()> {
    if part.start > part.end || part.end > blob.size {
        let why = format!("it has {} bytes, and not those from {} to {}", blob.size, part.start, part.end);
        return Err(Error::Invalid { what: what.to_owned(), why });
    }
    if blob.size != found {
        return Err(Error::WrongSize { what: what.to_owned(), expected: blob.size, found });
    }
    Ok(())
}

fn verify_digest(what: &str, expected: &Digest, found: &Digest) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::WrongDigest { what: what.to_owned(), expected: expected.clone(), found: found.clone() })
}

/// Refuses a manifest that is written under another digest than its own.
pub fn verify_selected(at: &Selector, manifest: &Manifest) -> Result<()> {
    at.digest().map_or(Ok(()), |expected| verify_digest("the manifest", expected, manifest.digest()))
}
