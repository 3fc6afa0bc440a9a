//! The lists of hash states of an artifact, kept in a registry: blobs of a manifest whose subject is the artifact.

use super::RemoteRepository;
use modelpack_spec::{Digest, HashStates, Manifest, Selector, hash_states_manifest, media_type};
use modelpack_transfer::{Result, Sink, put_bytes};
use tracing::{debug, info};

/// When the lists of hash states of an artifact are kept in a registry beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepHashStates {
    /// If the registry has the referrers API. Otherwise each artifact would get another tag. A failure is no error, because nothing
    /// depends on the lists.
    #[default]
    IfListed,
    /// Always. A registry without the referrers API gets the tag that replaces it.
    Always,
    /// Never.
    Never,
}

impl RemoteRepository {
    /// Keeps the lists of hash states of `artifact`, which is in this repository.
    pub(super) async fn keep_hash_states(&self, artifact: &Manifest, lists: &[HashStates]) -> Result<()> {
        let manifest = hash_states_manifest(artifact, lists);
        match self.hash_states {
            KeepHashStates::Never => Ok(()),
            KeepHashStates::Always => self.put_lists(&manifest, lists, true).await,
            KeepHashStates::IfListed => {
                let kept = self.put_if_listed(artifact.digest(), &manifest, lists).await;
                kept.or_else(|error| {
                    info!(%error, "the registry does not keep the hash states");
                    Ok(())
                })
            }
        }
    }

    async fn put_if_listed(&self, artifact: &Digest, manifest: &Manifest, lists: &[HashStates]) -> Result<()> {
        match self.referrers_by_api(artifact).await? {
            None => {
                debug!("the registry has no referrers API, so no hash states are kept");
                Ok(())
            }
            Some(listed) if listed.iter().any(|listed| listed.digest == *manifest.digest()) => Ok(()),
            Some(_) => self.put_lists(manifest, lists, false).await,
        }
    }

    async fn put_lists(&self, manifest: &Manifest, lists: &[HashStates], with_tag: bool) -> Result<()> {
        for list in lists {
            put_bytes(self, media_type::HASH_STATES, list.bytes().to_vec()).await?;
        }
        put_bytes(self, media_type::EMPTY, media_type::EMPTY_BYTES.to_vec()).await?;
        let at = Selector::Digest(manifest.digest().clone());
        if with_tag { self.put_manifest(&at, manifest).await } else { self.send_manifest(&at, manifest).await.map(drop) }
    }
}
