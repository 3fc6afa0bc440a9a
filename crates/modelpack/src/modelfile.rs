//! Writing a Modelfile for a directory.

use crate::{Modelpack, PackRequest, Result, pack::prepare};
use modelpack_pack::{FileFilter, Modelfile, generate, plan};
use modelpack_store::{Error, blocking};

impl Modelpack {
    /// The text of a Modelfile with which the directory packs as it packs now: its files by name, and what they and the request say of
    /// the model. A Modelfile in the request, or in the directory, is not looked at.
    pub async fn modelfile(&self, request: &PackRequest) -> Result<String> {
        let request = PackRequest { modelfile: None, ..request.clone() };
        blocking(move || {
            let (planned, description) = prepare(&request)?;
            let text = generate(&planned, &description.findings);
            // Names that only a wildcard can write might take another file's place: what is written is what was found, or nothing is.
            let read = Modelfile::parse(&text)
                .ok()
                .map(|modelfile| plan(&request.directory, Some(&modelfile), &FileFilter::default()))
                .transpose()?;
            let kinds = |plan: &modelpack_pack::Plan| plan.files.iter().map(|file| (file.path.clone(), file.kind)).collect::<Vec<_>>();
            if read.as_ref().map(kinds) != Some(kinds(&planned)) {
                let why = "no Modelfile can name its files, for a name with a line break is like another".to_owned();
                return Err(Error::Invalid { what: request.directory.display().to_string(), why }.into());
            }
            Ok::<_, crate::Error>(text)
        })
        .await
    }
}
