//! Writing a Modelfile for files.

use crate::{Modelpack, PackRequest, Result};
use modelpack_pack::generate;

impl Modelpack {
    /// The text of a Modelfile with which the files pack as they pack now: their names, and what they and the request say of the model.
    /// A Modelfile in the request, or in the directory, is not looked at.
    pub async fn modelfile(&self, request: &PackRequest) -> Result<String> {
        let request = PackRequest { modelfile: None, ..request.clone() };
        let prepared = self.prepare(&request).await?;
        Ok(generate(&prepared.plan, &prepared.description.findings))
    }
}
