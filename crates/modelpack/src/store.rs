//! The local store's own verbs: list, tag, remove, prune.

use crate::{Copied, InvalidPlace, Modelpack, Place, Result, StoreError, inspect::read_config};
use modelpack_spec::{Artifact, Digest, Reference, RepositoryName, Selector, Tag};
use modelpack_store::{Pruned, Source, blocking, copy};
use std::path::PathBuf;

/// An artifact in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The repository.
    pub repository: RepositoryName,
    /// The tag; `None` for a manifest that was written by its digest.
    pub tag: Option<Tag>,
    /// The digest of the manifest.
    pub digest: Digest,
    /// The size of config and layers in bytes.
    pub size: u64,
    /// When the model was created, if its config says so.
    pub created_at: Option<String>,
    /// The OCI image layout that holds it.
    pub layout: PathBuf,
}

impl Modelpack {
    /// What the store holds, sorted by repository and tag; with a name, only the repository of that name, and those below it.
    pub async fn list(&self, below: Option<&RepositoryName>) -> Result<Vec<Listed>> {
        let store = self.store()?.clone();
        let is_below = |name: &RepositoryName| {
            let rest = below.map(|below| name.as_str().strip_prefix(below.as_str()));
            rest.is_none_or(|rest| rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        };
        let mut listed = Vec::new();
        for name in blocking(move || store.repositories()).await?.into_iter().filter(is_below) {
            let repository = self.store()?.repository(&name);
            let tags = repository.tags().await?;
            let untagged = repository.manifests().await?.into_iter().filter(|m| !tags.iter().any(|(_, d)| d.digest == m.digest));
            let untagged: Vec<_> = untagged.map(|manifest| (None, manifest)).collect();
            let tagged = tags.into_iter().map(|(tag, manifest)| (Some(tag), manifest));
            for (tag, entry) in tagged.chain(untagged) {
                let manifest = match repository.manifest(&Selector::Digest(entry.digest)).await {
                    Ok(manifest) => manifest,
                    // Removed since the tags were read.
                    Err(e) if e.is_not_found() => continue,
                    Err(e) => return Err(e.into()),
                };
                let size = manifest.blobs().fold(0u64, |sum, blob| sum.saturating_add(blob.size));
                let artifact = manifest.image().and_then(|image| Artifact::read(image).ok()).filter(Artifact::has_model_config);
                let created_at = match artifact {
                    // What cannot be read is listed all the same.
                    Some(artifact) => read_config(&repository, &artifact.config).await.ok().and_then(|config| config.descriptor.created_at),
                    None => None,
                };
                let layout = repository.layout().path().to_owned();
                listed.push(Listed { repository: name.clone(), tag, digest: manifest.digest().clone(), size, created_at, layout });
            }
        }
        Ok(listed)
    }

    /// Gives an artifact of the store another name in it; nothing is copied.
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

    /// Removes a tag from the store, or with a digest that manifest and all its tags; returns its digest. Of a tag and a digest
    /// together, the tag goes, and only if it points to that digest. Blobs stay until [`prune`](Self::prune).
    pub async fn remove(&self, place: &Place) -> Result<Digest> {
        let reference = in_store(place)?;
        let repository = self.store()?.repository(&reference.repository);
        let named = match &reference.selector {
            Selector::Both(tag, _) => &Selector::Tag(tag.clone()),
            selector => selector,
        };
        let manifest = repository.manifest(named).await?;
        let digest = manifest.digest().clone();
        if let Selector::Both(tag, expected) = &reference.selector
            && expected.algorithm().digest(manifest.bytes()) != *expected
        {
            return Err(StoreError::not_found(format!("{reference} (the tag {tag} points to {digest})")).into());
        }
        let removed = match &reference.selector {
            Selector::Tag(tag) | Selector::Both(tag, _) => repository.delete_tag(tag).await?,
            Selector::Digest(digest) => repository.delete_manifest(digest).await?,
        };
        if removed { Ok(digest) } else { Err(StoreError::not_found(reference.to_string()).into()) }
    }

    /// Removes what no manifest of the store needs; with `dry_run`, only says what that is.
    pub async fn prune(&self, dry_run: bool) -> Result<Pruned> {
        let store = self.store()?.clone();
        Ok(blocking(move || store.prune(dry_run)).await?)
    }
}

fn in_store(place: &Place) -> Result<&Reference> {
    match place {
        Place::Store(reference) | Place::Reference(reference) => Ok(reference),
        other => Err(InvalidPlace::NotStored(other.to_string()).into()),
    }
}
