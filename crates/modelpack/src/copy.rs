//! Copies an artifact from one place to another. Push and pull are special cases.

use crate::{Modelpack, Place, Result, open::Opened};
use modelpack_spec::Digest;
use modelpack_transfer::copy;

/// The result of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The source.
    pub from: Place,
    /// The destination.
    pub to: Place,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The number of manifests at the source that refer to the artifact and were not copied, such
    /// as signatures and SBOMs. `None` if the source could not answer quickly.
    pub referrers_left_behind: Option<usize>,
}

impl Modelpack {
    /// Copies an artifact with all blobs and manifests that it refers to. For `to`, a bare
    /// reference means its registry.
    ///
    /// A layout or archive that is written without a name gets the tag or name of the source.
    pub async fn copy(&self, from: &Place, to: &Place) -> Result<Copied> {
        let opened = self.open(from).await?;
        let target = self.target(to, opened.repository(), opened.name_of_copy()).await?;
        let copied = copy(opened.source.as_ref(), &opened.manifest, target.sink(), &target.selector, &self.copy_options()).await;
        opened.place.blame(copied)?;
        target.finish().await?;
        let digest = opened.manifest.digest().clone();
        Ok(opened.copied_to(to, digest).await)
    }

    /// Copies an artifact from its registry into the store, even if the store already has one with
    /// this name.
    pub async fn pull(&self, reference: &Place) -> Result<Copied> {
        let from = reference.clone().or_registry();
        let to = match &from {
            Place::Registry(reference) => Place::Store(reference.clone()),
            place => return Err(crate::InvalidPlace::NotARegistry(place.to_string()).into()),
        };
        self.copy(&from, &to).await
    }

    /// Copies an artifact from the store to its registry.
    pub async fn push(&self, reference: &Place) -> Result<Copied> {
        let from = reference.clone().or_store();
        let to = match &from {
            Place::Store(reference) => Place::Registry(reference.clone()),
            place => return Err(crate::InvalidPlace::NotStored(place.to_string()).into()),
        };
        self.copy(&from, &to).await
    }
}

impl Opened {
    /// The description of a complete copy at `to`.
    pub(crate) async fn copied_to(self, to: &Place, digest: Digest) -> Copied {
        let to = to.clone().or_registry();
        let referrers_left_behind = if self.place.is_beside(&to) { Some(0) } else { self.count_referrers().await };
        Copied { from: self.place, to, digest, referrers_left_behind }
    }
}
