//! The `index.json` of an OCI image layout (OCI image specification, `image-layout.md`), read and replaced as a whole.

use super::{
    blobs::is_absent,
    entries::{is_cosign_referrer, saved_by_cosign},
    large_index::read_entries,
};
use crate::Untagged;
use modelpack_spec::{Descriptor, Digest, ImageIndex, MAX_MANIFEST_BYTES, Manifest, Selector, Tag, annotation};
use modelpack_transfer::{Error, FileRange, Result};
use std::path::Path;

/// The name of the file in a layout.
pub(super) const FILE: &str = "index.json";

/// The largest `index.json` that is read as a whole, in bytes. An index that a person wrote is far smaller.
const MAX_WHOLE: u64 = MAX_MANIFEST_BYTES as u64;

/// The longest artifact type, in bytes, that is copied from a manifest into its entry.
const MAX_MEDIA_TYPE: usize = 255;

/// The manifests of a layout: an entry for each tag, and an entry without a tag for each manifest that was written by its digest.
#[derive(Clone)]
pub(crate) struct Index(ImageIndex);

impl Index {
    /// Reads the index in `layout`. `None` if there is no layout.
    pub(super) fn read(layout: &Path) -> Result<Option<Self>> {
        let path = layout.join(FILE);
        let whole = match FileRange::open(&path) {
            Ok(whole) => whole,
            Err(e) if is_absent(&e) => return Ok(None),
            Err(e) => return Err(Error::io("open", path)(e)),
        };
        Self::read_from(&whole, &path.display().to_string()).map(Some)
    }

    /// Reads the `index.json` in `range`. `what` is its name in an error.
    ///
    /// It needs no more memory than its entries need. If it is larger than [`MAX_WHOLE`], other fields are ignored, and lost when it is written
    /// again. Fails with [`Error::Invalid`] if an entry is larger than a manifest may be.
    pub(crate) fn read_from(range: &FileRange, what: &str) -> Result<Self> {
        if range.len <= MAX_WHOLE {
            return Self::parse(&range.read()?, what);
        }
        Ok(Self(ImageIndex::new(read_entries(range, what)?)))
    }

    pub(super) fn parse(bytes: &[u8], what: &str) -> Result<Self> {
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

    /// The sorted tags, and what they point to.
    pub(crate) fn tags(&self) -> Vec<(Tag, Descriptor)> {
        let mut tags: Vec<_> = self.0.manifests.iter().filter_map(|d| Some((tag_of(d)?.parse::<Tag>().ok()?, untagged(d)))).collect();
        tags.sort_by(|(a, _), (b, _)| a.cmp(b));
        tags
    }

    /// All manifests, each once, without their tags.
    pub(super) fn manifests(&self) -> Vec<Descriptor> {
        let mut all: Vec<_> = self.0.manifests.iter().map(untagged).collect();
        all.sort_by(|a, b| a.digest.cmp(&b.digest));
        all.dedup_by(|a, b| a.digest == b.digest);
        all
    }

    /// Every entry as it is, with its name.
    pub(crate) fn entries(&self) -> &[Descriptor] {
        &self.0.manifests
    }

    /// The entry that `at` selects: by its digest, or by its tag if it names no digest.
    pub(super) fn find(&self, at: &Selector) -> Option<&Descriptor> {
        match at.digest() {
            Some(digest) => self.0.manifests.iter().find(|d| d.digest == *digest),
            None => self.position(at.tag()?).map(|at| &self.0.manifests[at]),
        }
    }

    /// The entry with this tag: the entry with this name, or else the only entry whose name ends in it.
    fn position(&self, tag: &Tag) -> Option<usize> {
        let all = || self.0.manifests.iter().enumerate();
        let exact = all().find(|(_, d)| name_of(d) == Some(tag.as_str()));
        let only = || {
            let mut ending = all().filter(|(_, d)| tag_of(d) == Some(tag.as_str()));
            ending.next().filter(|(_, first)| ending.all(|(_, other)| other.digest == first.digest))
        };
        exact.or_else(only).map(|(at, _)| at)
    }

    /// What `at` selects. A digest may select a manifest without an entry, because another manifest names it. A tag of cosign may select what
    /// `cosign save` wrote.
    pub(crate) fn select(&self, at: &Selector) -> Option<Descriptor> {
        let nested = || at.digest().map(|d| Descriptor::new("", d.clone(), 0));
        let saved = || saved_by_cosign(&self.0.manifests, at.tag().filter(|_| at.digest().is_none())?).cloned();
        self.find(at).cloned().or_else(nested).or_else(saved)
    }

    /// Adds `manifest`, and lets `name` point to it, which is a tag or the name of an entry in a layout.
    pub(crate) fn put(&mut self, name: Option<&str>, manifest: &Manifest, displaced: Untagged) {
        let mut entry = Descriptor::new(manifest.media_type(), manifest.digest().clone(), manifest.bytes().len() as u64);
        // A longer text is not a media type (RFC 6838, section 4.2), and would only make the index larger for every reader.
        entry.artifact_type = manifest.image().and_then(|image| image.artifact_type.clone()).filter(|kind| kind.len() <= MAX_MEDIA_TYPE);
        self.put_entry(name, entry, displaced);
    }

    fn put_entry(&mut self, name: Option<&str>, manifest: Descriptor, displaced: Untagged) {
        let is_displaced = |d: &Descriptor| name.is_some() && name_of(d) == name && !is_cosign_referrer(d);
        while let Some(at) = self.0.manifests.iter().position(is_displaced) {
            self.remove(at, displaced);
        }
        let is_same_untagged = |d: &Descriptor| d.digest == manifest.digest && name_of(d).is_none();
        match name {
            Some(name) => {
                if displaced == Untagged::Keep {
                    self.0.manifests.retain(|d| !is_same_untagged(d));
                }
                let mut entry = manifest;
                entry.annotations.insert(annotation::REF_NAME.to_owned(), name.to_owned());
                self.0.manifests.push(entry);
            }
            // If untagged manifests are kept anyway, any entry keeps this one.
            None if displaced == Untagged::Keep && self.0.manifests.iter().any(|d| d.digest == manifest.digest) => {}
            None if self.0.manifests.iter().any(is_same_untagged) => {}
            None => self.0.manifests.push(manifest),
        }
    }

    /// Removes a tag. Returns whether it was there.
    pub(super) fn remove_tag(&mut self, tag: &Tag, untagged_manifests: Untagged) -> bool {
        let at = self.position(tag);
        at.into_iter().for_each(|at| self.remove(at, untagged_manifests));
        at.is_some()
    }

    fn remove(&mut self, at: usize, untagged_manifests: Untagged) {
        let entry = self.0.manifests.remove(at);
        if untagged_manifests == Untagged::Keep && !self.0.manifests.iter().any(|d| d.digest == entry.digest) {
            self.0.manifests.push(untagged(&entry));
        }
    }

    /// Removes a manifest with all its tags. Returns whether it was there.
    pub(super) fn remove_manifest(&mut self, digest: &Digest) -> bool {
        let before = self.0.manifests.len();
        self.0.manifests.retain(|d| d.digest != *digest);
        self.0.manifests.len() < before
    }
}

/// The name of an entry: any text, but mostly a tag or a whole reference.
pub(crate) fn name_of(entry: &Descriptor) -> Option<&str> {
    entry.annotations.get(annotation::REF_NAME).map(String::as_str).filter(|name| !name.is_empty())
}

/// The tag in the name of an entry: the name itself, or the end of a whole reference.
pub(crate) fn tag_of(entry: &Descriptor) -> Option<&str> {
    let name = name_of(entry)?;
    Some(name.rsplit_once(':').map_or(name, |(_, tag)| tag))
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
            index.put_entry(Some("v1"), a.clone(), policy);
            index.put_entry(Some("v1"), b.clone(), policy);
            assert_eq!(index.find(&tag("v1")).unwrap().digest, b.digest);
            assert_eq!(index.manifests().len(), left);
            assert_eq!(index.find(&Selector::Digest(a.digest.clone())).is_some(), policy == Untagged::Keep);
        }
    }

    #[test]
    fn a_manifest_written_by_its_digest_outlives_its_tags() {
        let a = manifest(b"a");
        let mut index = Index::empty();
        index.put_entry(None, a.clone(), Untagged::Drop);
        index.put_entry(Some("v1"), a.clone(), Untagged::Drop);
        index.put_entry(Some("v2"), a.clone(), Untagged::Drop);
        assert_eq!(index.manifests().len(), 1);
        assert!(index.remove_tag(&"v1".parse().unwrap(), Untagged::Drop));
        assert!(index.remove_tag(&"v2".parse().unwrap(), Untagged::Drop));
        assert!(!index.remove_tag(&"v2".parse().unwrap(), Untagged::Drop));
        assert!(index.find(&Selector::Digest(a.digest.clone())).is_some());
        assert!(index.remove_manifest(&a.digest));
        assert!(index.manifests().is_empty());
    }

    #[test]
    fn a_tag_is_the_entry_of_that_name_or_else_the_only_one_that_ends_in_it() {
        let (a, b, c) = (manifest(b"a"), manifest(b"b"), manifest(b"c"));
        let mut index = Index::empty();
        index.put_entry(Some("team/x:v1"), a.clone(), Untagged::Keep);
        assert_eq!(index.find(&tag("v1")).unwrap().digest, a.digest);
        index.put_entry(Some("team/y:v1"), b, Untagged::Keep);
        assert!(index.find(&tag("v1")).is_none(), "two end in it");
        assert!(!index.remove_tag(&"v1".parse().unwrap(), Untagged::Keep));
        index.put_entry(Some("v1"), c.clone(), Untagged::Keep);
        assert_eq!(index.find(&tag("v1")).unwrap().digest, c.digest);
        assert_eq!(index.entries().len(), 3, "a name displaces no longer one that ends in it");
    }

    #[test]
    fn a_name_is_taken_from_all_that_have_it_but_not_from_their_signatures() {
        let [a, b, mut saved, new] = [b"a", b"b", b"s", b"n"].map(|content| manifest(content));
        saved.annotations.insert("kind".to_owned(), "dev.cosignproject.cosign/sigs".to_owned());
        let named = |entry: &Descriptor| {
            let mut entry = entry.clone();
            entry.annotations.insert(annotation::REF_NAME.to_owned(), "team/x:v1".to_owned());
            entry
        };
        let mut index = Index(ImageIndex::new([&saved, &a, &b].map(named).to_vec()));
        index.put_entry(Some("team/x:v1"), new.clone(), Untagged::Drop);
        assert_eq!(index.entries(), [named(&saved), named(&new)]);
    }

    #[test]
    fn of_a_tag_and_a_digest_the_digest_decides() {
        let (a, b) = (manifest(b"a"), manifest(b"b"));
        let mut index = Index::empty();
        index.put_entry(Some("v1"), a.clone(), Untagged::Keep);
        index.put_entry(Some("v2"), b.clone(), Untagged::Keep);
        for name in ["v1", "v2", "gone"] {
            let found = index.find(&Selector::Both(name.parse().unwrap(), a.digest.clone()));
            assert_eq!(found.map(|entry| &entry.digest), Some(&a.digest), "{name}");
        }
        assert!(index.find(&Selector::Both("v1".parse().unwrap(), manifest(b"c").digest)).is_none());
    }
}
