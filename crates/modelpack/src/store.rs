//! Operations of the local store: list, tag, remove, prune.

use crate::{Copied, InvalidPlace, Modelpack, Place, Result, StoreError, inspect::read_config};
use modelpack_spec::{Artifact, Descriptor, Digest, Reference, RepositoryName, Selector, Tag};
use modelpack_store::{Pruned, Repository, Store, Untagged};
use modelpack_transfer::{Source, blocking, copy};
use std::{collections::HashSet, path::PathBuf};

/// The content of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The artifacts, sorted by repository and tag.
    pub artifacts: Vec<Listed>,
    /// Repositories and manifests that cannot be read.
    pub unreadable: Vec<Unreadable>,
}

/// A repository of the store, or a manifest in one, that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The repository; `None` if the name of its directory is not valid.
    pub repository: Option<RepositoryName>,
    /// The tag of the manifest, if this is a manifest with a tag.
    pub tag: Option<Tag>,
    /// The digest of the manifest, if this is a manifest.
    pub digest: Option<Digest>,
    /// The directory of the repository.
    pub layout: PathBuf,
    /// The reason.
    pub why: String,
    /// Whether the user has no permission to read it. Then it may be intact, and a repair does not
    /// help.
    pub is_denied: bool,
}

/// An artifact in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub layout: PathBuf,
}

impl Modelpack {
    /// Lists the store; with a name, only the repository of that name, and those below it.
    /// Unreadable entries do not prevent the listing of others.
    pub async fn list(&self, below: Option<&RepositoryName>) -> Result<Listing> {
        let store = self.store().clone();
        let (names, unusable) = blocking(move || Ok::<_, StoreError>((store.repositories()?, store.unusable()?))).await?;
        let is_below = |name: &RepositoryName| {
            let rest = below.map(|below| name.as_str().strip_prefix(below.as_str()));
            rest.is_none_or(|rest| rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        };
        let mut listing = Listing::default();
        for name in names.into_iter().filter(is_below) {
            let repository = self.store().repository(&name);
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

    /// Adds another name for an artifact of the store; nothing is copied.
    pub async fn tag(&self, from: &Place, to: &Place) -> Result<Copied> {
        let (from, to) = (Place::Store(in_store(from)?.clone()), in_store(to)?);
        let Some(_) = to.selector.tag() else { return Err(InvalidPlace::NoTag(to.clone()).into()) };
        let opened = self.open(&from).await?;
        let place = Place::Store(to.clone());
        let target = self.target(&place, None, opened.name_of_copy()).await?;
        copy(opened.source.as_ref(), &opened.manifest, target.sink(), &to.selector, &self.copy_options()).await?;
        let digest = opened.manifest.digest().clone();
        Ok(opened.copied_to(&place, digest).await)
    }

    /// Removes a tag from the store; with a digest, removes that manifest and all its tags. Returns
    /// the digest. With a tag and a digest, only the tag is removed, and only if it points to that
    /// digest. The manifest may be unreadable. Blobs are kept until [`prune`](Self::prune).
    pub async fn remove(&self, place: &Place) -> Result<Digest> {
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
        if removed { Ok(digest) } else { Err(not_found().into()) }
    }

    /// Removes files that no manifest of the store needs; with `dry_run`, only reports them.
    pub async fn prune(&self, dry_run: bool) -> Result<Pruned> {
        let root = self.options.store.clone();
        // This operation removes and reports the files that dead writers left.
        let open = move || if dry_run { Ok(Store::open_existing(&root, Untagged::Drop)) } else { Store::open(&root, Untagged::Drop) };
        Ok(blocking(move || open()?.prune(dry_run)).await?)
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
