//! Checks which tools can use an artifact, or the artifact that files would become.

use crate::{Model, Modelpack, Result, model::Digests, open::image_of};
use modelpack_lint::Report;

impl Modelpack {
    /// Checks for each known consumer whether it can use the model. For artifacts, only manifest
    /// and config are read, no layers, so missing parts are found by names and sizes. For files
    /// that are not packed yet, the headers of weights are read too. These files are not hashed, so
    /// the digests in the report have no meaning.
    pub async fn lint(&self, model: &Model) -> Result<Report> {
        let subject = self.subject(model, Digests::StandIns).await?;
        let image = image_of(&subject.manifest)?;
        let report = modelpack_lint::lint(image, subject.config.as_deref());
        Ok(match subject.missing {
            Some(gaps) => report.with_missing(image, gaps.into_iter().map(|gap| (gap.path.to_string(), gap.message))),
            None => report,
        })
    }
}
