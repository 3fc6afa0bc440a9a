//! Repairs the local store: one artifact from its registry, or the whole store without a registry.

use crate::{
    BrokenRepository, Modelpack, Place, RemovedBlob, Result, StoreError,
    open::{damage, with_host},
    store::in_store,
};
use async_trait::async_trait;
use modelpack_distribution::client::RemoteRepository;
use modelpack_spec::{Descriptor, Digest, Manifest, Reference, Selector};
use modelpack_store::{RepairedRepository, Repository};
use modelpack_transfer::{Begin, Body, Sink, Source, blocking, copy};
use serde::Serialize;
use std::{
    ops::Range,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// An artifact of the store in which each blob matches its digest.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RepairedArtifact {
    /// The digest of the manifest.
    pub digest: Digest,
    /// The number of blobs that were read.
    pub blobs: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// The blobs and manifests that were damaged or missing, and were fetched from the registry.
    pub fetched: Vec<Descriptor>,
    /// The repairs of its repository, if the index was unreadable.
    pub repository: Option<RepairedRepository>,
}

/// The result of a repair of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RepairedStore {
    /// The number of blobs that were read.
    pub blobs: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// Removed blobs, sorted by digest: their bytes did not match their digests, or they were not
    /// files.
    pub removed: Vec<RemovedBlob>,
    /// The new paths of directories that had the names of blobs and were not empty.
    #[serde(serialize_with = "modelpack_spec::json::paths")]
    pub moved_aside: Vec<PathBuf>,
    /// Blobs that could not be read for lack of permission, or could not be removed, sorted by
    /// digest.
    pub unrepaired: Vec<UnrepairedBlob>,
    /// Repositories with repairs or missing manifests, sorted by name.
    pub repositories: Vec<RepairedRepository>,
    /// Repositories that could not be repaired.
    pub broken: Vec<BrokenRepository>,
}

/// A blob that could not be read or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct UnrepairedBlob {
    /// Its digest.
    pub digest: Digest,
    /// The reason.
    #[serde(rename = "reason")]
    pub why: String,
}

impl Modelpack {
    /// Reads every blob of an artifact in the store. Damaged or missing blobs are fetched from the
    /// registry of the reference.
    ///
    /// ```
    /// # use modelpack::{Modelpack, Options, PackRequest};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// # std::fs::write(scratch.path().join("README.md"), "# Tiny")?;
    /// # let modelpack = Modelpack::new(Options::new(scratch.path().join("store")));
    /// # modelpack.pack(&PackRequest::new(scratch.path()), &"registry.example.com/tiny:v1".parse()?).await?;
    /// let repaired = modelpack.repair(&"registry.example.com/tiny:v1".parse()?).await?;
    /// assert!(repaired.fetched.is_empty(), "nothing was damaged");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn repair(&self, place: &Place) -> Result<RepairedArtifact> {
        let reference = in_store(place)?;
        let repository = self.writable_store()?.repository(&reference.repository).with_progress(self.progress.clone());
        if !repository.exists() {
            return Err(StoreError::not_found(reference.to_string()).into());
        }
        let _lease = self.lease(&reference.repository).await?;
        let (entry, repaired) = match repository.layout().entry(&reference.selector).await {
            Err(StoreError::Damaged { .. }) => {
                let this = repository.clone();
                let repaired = blocking(move || this.repair()).await?;
                (repository.layout().entry(&reference.selector).await?, repaired)
            }
            entry => (entry?, None),
        };
        let at = match (&entry, &repaired) {
            (Some(entry), _) => Selector::Digest(entry.digest.clone()),
            // The tag may have been lost with the index.
            (None, Some(_)) => reference.selector.clone(),
            (None, None) => return Err(StoreError::not_found(reference.to_string()).into()),
        };
        let remote = match reference.repository.host() {
            Some(_) => Some(self.client()?.repository(&with_host(reference)?.repository)?),
            None => None,
        };
        let mending = Mending { reference, local: &repository, remote, counted: Mutex::default() };
        let manifest = match mending.manifest(&at).await {
            // The digest in the index may be wrong. Then the registry knows only the tag.
            Err(error) if error.is_not_found() && at != reference.selector => mending.manifest_of_tag(&at).await,
            found => found,
        };
        let manifest = manifest.map_err(|error| damage(reference, error.into()))?;
        let copied = copy(&mending, &manifest, &mending, &reference.selector, &self.copy_options()).await;
        copied.map_err(|error| damage(reference, error.into()))?;
        let Counted { blobs, bytes, fetched } = mending.counted.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(RepairedArtifact { digest: manifest.digest().clone(), blobs, bytes, fetched, repository: repaired })
    }

    /// Reads every blob of the store and removes damaged blobs, and the entries that depend on
    /// them. Fetches nothing.
    ///
    /// ```
    /// # use modelpack::{Modelpack, Options, PackRequest};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// # std::fs::write(scratch.path().join("README.md"), "# Tiny")?;
    /// # let modelpack = Modelpack::new(Options::new(scratch.path().join("store")));
    /// # modelpack.pack(&PackRequest::new(scratch.path()), &"tiny:v1".parse()?).await?;
    /// let repaired = modelpack.repair_store().await?;
    /// assert_eq!((repaired.blobs, repaired.removed.len()), (3, 0), "manifest, config and file");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn repair_store(&self) -> Result<RepairedStore> {
        let repaired = self.writable_store()?.repair(&self.copy_options()).await?;
        Ok(RepairedStore {
            blobs: repaired.blobs,
            bytes: repaired.bytes,
            removed: repaired.removed.into_iter().map(RemovedBlob::from).collect(),
            moved_aside: repaired.moved_aside,
            unrepaired: repaired.unrepaired.into_iter().map(|(digest, why)| UnrepairedBlob { digest, why }).collect(),
            repositories: repaired.repositories,
            broken: repaired.broken,
        })
    }
}

/// The local artifact, both as a sink that receives damaged blobs, and as a source that reads from
/// the registry.
struct Mending<'a> {
    reference: &'a Reference,
    local: &'a Repository,
    /// `None` if the reference has no registry.
    remote: Option<RemoteRepository>,
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    blobs: usize,
    bytes: u64,
    fetched: Vec<Descriptor>,
}

impl Mending<'_> {
    fn count(&self, count: impl FnOnce(&mut Counted)) {
        count(&mut self.counted.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The manifest of the tag in the registry. It is used if the index has the digest `absent`,
    /// which neither side has.
    async fn manifest_of_tag(&self, absent: &Selector) -> Result<Manifest, StoreError> {
        match &self.remote {
            Some(remote) => remote.manifest(&self.reference.selector).await,
            None => {
                let why = format!("its index refers to the manifest {absent}, which is missing");
                Err(StoreError::Damaged { repository: self.local.name().to_string(), why })
            }
        }
    }

    /// Writes a blob that is damaged or missing, even if the store lists it as present.
    async fn begin_damaged(&self, blob: &Descriptor) -> Result<Begin, StoreError> {
        if self.local.is_intact(blob).await? {
            return self.local.begin(Some(blob)).await;
        }
        if self.remote.is_none() {
            let why = format!("blob {} does not match its digest, or is missing", blob.digest);
            return Err(StoreError::Damaged { repository: self.local.name().to_string(), why });
        }
        self.count(|counted| counted.fetched.push(blob.clone()));
        Ok(Begin::Upload(Box::new(self.local.begin_upload(blob.digest.algorithm()).await?)))
    }
}

#[async_trait]
impl Source for Mending<'_> {
    async fn manifest(&self, at: &Selector) -> Result<Manifest, StoreError> {
        use StoreError::{Damaged, InvalidManifest, NotFound, WrongDigest};
        match (self.local.manifest(at).await, &self.remote) {
            (Err(Damaged { .. } | InvalidManifest { .. } | NotFound { .. } | WrongDigest { .. }), Some(remote)) => {
                remote.manifest(at).await
            }
            (found, _) => found,
        }
    }

    async fn blob(&self, blob: &Descriptor, range: Range<u64>) -> Result<Body, StoreError> {
        match &self.remote {
            Some(remote) => remote.blob(blob, range).await,
            None => self.local.blob(blob, range).await,
        }
    }
}

#[async_trait]
impl Sink for Mending<'_> {
    fn wants_digest(&self) -> bool {
        false
    }

    async fn begin(&self, blob: Option<&Descriptor>) -> Result<Begin, StoreError> {
        let blob = blob.expect("a copy gives the descriptor of every blob");
        self.count(|counted| {
            counted.blobs += 1;
            counted.bytes += blob.size;
        });
        self.begin_damaged(blob).await
    }

    async fn put_manifest(&self, at: &Selector, manifest: &Manifest) -> Result<(), StoreError> {
        // The manifest's bytes are restored, and the entries that refer to it are unchanged.
        let blob = manifest.descriptor();
        if let Begin::Upload(mut upload) = self.begin_damaged(&blob).await? {
            upload.write(Body::from_bytes(manifest.bytes().to_vec())).await?;
            upload.commit(Some(&blob)).await?;
        }
        let is_asked_for = *at == self.reference.selector;
        let is_lost = is_asked_for && self.local.layout().entry(at).await?.is_none_or(|entry| entry.digest != *manifest.digest());
        if is_lost { self.local.put_manifest(at, manifest).await } else { Ok(()) }
    }
}
