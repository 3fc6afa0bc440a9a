//! Copying an artifact from one place to another: push and pull are two cases of it.

use crate::{Modelpack, Place, Result};
use modelpack_spec::{Digest, Selector};
use modelpack_store::copy;

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Where it came from.
    pub from: Place,
    /// Where it is.
    pub to: Place,
    /// The digest of its manifest.
    pub digest: Digest,
}

impl Modelpack {
    /// Copies an artifact with everything it names; a bare reference at the end means its registry.
    ///
    /// A layout or archive that is written without a tag gets the tag that was read.
    pub async fn copy(&self, from: &Place, to: &Place) -> Result<Copied> {
        let opened = self.open(from).await?;
        let target = self.target(to, opened.repository()).await?;
        let digest = opened.manifest.digest().clone();
        let at = target.selector.clone().unwrap_or_else(|| match opened.selector.tag() {
            Some(tag) => Selector::Tag(tag.clone()),
            None => Selector::Digest(digest.clone()),
        });
        opened.place.blame(copy(opened.source.as_ref(), &opened.manifest, target.sink(), &at, &self.copy_options()).await)?;
        target.finish().await?;
        Ok(Copied { from: opened.place, to: to.clone().or_registry(), digest })
    }

    /// Copies an artifact from its registry into the store, whatever the store holds already.
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
