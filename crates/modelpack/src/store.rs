//! Operations of the local store: list, tag, remove.

use crate::{Copied, InvalidPlace, Modelpack, Place, Result, StoreError, inspect::read_config};
use modelpack_spec::{Artifact, Descriptor, Digest, Reference, RepositoryName, Selector, Tag};
use modelpack_store::Repository;
use modelpack_transfer::{Source, blocking, copy};
use serde::{Serialize, Serializer};
use std::{collections::HashSet, path::PathBuf};

/// The content of the store. The JSON form is one list: the artifacts, then the unreadable entries,
/// with the reason as `error`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// The artifacts, sorted by repository and tag.
    pub artifacts: Vec<Listed>,
    /// Repositories and manifests that cannot be read.
    pub unreadable: Vec<Unreadable>,
}

impl Serialize for Listing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(untagged)]
        enum Entry<'a> {
            Artifact(&'a Listed),
            Unreadable(&'a Unreadable),
        }
        let artifacts = self.artifacts.iter().map(Entry::Artifact);
        serializer.collect_seq(artifacts.chain(self.unreadable.iter().map(Entry::Unreadable)))
    }
}

/// A repository of the store, or a manifest in one, that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Unreadable {
    /// The repository; `None` if the name of its directory is not valid.
    pub repository: Option<RepositoryName>,
    /// The tag of the manifest, if this is a manifest with a tag.
    pub tag: Option<Tag>,
    /// The digest of the manifest, if this is a manifest.
    pub digest: Option<Digest>,
    /// The directory of the repository.
    #[serde(serialize_with = "modelpack_spec::json::path")]
    pub layout: PathBuf,
    /// The reason.
    #[serde(rename = "error")]
    pub why: String,
    /// Whether the user has no permission to read it. Then it may be intact, and a repair does not
    /// help.
    #[serde(rename = "denied")]
    pub is_denied: bool,
}

/// An artifact in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Listed {
    /// The repository.
    pub repository: RepositoryName,
    /// The tag; `None` for a manifest without a tag.
    pub tag: Option<Tag>,
    /// The digest of the manifest.
    pub digest: Digest,
    /// The size of config and layers in bytes.
    pub size: u64,
    /// The creation time of the model, if its config has one.
    pub created_at: Option<String>,
    /// The OCI image layout that contains it.
    #[serde(serialize_with = "modelpack_spec::json::path")]
    pub layout: PathBuf,
}

/// A name that was removed from the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RemovedName {
    /// The removed reference.
    pub reference: Place,
    /// The digest of its manifest.
    pub digest: Digest,
}

impl Modelpack {
    /// Lists the store; with a name, only the repository of that name, and those below it.
    /// Unreadable entries do not prevent the listing of others.
    ///
    /// ```
    /// # use modelpack::{Modelpack, Options, PackRequest};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// # std::fs::write(scratch.path().join("README.md"), "# Tiny")?;
    /// # let modelpack = Modelpack::new(Options::new(scratch.path().join("store")));
    /// modelpack.pack(&PackRequest::new(scratch.path()), &"team/tiny:v1".parse()?).await?;
    /// let listing = modelpack.list(Some(&"team".parse()?)).await?;
    /// assert_eq!(listing.artifacts[0].repository.as_str(), "team/tiny");
    /// assert!(listing.unreadable.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list(&self, below: Option<&RepositoryName>) -> Result<Listing> {
        let store = self.store()?.clone();
        let (names, unusable) = blocking(move || Ok::<_, StoreError>((store.repositories()?, store.unusable()?))).await?;
        let is_below = |name: &RepositoryName| {
            let rest = below.map(|below| name.as_str().strip_prefix(below.as_str()));
            rest.is_none_or(|rest| rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        };
        let mut listing = Listing::default();
        for name in names.into_iter().filter(is_below) {
            let repository = self.store()?.repository(&name);
            if let Err(error) = list_repository(&repository, &mut listing).await {
                listing.unreadable.push(unreadable(&repository, None, None, error));
            }
        }
        let unusable = unusable.into_iter().filter(|_| below.is_none());
        listing.unreadable.extend(unusable.map(|broken| Unreadable {
            repository: broken.name,
            tag: None,
            digest: None,
            layout: broken.directory,
            why: broken.why,
            is_denied: broken.is_denied,
        }));
        Ok(listing)
    }

    /// Adds another name for an artifact of the store; no bytes are moved within the store.
    ///
    /// ```
    /// # use modelpack::{Modelpack, Options, PackRequest};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// # std::fs::write(scratch.path().join("README.md"), "# Tiny")?;
    /// # let modelpack = Modelpack::new(Options::new(scratch.path().join("store")));
    /// # modelpack.pack(&PackRequest::new(scratch.path()), &"tiny:v1".parse()?).await?;
    /// let tagged = modelpack.tag(&"tiny:v1".parse()?, &"registry.example.com/team/tiny:v1".parse()?).await?;
    /// assert_eq!(tagged.to.to_string(), "store:registry.example.com/team/tiny:v1");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn tag(&self, from: &Place, to: &Place) -> Result<Copied> {
        let call = self.one_call();
        let (from, to) = (Place::Store(in_store(from)?.clone()), in_store(to)?);
        let Some(_) = to.selector.tag() else { return Err(InvalidPlace::NoTag(to.clone()).into()) };
        let opened = self.open(&from).await?;
        let place = Place::Store(to.clone());
        let target = self.target(&place, None, opened.name_of_copy()).await?;
        copy(opened.source.as_ref(), &opened.manifest, target.sink(), &to.selector, &call.copy_options()).await?;
        let digest = opened.manifest.digest().clone();
        Ok(opened.copied_to(&place, digest, call.progress.snapshot(), None).await)
    }

    /// Removes a tag from the store; with a digest, removes that manifest and all its tags. With a
    /// tag and a digest, only the tag is removed, and only if it points to that digest. The
    /// manifest may be unreadable. Blobs are kept until [`prune`](Self::prune).
    ///
    /// ```
    /// # use modelpack::{Modelpack, Options, PackRequest};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// # std::fs::write(scratch.path().join("README.md"), "# Tiny")?;
    /// # let modelpack = Modelpack::new(Options::new(scratch.path().join("store")));
    /// # modelpack.pack(&PackRequest::new(scratch.path()), &"tiny:v1".parse()?).await?;
    /// let removed = modelpack.remove(&"tiny:v1".parse()?).await?;
    /// assert_eq!(removed.reference.to_string(), "store:tiny:v1");
    /// assert!(modelpack.list(None).await?.artifacts.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove(&self, place: &Place) -> Result<RemovedName> {
        let reference = in_store(place)?;
        let not_found = || StoreError::not_found(reference.to_string());
        let repository = self.writable_store()?.repository(&reference.repository);
        let named = match &reference.selector {
            Selector::Both(tag, _) => &Selector::Tag(tag.clone()),
            selector => selector,
        };
        let digest = repository.layout().entry(named).await?.ok_or_else(not_found)?.digest;
        if let Selector::Both(tag, expected) = &reference.selector
            && digest != *expected
        {
            // The same bytes have one digest per algorithm.
            let is_same = digest.algorithm() != expected.algorithm()
                && expected.algorithm().digest(repository.manifest(named).await?.bytes()) == *expected;
            if !is_same {
                return Err(StoreError::not_found(format!("{reference} (the tag {tag} points to {digest})")).into());
            }
        }
        let removed = match &reference.selector {
            Selector::Tag(tag) | Selector::Both(tag, _) => repository.delete_tag(tag).await?,
            Selector::Digest(digest) => repository.delete_manifest(digest).await?,
        };
        if removed { Ok(RemovedName { reference: Place::Store(reference.clone()), digest }) } else { Err(not_found().into()) }
    }
}

async fn list_repository(repository: &Repository, listing: &mut Listing) -> Result<(), StoreError> {
    let tags = repository.tags().await?;
    let has_tag: HashSet<_> = tags.iter().map(|(_, manifest)| manifest.digest.clone()).collect();
    let untagged = repository.manifests().await?.into_iter().filter(|manifest| !has_tag.contains(&manifest.digest));
    let untagged = untagged.map(|manifest| (None, manifest));
    let tagged = tags.into_iter().map(|(tag, manifest)| (Some(tag), manifest));
    for (tag, entry) in tagged.chain(untagged) {
        match list_manifest(repository, tag.clone(), &entry).await {
            Ok(listed) => listing.artifacts.push(listed),
            // Removed since the tags were read.
            Err(e) if e.is_not_found() => {}
            Err(error) => listing.unreadable.push(unreadable(repository, tag, Some(entry.digest), error)),
        }
    }
    Ok(())
}

async fn list_manifest(repository: &Repository, tag: Option<Tag>, entry: &Descriptor) -> Result<Listed, StoreError> {
    let manifest = repository.layout().manifest_of(entry).await?;
    let size = manifest.blobs().fold(0u64, |sum, blob| sum.saturating_add(blob.size));
    let artifact = manifest.image().and_then(|image| Artifact::read(image).ok()).filter(Artifact::has_model_config);
    let created_at = match artifact {
        // Unreadable manifests are listed too.
        Some(artifact) => read_config(repository, &artifact.config).await.ok().and_then(|config| config.descriptor.created_at),
        None => None,
    };
    let layout = repository.layout().path().to_owned();
    Ok(Listed { repository: repository.name().clone(), tag, digest: manifest.digest().clone(), size, created_at, layout })
}

fn unreadable(repository: &Repository, tag: Option<Tag>, digest: Option<Digest>, error: StoreError) -> Unreadable {
    let (is_denied, layout) = (error.is_denied(), repository.layout().path().to_owned());
    let why = if let StoreError::Damaged { why, .. } = error { why } else { error.to_string() };
    Unreadable { repository: Some(repository.name().clone()), tag, digest, layout, why, is_denied }
}

pub(crate) fn in_store(place: &Place) -> Result<&Reference> {
    match place {
        Place::Store(reference) | Place::Reference(reference) => Ok(reference),
        other => Err(InvalidPlace::NotStored(other.to_string()).into()),
    }
}
