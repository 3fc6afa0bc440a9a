//! The `index.json` of an OCI image layout (OCI image specification, `image-layout.md`), read and replaced as a whole.

use super::blobs::is_absent;
use crate::{Error, Result, Untagged};
use modelpack_spec::{Descriptor, Digest, ImageIndex, Manifest, Selector, Tag, annotation};
use std::{fs, path::Path};

/// The name of the file in a layout.
pub(super) const FILE: &str = "index.json";

/// The manifests of a layout: an entry for each tag, and one without tag for each manifest that was written by its digest.
#[derive(Clone)]
pub(crate) struct Index(ImageIndex);

impl Index {
    /// Reads the index in `layout`; `None` if there is no layout.
    pub(super) fn read(layout: &Path) -> Result<Option<Self>> {
        let path = layout.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if is_absent(&e) => return Ok(None),
            Err(e) => return Err(Error::io("read", path)(e)),
        };
        Self::parse(&bytes, &path.display().to_string()).map(Some)
    }

    /// Parses the bytes of an `index.json`; `what` names it in an error.
    pub(crate) fn parse(bytes: &[u8], what: &str) -> Result<Self> {
        let invalid = |e: serde_json::Error| Error::Invalid { what: what.to_owned(), why: e.to_string() };
        serde_json::from_slice(bytes).map(Self).map_err(invalid)
    }

    /// The bytes of an `index.json`.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(&self.0).expect("an index has string keys only, so it always serialises")
    }

    pub(crate) fn empty() -> Self {
        Self(ImageIndex::new(Vec::new()))
    }

    /// The tags, sorted, and what they point to.
    pub(super) fn tags(&self) -> Vec<(Tag, Descriptor)> {
        let mut tags: Vec<_> = self.0.manifests.iter().filter_map(|d| Some((tag_of(d)?.parse::<Tag>().ok()?, untagged(d)))).collect();
        tags.sort_by(|(a, _), (b, _)| a.cmp(b));
        tags
    }

    /// Each manifest once, without its tags.
    pub(super) fn manifests(&self) -> Vec<Descriptor> {
        let mut all: Vec<_> = self.0.manifests.iter().map(untagged).collect();
        all.sort_by(|a, b| a.digest.cmp(&b.digest));
        all.dedup_by(|a, b| a.digest == b.digest);
        all
    }

    /// What `at` selects.
    pub(super) fn find(&self, at: &Selector) -> Option<&Descriptor> {
        self.0.manifests.iter().find(|d| {
            let tag_matches = at.tag().is_none_or(|tag| tag_of(d) == Some(tag.as_str()));
            tag_matches && at.digest().is_none_or(|digest| d.digest == *digest)
        })
    }

    /// What `at` selects, which for a digest alone may be a manifest that has no entry because another manifest names it.
    pub(crate) fn select(&self, at: &Selector) -> Option<Descriptor> {
        let nested = || at.tag().is_none().then(|| at.digest().map(|d| Descriptor::new("", d.clone(), 0))).flatten();
        self.find(at).cloned().or_else(nested)
    }

    /// The only manifest, by its tag if it has just one; fails if there are none, or several to choose from. `what` names the
    /// layout in an error.
    pub(crate) fn only(&self, what: &str) -> Result<Selector> {
        match self.manifests().as_slice() {
            [only] => Ok(match self.tags().as_slice() {
                [(tag, _)] => Selector::Tag(tag.clone()),
                _ => Selector::Digest(only.digest.clone()),
            }),
            [] => Err(Error::not_found(format!("a manifest in {what}"))),
            _ => {
                let tags: Vec<_> = self.tags().iter().map(|(tag, _)| tag.to_string()).collect();
                let why = format!("it holds several manifests, so one must be named; its tags are: {}", tags.join(", "));
                Err(Error::Invalid { what: what.to_owned(), why })
            }
        }
    }

    /// Adds `manifest`, and lets the tag point to it if `at` names one.
    pub(crate) fn put(&mut self, at: &Selector, manifest: &Manifest, displaced: Untagged) {
        let mut entry = Descriptor::new(manifest.media_type(), manifest.digest().clone(), manifest.bytes().len() as u64);
        entry.artifact_type = manifest.image().and_then(|image| image.artifact_type.clone());
        self.put_entry(at, entry, displaced);
    }

    fn put_entry(&mut self, at: &Selector, manifest: Descriptor, displaced: Untagged) {
        if let Some(tag) = at.tag() {
            self.remove_tag(tag, displaced);
        }
        let is_same_untagged = |d: &Descriptor| d.digest == manifest.digest && tag_of(d).is_none();
        match at.tag() {
            Some(tag) => {
                if displaced == Untagged::Keep {
                    self.0.manifests.retain(|d| !is_same_untagged(d));
                }
                let mut entry = manifest;
                entry.annotations.insert(annotation::REF_NAME.to_owned(), tag.to_string());
                self.0.manifests.push(entry);
            }
            // Where untagged manifests are kept anyway, any entry keeps this one.
            None if displaced == Untagged::Keep && self.0.manifests.iter().any(|d| d.digest == manifest.digest) => {}
            None if self.0.manifests.iter().any(is_same_untagged) => {}
            None => self.0.manifests.push(manifest),
        }
    }

    /// Removes a tag; says whether there was one.
    pub(super) fn remove_tag(&mut self, tag: &Tag, untagged_manifests: Untagged) -> bool {
        let Some(at) = self.0.manifests.iter().position(|d| tag_of(d) == Some(tag.as_str())) else { return false };
        let entry = self.0.manifests.remove(at);
        if untagged_manifests == Untagged::Keep && !self.0.manifests.iter().any(|d| d.digest == entry.digest) {
            self.0.manifests.push(untagged(&entry));
        }
        true
    }

    /// Removes a manifest with all its tags; says whether there was one.
    pub(super) fn remove_manifest(&mut self, digest: &Digest) -> bool {
        let before = self.0.manifests.len();
        self.0.manifests.retain(|d| d.digest != *digest);
        self.0.manifests.len() < before
    }
}

/// The tag of an entry. Some tools write a whole reference there; its tag is what counts.
pub(super) fn tag_of(entry: &Descriptor) -> Option<&str> {
    let name = entry.annotations.get(annotation::REF_NAME)?;
    Some(name.rsplit_once(':').map_or(name.as_str(), |(_, tag)| tag))
}

fn untagged(entry: &Descriptor) -> Descriptor {
    let mut entry = entry.clone();
    entry.annotations.remove(annotation::REF_NAME);
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(content: &[u8]) -> Descriptor {
        Descriptor::of("application/vnd.oci.image.manifest.v1+json", content)
    }

    fn tag(text: &str) -> Selector {
        Selector::Tag(text.parse().unwrap())
    }

    #[test]
    fn a_moved_tag_leaves_its_manifest_where_untagged_ones_are_kept() {
        let (a, b) = (manifest(b"a"), manifest(b"b"));
        for (policy, left) in [(Untagged::Keep, 2), (Untagged::Drop, 1)] {
            let mut index = Index::empty();
            index.put_entry(&tag("v1"), a.clone(), policy);
            index.put_entry(&tag("v1"), b.clone(), policy);
            assert_eq!(index.find(&tag("v1")).unwrap().digest, b.digest);
            assert_eq!(index.manifests().len(), left);
            assert_eq!(index.find(&Selector::Digest(a.digest.clone())).is_some(), policy == Untagged::Keep);
        }
    }

    #[test]
    fn a_manifest_written_by_its_digest_outlives_its_tags() {
        let a = manifest(b"a");
        let mut index = Index::empty();
        index.put_entry(&Selector::Digest(a.digest.clone()), a.clone(), Untagged::Drop);
        index.put_entry(&tag("v1"), a.clone(), Untagged::Drop);
        index.put_entry(&tag("v2"), a.clone(), Untagged::Drop);
        assert_eq!(index.manifests().len(), 1);
        assert!(index.remove_tag(&"v1".parse().unwrap(), Untagged::Drop));
        assert!(index.remove_tag(&"v2".parse().unwrap(), Untagged::Drop));
        assert!(!index.remove_tag(&"v2".parse().unwrap(), Untagged::Drop));
        assert!(index.find(&Selector::Digest(a.digest.clone())).is_some());
        assert!(index.remove_manifest(&a.digest));
        assert!(index.manifests().is_empty());
    }

    #[test]
    fn the_only_manifest_is_named_as_closely_as_it_can_be() {
        let (a, b) = (manifest(b"a"), manifest(b"b"));
        let mut index = Index::empty();
        assert!(index.only("x").unwrap_err().is_not_found());
        index.put_entry(&tag("v1"), a.clone(), Untagged::Keep);
        assert_eq!(index.only("x").unwrap(), tag("v1"));
        index.put_entry(&tag("v2"), a.clone(), Untagged::Keep);
        assert_eq!(index.only("x").unwrap(), Selector::Digest(a.digest));
        index.put_entry(&tag("v3"), b, Untagged::Keep);
        assert!(index.only("x").unwrap_err().to_string().contains("v1, v2, v3"));
    }

    #[test]
    fn tag_and_digest_together_must_agree() {
        let (a, b) = (manifest(b"a"), manifest(b"b"));
        let mut index = Index::empty();
        index.put_entry(&tag("v1"), a.clone(), Untagged::Keep);
        let v1 = "v1".parse::<Tag>().unwrap();
        assert!(index.find(&Selector::Both(v1.clone(), a.digest)).is_some());
        assert!(index.find(&Selector::Both(v1, b.digest)).is_none());
    }
}
