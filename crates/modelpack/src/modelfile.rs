//! Writes a Modelfile for files.

use crate::{Modelpack, PackRequest, Result};
use modelpack_pack::generate;

impl Modelpack {
    /// The text of a Modelfile that packs the files as they are packed now, with their names and
    /// the metadata from them and from the request. A Modelfile in the request or in the directory
    /// is ignored.
    ///
    /// ```
    /// # use modelpack::{Modelpack, Options, PackRequest};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// # std::fs::write(scratch.path().join("config.json"), r#"{"model_type":"llama"}"#)?;
    /// # let modelpack = Modelpack::new(Options::new(scratch.path().join("store")));
    /// let text = modelpack.modelfile(&PackRequest::new(scratch.path())).await?;
    /// assert!(text.contains("FAMILY llama"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn modelfile(&self, request: &PackRequest) -> Result<String> {
        let request = PackRequest { modelfile: None, ..request.clone() };
        let prepared = self.prepare(&request).await?;
        Ok(generate(&prepared.plan, &prepared.description.findings))
    }
}
