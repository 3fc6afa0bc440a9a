//! Packing a directory into a place.

use crate::{Error, Modelpack, Place, Result, ScanReport, scan::scan_planned};
use modelpack_pack::{
    Description, FileFilter, Gap, LayerPolicy, Metadata, Modelfile, Plan, PlannedLayer, gaps, infer, layers, pack, plan, preview,
};
use modelpack_spec::{BuiltArtifact, Digest, Tag};
use modelpack_store::EntrySelector;
use modelpack_transfer::{Notice, Notices, blocking};
use serde::{Serialize, Serializer};
use std::path::{Path, PathBuf};

/// What to pack.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PackRequest {
    /// The model's directory.
    pub directory: PathBuf,
    /// The Modelfile or Kitfile that says which files are packed; without one they are found by looking.
    pub modelfile: Option<ModelfilePath>,
    /// Which files are left out or taken, whatever the Modelfile says.
    pub filter: FileFilter,
    /// What is said of the model; wins over its Modelfile, which wins over its files.
    pub metadata: Metadata,
    /// How its files become layers.
    pub layers: LayerPolicy,
    /// Whether nothing is packed if [`scan`](Modelpack::scan) finds anything in its files.
    pub require_safe: bool,
    /// Whether nothing is packed if something is missing of the model.
    pub strict: bool,
    /// Where zip archives within other archives are put while they are scanned; without it they are not read, which is a finding.
    pub scratch: Option<PathBuf>,
}

impl PackRequest {
    /// All of a directory, each file as it is; its Modelfile counts only if it is named ([`ModelfilePath::find`]).
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), ..Self::default() }
    }

    /// Which files are packed, as a Modelfile or Kitfile says; with `None` they are found by looking.
    pub fn modelfile(self, modelfile: Option<ModelfilePath>) -> Self {
        Self { modelfile, ..self }
    }

    /// Which files are left out or taken, whatever the Modelfile says.
    pub fn filter(self, filter: FileFilter) -> Self {
        Self { filter, ..self }
    }

    /// What is said of the model; wins over its Modelfile, which wins over its files.
    pub fn metadata(self, metadata: Metadata) -> Self {
        Self { metadata, ..self }
    }

    /// How its files become layers.
    pub fn layers(self, layers: LayerPolicy) -> Self {
        Self { layers, ..self }
    }

    /// Whether nothing is packed if [`scan`](Modelpack::scan) finds anything in its files.
    pub fn require_safe(self, require_safe: bool) -> Self {
        Self { require_safe, ..self }
    }

    /// Whether nothing is packed if something is missing of the model.
    pub fn strict(self, strict: bool) -> Self {
        Self { strict, ..self }
    }

    /// Where zip archives within other archives are put while they are scanned.
    pub fn scratch(self, scratch: impl Into<PathBuf>) -> Self {
        Self { scratch: Some(scratch.into()), ..self }
    }
}

/// Where a Modelfile is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelfilePath {
    /// Anywhere: somebody named this file.
    Named(PathBuf),
    /// The file of this name in the model's directory itself. Nobody vouches for it, so it may be no link that leads out of the directory.
    InDirectory(&'static str),
}

impl ModelfilePath {
    /// The Modelfile of `directory`, or for want of one its Kitfile, if it has one: `Modelfile`, `Kitfile`, `kitfile`, `.kitfile`.
    pub fn find(directory: &Path) -> Option<Self> {
        // A link that leads nowhere, or to a directory, is found too: it should say something.
        let is_there = |name: &&str| directory.join(name).symlink_metadata().is_ok_and(|found| !found.is_dir());
        ["Modelfile", "Kitfile", "kitfile", ".kitfile"].into_iter().find(is_there).map(Self::InDirectory)
    }

    /// The path to the file, if the model is in `directory`.
    pub fn path(&self, directory: &Path) -> PathBuf {
        match self {
            Self::Named(path) => path.clone(),
            Self::InDirectory(name) => directory.join(name),
        }
    }
}

/// What would be packed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Planned {
    /// The layers, in their order.
    pub layers: Vec<PlannedLayer>,
    /// How many files are in them.
    pub files: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// What the config and the manifest's annotations say of the model, and where each value came from.
    #[serde(flatten)]
    pub description: Description,
    /// What is missing of the model.
    #[serde(rename = "missing")]
    pub gaps: Vec<Gap>,
}

/// What was packed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Packed {
    /// Where it is.
    #[serde(rename = "reference")]
    pub to: Place,
    /// The digest of its manifest.
    pub digest: Digest,
    /// How many layers it has.
    pub layers: usize,
    /// How many files are in them.
    pub files: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// How many bytes of blobs were moved.
    pub moved: u64,
    /// How many bytes of blobs were there already.
    pub present: u64,
    /// What the config and the manifest's annotations say of the model, and where each value came from.
    #[serde(flatten)]
    pub description: Description,
    /// What was looked at in its files, and found. Of the files only those serialise in which something was found.
    #[serde(serialize_with = "found")]
    pub scan: ScanReport,
    /// What is missing of the model.
    #[serde(rename = "missing")]
    pub gaps: Vec<Gap>,
}

fn found<S: Serializer>(scan: &ScanReport, serializer: S) -> Result<S::Ok, S::Error> {
    let files = scan.files.iter().filter(|file| !file.findings.is_empty()).cloned().collect();
    ScanReport { files }.serialize(serializer)
}

impl Modelpack {
    /// Finds out what would be packed. Writes nothing, and fails where packing would, as far as it can be told without reading the files.
    ///
    /// ```
    /// # use modelpack::{Modelpack, Options, PackRequest};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// # std::fs::write(scratch.path().join("config.json"), r#"{"model_type":"llama"}"#)?;
    /// # let modelpack = Modelpack::new(Options::new(scratch.path().join("store")));
    /// let planned = modelpack.plan(&PackRequest::new(scratch.path())).await?;
    /// assert_eq!(planned.layers[0].path.as_str(), "config.json");
    /// let family = &planned.description.findings[0];
    /// assert_eq!((family.field, &family.value), ("descriptor.family", &"llama".into()));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn plan(&self, request: &PackRequest) -> Result<Planned> {
        let (request, notices) = (request.clone(), self.options.notices.clone());
        blocking(move || {
            let (layers, description) = prepare_layers(&request)?;
            preview(&layers, &description)?;
            let gaps = find_gaps(&layers, request.strict, &notices)?;
            let (files, bytes) = (layers.iter().map(|layer| layer.files.len()).sum(), layers.iter().map(PlannedLayer::bytes).sum());
            Ok(Planned { layers, files, bytes, description, gaps })
        })
        .await
    }

    /// Packs a directory; a bare reference means the store. With a registry as the place, no copy is kept here. Notice is given of what is
    /// missing of the model before anything is written.
    ///
    /// ```
    /// # use modelpack::{Modelpack, Options, PackRequest};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// # std::fs::write(scratch.path().join("README.md"), "# Tiny")?;
    /// # let modelpack = Modelpack::new(Options::new(scratch.path().join("store")));
    /// let packed = modelpack.pack(&PackRequest::new(scratch.path()), &"tiny:v1".parse()?).await?;
    /// assert_eq!((packed.to.to_string().as_str(), packed.files), ("store:tiny:v1", 1));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn pack(&self, request: &PackRequest, to: &Place) -> Result<Packed> {
        let call = self.one_call();
        let to = to.clone().or_store();
        let (request, notices) = (request.clone(), self.options.notices.clone());
        let require_safe = request.require_safe;
        let (layers, description, gaps, scan) = blocking(move || {
            let (layers, description) = prepare_layers(&request)?;
            let gaps = find_gaps(&layers, request.strict, &notices)?;
            let scan = scan_planned(layers.iter().flat_map(|layer| &layer.files), request.scratch.clone())?;
            Ok::<_, Error>((layers, description, gaps, scan))
        })
        .await?;
        if require_safe && scan.count() > 0 {
            return Err(Error::Unsafe(Box::new(scan)));
        }
        let target = self.target(&to, None, EntrySelector::Name(Tag::latest().to_string())).await?;
        let options = call.pack_options();
        let manifest = pack(&layers, &description, target.sink(), &target.selector, &options).await?;
        target.finish().await?;
        let counted = call.progress.snapshot();
        Ok(Packed {
            to,
            digest: manifest.digest().clone(),
            layers: layers.len(),
            files: layers.iter().map(|layer| layer.files.len()).sum(),
            bytes: layers.iter().map(PlannedLayer::bytes).sum(),
            moved: counted.moved,
            present: counted.skipped,
            description,
            scan,
            gaps,
        })
    }
}

/// What is missing of the model in these layers. Blocks.
pub(crate) fn gaps_in(layers: &[PlannedLayer]) -> Vec<Gap> {
    gaps(layers.iter().flat_map(|layer| &layer.files))
}

/// What is missing of the model, of which notice is given; an error if nothing may be. Blocks.
fn find_gaps(layers: &[PlannedLayer], strict: bool, notices: &Notices) -> Result<Vec<Gap>> {
    let gaps = gaps_in(layers);
    gaps.iter().for_each(|gap| notices.give(&Notice::Missing { what: gap.to_string() }));
    if strict && !gaps.is_empty() { Err(Error::NotWhole(gaps)) } else { Ok(gaps) }
}

/// The artifact that packing would make, as far as it can be told without reading the files, and its layers.
pub(crate) async fn preview_of(request: &PackRequest) -> Result<(BuiltArtifact, Vec<PlannedLayer>)> {
    let request = request.clone();
    blocking(move || {
        let (layers, description) = prepare_layers(&request)?;
        Ok((preview(&layers, &description)?, layers))
    })
    .await
}

/// Finds the layers that files become, and what they say of the model; blocks.
pub(crate) fn prepare_layers(request: &PackRequest) -> Result<(Vec<PlannedLayer>, Description)> {
    let (plan, description) = prepare(request)?;
    Ok((layers(&plan, &request.layers)?, description))
}

/// Finds the files and what they say of the model; blocks.
pub(crate) fn prepare(request: &PackRequest) -> Result<(Plan, Description)> {
    let read = |path: &ModelfilePath| match path {
        ModelfilePath::Named(path) => Modelfile::read(path),
        ModelfilePath::InDirectory(name) => Modelfile::read_in(&request.directory, name),
    };
    let modelfile = request.modelfile.as_ref().map(read).transpose()?;
    let plan = plan(&request.directory, modelfile.as_ref(), &request.filter)?;
    let inferred = infer(&plan).into();
    let said = modelfile.map(|modelfile| modelfile.metadata().clone()).unwrap_or_default();
    Ok((plan, Description::of([request.metadata.clone(), said, inferred])))
}
