//! The referrers of manifests in a layout.

use super::{Layout, index::Index};
use modelpack_spec::{Descriptor, Digest, Referrer, Selector, Tag};
use modelpack_transfer::{Error, FileRange, MAX_REFERRERS, Result, verify_bytes, verify_manifest};
use std::collections::BTreeMap;

/// How many manifests without an entry in the index may be listed as referrers. One list of the largest size has fewer.
const MAX_LISTED: usize = 100_000;

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
        let index = self.index_or_empty()?;
        let (mut referrers, mut bytes) = (Vec::new(), 0);
        for referrer in listed(&index, |digest| self.open_manifest(digest), std::slice::from_ref(subject), page.after.as_deref())? {
            let referrer = referrer?;
            if page.artifact_type.is_some() && page.artifact_type != referrer.artifact_type {
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

    pub(super) fn all_referrers_blocking(&self, subjects: &[Digest]) -> Result<Vec<Descriptor>> {
        all(&self.index_or_empty()?, |digest| self.open_manifest(digest), subjects)
    }
}

/// The descriptors of all referrers of `subjects`: see [`Source::referrers`](modelpack_transfer::Source::referrers).
pub(crate) fn all(index: &Index, open: impl Fn(&Digest) -> Result<(String, FileRange)>, subjects: &[Digest]) -> Result<Vec<Descriptor>> {
    let referrers = listed(index, open, subjects, None)?;
    let all =
        referrers.map(|referrer| referrer.map(|referrer| referrer.descriptor())).take(MAX_REFERRERS + 1).collect::<Result<Vec<_>>>()?;
    if all.len() > MAX_REFERRERS {
        let why = format!("more than {MAX_REFERRERS} manifests refer to the artifact");
        return Err(Error::Invalid { what: "the index of the layout".to_owned(), why });
    }
    Ok(all)
}

/// The referrers of `subjects`, sorted by digest; only those whose digest, as text, comes after `after`. `open` opens the file of a manifest,
/// and gives its name in an error.
///
/// The manifests are read one after the other, when the next referrer is asked for.
fn listed<'a>(
    index: &Index,
    open: impl Fn(&Digest) -> Result<(String, FileRange)> + 'a,
    subjects: &'a [Digest],
    after: Option<&str>,
) -> Result<impl Iterator<Item = Result<Referrer>> + 'a> {
    let mut candidates = candidates(index, &open, subjects)?;
    candidates.retain(|digest, _| after.is_none_or(|after| *digest.to_string() > *after));
    let referrers = candidates.into_iter().filter_map(move |(digest, candidate)| {
        let refers =
            |referrer: &Referrer| candidate.is_listed || referrer.subject.as_ref().is_some_and(|subject| subjects.contains(subject));
        candidate.read(digest, &open).map(|referrer| referrer.filter(refers)).transpose()
    });
    Ok(referrers)
}

/// Every manifest of an index, and what the indexes under the fallback tags of `subjects` list.
fn candidates(
    index: &Index,
    open: impl Fn(&Digest) -> Result<(String, FileRange)>,
    subjects: &[Digest],
) -> Result<BTreeMap<Digest, Candidate>> {
    let candidate = |media_type| Candidate { media_type, is_listed: false };
    let manifests = index.manifests().into_iter();
    let mut candidates: BTreeMap<_, _> = manifests.map(|entry| (entry.digest, candidate(entry.media_type))).collect();
    let count = candidates.len();
    let lists = subjects.iter().filter_map(|subject| index.find(&Selector::Tag(Tag::of_referrers(subject))));
    for entry in lists {
        let read = || {
            let (what, range) = open(&entry.digest)?;
            verify_manifest(&what, range.read()?, Some(entry.media_type.as_str()).filter(|t| !t.is_empty()), &entry.digest)
        };
        match read() {
            Ok(list) => {
                for listed in list.manifests() {
                    candidates.entry(listed.digest.clone()).or_insert_with(|| candidate(String::new())).is_listed = true;
                }
                if candidates.len() > count + MAX_LISTED {
                    let why = format!("more than {MAX_LISTED} manifests are listed as referrers");
                    return Err(Error::Invalid { what: "the index of the layout".to_owned(), why });
                }
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(candidates)
}

struct Candidate {
    /// Empty if it is not known.
    media_type: String,
    /// Whether a list names it as a referrer.
    is_listed: bool,
}

impl Candidate {
    /// `None` if the manifest is not there any more, or if it is no manifest.
    fn read(&self, digest: Digest, open: impl Fn(&Digest) -> Result<(String, FileRange)>) -> Result<Option<Referrer>> {
        let read = || {
            let (what, range) = open(&digest)?;
            let bytes = range.read()?;
            verify_bytes(&what, &bytes, &digest)?;
            Referrer::read(&bytes, &self.media_type, digest).map_err(|source| Error::InvalidManifest { what, source })
        };
        match read() {
            Ok(referrer) => Ok(Some(referrer)),
            Err(Error::NotFound { .. } | Error::Damaged { .. } | Error::InvalidManifest { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
