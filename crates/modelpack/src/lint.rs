//! Which tools can use an artifact, or what a directory would become.

use crate::{
    Model, Modelpack, Result,
    open::image_of,
    pack::{gaps_in, preview_of},
};
use modelpack_lint::Report;
use modelpack_spec::Descriptor;
use modelpack_transfer::{Source, blocking};
use serde::Serialize;

/// Which tools can use a model.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Linted {
    /// What was asked about, as it was named.
    pub target: String,
    /// What is missing of the model, and what each consumer can do with it.
    #[serde(flatten)]
    pub report: Report,
}

impl Modelpack {
    /// Asks every consumer that is known whether it can use the artifact; reads manifest and config, and no layer, so of what
    /// is missing names and sizes tell. In a directory the headers of weights do; its files are not hashed, so its report has no digests.
    ///
    /// ```
    /// # use modelpack::{Model, Modelpack, Options, PackRequest, consumers::Verdict};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// # std::fs::write(scratch.path().join("README.md"), "# Tiny")?;
    /// # let modelpack = Modelpack::new(Options::new(scratch.path().join("store")));
    /// let linted = modelpack.lint(&Model::Directory(Box::new(PackRequest::new(scratch.path())))).await?;
    /// let oras = linted.report.consumers.iter().find(|report| report.consumer.id == "oras").expect("it is asked");
    /// assert_eq!(oras.verdict, Verdict::Works);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn lint(&self, model: &Model) -> Result<Linted> {
        Ok(Linted { target: model.to_string(), report: self.ask_consumers(model).await? })
    }

    async fn ask_consumers(&self, model: &Model) -> Result<Report> {
        match model {
            Model::Place(place) => {
                let opened = self.open(place).await?;
                let image = image_of(&opened.manifest)?;
                let config = opened.place.blame(readable_config(opened.source.as_ref(), &image.config).await)?;
                Ok(modelpack_lint::lint(image, config.as_deref()))
            }
            Model::Directory(request) => {
                let (built, layers) = preview_of(request).await?;
                let gaps = blocking(move || gaps_in(&layers)).await;
                let image = built.manifest.image().expect("what is packed is no index");
                let missing = gaps.into_iter().map(|gap| (gap.path.to_string(), gap.message));
                Ok(modelpack_lint::lint(image, Some(&built.config_bytes)).with_missing(image, missing).without_digests())
            }
        }
    }
}

/// The config, if it is JSON by its type: that of a foreign artifact may be anything, of any size.
async fn readable_config(source: &dyn Source, config: &Descriptor) -> Result<Option<Vec<u8>>> {
    if config.media_type.ends_with("json") { Ok(Some(modelpack_transfer::read_config(source, config).await?)) } else { Ok(None) }
}
