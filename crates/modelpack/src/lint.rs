//! Checks which tools can use an artifact, or the artifact that files would become.

use crate::{Model, Modelpack, Result, model::Digests, open::image_of};
use modelpack_lint::Report;
use serde::Serialize;

/// The tools that can use a model.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Linted {
    /// The name of the model, as given.
    pub target: String,
    /// The missing parts of the model, and the results for each consumer.
    #[serde(flatten)]
    pub report: Report,
}

impl Modelpack {
    /// Checks for each known consumer whether it can use the model. For an artifact, only manifest
    /// and config are read, no layers, so missing parts are found by names and sizes. For files
    /// that are not packed yet, the headers of weights are read too. These files are not hashed, so
    /// the report has no digests.
    ///
    /// ```
    /// # use modelpack::{Model, Modelpack, Options, PackRequest, consumers::Verdict};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// # std::fs::write(scratch.path().join("README.md"), "# Tiny")?;
    /// # let modelpack = Modelpack::new(Options::new(scratch.path().join("store")));
    /// let linted = modelpack.lint(&Model::Files(Box::new(PackRequest::new(scratch.path())))).await?;
    /// let oras = linted.report.consumers.iter().find(|report| report.consumer.id == "oras").expect("it is asked");
    /// assert_eq!(oras.verdict, Verdict::Works);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn lint(&self, model: &Model) -> Result<Linted> {
        let subject = self.subject(model, Digests::StandIns).await?;
        let image = image_of(&subject.manifest)?;
        let report = modelpack_lint::lint(image, subject.config.as_deref());
        let report = match &subject.files {
            Some(prepared) => {
                let missing = prepared.gaps().await?.into_iter().map(|gap| (gap.path.to_string(), gap.message));
                report.with_missing(image, missing).without_digests()
            }
            None => report,
        };
        Ok(Linted { target: model.to_string(), report })
    }
}
