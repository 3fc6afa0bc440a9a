//! What two artifacts, or files that are not packed yet, differ in.

mod compare;

pub use compare::{Aspect, Diff, DiffSize, LayerChange, ValueChange};

use crate::{
    Model, Modelpack, Result,
    inspect::what_it_says,
    model::Digests,
    open::{artifact_of, image_of},
};
use compare::{Side, compare};

impl Modelpack {
    /// Compares two artifacts, or what files would be packed to. Of artifacts manifest and config are read, and no layer. Files that are
    /// not packed yet are hashed, if the digest cache does not know them.
    pub async fn diff(&self, a: &Model, b: &Model) -> Result<Diff> {
        let (a, b) = (self.side(a).await?, self.side(b).await?);
        Ok(compare(a, b))
    }

    async fn side(&self, side: &Model) -> Result<Side> {
        let subject = self.subject(side, Digests::Computed).await?;
        let (image, mut artifact) = (image_of(&subject.manifest)?, artifact_of(&subject.manifest)?);
        let said = subject.config.map(|config| what_it_says(&mut artifact, &config)).transpose()?.flatten().unwrap_or_default();
        Ok(Side::new(subject.manifest.digest().clone(), artifact, &said.config, image.annotations.clone()))
    }
}
