//! Opens places for reading and for writing.

use crate::{Error, InvalidPlace, Modelpack, Place, Result, StoreError};
use async_trait::async_trait;
use modelpack_distribution::client::RemoteRepository;
use modelpack_spec::{Artifact, Descriptor, Digest, HashStates, ImageManifest, Manifest, Reference, RepositoryName, Selector, Tag};
use modelpack_store::{Archive, ArchiveWriter, EntrySelector, Layout, Lease, Repository};
use modelpack_transfer::{Body, Notice, Sink, Source, blocking};
use std::{fmt, ops::Range, sync::Arc, time::Duration};

/// The time limit for a query of referrers, which are not essential.
const REFERRERS_PATIENCE: Duration = Duration::from_secs(5);

/// A place that is open for reading: its source, and the requested manifest.
pub(crate) struct Opened {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) manifest: Manifest,
    /// The place; a bare reference is resolved to the place where it was found.
    pub(crate) place: Place,
    /// The tag or name under which it was found, if any.
    pub(crate) name: Option<String>,
    /// The place of the manifests that refer to it.
    referrers: Referrers,
    /// Prevents garbage collection while the source is read.
    _lease: Option<Lease>,
}

/// An artifact of the store. All blobs existed when its manifest was written, so a missing blob is
/// a damage.
struct Stored(Repository);

#[async_trait]
impl Source for Stored {
    async fn manifest(&self, at: &Selector) -> Result<Manifest, StoreError> {
        self.0.manifest(at).await
    }

    async fn blob(&self, blob: &Descriptor, range: Range<u64>) -> Result<Body, StoreError> {
        self.0.blob(blob, range).await.map_err(|error| match error {
            StoreError::NotFound { .. } => {
                StoreError::Damaged { repository: self.0.name().to_string(), why: format!("blob {} is missing", blob.digest) }
            }
            error => error,
        })
    }

    async fn hash_states(&self, blob: &Descriptor) -> Option<HashStates> {
        self.0.hash_states(blob).await
    }

    async fn referrers(&self, subjects: &[Digest]) -> Result<Option<Vec<Descriptor>>, StoreError> {
        Source::referrers(&self.0, subjects).await
    }

    async fn tags(&self) -> Result<Option<Vec<Tag>>, StoreError> {
        Source::tags(&self.0).await
    }
}

enum Referrers {
    Remote(RemoteRepository),
    Layout(Layout),
    Archive(Archive),
}

/// A place that is open for writing.
pub(crate) struct Target {
    kind: TargetKind,
    /// The reference of the manifest that is written.
    pub(crate) selector: Selector,
    _lease: Option<Lease>,
}

enum TargetKind {
    Store(Repository),
    Sink(Box<dyn Sink>),
    Archive(ArchiveWriter),
}

impl Target {
    pub(crate) fn sink(&self) -> &dyn Sink {
        match &self.kind {
            TargetKind::Store(repository) => repository,
            TargetKind::Sink(sink) => sink.as_ref(),
            TargetKind::Archive(archive) => archive,
        }
    }

    /// Whether it is the local store.
    pub(crate) fn is_store(&self) -> bool {
        matches!(self.kind, TargetKind::Store(_))
    }

    /// Completes targets that become visible only when they are complete.
    pub(crate) async fn finish(self) -> Result<()> {
        match self.kind {
            TargetKind::Store(_) | TargetKind::Sink(_) => Ok(()),
            TargetKind::Archive(archive) => Ok(archive.finish().await?),
        }
    }
}

impl Modelpack {
    /// Opens `place` for reading. A bare reference is searched in the store, then in its registry.
    pub(crate) async fn open(&self, place: &Place) -> Result<Opened> {
        match place {
            Place::Registry(reference) => {
                let full = self.full_name(reference)?;
                let remote = self.client()?.mirrored(&with_host(&full)?.repository)?;
                let manifest = self.select(&remote, &full).await?;
                let name = reference.selector.tag().map(Tag::to_string);
                let referrers = Referrers::Remote(remote.in_use().clone());
                Ok(Opened { source: Arc::new(remote), manifest, place: place.clone(), name, referrers, _lease: None })
            }
            Place::Store(reference) => {
                let repository = self.store()?.repository(&reference.repository);
                let this = repository.clone();
                let lease = blocking(move || this.lease_to_read()).await?;
                let manifest = self.select(&repository, reference).await.map_err(|error| damage(reference, error))?;
                let name = reference.selector.tag().map(Tag::to_string);
                let referrers = Referrers::Layout(repository.layout().clone());
                Ok(Opened { source: Arc::new(Stored(repository)), manifest, place: place.clone(), name, referrers, _lease: lease })
            }
            Place::Layout(path, at) => {
                let layout = Layout::at(path);
                let selected = layout.find(at.as_ref()).await?;
                if let Some(EntrySelector::Both(name, digest)) = at {
                    let named = layout.find(Some(&EntrySelector::Name(name.clone()))).await;
                    self.tell_if_moved(&path.display(), name, digest, named.map(|named| named.digest));
                }
                let manifest = layout.manifest(&Selector::Digest(selected.digest)).await?;
                let referrers = Referrers::Layout(layout.clone());
                Ok(Opened { source: Arc::new(layout), manifest, place: place.clone(), name: selected.name, referrers, _lease: None })
            }
            Place::Archive(path, asked_for) => {
                let (file, at) = (path.clone(), asked_for.clone());
                let open = move || {
                    let archive = Archive::open(&file)?;
                    let selected = archive.find(at.as_ref())?;
                    Ok::<_, StoreError>((archive, selected))
                };
                let (archive, selected) = blocking(open).await?;
                if let Some(EntrySelector::Both(name, digest)) = asked_for {
                    let named = archive.find(Some(&EntrySelector::Name(name.clone())));
                    self.tell_if_moved(&path.display(), name, digest, named.map(|named| named.digest));
                }
                let manifest = archive.manifest(&Selector::Digest(selected.digest)).await?;
                let referrers = Referrers::Archive(archive.clone());
                Ok(Opened { source: Arc::new(archive), manifest, place: place.clone(), name: selected.name, referrers, _lease: None })
            }
            Place::Reference(reference) => match Box::pin(self.open(&Place::Store(reference.clone()))).await {
                Err(Error::Store(e)) if e.is_not_found() => {
                    let full = self.full_name(reference)?;
                    match full.repository.host() {
                        None => Err(InvalidPlace::Unknown(reference.clone()).into()),
                        // The store may have it under its full name.
                        Some(_) if full != *reference => Box::pin(self.open(&Place::Reference(full))).await,
                        Some(_) => Box::pin(self.open(&Place::Registry(full))).await,
                    }
                }
                opened => opened,
            },
        }
    }

    /// The reference with the full name of its repository, if it is a short name for one.
    fn full_name(&self, reference: &Reference) -> Result<Reference> {
        let has_host = reference.repository.host().is_some();
        let full = if has_host { None } else { self.registries()?.alias(&reference.repository) };
        let repository = full.unwrap_or(&reference.repository).clone();
        Ok(Reference { repository, selector: reference.selector.clone() })
    }

    /// The requested manifest. With a tag and a digest, the digest decides; a notice is given if
    /// the tag points to another manifest.
    async fn select(&self, source: &dyn Source, reference: &Reference) -> Result<Manifest> {
        let manifest = source.manifest(&reference.selector).await?;
        if let Selector::Both(tag, digest) = &reference.selector {
            let tagged = source.manifest(&Selector::Tag(tag.clone())).await;
            // The same bytes have a digest of each algorithm.
            let now = tagged.map(|tagged| if tagged.bytes() == manifest.bytes() { digest } else { tagged.digest() }.clone());
            self.tell_if_moved(&reference.repository, tag, digest, now);
        }
        Ok(manifest)
    }

    /// Gives a notice if a tag or name does not point to the given digest, but to `now`.
    fn tell_if_moved(&self, repository: &dyn fmt::Display, tag: &dyn fmt::Display, digest: &Digest, now: Result<Digest, StoreError>) {
        let now = match now {
            Ok(now) if now == *digest => return,
            Ok(now) => Some(now),
            Err(error) if error.is_not_found() => None,
            // The requested manifest is known, but not the tag's target, so no notice is given.
            Err(_) => return,
        };
        let (repository, tag) = (repository.to_string(), tag.to_string());
        self.options.notices.give(&Notice::TagMoved { repository, tag, digest: digest.clone(), now });
    }

    /// Opens `place` for writing; a bare reference means its registry. Blobs that `mount_from` has
    /// in the same registry are mounted.
    ///
    /// The manifest is written to `otherwise` if the place gives no name.
    pub(crate) async fn target(&self, place: &Place, mount_from: Option<&RepositoryName>, otherwise: EntrySelector) -> Result<Target> {
        let (kind, selector, lease) = match place {
            Place::Registry(reference) | Place::Reference(reference) => {
                let name = &with_host(reference)?.repository;
                let mut remote = self.client()?.repository(name)?.keeping_hash_states(self.options.hash_states);
                if let Some(other) = mount_from.filter(|other| other.host() == name.host() && *other != name) {
                    remote = remote.mounting_from(other);
                }
                (TargetKind::Sink(Box::new(remote)), reference.selector.clone(), None)
            }
            Place::Store(reference) => {
                let lease = self.lease(&reference.repository).await?;
                let repository = self.writable_store()?.repository(&reference.repository).with_progress(self.progress.clone());
                // An unreadable index is reported now, before all bytes are moved.
                repository.layout().entry(&reference.selector).await?;
                (TargetKind::Store(repository), reference.selector.clone(), Some(lease))
            }
            Place::Layout(path, at) => {
                let (selector, entry_name) = written_to(at.clone().unwrap_or(otherwise));
                let layout = Layout::naming(path, entry_name).with_progress(self.progress.clone());
                // Files that cannot be removed do no harm.
                let _ = layout.remove_abandoned().await;
                (TargetKind::Sink(Box::new(layout)), selector, None)
            }
            Place::Archive(path, at) => {
                let (selector, entry_name) = written_to(at.clone().unwrap_or(otherwise));
                let waits = || self.options.notices.give(&Notice::Waiting { path: path.clone() });
                (TargetKind::Archive(ArchiveWriter::create(path, entry_name, waits).await?), selector, None)
            }
        };
        Ok(Target { kind, selector, _lease: lease })
    }

    pub(crate) async fn lease(&self, name: &RepositoryName) -> Result<Lease> {
        let (store, name) = (self.writable_store()?.clone(), name.clone());
        Ok(blocking(move || store.lease(&name)).await?)
    }
}

/// The selector with which a manifest is written to a layout or archive. The name, if it is not a
/// valid tag, replaces the tag.
fn written_to(at: EntrySelector) -> (Selector, Option<String>) {
    let (name, digest) = match at {
        EntrySelector::Digest(digest) => return (Selector::Digest(digest), None),
        EntrySelector::Name(name) => (name, None),
        EntrySelector::Both(name, digest) => (name, Some(digest)),
    };
    let (tag, entry_name) = match name.parse() {
        Ok(tag) => (tag, None),
        Err(_) => (Tag::latest(), Some(name)),
    };
    (digest.map_or_else(|| Selector::Tag(tag.clone()), |digest| Selector::Both(tag.clone(), digest)), entry_name)
}

impl Opened {
    /// The name of a copy of it, if the destination gives none: its own name, or its digest if it
    /// has no name.
    pub(crate) fn name_of_copy(&self) -> EntrySelector {
        self.name.clone().map_or_else(|| EntrySelector::Digest(self.manifest.digest().clone()), EntrySelector::Name)
    }

    /// The name of an artifact that is made from it, if the destination gives none.
    pub(crate) fn name_of_successor(&self) -> EntrySelector {
        EntrySelector::Name(self.name.clone().unwrap_or_else(|| Tag::latest().to_string()))
    }

    /// The number of manifests that refer to it at its place, such as signatures and SBOMs; `None`
    /// if the place cannot answer quickly.
    pub(crate) async fn count_referrers(&self) -> Option<usize> {
        let digest = self.manifest.digest();
        match &self.referrers {
            Referrers::Remote(remote) => tokio::time::timeout(REFERRERS_PATIENCE, remote.count_referrers(digest)).await.ok()?.ok(),
            Referrers::Layout(layout) => layout.count_referrers(digest, self.name.as_deref()).await.ok(),
            Referrers::Archive(archive) => {
                let (archive, digest, name) = (archive.clone(), digest.clone(), self.name.clone());
                Some(blocking(move || archive.count_referrers(&digest, name.as_deref())).await)
            }
        }
    }

    /// Its repository, if it is in a registry. A registry can mount blobs from there.
    pub(crate) fn repository(&self) -> Option<&RepositoryName> {
        match &self.place {
            Place::Registry(reference) => Some(&reference.repository),
            _ => None,
        }
    }
}

impl Place {
    /// The result of using data that was read from here. If the error is damaged bytes and this
    /// place is the store, it becomes an error about the store.
    pub(crate) fn blame<T, E: Into<Error>>(&self, result: std::result::Result<T, E>) -> Result<T> {
        result.map_err(|error| match self {
            Self::Store(reference) => damage(reference, error.into()),
            _ => error.into(),
        })
    }
}

/// Converts an error from damaged bytes to an error that names the artifact of the store.
pub(crate) fn damage(reference: &Reference, error: Error) -> Error {
    match error {
        Error::Store(
            source @ (StoreError::Damaged { .. }
            | StoreError::WrongDigest { .. }
            | StoreError::WrongSize { .. }
            | StoreError::InvalidManifest { .. }),
        ) => Error::Damaged { reference: Box::new(reference.clone()), source },
        error => error,
    }
}

pub(crate) fn with_host(reference: &Reference) -> Result<&Reference> {
    match reference.repository.host() {
        Some(_) => Ok(reference),
        None => Err(InvalidPlace::NoRegistry(reference.clone()).into()),
    }
}

/// The image manifest of an artifact; an index is an error, since it lists several manifests.
pub(crate) fn image_of(manifest: &Manifest) -> Result<&ImageManifest> {
    manifest.image().ok_or_else(|| {
        let why = "it is an index; give the digest of one of its manifests".to_owned();
        Error::Store(StoreError::Invalid { what: format!("manifest {}", manifest.digest()), why })
    })
}

/// The artifact that the manifest describes.
pub(crate) fn artifact_of(manifest: &Manifest) -> Result<Artifact> {
    let invalid = |source| Error::Store(StoreError::InvalidPath { what: format!("manifest {}", manifest.digest()), source });
    Artifact::read(image_of(manifest)?).map_err(invalid)
}
