//! Packing a directory into a place.

use crate::{Modelpack, Place, Result};
use modelpack_pack::{Description, FileFilter, Finding, Metadata, Modelfile, Plan, infer, pack, plan};
use modelpack_spec::{Digest, Selector, Tag};
use modelpack_store::blocking;
use std::path::PathBuf;

/// What to pack.
#[derive(Clone, Debug, Default)]
pub struct PackRequest {
    /// The model's directory.
    pub directory: PathBuf,
    /// The Modelfile that says which files are packed; without one they are found by looking.
    pub modelfile: Option<PathBuf>,
    /// Which files are left out or taken, whatever the Modelfile says.
    pub filter: FileFilter,
    /// What is said of the model; wins over its Modelfile, which wins over its files.
    pub metadata: Metadata,
}

/// What was packed.
#[derive(Clone, Debug, PartialEq)]
pub struct Packed {
    /// Where it is.
    pub to: Place,
    /// The digest of its manifest.
    pub digest: Digest,
    /// How many files it has.
    pub files: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// What the config and the manifest's annotations say of the model, and where each value came from.
    pub findings: Vec<Finding>,
    /// What was said otherwise by a source that counts for less.
    pub overruled: Vec<Finding>,
    /// Which weight files said nothing of the model, and why, each in a sentence.
    pub notes: Vec<String>,
}

impl Modelpack {
    /// Packs a directory; a bare reference means the store. With a registry as the place, no copy is kept here.
    pub async fn pack(&self, request: &PackRequest, to: &Place) -> Result<Packed> {
        let to = to.clone().or_store();
        let request = request.clone();
        let (plan, description) = blocking(move || prepare(&request)).await?;
        let target = self.target(&to, None).await?;
        let at = target.selector.clone().unwrap_or_else(|| Selector::Tag(Tag::latest()));
        let options = self.pack_options();
        let manifest = pack(&plan, &description, target.sink(), &at, &options).await?;
        target.finish().await?;
        let bytes = plan.files.iter().map(|file| file.size).sum();
        let Description { findings, overruled, notes, .. } = description;
        Ok(Packed { to, digest: manifest.digest().clone(), files: plan.files.len(), bytes, findings, overruled, notes })
    }
}

/// Finds the files and what they say of the model; blocks.
pub(crate) fn prepare(request: &PackRequest) -> Result<(Plan, Description)> {
    let modelfile = request.modelfile.as_deref().map(Modelfile::read).transpose()?;
    let plan = plan(&request.directory, modelfile.as_ref(), &request.filter)?;
    let inferred = infer(&plan).into();
    let said = modelfile.map(|modelfile| modelfile.metadata().clone()).unwrap_or_default();
    Ok((plan, Description::of([request.metadata.clone(), said, inferred])))
}
