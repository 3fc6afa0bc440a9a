//! Copies an artifact from one place to another. Push and pull are special cases.

use crate::{Modelpack, Place, Result, open::Opened};
use modelpack_spec::Digest;
use modelpack_transfer::{Snapshot, copy};
use serde::Serialize;

/// The result of a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Copied {
    /// The source.
    pub from: Place,
    /// The destination.
    pub to: Place,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The number of bytes of blobs that were moved.
    pub moved: u64,
    /// The number of bytes of blobs that were already present.
    pub present: u64,
    /// The number of manifests at the source that refer to the artifact and were not copied, such
    /// as signatures and SBOMs. `None` if the source could not answer quickly.
    pub referrers_left_behind: Option<usize>,
}

impl Modelpack {
    /// Copies an artifact with all blobs and manifests that it refers to. For `to`, a bare
    /// reference means its registry.
    ///
    /// A layout or archive that is written without a name gets the tag or name of the source.
    ///
    /// ```
    /// # use modelpack::{Modelpack, Options, PackRequest};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// # std::fs::write(scratch.path().join("README.md"), "# Tiny")?;
    /// # let modelpack = Modelpack::new(Options::new(scratch.path().join("store")));
    /// # modelpack.pack(&PackRequest::new(scratch.path()), &"tiny:v1".parse()?).await?;
    /// let layout = format!("oci:{}:v1", scratch.path().join("layout").display());
    /// let copied = modelpack.copy(&"store:tiny:v1".parse()?, &layout.parse()?).await?;
    /// assert!(copied.moved > 0 && copied.present == 0);
    /// // A second copy moves no bytes.
    /// assert_eq!(modelpack.copy(&"store:tiny:v1".parse()?, &layout.parse()?).await?.moved, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn copy(&self, from: &Place, to: &Place) -> Result<Copied> {
        let call = self.one_call();
        let opened = self.open(from).await?;
        let target = self.target(to, opened.repository(), opened.name_of_copy()).await?;
        let copied = copy(opened.source.as_ref(), &opened.manifest, target.sink(), &target.selector, &call.copy_options()).await;
        opened.place.blame(copied)?;
        target.finish().await?;
        let digest = opened.manifest.digest().clone();
        Ok(opened.copied_to(to, digest, call.progress.snapshot()).await)
    }

    /// Copies an artifact from its registry into the store, even if the store already has one with
    /// this name.
    ///
    /// ```no_run
    /// # async fn run(modelpack: modelpack::Modelpack) -> Result<(), Box<dyn std::error::Error>> {
    /// let pulled = modelpack.pull(&"registry.example.com/team/tiny:v1".parse()?).await?;
    /// println!("{} is in the store, {} bytes moved", pulled.digest, pulled.moved);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn pull(&self, reference: &Place) -> Result<Copied> {
        let from = reference.clone().or_registry();
        let to = match &from {
            Place::Registry(reference) => Place::Store(reference.clone()),
            place => return Err(crate::InvalidPlace::NotARegistry(place.to_string()).into()),
        };
        self.copy(&from, &to).await
    }

    /// Copies an artifact from the store to its registry.
    ///
    /// ```no_run
    /// # async fn run(modelpack: modelpack::Modelpack) -> Result<(), Box<dyn std::error::Error>> {
    /// let pushed = modelpack.push(&"registry.example.com/team/tiny:v1".parse()?).await?;
    /// println!("{} is in the registry, {} bytes were already present", pushed.digest, pushed.present);
    /// # Ok(())
    /// # }
    /// ```
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
    pub(crate) async fn copied_to(self, to: &Place, digest: Digest, counted: Snapshot) -> Copied {
        let to = to.clone().or_registry();
        let referrers_left_behind = if self.place.is_beside(&to) { Some(0) } else { self.count_referrers().await };
        Copied { from: self.place, to, digest, moved: counted.moved, present: counted.present(), referrers_left_behind }
    }
}
