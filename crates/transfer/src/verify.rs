//! Verification of manifests, and of bytes in memory. Blobs that are written are verified by a [`Verifier`](crate::Verifier).

use crate::{Error, Result};
use modelpack_spec::{Descriptor, Digest, Manifest, Selector};
use std::ops::Range;

/// Parses a manifest that should have the digest `expected`. `what` is its name in an error.
///
/// Fails with [`Error::WrongDigest`] if its bytes have another digest. This is checked before the bytes are parsed.
pub fn verify_manifest(what: &str, bytes: Vec<u8>, media_type: Option<&str>, expected: &Digest) -> Result<Manifest> {
    verify_bytes(what, &bytes, expected)?;
    let manifest = Manifest::parse(bytes, media_type).map_err(|source| Error::InvalidManifest { what: what.to_owned(), source })?;
    Ok(manifest.with_digest(expected.clone()))
}

/// Fails with [`Error::WrongDigest`] if `bytes` have another digest than `expected`. `what` is their name in the error.
pub fn verify_bytes(what: &str, bytes: &[u8], expected: &Digest) -> Result<()> {
    verify_digest(what, expected, &expected.algorithm().digest(bytes))
}

/// Compares the size and digest of a blob with the expected ones. `what` is the name of the blob in an error.
///
/// A sink that has the bytes uses a [`Verifier`](crate::Verifier) instead, which calls this.
///
/// Fails with [`Error::WrongSize`] or [`Error::WrongDigest`].
pub fn verify_blob(what: &str, expected: &Descriptor, found: &Digest, size: u64) -> Result<()> {
    if expected.size != size {
        return Err(Error::WrongSize { what: what.to_owned(), expected: expected.size, found: size });
    }
    verify_digest(what, &expected.digest, found)
}

/// Checks that `part` lies within a blob, and that the blob has its expected size, of which `found` bytes are there. `what` is the name of
/// the blob in the error.
///
/// Fails with [`Error::Invalid`] if `part` is not within the blob, and with [`Error::WrongSize`] if its size is wrong.
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

/// Fails with [`Error::WrongDigest`] if `at` names another digest than that of `manifest`.
pub fn verify_selected(at: &Selector, manifest: &Manifest) -> Result<()> {
    at.digest().map_or(Ok(()), |expected| verify_digest("the manifest", expected, manifest.digest()))
}
