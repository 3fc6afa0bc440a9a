//! The referrers of a manifest in a repository.

use super::Layout;
use modelpack_spec::{Digest, Referrer, Selector, Tag};
use modelpack_transfer::{Error, Result, verify_bytes};
use std::collections::BTreeMap;

/// Which part of a list of referrers to return.
#[derive(Clone, Debug)]
pub struct ReferrersPage {
    /// Only those of this artifact type.
    pub artifact_type: Option<String>,
    /// Only those whose digest, as text, comes after this.
    pub after: Option<String>,
    /// At most this many referrers.
    pub count: usize,
    /// At most about this many bytes of JSON, but at least one referrer, so that the list has an end.
    pub bytes: usize,
}

impl Default for ReferrersPage {
    /// The whole list.
    fn default() -> Self {
        Self { artifact_type: None, after: None, count: usize::MAX, bytes: usize::MAX }
    }
}

/// A part of a list of referrers.
#[derive(Clone, Debug)]
pub struct Referrers {
    /// The referrers, sorted by digest.
    pub referrers: Vec<Referrer>,
    /// Whether more follow.
    pub more: bool,
}

impl Layout {
    pub(super) fn referrers_blocking(&self, subject: &Digest, page: &ReferrersPage) -> Result<Referrers> {
        let (mut referrers, mut bytes) = (Vec::new(), 0);
        for (digest, candidate) in self.candidates(subject)? {
            if page.after.as_ref().is_some_and(|after| digest.to_string() <= *after) {
                continue;
            }
            let Some(referrer) = self.read_referrer(&digest, &candidate)? else { continue };
            let refers = candidate.is_listed || referrer.subject.as_ref() == Some(subject);
            if !refers || page.artifact_type.is_some() && page.artifact_type != referrer.artifact_type {
                continue;
            }
            bytes += referrer.listed_len();
            if referrers.len() >= page.count || !referrers.is_empty() && bytes > page.bytes {
                return Ok(Referrers { more: !referrers.is_empty(), referrers });
            }
            referrers.push(referrer);
        }
        Ok(Referrers { referrers, more: false })
    }

    /// Every manifest, and whether it is listed as a referrer.
    fn candidates(&self, subject: &Digest) -> Result<BTreeMap<Digest, Candidate>> {
        let manifests = self.manifests_blocking()?.into_iter();
        let candidate = |media_type| Candidate { media_type, is_listed: false };
        let mut candidates: BTreeMap<_, _> = manifests.map(|entry| (entry.digest, candidate(entry.media_type))).collect();
        match self.read_manifest_blocking(&Selector::Tag(Tag::of_referrers(subject))) {
            Ok(list) => {
                for listed in list.manifests() {
                    candidates.entry(listed.digest.clone()).or_insert_with(|| candidate(String::new())).is_listed = true;
                }
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        Ok(candidates)
    }

    /// `None` if the manifest is not there any more, or if a blob that is not a manifest was listed.
    fn read_referrer(&self, digest: &Digest, candidate: &Candidate) -> Result<Option<Referrer>> {
        let read = || {
            let (what, range) = self.open_manifest(digest)?;
            let bytes = range.read()?;
            verify_bytes(&what, &bytes, digest)?;
            let read = Referrer::read(&bytes, &candidate.media_type, digest.clone());
            read.map_err(|source| Error::InvalidManifest { what, source })
        };
        match read() {
            Ok(referrer) => Ok(Some(referrer)),
            Err(Error::NotFound { .. } | Error::Damaged { .. }) => Ok(None),
            Err(Error::InvalidManifest { .. }) if candidate.is_listed => Ok(None),
            Err(error) => Err(error),
        }
    }
}

struct Candidate {
    /// Empty if it is not known.
    media_type: String,
    is_listed: bool,
}
