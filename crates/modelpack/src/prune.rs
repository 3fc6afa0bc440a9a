//! Removes blobs that no artifact needs from the local store.

use crate::{BrokenRepository, Modelpack, Result, StoreError};
use modelpack_spec::{Digest, RepositoryName};
use modelpack_store::{Store, Untagged};
use modelpack_transfer::blocking;
use serde::Serialize;
use std::{path::PathBuf, time::Duration};

/// Options for pruning the store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PruneOptions {
    /// Whether files are only reported and not removed.
    pub dry_run: bool,
    /// For how long the incomplete blobs of interrupted transfers are kept after the last write.
    pub partial_age: Duration,
    /// How many bytes the kept incomplete blobs may have together; the oldest are removed first.
    /// `None` for any number.
    pub partial_quota: Option<u64>,
}

impl Default for PruneOptions {
    /// Removes files. Incomplete blobs are kept for seven days.
    fn default() -> Self {
        Self { dry_run: false, partial_age: Duration::from_secs(7 * 24 * 3600), partial_quota: None }
    }
}

impl PruneOptions {
    /// Sets whether files are only reported and not removed.
    pub fn dry_run(self, dry_run: bool) -> Self {
        Self { dry_run, ..self }
    }

    /// Sets for how long incomplete blobs are kept after the last write.
    pub fn partial_age(self, partial_age: Duration) -> Self {
        Self { partial_age, ..self }
    }

    /// Sets how many bytes the kept incomplete blobs may have together.
    pub fn partial_quota(self, partial_quota: Option<u64>) -> Self {
        Self { partial_quota, ..self }
    }
}

/// The removed files; in a dry run, the files that would be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Pruned {
    /// Whether this was a dry run.
    pub dry_run: bool,
    /// The number of bytes that became free, or would become free.
    pub bytes: u64,
    /// Blobs, sorted by digest.
    pub blobs: Vec<RemovedBlob>,
    /// Incomplete blobs of interrupted transfers.
    pub partial: Vec<RemovedFile>,
    /// Temporary files of writers that no longer run.
    pub abandoned: Vec<RemovedFile>,
    /// Repositories that are empty now.
    pub repositories: Vec<RepositoryName>,
    /// Repositories that were in use. Nothing of them was removed.
    pub busy: Vec<RepositoryName>,
    /// Repositories that could not be read. Nothing of them was removed, because the blobs that
    /// they need are unknown.
    pub broken: Vec<BrokenRepository>,
}

/// A blob that was removed from the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RemovedBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

impl From<(Digest, u64)> for RemovedBlob {
    fn from((digest, size): (Digest, u64)) -> Self {
        Self { digest, size }
    }
}

/// A file that was removed from the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RemovedFile {
    /// Its local path.
    #[serde(serialize_with = "modelpack_spec::json::path")]
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
}

impl Modelpack {
    /// Removes files that no manifest of the store needs. Repositories that other processes write
    /// to, or that cannot be read, are kept.
    ///
    /// ```
    /// # use modelpack::{Modelpack, Options, PackRequest, PruneOptions};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// # std::fs::write(scratch.path().join("README.md"), "# Tiny")?;
    /// # let modelpack = Modelpack::new(Options::new(scratch.path().join("store")));
    /// # modelpack.pack(&PackRequest::new(scratch.path()), &"tiny:v1".parse()?).await?;
    /// modelpack.remove(&"tiny:v1".parse()?).await?;
    /// let dry = modelpack.prune(&PruneOptions::default().dry_run(true)).await?;
    /// let pruned = modelpack.prune(&PruneOptions::default()).await?;
    /// assert_eq!((pruned.blobs.len(), dry.bytes), (3, pruned.bytes), "manifest, config and file");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn prune(&self, options: &PruneOptions) -> Result<Pruned> {
        let (root, dry_run) = (self.options.store.clone(), options.dry_run);
        // This operation removes and reports the files that dead writers left.
        let open = move || if dry_run { Store::open_existing(&root, Untagged::Drop) } else { Store::open(&root, Untagged::Drop) };
        let (age, quota) = (options.partial_age, options.partial_quota);
        let prune = move || {
            let store = open()?;
            // These need not be collected with the blobs: nothing refers to them.
            let partial = store.prune_partials(dry_run, age, quota)?;
            Ok::<_, StoreError>((store.prune(dry_run)?, partial))
        };
        let (pruned, partial) = blocking(prune).await?;
        Ok(Pruned {
            dry_run,
            bytes: pruned.bytes() + partial.iter().map(|(_, size)| size).sum::<u64>(),
            partial: partial.into_iter().map(|(path, size)| RemovedFile { path, size }).collect(),
            blobs: pruned.blobs.into_iter().map(RemovedBlob::from).collect(),
            abandoned: pruned.abandoned.into_iter().map(|(path, size)| RemovedFile { path, size }).collect(),
            repositories: pruned.repositories,
            busy: pruned.busy,
            broken: pruned.broken,
        })
    }
}
