//! Copies an artifact from one place to another. Push and pull are special cases.

use crate::{
    Modelpack, Place, Result, StoreError,
    open::{Opened, Target},
};
use modelpack_spec::{Descriptor, Digest, Selector};
use modelpack_transfer::{CopyOptions, Referrers, Snapshot, copy};
use serde::Serialize;

/// The result of a copy.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    /// The manifests that refer to the artifact and were copied too, such as signatures and SBOMs.
    /// The descriptors have no annotations.
    pub referrers: Vec<Descriptor>,
    /// The number of manifests at the source that refer to the artifact and were not copied. `None`
    /// if the source could not answer quickly.
    pub referrers_left_behind: Option<usize>,
}

/// When a copy takes along what refers to the artifact, such as signatures, attestations and SBOMs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyReferrers {
    /// To a layout or archive, so that it has all that belongs to the artifact.
    #[default]
    ToLayouts,
    /// To any destination.
    Always,
    /// To none.
    Never,
}

impl CopyReferrers {
    fn applies_to(self, to: &Place) -> bool {
        match self {
            Self::ToLayouts => matches!(to, Place::Layout(..) | Place::Archive(..)),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

impl Modelpack {
    /// Copies an artifact with all blobs and manifests that it refers to. For `to`, a bare
    /// reference means its registry.
    ///
    /// A layout or archive that is written without a name gets the tag or name of the source, and
    /// what refers to the artifact ([`CopyReferrers`]).
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
        self.copy_with(from, to, CopyReferrers::default()).await
    }

    /// Copies an artifact like [`copy`](Self::copy), and what refers to it as `referrers` says.
    ///
    /// What refers to it are the manifests with the artifact as `subject`, those with the tags of
    /// cosign, and in turn those that refer to these or to the manifests of an index. They are
    /// found before anything is written. The tag of the artifact is set when they are there; only
    /// in the store it is set first.
    ///
    /// ```no_run
    /// # use modelpack::CopyReferrers;
    /// # async fn run(modelpack: modelpack::Modelpack) -> Result<(), Box<dyn std::error::Error>> {
    /// let (from, to) = ("docker://registry.example.com/team/tiny:v1", "docker://other.example.com/team/tiny:v1");
    /// let copied = modelpack.copy_with(&from.parse()?, &to.parse()?, CopyReferrers::Always).await?;
    /// println!("{} with {} signatures and the like", copied.digest, copied.referrers.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn copy_with(&self, from: &Place, to: &Place, referrers: CopyReferrers) -> Result<Copied> {
        let call = self.one_call();
        let opened = self.open(from).await?;
        let options = call.copy_options();
        // What is copied within one repository finds its referrers there.
        let referrers = if referrers.applies_to(to) && !opened.place.is_beside(&to.clone().or_registry()) {
            let found = Referrers::find(opened.source.as_ref(), &opened.manifest, &options).await;
            Some(opened.place.blame(found)?)
        } else {
            None
        };
        let target = self.target(to, opened.repository(), opened.name_of_copy()).await?;
        let copied = opened.copy_to(&target, referrers, &options).await;
        let copied = opened.place.blame(copied)?;
        target.finish().await?;
        let digest = opened.manifest.digest().clone();
        Ok(opened.copied_to(to, digest, call.progress.snapshot(), copied).await)
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
    /// Copies it to `target`, with what refers to it, if that is given. Returns what of that was
    /// copied.
    async fn copy_to(
        &self,
        target: &Target,
        referrers: Option<Referrers<'_>>,
        options: &CopyOptions,
    ) -> Result<Option<Vec<Descriptor>>, StoreError> {
        let (source, manifest, sink) = (self.source.as_ref(), &self.manifest, target.sink());
        // Who finds the artifact by its tag finds its signatures. The store would keep a manifest
        // that was written by its digest when its tag moves, so there the tag comes first.
        let tag_is_last = referrers.as_ref().is_some_and(|referrers| !referrers.is_empty()) && !target.is_store();
        let by_digest = Selector::Digest(target.selector.digest().unwrap_or(manifest.digest()).clone());
        copy(source, manifest, sink, if tag_is_last { &by_digest } else { &target.selector }, options).await?;
        let copied = match referrers {
            Some(referrers) => Some(referrers.copy(sink).await?),
            None => None,
        };
        if tag_is_last {
            sink.put_manifest(&target.selector, manifest).await?;
        }
        Ok(copied)
    }

    /// The description of a complete copy at `to`. `referrers` are what was copied beside it; `None`
    /// if nothing was to be copied.
    pub(crate) async fn copied_to(self, to: &Place, digest: Digest, counted: Snapshot, referrers: Option<Vec<Descriptor>>) -> Copied {
        let to = to.clone().or_registry();
        let are_there = referrers.is_some() || self.place.is_beside(&to);
        let referrers_left_behind = if are_there { Some(0) } else { self.count_referrers().await };
        let (moved, present, referrers) = (counted.moved, counted.present(), referrers.unwrap_or_default());
        Copied { from: self.place, to, digest, moved, present, referrers, referrers_left_behind }
    }
}
