//! Mounting models as directories.

use crate::{
    Modelpack, Place, Result, StoreError,
    open::{Opened, artifact_of},
};
use modelpack_mount::{Model, Mounted, Mounts, MountsOptions};
use modelpack_spec::Digest;
use modelpack_store::Cache;
use serde::Serialize;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

pub use modelpack_mount::Unmount;
pub use modelpack_transfer::Unverified;

/// A reader gets an error if nothing arrives for so long of what it waits for, if nothing else is said.
pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(30);

/// Options for mounting models.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MountOptions {
    /// The directory of the node's cache, which is created if it does not exist.
    pub cache: PathBuf,
    /// The most bytes that the cache may have on the disk; `None` for no limit.
    pub cache_size: Option<u64>,
    /// What readers may see of layers that name no list of hash states before all of the layer is verified.
    pub unverified: Unverified,
    /// A reader gets an error if nothing arrives for so long of what it waits for.
    pub patience: Duration,
}

impl MountOptions {
    /// Keeps what arrives in this directory, without a limit, and shows nothing that is not verified.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self { cache: cache.into(), cache_size: None, unverified: Unverified::default(), patience: DEFAULT_PATIENCE }
    }

    /// Sets the most bytes that the cache may have on the disk.
    pub fn cache_size(self, cache_size: Option<u64>) -> Self {
        Self { cache_size, ..self }
    }

    /// Sets what readers may see of layers without a list of hash states before all of the layer is verified.
    pub fn unverified(self, unverified: Unverified) -> Self {
        Self { unverified, ..self }
    }

    /// Sets for how long nothing may arrive before a reader gets an error.
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }
}

/// Mounts models. What arrives for one of them is there for all. Clones are the same.
#[derive(Clone)]
pub struct Mounter {
    modelpack: Modelpack,
    mounts: Mounts,
}

/// A model that is mounted. It is unmounted if this is dropped.
pub struct MountedModel {
    mounted: Mounted,
    description: MountDescription,
    /// Keeps the artifact in the store.
    _opened: Opened,
}

/// What is mounted where.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct MountDescription {
    /// The place of the model. A bare reference is resolved to the place where it was found.
    pub source: Place,
    /// The digest of its manifest. The mount shows this artifact for ever, also if a tag moves.
    pub digest: Digest,
    /// The directory.
    #[serde(serialize_with = "modelpack_spec::json::path")]
    pub directory: PathBuf,
}

impl Modelpack {
    /// Opens the node's cache, and mounts nothing yet. To be called in a runtime, whose threads fetch the models.
    pub fn mounter(&self, options: &MountOptions) -> Result<Mounter> {
        let mounts = Mounts::new(MountsOptions {
            cache: Cache::open(&options.cache, options.cache_size)?,
            connections: self.connections.clone(),
            progress: self.progress.clone(),
            unverified: options.unverified,
            patience: options.patience,
        });
        Ok(Mounter { modelpack: self.clone(), mounts })
    }
}

impl Mounter {
    /// Mounts the artifact at `place` as the existing directory `directory`, for reading. It can be used at once, while its bytes arrive.
    ///
    /// The manifest is read with the credentials of this caller, also if all of the model is in the cache.
    pub async fn mount(&self, place: &Place, directory: &Path) -> Result<MountedModel> {
        let opened = self.modelpack.open(place).await?;
        let artifact = artifact_of(&opened.manifest)?;
        let digest = opened.manifest.digest().clone();
        let model = Model {
            name: name(&opened.place, &digest),
            digest: digest.clone(),
            artifact,
            source: opened.source.clone(),
            in_place: matches!(opened.place, Place::Store(_)),
        };
        let mounted = self.mounts.mount(model, directory).await?;
        let description = MountDescription { source: opened.place.clone(), digest, directory: mounted.directory().to_owned() };
        Ok(MountedModel { mounted, description, _opened: opened })
    }
}

/// The name of the place, with the digest.
fn name(place: &Place, digest: &Digest) -> String {
    let name = place.to_string();
    if name.contains('@') { name } else { format!("{name}@{digest}") }
}

impl MountedModel {
    /// What is mounted where.
    pub fn description(&self) -> &MountDescription {
        &self.description
    }

    /// Waits until somebody has unmounted it.
    pub async fn ended(&self) {
        self.mounted.ended().await;
    }
}

/// A model that the system lists as mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ListedMount {
    /// The directory.
    #[serde(serialize_with = "modelpack_spec::json::path")]
    pub directory: PathBuf,
    /// The place of the model, with the digest of its manifest.
    pub source: String,
}

/// The models that this process sees as mounted, by whichever process, in the order of mounting; blocks.
pub fn mounts() -> Result<Vec<ListedMount>> {
    let mounted = modelpack_mount::mounted_models().map_err(StoreError::io("read", "the table of mounts"))?;
    Ok(mounted.into_iter().map(|modelpack_mount::MountedModel { directory, name }| ListedMount { directory, source: name }).collect())
}

/// Unmounts the model at `directory`, whichever process mounted it; blocks.
pub fn unmount(directory: &Path, how: Unmount) -> Result<()> {
    Ok(modelpack_mount::unmount(directory, how)?)
}
