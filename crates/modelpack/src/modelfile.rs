//! Writes a Modelfile for files.

use crate::{Modelpack, PackRequest, Result};
use modelpack_pack::generate;

impl Modelpack {
    /// The text of a Modelfile that packs the files as they are packed now, with their names and
    /// the metadata from them and from the request. A Modelfile in the request or in the directory
    /// is ignored.
    pub async fn modelfile(&self, request: &PackRequest) -> Result<String> {
        let request = PackRequest { modelfile: None, ..request.clone() };
        let prepared = self.prepare(&request).await?;
        Ok(generate(&prepared.plan, &prepared.description.findings))
    }
}
