//! Which tools can use an artifact, or what files would become.

use crate::{Model, Modelpack, Result, model::Digests, open::image_of};
use modelpack_lint::Report;

impl Modelpack {
    /// Asks every consumer that is known whether it can use the model. Of an artifact manifest and config are read, and no layer, so
    /// names and sizes tell what is missing. Of files that are not packed yet the headers of weights do. These are not hashed, so the
    /// digests in the report mean nothing.
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
