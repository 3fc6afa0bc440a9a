//! The cache of a node, which its mounts share: pulls artifacts into it before they are mounted, pins, lists and removes them.

use crate::{InvalidPlace, Modelpack, Place, Result, StoreError};
use modelpack_spec::{Digest, Reference, Selector, value::rfc3339};
use modelpack_store::{Cache, CacheSink, CacheUsage};
use modelpack_transfer::{blocking, copy};
use serde::Serialize;
use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The cache of a node: blobs by digest, which all mounts and pulls of the node share. [`Modelpack::cache`] makes it.
///
/// Nothing that is in use is ever removed, and neither are pinned artifacts. Everything else is removed when room is needed: first what was
/// not used for longest, and at the end what was pulled and not used yet.
#[derive(Clone)]
pub struct NodeCache {
    modelpack: Modelpack,
    directory: PathBuf,
    limit: Option<u64>,
}

/// An artifact that was pulled into the cache of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CachePulled {
    /// Its name, as it was pulled.
    pub reference: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The directory of the cache.
    #[serde(serialize_with = "modelpack_spec::json::path")]
    pub cache: PathBuf,
    /// The number of bytes of blobs that were moved.
    pub moved: u64,
    /// The number of bytes of blobs that were already present.
    pub present: u64,
    /// Whether it stays until it is unpinned.
    #[serde(rename = "pinned")]
    pub is_pinned: bool,
}

/// An artifact of the cache of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CachedModel {
    /// Its name, as it was pulled.
    pub reference: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The size of manifest, config and layers in bytes.
    pub size: u64,
    /// How many of these bytes are in the cache, in complete blobs.
    pub present: u64,
    /// Whether it stays until it is unpinned.
    #[serde(rename = "pinned")]
    pub is_pinned: bool,
    /// When it was pulled, in RFC 3339.
    pub pulled_at: String,
    /// When one of its blobs was last used, in RFC 3339; `None` if none was used since it was pulled.
    pub last_use: Option<String>,
}

/// The content of the cache of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CacheListing {
    /// The directory of the cache.
    #[serde(serialize_with = "modelpack_spec::json::path")]
    pub cache: PathBuf,
    /// The artifacts that were pulled, sorted by their references.
    pub artifacts: Vec<CachedModel>,
    /// The number of bytes that the cache uses on the disk, with those that are reserved, and those of blobs of no listed artifact.
    pub used: u64,
    /// The most bytes that it may use, if a limit was given.
    pub limit: Option<u64>,
}

/// An artifact that was removed from the cache of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CacheRemoved {
    /// Its name.
    pub reference: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The number of bytes that became free.
    pub freed: u64,
    /// The number of bytes of it that stay, because they are in use. They are removed like all that belongs to no listed artifact.
    pub in_use: u64,
}

impl Modelpack {
    /// The cache of the node in `directory`, which is created on the first pull. It may use at most `limit` bytes of the disk; `None` for
    /// no limit but the disk. All processes that use a cache should be given the same limit, because each enforces its own.
    ///
    /// ```no_run
    /// # async fn run(modelpack: modelpack::Modelpack) -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = modelpack.cache("/var/cache/modelpack", Some(100 << 30));
    /// let pulled = cache.pull(&"registry.example.com/team/tiny:v1".parse()?, false).await?;
    /// println!("{}: {} bytes moved", pulled.digest, pulled.moved);
    /// let listing = cache.list().await?;
    /// println!("{} artifacts, {} bytes", listing.artifacts.len(), listing.used);
    /// # Ok(())
    /// # }
    /// ```
    pub fn cache(&self, directory: impl Into<PathBuf>, limit: Option<u64>) -> NodeCache {
        NodeCache { modelpack: self.clone(), directory: directory.into(), limit }
    }
}

impl NodeCache {
    /// Fetches an artifact from its registry into the cache, with the credentials for that registry. What is there is not moved again.
    ///
    /// It stays as long as other things can be removed, until it is used for the first time; from then on it is removed like all else that
    /// was not used for longest. With `pin`, it stays until it is [unpinned](Self::unpin). It takes no room from artifacts that were pulled
    /// earlier and were not used yet: then it fails.
    pub async fn pull(&self, place: &Place, pin: bool) -> Result<CachePulled> {
        let reference = in_registry(place)?;
        let call = self.modelpack.one_call();
        // Whoever may not read the manifest gets nothing, even if all blobs are in the cache.
        let opened = self.modelpack.open(&Place::Registry(reference.clone())).await?;
        let (digest, options) = (opened.manifest.digest(), call.copy_options());
        let (directory, limit) = (self.directory.clone(), self.limit);
        let cache = blocking(move || Cache::open(&directory, limit)).await?;
        let directory = cache.directory().to_owned();
        let sink = CacheSink::new(cache, call.progress.clone());
        copy(opened.source.as_ref(), &opened.manifest, &sink, &Selector::Digest(digest.clone()), &options).await?;
        let artifact = sink.record(&reference.to_string(), digest, pin).await?;
        let counted = call.progress.snapshot();
        Ok(CachePulled {
            reference: artifact.reference,
            digest: artifact.digest,
            cache: directory,
            moved: counted.moved,
            present: counted.present(),
            is_pinned: artifact.is_pinned,
        })
    }

    /// Lets an artifact that was pulled stay until it is [unpinned](Self::unpin). What was removed of it before is not fetched:
    /// [`pull`](Self::pull) does that.
    pub async fn pin(&self, place: &Place) -> Result<CachedModel> {
        let reference = in_registry(place)?.to_string();
        Ok(self.existing(reference, |cache, reference| cache.pin(reference)).await?.into())
    }

    /// Lets a pinned artifact be removed when room is needed.
    pub async fn unpin(&self, place: &Place) -> Result<CachedModel> {
        let reference = in_registry(place)?.to_string();
        Ok(self.existing(reference, |cache, reference| cache.unpin(reference)).await?.into())
    }

    /// Removes an artifact that was pulled, pinned or not, from the list, and all its blobs that no other listed artifact needs and that
    /// are not in use.
    pub async fn remove(&self, place: &Place) -> Result<CacheRemoved> {
        let reference = in_registry(place)?.to_string();
        let removed = self.existing(reference, |cache, reference| cache.remove_artifact(reference)).await?;
        Ok(CacheRemoved { reference: removed.reference, digest: removed.digest, freed: removed.freed, in_use: removed.in_use })
    }

    /// Lists the artifacts that were pulled, and how much the cache uses. A cache that does not exist is empty.
    pub async fn list(&self) -> Result<CacheListing> {
        let (directory, limit) = (self.directory.clone(), self.limit);
        if !directory.is_dir() {
            return Ok(CacheListing { cache: directory, artifacts: Vec::new(), used: 0, limit });
        }
        let list = move || {
            let cache = Cache::open(&directory, limit)?;
            Ok::<_, StoreError>((cache.artifacts()?, cache.usage()?, cache.directory().to_owned()))
        };
        let (artifacts, CacheUsage { used, limit }, cache) = blocking(list).await?;
        Ok(CacheListing { cache, artifacts: artifacts.into_iter().map(CachedModel::from).collect(), used, limit })
    }

    /// Does something with an artifact of the cache, which is not created.
    async fn existing<T: Send + 'static>(
        &self,
        reference: String,
        work: impl FnOnce(&Cache, &str) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T> {
        let (directory, limit) = (self.directory.clone(), self.limit);
        let work = move || {
            if !directory.is_dir() {
                return Err(not_in(&reference, &directory));
            }
            work(&Cache::open(&directory, limit)?, &reference)
        };
        Ok(blocking(work).await?)
    }
}

impl From<modelpack_store::CachedArtifact> for CachedModel {
    fn from(artifact: modelpack_store::CachedArtifact) -> Self {
        Self {
            reference: artifact.reference,
            digest: artifact.digest,
            size: artifact.size,
            present: artifact.present,
            is_pinned: artifact.is_pinned,
            pulled_at: written(artifact.pulled_at),
            last_use: artifact.last_use.map(written),
        }
    }
}

fn written(time: SystemTime) -> String {
    rfc3339(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs())
}

fn not_in(reference: &str, directory: &Path) -> StoreError {
    StoreError::not_found(format!("{reference} in the cache {}", directory.display()))
}

/// The reference of an artifact in a registry; a bare reference means its registry.
fn in_registry(place: &Place) -> Result<Reference> {
    match place.clone().or_registry() {
        Place::Registry(reference) => Ok(reference),
        other => Err(InvalidPlace::NotARegistry(other.to_string()).into()),
    }
}
