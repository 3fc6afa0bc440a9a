//! Copies an artifact of another tool and converts it to the ModelPack specification.

use crate::{
    Copied, Modelpack, Place, Result,
    inspect::read_config_contents,
    open::{artifact_of, image_of},
};
use modelpack_pack::{InvalidValue, convert};
use serde::Serialize;

/// The result of a copy that was converted.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ConvertedCopy {
    /// The source and the destination of the copy.
    #[serde(flatten)]
    pub copied: Copied,
    /// Values of the old config that the specification does not allow, and that are left out.
    pub invalid_values: Vec<InvalidValue>,
}

impl Modelpack {
    /// Copies an artifact like [`copy`](Self::copy), and converts it to the current names of the
    /// specification. It can be a KitOps ModelKit, a model of Docker or Ollama, an artifact pushed
    /// with `oras`, or a model with older names.
    ///
    /// Config and manifest are new. Layers keep their bytes, so that weights are not moved if the
    /// destination already has them. The artifact is tagged `latest` if neither side has a tag.
    /// Fails if the file path of a layer is unknown.
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
        let contents = opened.place.blame(read_config_contents(opened.source.as_ref(), &mut artifact).await)?.unwrap_or_default();
        let annotations = image.annotations.clone().into_iter().chain(contents.annotations).collect();
        let target = self.target(to, opened.repository(), opened.name_of_successor()).await?;
        let (source, at) = (opened.source.as_ref(), &target.selector);
        let converted = convert(source, &artifact, &contents.config, &annotations, target.sink(), at, &call.copy_options()).await;
        let converted = opened.place.blame(converted)?;
        target.finish().await?;
        let copied = opened.copied_to(to, converted.manifest.digest().clone(), call.progress.snapshot(), None).await;
        Ok(ConvertedCopy { copied, invalid_values: converted.left_out })
    }
}
