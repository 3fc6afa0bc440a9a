//! Opening what a place names.

use crate::{Error, InvalidPlace, Modelpack, Place, Result, StoreError};
use modelpack_spec::{Artifact, ImageManifest, Manifest, Reference, RepositoryName, Selector};
use modelpack_store::{Archive, ArchiveWriter, Layout, Lease, Sink, Source, blocking};

/// A place that is read: its source, and the manifest that was asked for.
pub(crate) struct Opened {
    pub(crate) source: Box<dyn Source>,
    pub(crate) manifest: Manifest,
    /// The place, a bare reference resolved to where it was found.
    pub(crate) place: Place,
    /// The tag under which it was asked for, if any.
    pub(crate) selector: Selector,
    /// Keeps collection away as long as the source is read.
    _lease: Option<Lease>,
}

/// A place that is written.
pub(crate) struct Target {
    kind: TargetKind,
    /// Where the manifest goes; `None` if the place does not say.
    pub(crate) selector: Option<Selector>,
    _lease: Option<Lease>,
}

enum TargetKind {
    Sink(Box<dyn Sink>),
    Archive(ArchiveWriter),
}

impl Target {
    pub(crate) fn sink(&self) -> &dyn Sink {
        match &self.kind {
            TargetKind::Sink(sink) => sink.as_ref(),
            TargetKind::Archive(archive) => archive,
        }
    }

    /// Completes what is only visible as a whole.
    pub(crate) async fn finish(self) -> Result<()> {
        match self.kind {
            TargetKind::Sink(_) => Ok(()),
            TargetKind::Archive(archive) => Ok(archive.finish().await?),
        }
    }
}

impl Modelpack {
    /// Opens `place` to be read. A bare reference is looked for in the store, then in its registry.
    pub(crate) async fn open(&self, place: &Place) -> Result<Opened> {
        match place {
            Place::Registry(reference) => {
                let remote = self.client()?.repository(&with_host(reference)?.repository)?;
                let manifest = remote.manifest(&reference.selector).await?;
                Ok(Opened::new(remote, manifest, place.clone(), reference.selector.clone(), None))
            }
            Place::Store(reference) => {
                let repository = self.store().repository(&reference.repository);
                let this = repository.clone();
                let lease = blocking(move || this.lease_to_read()).await?;
                let manifest = repository.manifest(&reference.selector).await.map_err(|error| damage(reference, error.into()))?;
                Ok(Opened::new(repository, manifest, place.clone(), reference.selector.clone(), lease))
            }
            Place::Layout(path, at) => {
                let layout = Layout::at(path);
                let at = match at {
                    Some(at) => at.clone(),
                    None => layout.only().await?,
                };
                let manifest = layout.manifest(&at).await?;
                Ok(Opened::new(layout, manifest, place.clone(), at, None))
            }
            Place::Archive(path, at) => {
                let file = path.clone();
                let archive = blocking(move || Archive::open(&file)).await?;
                let at = match at {
                    Some(at) => at.clone(),
                    None => archive.only()?,
                };
                let manifest = archive.manifest(&at).await?;
                Ok(Opened::new(archive, manifest, place.clone(), at, None))
            }
            Place::Reference(reference) => match Box::pin(self.open(&Place::Store(reference.clone()))).await {
                Err(Error::Store(e)) if e.is_not_found() => {
                    if reference.repository.host().is_none() {
                        return Err(InvalidPlace::Unknown(reference.clone()).into());
                    }
                    Box::pin(self.open(&Place::Registry(reference.clone()))).await
                }
                opened => opened,
            },
        }
    }

    /// Opens `place` to be written; a bare reference is its registry. Blobs that `mount_from` holds in the same registry are mounted.
    pub(crate) async fn target(&self, place: &Place, mount_from: Option<&RepositoryName>) -> Result<Target> {
        let (kind, selector, lease) = match place {
            Place::Registry(reference) | Place::Reference(reference) => {
                let name = &with_host(reference)?.repository;
                let mut remote = self.client()?.repository(name)?;
                if let Some(other) = mount_from.filter(|other| other.host() == name.host() && *other != name) {
                    remote = remote.mounting_from(other);
                }
                (TargetKind::Sink(Box::new(remote)), Some(reference.selector.clone()), None)
            }
            Place::Store(reference) => {
                let lease = self.lease(&reference.repository).await?;
                let repository = self.writable_store()?.repository(&reference.repository);
                // An index that cannot be read is better met now than when all bytes have been moved.
                repository.layout().entry(&reference.selector).await?;
                (TargetKind::Sink(Box::new(repository)), Some(reference.selector.clone()), Some(lease))
            }
            Place::Layout(path, at) => {
                let layout = Layout::at(path);
                // What cannot be removed is in nobody's way.
                let _ = layout.remove_abandoned().await;
                (TargetKind::Sink(Box::new(layout)), at.clone(), None)
            }
            Place::Archive(path, at) => {
                let file = path.clone();
                let writer = blocking(move || ArchiveWriter::create(&file)).await?;
                (TargetKind::Archive(writer), at.clone(), None)
            }
        };
        Ok(Target { kind, selector, _lease: lease })
    }

    pub(crate) async fn lease(&self, name: &RepositoryName) -> Result<Lease> {
        let (store, name) = (self.writable_store()?.clone(), name.clone());
        Ok(blocking(move || store.lease(&name)).await?)
    }
}

impl Opened {
    fn new(source: impl Source + 'static, manifest: Manifest, place: Place, selector: Selector, lease: Option<Lease>) -> Self {
        Self { source: Box::new(source), manifest, place, selector, _lease: lease }
    }

    /// The repository of a registry that it is in, from which another may mount its blobs.
    pub(crate) fn repository(&self) -> Option<&RepositoryName> {
        match &self.place {
            Place::Registry(reference) => Some(&reference.repository),
            _ => None,
        }
    }
}

impl Place {
    /// The result of using what was read from here: if it is that bytes are damaged, and here is the store, then they are the store's.
    pub(crate) fn blame<T, E: Into<Error>>(&self, result: std::result::Result<T, E>) -> Result<T> {
        result.map_err(|error| match self {
            Self::Store(reference) => damage(reference, error.into()),
            _ => error.into(),
        })
    }
}

/// Says of an error that came of damaged bytes which artifact of the store has them.
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

/// The image manifest of one artifact; an index is refused, since it is several.
pub(crate) fn image_of(manifest: &Manifest) -> Result<&ImageManifest> {
    manifest.image().ok_or_else(|| {
        let why = "it is an index: name one of the manifests that it lists, by its digest".to_owned();
        Error::Store(StoreError::Invalid { what: format!("manifest {}", manifest.digest()), why })
    })
}

/// What the manifest of one artifact says of its files.
pub(crate) fn artifact_of(manifest: &Manifest) -> Result<Artifact> {
    let invalid = |source| Error::Store(StoreError::InvalidPath { what: format!("manifest {}", manifest.digest()), source });
    Artifact::read(image_of(manifest)?).map_err(invalid)
}
