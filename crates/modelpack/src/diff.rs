//! The differences between two artifacts, or between files that are not packed yet.

mod compare;

pub use compare::{Aspect, Change, Diff, DiffSide, DiffSize, LayerChange, ValueChange};

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
    ///
    /// ```
    /// # use modelpack::{Aspect, Model, Modelpack, Options, PackRequest};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// # let model = scratch.path().join("model");
    /// # std::fs::create_dir(&model)?;
    /// # std::fs::write(model.join("README.md"), "# Tiny")?;
    /// # let modelpack = Modelpack::new(Options::new(scratch.path().join("store")));
    /// modelpack.pack(&PackRequest::new(&model), &"tiny:v1".parse()?).await?;
    /// std::fs::write(model.join("README.md"), "# Larger")?;
    /// let (a, b) = (Model::Place("tiny:v1".parse()?), Model::Files(Box::new(PackRequest::new(&model))));
    /// let diff = modelpack.diff(&a, &b).await?;
    /// assert!(!diff.equal);
    /// assert_eq!((&diff.layers[0].aspects[..], diff.to_fetch.bytes), (&[Aspect::Content][..], 8));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn diff(&self, a: &Model, b: &Model) -> Result<Diff> {
        let (a, b) = (self.side(a).await?, self.side(b).await?);
        Ok(compare(a, b))
    }

    async fn side(&self, side: &Model) -> Result<Side> {
        let subject = self.subject(side, Digests::Computed).await?;
        let (image, mut artifact) = (image_of(&subject.manifest)?, artifact_of(&subject.manifest)?);
        let contents = subject.config.map(|config| config_contents(&mut artifact, &config)).transpose()?.flatten().unwrap_or_default();
        Ok(Side::new(side.to_string(), subject.manifest.digest().clone(), artifact, &contents.config, image.annotations.clone()))
    }
}
