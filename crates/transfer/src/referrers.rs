//! What refers to an artifact, such as signatures, attestations and SBOMs, is found and copied.
//!
//! A manifest belongs to another one if that is its `subject`, or if it has one of cosign's tags. What a list says is only where to look:
//! every manifest is read, and its subject compared.

use crate::{CopyOptions, Error, Result, Sink, Source, copy, for_each_concurrent};
use modelpack_spec::{Descriptor, Digest, Manifest, Selector, Tag, media_type};
use std::collections::{BTreeMap, HashSet};

/// The largest number of manifests that an artifact and everything that refers to it may be, and the longest list of referrers that is read.
pub const MAX_REFERRERS: usize = 10_000;

/// How many referrers may refer to one another in a row, such as the signature of an SBOM of a signature.
const MAX_DEPTH: usize = 8;

/// What refers to an artifact, and what refers to those manifests in turn.
///
/// It is found level by level. Only digests are kept in memory.
pub struct Referrers<'a> {
    source: &'a dyn Source,
    options: &'a CopyOptions,
    /// The manifests of the artifact, and the referrers that were copied.
    known: HashSet<Digest>,
    /// What is said to refer to a known manifest, with the tags that say it.
    level: BTreeMap<Digest, Vec<Tag>>,
}

impl<'a> Referrers<'a> {
    /// Looks for what refers to `manifest` or, if that is an index, to a manifest below it.
    ///
    /// Fails with [`Error::Referrers`] if it cannot be listed.
    pub async fn find(source: &'a dyn Source, manifest: &Manifest, options: &'a CopyOptions) -> Result<Self> {
        let mut found = Self { source, options, known: HashSet::new(), level: BTreeMap::new() };
        let subjects = found.subjects(manifest).await?;
        found.level = found.listed(&subjects).await?;
        Ok(found)
    }

    /// Whether nothing is said to refer to the artifact.
    pub fn is_empty(&self) -> bool {
        self.level.is_empty()
    }

    /// Copies the referrers with everything that they name, and returns their descriptors, without annotations.
    ///
    /// Each is written by its digest, or with the tag of cosign under which it was found. A manifest that a list names, and that does not
    /// refer to the artifact, is left out. The first failure ends the copy. Fails with [`Error::Referrers`], which names the referrer.
    pub async fn copy(mut self, sink: &dyn Sink) -> Result<Vec<Descriptor>> {
        let mut copied = Vec::new();
        for _ in 0..MAX_DEPTH {
            let mut subjects = Vec::new();
            for (digest, tags) in std::mem::take(&mut self.level) {
                let failed = failed(format!("the referrer {digest} cannot be copied"));
                let Some(manifest) = self.copy_one(&digest, tags, sink).await.map_err(failed)? else { continue };
                if !self.known.contains(&digest) {
                    copied.push(Descriptor { annotations: BTreeMap::new(), ..manifest.descriptor() });
                    subjects.extend(self.subjects(&manifest).await?);
                }
            }
            self.level = self.listed(&subjects).await?;
            if self.level.is_empty() {
                return Ok(copied);
            }
        }
        let digest = self.level.into_keys().next().expect("a level that is not empty has a digest");
        let why = format!("more than {MAX_DEPTH} manifests refer to one another in a row");
        Err(failed(format!("the referrer {digest} cannot be copied"))(Error::Invalid {
            what: "what refers to the artifact".to_owned(),
            why,
        }))
    }

    /// Copies a manifest, and returns it. `None` if a list names it by mistake.
    async fn copy_one(&self, digest: &Digest, tags: Vec<Tag>, sink: &dyn Sink) -> Result<Option<Manifest>> {
        let by_digest = Selector::Digest(digest.clone());
        let manifest = self.source.manifest(&by_digest).await?;
        let refers = || manifest.subject().is_some_and(|subject| self.known.contains(&subject.digest));
        if tags.is_empty() && !refers() {
            return Ok(None);
        }
        let mut at = tags.into_iter().map(Selector::Tag);
        if !self.known.contains(digest) {
            copy(self.source, &manifest, sink, &at.next().unwrap_or(by_digest), self.options).await?;
        }
        for tag in at {
            sink.put_manifest(&tag, &manifest).await?;
        }
        Ok(Some(manifest))
    }

    /// A manifest and those below it, which are known from now on. Those that were known before are left out.
    async fn subjects(&mut self, manifest: &Manifest) -> Result<Vec<Digest>> {
        let (mut subjects, mut indexes) = (Vec::new(), Vec::new());
        self.know(manifest.digest(), &mut subjects)?;
        let mut children = manifest.manifests().to_vec();
        loop {
            for child in children {
                if self.know(&child.digest, &mut subjects)? && !is_image(&child) {
                    indexes.push(Selector::Digest(child.digest));
                }
            }
            let Some(index) = indexes.pop() else { return Ok(subjects) };
            children = self.source.manifest(&index).await?.manifests().to_vec();
        }
    }

    /// Adds a manifest to those that are known, and to `subjects` if it is new. Returns whether it is new.
    fn know(&mut self, digest: &Digest, subjects: &mut Vec<Digest>) -> Result<bool> {
        let is_new = self.known.insert(digest.clone());
        if is_new {
            subjects.push(digest.clone());
            limited(digest, self.known.len())?;
        }
        Ok(is_new)
    }

    /// What is said to refer to `subjects`, with the tags that say it.
    async fn listed(&self, subjects: &[Digest]) -> Result<BTreeMap<Digest, Vec<Tag>>> {
        let Some(first) = subjects.first() else { return Ok(BTreeMap::new()) };
        let listed = self.source.referrers(subjects).await.map_err(cannot_list(first))?.unwrap_or_default();
        let is_new = |listed: &Descriptor| !self.known.contains(&listed.digest);
        let mut level: BTreeMap<_, _> = listed.into_iter().filter(is_new).map(|listed| (listed.digest, Vec::new())).collect();
        let tags = subjects.iter().flat_map(|subject| Tag::of_cosign(subject).map(|tag| (subject, tag)));
        let tagged = for_each_concurrent(self.options.concurrency, tags, |(subject, tag)| self.tagged(subject, tag)).await?;
        for (digest, tag) in tagged.into_iter().flatten() {
            level.entry(digest).or_default().push(tag);
        }
        limited(first, self.known.len() + level.len())?;
        Ok(level)
    }

    /// The manifest that a tag of cosign points to, unless that is the subject itself.
    async fn tagged(&self, subject: &Digest, tag: Tag) -> Result<Option<(Digest, Tag)>> {
        match self.source.manifest(&Selector::Tag(tag.clone())).await {
            Ok(manifest) if manifest.digest() == subject => Ok(None),
            Ok(manifest) => Ok(Some((manifest.digest().clone(), tag))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(cannot_list(subject)(error)),
        }
    }
}

fn failed(what: String) -> impl FnOnce(Error) -> Error {
    move |source| Error::Referrers { what, source: Box::new(source) }
}

fn cannot_list(subject: &Digest) -> impl FnOnce(Error) -> Error {
    failed(format!("the referrers of {subject} cannot be listed"))
}

/// Fails if there are too many manifests. `subject` is the one that is looked at.
fn limited(subject: &Digest, count: usize) -> Result<()> {
    if count <= MAX_REFERRERS {
        return Ok(());
    }
    let why = format!("they are more than {MAX_REFERRERS} manifests");
    Err(cannot_list(subject)(Error::Invalid { what: "the artifact and what refers to it".to_owned(), why }))
}

/// Whether a descriptor says that it is not an index.
fn is_image(descriptor: &Descriptor) -> bool {
    matches!(descriptor.media_type.as_str(), media_type::IMAGE_MANIFEST | media_type::DOCKER_MANIFEST)
}

/// The manifests in the index under the tag that replaces a referrers API, without annotations (OCI distribution specification, "Referrers
/// Tag Schema"). None if there is no such tag, or if it is no index: `cosign copy` gives this tag to the artifact itself.
pub async fn referrers_by_tag(source: &dyn Source, subject: &Digest) -> Result<Vec<Descriptor>> {
    let index = match source.manifest(&Selector::Tag(Tag::of_referrers(subject))).await {
        Ok(index) => index,
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let slim = |listed: &Descriptor| Descriptor {
        artifact_type: listed.artifact_type.clone(),
        ..Descriptor::new(listed.media_type.clone(), listed.digest.clone(), listed.size)
    };
    Ok(index.manifests().iter().map(slim).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryStore, contract, put_bytes};
    use modelpack_spec::ImageIndex;
    use std::sync::Arc;

    fn tag(text: &str) -> Selector {
        Selector::Tag(text.parse().unwrap())
    }

    fn options() -> CopyOptions {
        CopyOptions { concurrency: 3, progress: Arc::default() }
    }

    /// A repository with the blobs of all manifests of these tests.
    async fn repository() -> MemoryStore {
        let store = MemoryStore::new();
        put_bytes(&store, "application/vnd.oci.empty.v1+json", b"{}".to_vec()).await.unwrap();
        put_bytes(&store, "application/x", b"layer".to_vec()).await.unwrap();
        store
    }

    /// Writes a manifest that refers to `subject`, by its digest.
    async fn refer(store: &MemoryStore, subject: &Manifest) -> Manifest {
        let referrer = contract::referrer(&subject.descriptor(), b"layer");
        put(store, &Selector::Digest(referrer.digest().clone()), &referrer).await;
        referrer
    }

    async fn put(store: &MemoryStore, at: &Selector, manifest: &Manifest) {
        store.put_manifest(at, manifest).await.unwrap();
    }

    /// Writes an artifact that refers to nothing.
    async fn artifact(store: &MemoryStore) -> Manifest {
        let manifest = contract::manifest(b"layer").0;
        put(store, &tag("v1"), &manifest).await;
        manifest
    }

    fn of_cosign(subject: &Manifest, ending: &str) -> Selector {
        tag(&format!("{}.{ending}", Tag::of_referrers(subject.digest())))
    }

    /// Copies the artifact with what refers to it to `to`, and returns the digests of the referrers.
    async fn copy_all(from: &MemoryStore, artifact: &Manifest, to: &MemoryStore) -> Result<Vec<Digest>> {
        let options = options();
        let referrers = Referrers::find(from, artifact, &options).await?;
        copy(from, artifact, to, &tag("v1"), &options).await?;
        Ok(referrers.copy(to).await?.into_iter().map(|copied| copied.digest).collect())
    }

    #[tokio::test]
    async fn referrers_of_referrers_are_copied_and_others_are_not() {
        let (from, to) = (repository().await, MemoryStore::new());
        let artifact = artifact(&from).await;
        assert!(Referrers::find(&from, &artifact, &options()).await.unwrap().is_empty());
        let first = refer(&from, &artifact).await;
        let second = refer(&from, &first).await;
        let third = refer(&from, &second).await;
        let of_absent = contract::referrer(&Descriptor::of(media_type::IMAGE_MANIFEST, b"absent"), b"layer");
        let nothing = refer(&from, &of_absent).await;
        // The fallback tag names the artifact itself, and manifests that do not refer to it.
        let listed = ImageIndex::new([&artifact, &of_absent, &nothing, &third].map(Manifest::descriptor).to_vec());
        put(&from, &Selector::Digest(of_absent.digest().clone()), &of_absent).await;
        put(&from, &Selector::Tag(Tag::of_referrers(artifact.digest())), &Manifest::from_index(listed).unwrap()).await;
        let mut copied = copy_all(&from, &artifact, &to).await.unwrap();
        let mut expected = [&first, &second, &third].map(|manifest| manifest.digest().clone());
        copied.sort();
        expected.sort();
        assert_eq!(copied, expected, "each once");
        for absent in [of_absent, nothing] {
            assert!(to.manifest(&Selector::Digest(absent.digest().clone())).await.unwrap_err().is_not_found());
        }
        assert_eq!(to.tags().await.unwrap().unwrap(), ["v1".parse().unwrap()], "no tag but that of the artifact");
    }

    #[tokio::test]
    async fn one_manifest_may_have_the_tags_of_several_subjects() {
        let (from, to) = (repository().await, MemoryStore::new());
        let artifact = artifact(&from).await;
        let signature = refer(&from, &artifact).await;
        let sbom = refer(&from, &contract::manifest(b"{}").0).await;
        // The last two go in a circle.
        let tags = [
            (of_cosign(&artifact, "sbom"), &sbom),
            (of_cosign(&artifact, "att"), &sbom),
            (of_cosign(&signature, "sbom"), &sbom),
            (of_cosign(&sbom, "sig"), &artifact),
            (of_cosign(&sbom, "att"), &sbom),
        ];
        for (at, manifest) in &tags {
            put(&from, at, manifest).await;
        }
        assert_eq!(copy_all(&from, &artifact, &to).await.unwrap().len(), 2);
        for (at, manifest) in &tags[..4] {
            assert_eq!(to.manifest(at).await.unwrap().digest(), manifest.digest(), "{at}");
        }
        assert!(to.manifest(&tags[4].0).await.unwrap_err().is_not_found(), "nothing is its own attestation");
    }

    #[tokio::test]
    async fn a_chain_of_referrers_has_an_end() {
        let from = repository().await;
        let artifact = artifact(&from).await;
        let mut last = artifact.clone();
        for length in 1..=MAX_DEPTH + 1 {
            last = refer(&from, &last).await;
            let copied = copy_all(&from, &artifact, &MemoryStore::new()).await;
            match copied {
                Ok(copied) => assert!(length <= MAX_DEPTH && copied.len() == length, "{length}"),
                Err(error) => {
                    assert_eq!(length, MAX_DEPTH + 1, "{error}");
                    assert!(error.to_string().contains(&last.digest().to_string()), "{error}");
                }
            }
        }
    }
}
