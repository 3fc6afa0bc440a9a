//! The differences between two artifacts, or between files that are not packed yet.

mod compare;

pub use compare::{Aspect, Diff, DiffSize, LayerChange, ValueChange};

use crate::{
    Model, Modelpack, Result,
    inspect::config_contents,
    model::Digests,
    open::{artifact_of, image_of},
};
use compare::{Side, compare};

impl Modelpack {
    /// Compares two artifacts, or the artifacts that files would be packed to. For artifacts, only
    /// manifest and config are read, no layers. Files that are not packed yet are hashed, unless
    /// the digest cache knows them.
    pub async fn diff(&self, a: &Model, b: &Model) -> Result<Diff> {
        let (a, b) = (self.side(a).await?, self.side(b).await?);
        Ok(compare(a, b))
    }

    async fn side(&self, side: &Model) -> Result<Side> {
        let subject = self.subject(side, Digests::Computed).await?;
        let (image, mut artifact) = (image_of(&subject.manifest)?, artifact_of(&subject.manifest)?);
        let contents = subject.config.map(|config| config_contents(&mut artifact, &config)).transpose()?.flatten().unwrap_or_default();
        Ok(Side::new(subject.manifest.digest().clone(), artifact, &contents.config, image.annotations.clone()))
    }
}
