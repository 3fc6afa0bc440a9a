//! Selecting a manifest of an OCI image layout. Any tool may have written the layout: names are any text, and signatures lie next to what
//! they sign.

use super::{
    Layout,
    index::{Index, name_of, tag_of},
};
use modelpack_spec::{Descriptor, Digest, Manifest, Tag, media_type};
use modelpack_transfer::{Error, Result, blocking};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// The annotation with which `cosign save` tells the kind of an entry.
const COSIGN_KIND: &str = "kind";
const COSIGN: &str = "dev.cosignproject.cosign/";
/// The kinds that are not signatures, attestations or SBOMs.
const COSIGN_SUBJECTS: [&str; 2] = ["image", "imageIndex"];
/// How many names an error lists.
const MAX_CANDIDATES: usize = 20;

/// Selects an entry of the index of an OCI image layout.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EntrySelector {
    /// The entry with this name (`org.opencontainers.image.ref.name`), which is any text, or the only entry whose name is a whole reference
    /// with this tag.
    Name(String),
    /// The manifest with this digest. It need not have an entry if another manifest names it.
    Digest(Digest),
    /// The manifest with this digest, which should have this name.
    Both(String, Digest),
}

impl EntrySelector {
    /// The name, if one is given.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) | Self::Both(name, _) => Some(name),
            Self::Digest(_) => None,
        }
    }

    /// The digest, if one is given.
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Digest(digest) | Self::Both(_, digest) => Some(digest),
            Self::Name(_) => None,
        }
    }
}

impl fmt::Display for EntrySelector {
    /// The selector as it follows the path in the name of a place: `:NAME`, `@DIGEST` or `:NAME@DIGEST`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, ":{name}"),
            Self::Digest(digest) => write!(f, "@{digest}"),
            Self::Both(name, digest) => write!(f, ":{name}@{digest}"),
        }
    }
}

/// The manifest that was selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// The whole name of its entry. `None` if it has no name or several, or was selected by its digest.
    pub name: Option<String>,
    /// Its digest.
    pub digest: Digest,
}

/// A manifest of a layout, as its index lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The whole name, if it has one.
    pub name: Option<String>,
    /// The manifest.
    pub descriptor: Descriptor,
    /// Whether it is a referrer: a signature, an SBOM or the like that belongs to another manifest.
    pub is_referrer: bool,
    /// The type of the artifact, or of its config. `None` if the manifest cannot be read, or is an index without a type.
    pub artifact_type: Option<String>,
    /// The size of config and layers together, in bytes. `None` if the manifest cannot be read.
    pub size: Option<u64>,
}

/// The entries of an index, and a function that reads the manifests that they name.
pub(crate) struct Entries<'a, R> {
    /// The name of the layout or archive in an error.
    pub(crate) of: &'a str,
    pub(crate) index: &'a Index,
    pub(crate) read: R,
}

impl<R: Fn(&Descriptor) -> Result<Manifest>> Entries<'_, R> {
    /// The manifest that `at` selects. Without `at`, the only manifest.
    ///
    /// Referrers count only if there is no other manifest. Without `at`, an entry without a name does not count if another one is an index that
    /// lists it. Fails with [`Error::NotFound`], or with [`Error::Ambiguous`] if several manifests are
    /// possible.
    pub(crate) fn find(&self, at: Option<&EntrySelector>) -> Result<Selected> {
        let (candidates, none) = match at {
            None => (self.index.entries().iter().collect(), format!("a manifest in {}", self.of)),
            Some(EntrySelector::Digest(digest)) => return Ok(Selected { name: None, digest: digest.clone() }),
            Some(at) => (self.named(at), format!("{}{at}", self.of)),
        };
        match distinct(&candidates) {
            0 => {
                // If there are a name and a digest, only the digest counts.
                let selected = |digest: &Digest| Selected { name: None, digest: digest.clone() };
                return at.and_then(EntrySelector::digest).map(selected).ok_or_else(|| Error::not_found(none));
            }
            1 => return Ok(selected(&candidates)),
            _ => {}
        }
        let parts = if at.is_none() { self.parts(&candidates) } else { BTreeSet::new() };
        let is_part = |entry: &Descriptor| name_of(entry).is_none() && parts.contains(&entry.digest);
        let (mut others, mut digests) = (Vec::new(), BTreeSet::new());
        for candidate in candidates.iter().filter(|candidate| !is_part(candidate)) {
            if digests.contains(&candidate.digest) || !self.is_referrer(candidate) {
                digests.insert(&candidate.digest);
                others.push(*candidate);
            }
            // The number of names that an error lists is enough to know that it is ambiguous.
            if digests.len() > MAX_CANDIDATES {
                break;
            }
        }
        match digests.len() {
            1 => Ok(selected(&others)),
            0 => Err(self.ambiguous(at, &candidates)),
            _ => Err(self.ambiguous(at, &others)),
        }
    }

    /// Those of the entries that an index among them lists.
    fn parts(&self, entries: &[&Descriptor]) -> BTreeSet<Digest> {
        let digests: BTreeSet<_> = entries.iter().map(|entry| &entry.digest).collect();
        let is_index = |entry: &&&Descriptor| matches!(entry.media_type.as_str(), media_type::IMAGE_INDEX | media_type::DOCKER_LIST);
        let mut parts = BTreeSet::new();
        for index in entries.iter().filter(is_index).filter_map(|entry| (self.read)(entry).ok()) {
            parts.extend(index.manifests().iter().map(|listed| &listed.digest).filter(|digest| digests.contains(digest)).cloned());
        }
        parts
    }

    fn ambiguous(&self, at: Option<&EntrySelector>, candidates: &[&Descriptor]) -> Error {
        let mut named = BTreeMap::<&str, usize>::new();
        candidates.iter().filter_map(|entry| name_of(entry)).for_each(|name| *named.entry(name).or_default() += 1);
        let full_name = |entry: &&Descriptor| match name_of(entry) {
            Some(name) if named[name] == 1 => name.to_owned(),
            name => format!("{}@{}", name.unwrap_or_default(), entry.digest),
        };
        let all: BTreeSet<String> = candidates.iter().map(full_name).collect();
        let omitted = all.len() > MAX_CANDIDATES;
        let candidates = all.into_iter().take(MAX_CANDIDATES).collect();
        Error::Ambiguous { what: format!("{}{}", self.of, at.map(ToString::to_string).unwrap_or_default()), candidates, omitted }
    }

    /// The entries with this name. If there are none, those whose name is a whole reference that ends in it.
    fn named(&self, at: &EntrySelector) -> Vec<&Descriptor> {
        let name = at.name().unwrap_or_default();
        let matching =
            |matches: &dyn Fn(&Descriptor) -> bool| self.index.entries().iter().filter(|entry| matches(entry)).collect::<Vec<_>>();
        // A name may itself end in a digest.
        let whole = at.digest().map(|digest| format!("{name}@{digest}"));
        let mut found = matching(&|entry| whole.is_some() && name_of(entry) == whole.as_deref());
        if found.is_empty() {
            found = matching(&|entry| name_of(entry) == Some(name));
            if found.is_empty() {
                found = matching(&|entry| tag_of(entry) == Some(name));
            }
            found.retain(|entry| at.digest().is_none_or(|digest| entry.digest == *digest));
        }
        found
    }

    /// All entries, in the order of the index.
    pub(crate) fn all(&self) -> Vec<Entry> {
        let entry = |entry: &Descriptor| {
            let manifest = (self.read)(entry).ok();
            Entry {
                name: name_of(entry).map(str::to_owned),
                descriptor: entry.clone(),
                is_referrer: is_marked_as_referrer(entry) || manifest.as_ref().is_some_and(|manifest| manifest.subject().is_some()),
                size: manifest.as_ref().map(|manifest| manifest.blobs().fold(0, |sum: u64, blob| sum.saturating_add(blob.size))),
                artifact_type: manifest.and_then(|manifest| manifest.descriptor().artifact_type),
            }
        };
        self.index.entries().iter().map(entry).collect()
    }

    /// How many manifests refer to the manifest with `digest`. `name` is its name, if it has one.
    pub(crate) fn count_referrers(&self, digest: &Digest, name: Option<&str>) -> usize {
        let (fallback, of_cosign) = (Tag::of_referrers(digest), Tag::of_cosign(digest));
        let mut referrers = BTreeSet::new();
        for entry in self.index.entries().iter().filter(|entry| entry.digest != *digest) {
            match tag_of(entry) {
                Some(tag) if tag == fallback.as_str() => {
                    let listed = (self.read)(entry).map(|index| index.manifests().to_vec());
                    referrers.extend(listed.into_iter().flatten().map(|listed| listed.digest));
                }
                Some(tag) if of_cosign.iter().any(|of_cosign| of_cosign.as_str() == tag) => {
                    referrers.insert(entry.digest.clone());
                }
                _ if is_cosign_referrer(entry) && name_of(entry) == name => {
                    referrers.insert(entry.digest.clone());
                }
                _ if (self.read)(entry).is_ok_and(|manifest| counts_as_referrer(&manifest, digest)) => {
                    referrers.insert(entry.digest.clone());
                }
                _ => {}
            }
        }
        referrers.len()
    }

    /// Whether an entry belongs to another one. An entry whose manifest cannot be read does not.
    fn is_referrer(&self, entry: &Descriptor) -> bool {
        is_marked_as_referrer(entry) || (self.read)(entry).is_ok_and(|manifest| manifest.subject().is_some())
    }
}

/// Whether the index itself says that an entry belongs to another one.
fn is_marked_as_referrer(entry: &Descriptor) -> bool {
    tag_of(entry).is_some_and(is_referrers_tag) || is_cosign_referrer(entry)
}

/// How many different manifests these entries name.
fn distinct(entries: &[&Descriptor]) -> usize {
    entries.iter().map(|entry| &entry.digest).collect::<BTreeSet<_>>().len()
}

/// The manifest that these entries name, with its name if there is only one.
fn selected(entries: &[&Descriptor]) -> Selected {
    let names: BTreeSet<_> = entries.iter().filter_map(|entry| name_of(entry)).collect();
    let name = names.first().filter(|_| names.len() == 1).map(|name| (*name).to_owned());
    Selected { name, digest: entries[0].digest.clone() }
}

/// Whether a tag is one of those that hold referrers if no API lists them: `sha256-<hex>` (OCI distribution specification, "Referrers Tag
/// Schema"), or the same with an ending such as `.sig`, `.att` or `.sbom`, which cosign writes.
fn is_referrers_tag(tag: &str) -> bool {
    let Some((algorithm, rest)) = tag.split_once('-') else { return false };
    let hex = rest.split_once('.').map_or(rest, |(hex, _)| hex);
    matches!(algorithm, "sha256" | "sha512") && hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether `cosign save` wrote this entry for something that it saved next to an image, with the name of the image.
pub(super) fn is_cosign_referrer(entry: &Descriptor) -> bool {
    cosign_kind(entry).is_some_and(|kind| !COSIGN_SUBJECTS.contains(&kind))
}

/// What `cosign save` says that an entry is.
fn cosign_kind(entry: &Descriptor) -> Option<&str> {
    entry.annotations.get(COSIGN_KIND)?.strip_prefix(COSIGN)
}

/// The entry that `cosign save` wrote for what has this tag in a registry: signatures or attestations with the name of the image.
pub(super) fn saved_by_cosign<'a>(entries: &'a [Descriptor], tag: &Tag) -> Option<&'a Descriptor> {
    let kind = match tag.as_str().rsplit_once('.')?.1 {
        "sig" => "sigs",
        "att" => "atts",
        _ => return None,
    };
    let is_subject = |entry: &&Descriptor| {
        cosign_kind(entry).is_some_and(|kind| COSIGN_SUBJECTS.contains(&kind)) && Tag::of_cosign(&entry.digest).contains(tag)
    };
    let subject = entries.iter().find(is_subject)?;
    entries.iter().find(|entry| cosign_kind(entry) == Some(kind) && name_of(entry) == name_of(subject))
}

/// The name of an entry that is written with `tag`: `entry_name`, if there is one. What has the tag of a referrer keeps that tag.
pub(crate) fn written_name<'a>(tag: &'a Tag, entry_name: Option<&'a str>) -> &'a str {
    entry_name.filter(|_| !is_referrers_tag(tag.as_str())).unwrap_or(tag.as_str())
}

impl Layout {
    /// The manifest that `at` selects. Without `at`, the only manifest. Referrers, such as signatures, count only if there is no other
    /// manifest.
    ///
    /// Fails with [`Error::NotFound`], or with [`Error::Ambiguous`] if several manifests are possible. A digest is never ambiguous.
    pub async fn find(&self, at: Option<&EntrySelector>) -> Result<Selected> {
        let at = at.cloned();
        self.with_entries(move |entries| entries.find(at.as_ref())).await
    }

    /// All entries, in the order of the index. Fails with [`Error::NotFound`] if there is no layout.
    pub async fn entries(&self) -> Result<Vec<Entry>> {
        self.with_entries(|entries| Ok(entries.all())).await
    }

    /// How many manifests refer to the manifest with `digest`. `name` is its name, if it has one.
    pub async fn count_referrers(&self, digest: &Digest, name: Option<&str>) -> Result<usize> {
        let (digest, name) = (digest.clone(), name.map(str::to_owned));
        self.with_entries(move |entries| Ok(entries.count_referrers(&digest, name.as_deref()))).await
    }

    async fn with_entries<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Entries<'_, &dyn Fn(&Descriptor) -> Result<Manifest>>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let this = self.clone();
        blocking(move || {
            let index = this.index()?;
            work(&Entries { of: this.name(), index: &index, read: &|entry| this.read_manifest(entry) })
        })
        .await
    }
}

/// Whether a manifest refers to the one with this digest, and is more than a list of hash states, which is made anew where it is missing.
fn counts_as_referrer(manifest: &Manifest, digest: &Digest) -> bool {
    let is_list = manifest.descriptor().artifact_type.as_deref() == Some(media_type::HASH_STATES);
    !is_list && manifest.subject().is_some_and(|subject| subject.digest == *digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use modelpack_spec::annotation;
    use serde_json::json;
    use std::collections::HashMap;

    /// An index of these entries: a name, a manifest, and what else the entry says.
    #[derive(Default)]
    struct Layout {
        entries: Vec<Descriptor>,
        manifests: HashMap<Digest, Manifest>,
    }

    impl Layout {
        /// Adds an image manifest, whose `salt` makes it another than the rest, and gives its digest.
        fn add(&mut self, name: &str, salt: &str, subject: Option<&Digest>) -> Digest {
            let subject = subject.map(|digest| json!({ "mediaType": media_type::IMAGE_MANIFEST, "digest": digest, "size": 1 }));
            let config = Descriptor::of("application/x", b"{}");
            let text = json!({ "schemaVersion": 2, "config": config, "layers": [], "annotations": { "salt": salt }, "subject": subject });
            self.add_manifest(name, text.to_string())
        }

        fn add_manifest(&mut self, name: &str, text: String) -> Digest {
            let manifest = Manifest::parse(text.into_bytes(), None).unwrap();
            let mut entry = Descriptor::new(manifest.media_type(), manifest.digest().clone(), manifest.bytes().len() as u64);
            if !name.is_empty() {
                entry.annotations.insert(annotation::REF_NAME.to_owned(), name.to_owned());
            }
            self.entries.push(entry);
            self.manifests.insert(manifest.digest().clone(), manifest.clone());
            manifest.digest().clone()
        }

        /// Says of the last entry what `cosign save` says.
        fn is_of_kind(&mut self, kind: &str) {
            let annotations = &mut self.entries.last_mut().unwrap().annotations;
            annotations.insert("kind".to_owned(), format!("dev.cosignproject.cosign/{kind}"));
        }

        fn with<T>(&self, work: impl FnOnce(&Entries<'_, &dyn Fn(&Descriptor) -> Result<Manifest>>) -> T) -> T {
            let json = json!({ "schemaVersion": 2, "manifests": self.entries }).to_string();
            let index = Index::parse(json.as_bytes(), "index.json").unwrap();
            let read = |entry: &Descriptor| {
                let found = self.manifests.get(&entry.digest).cloned();
                found.ok_or_else(|| Error::not_found(entry.digest.to_string()))
            };
            work(&Entries { of: "layout", index: &index, read: &read })
        }

        fn find(&self, name: &str) -> Result<Selected> {
            self.with(|entries| entries.find(Some(&EntrySelector::Name(name.to_owned()))))
        }

        fn only(&self) -> Result<Selected> {
            self.with(|entries| entries.find(None))
        }

        fn count(&self, digest: &Digest, name: Option<&str>) -> usize {
            self.with(|entries| entries.count_referrers(digest, name))
        }
    }

    fn is_found(found: Result<Selected>, digest: &Digest, name: Option<&str>) {
        let found = found.unwrap();
        assert_eq!((&found.digest, found.name.as_deref()), (digest, name));
    }

    fn candidates(found: Result<Selected>) -> Vec<String> {
        let Err(Error::Ambiguous { candidates, .. }) = found else { panic!("{found:?}") };
        candidates
    }

    #[test]
    fn a_whole_name_wins_and_a_tag_is_enough_where_one_name_ends_in_it() {
        let mut layout = Layout::default();
        assert!(layout.only().unwrap_err().is_not_found());
        let a = layout.add("platform/devops:v1", "a", None);
        is_found(layout.only(), &a, Some("platform/devops:v1"));
        for name in ["platform/devops:v1", "v1"] {
            is_found(layout.find(name), &a, Some("platform/devops:v1"));
        }
        assert!(layout.find("devops:v1").unwrap_err().is_not_found(), "a name is no path to look in");
        let b = layout.add("registry.example.com:5000/team/model:v1", "b", None);
        assert_eq!(candidates(layout.find("v1")), ["platform/devops:v1", "registry.example.com:5000/team/model:v1"]);
        assert_eq!(candidates(layout.only()).len(), 2);
        is_found(layout.find("registry.example.com:5000/team/model:v1"), &b, Some("registry.example.com:5000/team/model:v1"));
        let c = layout.add("v1", "c", None);
        is_found(layout.find("v1"), &c, Some("v1"));
        let d = layout.add(&format!("team/model@{a}"), "d", None);
        is_found(
            layout.with(|entries| entries.find(Some(&EntrySelector::Both("team/model".into(), a.clone())))),
            &d,
            Some(&format!("team/model@{a}")),
        );
    }

    #[test]
    fn several_names_of_one_manifest_are_no_choice() {
        let mut layout = Layout::default();
        let a = layout.add("a/x:v1", "same", None);
        layout.add("b/y:v1", "same", None);
        is_found(layout.find("v1"), &a, None);
        is_found(layout.only(), &a, None);
    }

    #[test]
    fn one_name_of_several_manifests_is_chosen_from_by_digest() {
        let mut layout = Layout::default();
        let (a, b) = (layout.add("v1", "a", None), layout.add("v1", "b", None));
        let mut expected = [format!("v1@{a}"), format!("v1@{b}")];
        expected.sort();
        assert_eq!(candidates(layout.find("v1")), expected);
        let both = |digest: &Digest| layout.with(|entries| entries.find(Some(&EntrySelector::Both("v1".into(), digest.clone()))));
        is_found(both(&b), &b, Some("v1"));
        let moved = Digest::of(b"what v1 was");
        is_found(both(&moved), &moved, None);
    }

    #[test]
    fn what_refers_to_a_model_is_not_the_model() {
        let mut layout = Layout::default();
        let whole = "registry.example.com/team/model:v1";
        let model = layout.add(whole, "model", None);
        let name = Some(whole);
        // What `oras copy -r` writes: an entry without a name.
        let sbom = layout.add("", "sbom", Some(&model));
        assert_eq!(layout.count(&model, name), 1);
        // What clients write for a registry without the referrers API; it lists that SBOM and a signature.
        let signature = layout.add("", "signature", Some(&model));
        let listed: Vec<_> =
            [&sbom, &signature].iter().map(|d| json!({ "mediaType": media_type::IMAGE_MANIFEST, "digest": d, "size": 1 })).collect();
        let fallback = model.to_string().replace(':', "-");
        layout.add_manifest(&fallback, json!({ "schemaVersion": 2, "manifests": listed }).to_string());
        assert_eq!(layout.count(&model, name), 2);
        // What cosign writes: tags, which name no subject.
        for (at, ending) in ["sig", "att", "sbom"].iter().enumerate() {
            layout.add(&format!("{fallback}.{ending}"), ending, None);
            assert_eq!(layout.count(&model, name), 3 + at);
        }
        // And `cosign save`: the same name with a kind.
        layout.entries[0].annotations.insert("kind".to_owned(), "dev.cosignproject.cosign/image".to_owned());
        layout.add(whole, "saved", None);
        layout.is_of_kind("sigs");
        assert_eq!(layout.count(&model, name), 6);
        assert_eq!(layout.count(&signature, None), 0);
        is_found(layout.only(), &model, name);
        is_found(layout.find("v1"), &model, name);
        assert_eq!(layout.find(&fallback).unwrap().name, Some(fallback.clone()), "one that is named is found");
        let all = layout.with(|entries| entries.all());
        assert_eq!(all.iter().filter(|entry| !entry.is_referrer).map(|entry| &entry.descriptor.digest).collect::<Vec<_>>(), [&model]);
        layout.add("other", "other", None);
        assert_eq!(candidates(layout.only()), ["other", whole]);
    }

    #[test]
    fn what_an_index_lists_is_not_another_artifact() {
        let mut layout = Layout::default();
        // As a copy writes it: first what is in the index, then the index; more than an error lists.
        let parts: Vec<_> = (0..2 * MAX_CANDIDATES).map(|n| layout.add("", &n.to_string(), None)).collect();
        let listed: Vec<_> = parts.iter().map(|d| json!({ "mediaType": media_type::IMAGE_MANIFEST, "digest": d, "size": 1 })).collect();
        let text = json!({ "schemaVersion": 2, "mediaType": media_type::IMAGE_INDEX, "manifests": listed }).to_string();
        let index = layout.add_manifest("all", text.clone());
        is_found(layout.only(), &index, Some("all"));
        // With a name, it is one.
        layout.add("part", "0", None);
        assert_eq!(candidates(layout.only()), ["all", "part"]);
        // An index that refers to another one is a referrer, and so is what it lists.
        let mut layout = Layout::default();
        let model = layout.add("v1", "model", None);
        layout.add("", "0", None);
        let subject = json!({ "mediaType": media_type::IMAGE_MANIFEST, "digest": model, "size": 1 });
        layout.add_manifest("", text.replacen('{', &format!("{{\"subject\":{subject},"), 1));
        is_found(layout.only(), &model, Some("v1"));
    }

    #[test]
    fn an_error_lists_no_more_than_a_person_reads() {
        let mut layout = Layout::default();
        (0..100).for_each(|n| drop(layout.add(&format!("m{n}"), &n.to_string(), None)));
        let error = layout.only().unwrap_err();
        assert!(matches!(&error, Error::Ambiguous { candidates, omitted: true, .. } if candidates.len() == MAX_CANDIDATES), "{error}");
        assert!(error.to_string().ends_with("and more"), "{error}");
    }

    #[test]
    fn a_layout_of_nothing_but_referrers_is_chosen_from_too() {
        let mut layout = Layout::default();
        let subject = Digest::of(b"elsewhere");
        let a = layout.add("a", "a", Some(&subject));
        is_found(layout.only(), &a, Some("a"));
        layout.add("b", "b", Some(&subject));
        assert_eq!(candidates(layout.only()), ["a", "b"]);
    }
}
