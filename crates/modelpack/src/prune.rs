//! Removing from the local store what no artifact needs.

use crate::{BrokenRepository, Modelpack, Result};
use modelpack_spec::{Digest, RepositoryName};
use modelpack_store::{Store, Untagged};
use modelpack_transfer::blocking;
use serde::Serialize;
use std::path::PathBuf;

/// How the store is pruned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PruneOptions {
    /// Whether nothing is removed, and it is only said what would be.
    pub dry_run: bool,
}

impl PruneOptions {
    /// Whether nothing is removed, and it is only said what would be.
    pub fn dry_run(self, dry_run: bool) -> Self {
        Self { dry_run }
    }
}

/// What was removed, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Pruned {
    /// Whether it was only looked for.
    pub dry_run: bool,
    /// How many bytes are free that were not, or would be.
    pub bytes: u64,
    /// Blobs, sorted by digest.
    pub blobs: Vec<RemovedBlob>,
    /// Files of writers that are gone.
    pub abandoned: Vec<RemovedFile>,
    /// Repositories in which nothing is left.
    pub repositories: Vec<RepositoryName>,
    /// Repositories that were in use, of which everything was kept.
    pub busy: Vec<RepositoryName>,
    /// Repositories that could not be read, of which everything was kept, because nobody knows what they need.
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
    /// Its path on this machine.
    #[serde(serialize_with = "modelpack_spec::json::path")]
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
}

impl Modelpack {
    /// Removes what no manifest of the store needs. What others write to at the same time is kept, and so is what cannot be read.
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
        // What dead writers left is for it to remove and to report.
        let open = move || if dry_run { Ok(Store::open_existing(&root, Untagged::Drop)) } else { Store::open(&root, Untagged::Drop) };
        let pruned = blocking(move || open()?.prune(dry_run)).await?;
        Ok(Pruned {
            dry_run,
            bytes: pruned.bytes(),
            blobs: pruned.blobs.into_iter().map(RemovedBlob::from).collect(),
            abandoned: pruned.abandoned.into_iter().map(|(path, size)| RemovedFile { path, size }).collect(),
            repositories: pruned.repositories,
            busy: pruned.busy,
            broken: pruned.broken,
        })
    }
}
