//! Copying an artifact of another tool as one of the specification.

use crate::{
    Copied, Modelpack, Place, Result,
    inspect::read_what_it_says,
    open::{artifact_of, image_of},
};
use modelpack_pack::{InvalidValue, convert};
use serde::Serialize;

/// What was copied as an artifact of the specification.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ConvertedCopy {
    /// Where it came from, and where the converted one is.
    #[serde(flatten)]
    pub copied: Copied,
    /// Values of the old config that the specification does not allow, and that are left out.
    pub invalid_values: Vec<InvalidValue>,
}

impl Modelpack {
    /// Copies an artifact as [`copy`](Self::copy) does, and makes it one of the specification in today's names: a KitOps ModelKit, a model of
    /// Docker or Ollama, what `oras` pushed, or a model in older names.
    ///
    /// Config and manifest are new; layers keep their bytes, so that no weight is moved that is there already. Without a tag anywhere the
    /// artifact is tagged `latest`. Fails if nothing says which file a layer is.
    ///
    /// ```no_run
    /// # async fn run(modelpack: modelpack::Modelpack) -> Result<(), Box<dyn std::error::Error>> {
    /// let kit = "docker://registry.example.com/team/modelkit:v1".parse()?;
    /// let converted = modelpack.convert(&kit, &"store:team/model:v1".parse()?).await?;
    /// println!("{}, {} values left out", converted.copied.digest, converted.invalid_values.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn convert(&self, from: &Place, to: &Place) -> Result<ConvertedCopy> {
        let call = self.one_call();
        let opened = self.open(from).await?;
        let (image, mut artifact) = (image_of(&opened.manifest)?, artifact_of(&opened.manifest)?);
        let said = opened.place.blame(read_what_it_says(opened.source.as_ref(), &mut artifact).await)?.unwrap_or_default();
        let annotations = image.annotations.clone().into_iter().chain(said.annotations).collect();
        let target = self.target(to, opened.repository(), opened.name_of_successor()).await?;
        let (source, at) = (opened.source.as_ref(), &target.selector);
        let converted = convert(source, &artifact, &said.config, &annotations, target.sink(), at, &call.copy_options()).await;
        let converted = opened.place.blame(converted)?;
        target.finish().await?;
        let copied = opened.copied_to(to, converted.manifest.digest().clone(), call.progress.snapshot()).await;
        Ok(ConvertedCopy { copied, invalid_values: converted.left_out })
    }
}
