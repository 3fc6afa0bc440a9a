//! Packs files into a place.

use crate::{
    Error, Modelpack, Place, Result, ScanReport,
    inspect::read_config_contents,
    open::{Opened, artifact_of, image_of},
    scan::scanned,
};
use modelpack_describe::ModelFiles;
use modelpack_pack::{
    ArtifactFiles, Description, FileFilter, Gap, LayerPolicy, Metadata, Modelfile, Plan, PlannedLayer, gaps, infer, is_foreign, layers,
    pack, plan, plan_artifact, preview,
};
use modelpack_spec::{Config, Digest, RepositoryName, Tag};
use modelpack_store::EntrySelector;
use modelpack_transfer::{Notice, blocking};
use serde::{Serialize, Serializer};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A request to pack.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PackRequest {
    /// The place of the files.
    pub source: PackSource,
    /// The Modelfile or Kitfile that selects the files; without one, they are found by a search.
    pub modelfile: Option<ModelfilePath>,
    /// The files that are left out or included; it overrides the Modelfile.
    pub filter: FileFilter,
    /// Metadata of the model. The order of priority is: this field, the Modelfile, the config of
    /// the artifact that is packed, the files.
    pub metadata: Metadata,
    /// The rules for making layers from files.
    pub layers: LayerPolicy,
    /// Whether packing fails if [`scan`](Modelpack::scan) has findings in the files.
    pub require_safe: bool,
    /// Whether packing fails if parts of the model are missing.
    pub strict: bool,
    /// The directory for zip archives within other archives while they are scanned; without it they
    /// are not read, which is a finding.
    pub scratch: Option<PathBuf>,
}

impl PackRequest {
    /// Packs all files of a directory or artifact. A Modelfile in the directory is used only if it
    /// is given with [`ModelfilePath::find`].
    pub fn new(source: impl Into<PackSource>) -> Self {
        Self { source: source.into(), ..Self::default() }
    }

    /// Sets the Modelfile or Kitfile that selects the files; with `None` they are found by a
    /// search.
    pub fn modelfile(self, modelfile: Option<ModelfilePath>) -> Self {
        Self { modelfile, ..self }
    }

    /// The files that are left out or included; it overrides the Modelfile.
    pub fn filter(self, filter: FileFilter) -> Self {
        Self { filter, ..self }
    }

    /// Sets metadata of the model. It has priority over the Modelfile, which has priority over the
    /// files.
    pub fn metadata(self, metadata: Metadata) -> Self {
        Self { metadata, ..self }
    }

    /// The rules for making layers from files.
    pub fn layers(self, layers: LayerPolicy) -> Self {
        Self { layers, ..self }
    }

    /// Whether packing fails if [`scan`](Modelpack::scan) has findings in the files.
    pub fn require_safe(self, require_safe: bool) -> Self {
        Self { require_safe, ..self }
    }

    /// Whether packing fails if parts of the model are missing.
    pub fn strict(self, strict: bool) -> Self {
        Self { strict, ..self }
    }

    /// Sets the directory for zip archives within other archives while they are scanned.
    pub fn scratch(self, scratch: impl Into<PathBuf>) -> Self {
        Self { scratch: Some(scratch.into()), ..self }
    }
}

/// The place of the files to pack.
#[derive(Clone, Debug, PartialEq)]
pub enum PackSource {
    /// A directory.
    Directory(PathBuf),
    /// An artifact. Unchanged layers keep their bytes, so that they are not moved if the
    /// destination has them.
    Place(Place),
}

impl Default for PackSource {
    fn default() -> Self {
        Self::Directory(PathBuf::from("."))
    }
}

impl fmt::Display for PackSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => directory.display().fmt(f),
            Self::Place(place) => place.fmt(f),
        }
    }
}

impl From<&Path> for PackSource {
    fn from(directory: &Path) -> Self {
        Self::Directory(directory.to_owned())
    }
}

impl From<&PathBuf> for PackSource {
    fn from(directory: &PathBuf) -> Self {
        Self::Directory(directory.clone())
    }
}

impl From<PathBuf> for PackSource {
    fn from(directory: PathBuf) -> Self {
        Self::Directory(directory)
    }
}

impl From<Place> for PackSource {
    fn from(place: Place) -> Self {
        Self::Place(place)
    }
}

/// The path of a Modelfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelfilePath {
    /// Any path, which the user gave.
    Named(PathBuf),
    /// The file with this name in the model's directory. It is untrusted, so it must not be a link
    /// that leads out of the directory.
    InDirectory(&'static str),
}

impl ModelfilePath {
    /// The Modelfile of `directory`, or else its Kitfile, if it has one: `Modelfile`, `Kitfile`,
    /// `kitfile`, `.kitfile`.
    pub fn find(directory: &Path) -> Option<Self> {
        // A broken link is found too, so that an error is reported for it.
        let is_there = |name: &&str| directory.join(name).symlink_metadata().is_ok_and(|found| !found.is_dir());
        ["Modelfile", "Kitfile", "kitfile", ".kitfile"].into_iter().find(is_there).map(Self::InDirectory)
    }

    /// Reads the file. `directory` is the model's directory, if the model is in one.
    fn read(&self, directory: Option<&Path>) -> Result<Modelfile> {
        match (self, directory) {
            (Self::InDirectory(name), Some(directory)) => Ok(Modelfile::read_in(directory, name)?),
            (Self::InDirectory(name), None) => Ok(Modelfile::read(Path::new(name))?),
            (Self::Named(path), _) => Ok(Modelfile::read(path)?),
        }
    }

    /// The path of the file, if the model is in `directory`.
    pub fn path(&self, directory: &Path) -> PathBuf {
        match self {
            Self::Named(path) => path.clone(),
            Self::InDirectory(name) => directory.join(name),
        }
    }
}

/// The result of planning.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Planned {
    /// The layers, in their order.
    pub layers: Vec<PlannedLayer>,
    /// The number of files in them.
    pub files: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// The metadata in the config and in the manifest's annotations, with the source of each value.
    #[serde(flatten)]
    pub description: Description,
    /// The missing parts of the model.
    #[serde(rename = "missing")]
    pub gaps: Vec<Gap>,
}

/// The result of packing.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Packed {
    /// The destination.
    #[serde(rename = "reference")]
    pub to: Place,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The number of layers.
    pub layers: usize,
    /// The number of files in them.
    pub files: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// The number of bytes of blobs that were moved.
    pub moved: u64,
    /// The number of bytes of blobs that were already present.
    pub present: u64,
    /// The metadata in the config and in the manifest's annotations, with the source of each value.
    #[serde(flatten)]
    pub description: Description,
    /// The scanned files and the findings. The JSON form contains only files with findings.
    #[serde(serialize_with = "found")]
    pub scan: ScanReport,
    /// The missing parts of the model.
    #[serde(rename = "missing")]
    pub gaps: Vec<Gap>,
}

fn found<S: Serializer>(scan: &ScanReport, serializer: S) -> Result<S::Ok, S::Error> {
    let files = scan.files.iter().filter(|file| !file.findings.is_empty()).cloned().collect();
    ScanReport { files }.serialize(serializer)
}

impl Modelpack {
    /// Computes what would be packed. Writes nothing. Fails like packing, except for errors that
    /// only reading the files can find.
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
        let prepared = self.prepare(request).await?;
        let layers = prepared.layers(request)?;
        preview(&layers, &prepared.description)?;
        let gaps = self.reported_gaps(&prepared, request.strict).await?;
        let (files, bytes) = (layers.iter().map(|layer| layer.files.len()).sum(), layers.iter().map(PlannedLayer::bytes).sum());
        Ok(Planned { layers, files, bytes, description: prepared.description, gaps })
    }

    /// Packs files; a bare reference means the store. If the destination is a registry, no local
    /// copy is kept. Notices about missing parts of the model are given before anything is written.
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
        let prepared = call.prepare(request).await?;
        let layers = prepared.layers(request)?;
        let gaps = self.reported_gaps(&prepared, request.strict).await?;
        let scanned = scanned(layers.iter().flat_map(|layer| &layer.files));
        let scan = prepared.blame(self.scan_files(prepared.plan.content().clone(), &scanned, request.scratch.clone()).await)?;
        if request.require_safe && scan.count() > 0 {
            return Err(Error::Unsafe(Box::new(scan)));
        }
        let target = self.target(&to, prepared.repository(), EntrySelector::Name(Tag::latest().to_string())).await?;
        let options = call.pack_options();
        let manifest = prepared.blame(pack(&layers, &prepared.description, target.sink(), &target.selector, &options).await)?;
        target.finish().await?;
        let counted = call.progress.snapshot();
        Ok(Packed {
            to,
            digest: manifest.digest().clone(),
            layers: layers.len(),
            files: layers.iter().map(|layer| layer.files.len()).sum(),
            bytes: layers.iter().map(PlannedLayer::bytes).sum(),
            moved: counted.moved,
            present: counted.present(),
            description: prepared.description,
            scan,
            gaps,
        })
    }

    /// The missing parts of the model, each with a notice; an error if there are any and `strict`
    /// is set.
    async fn reported_gaps(&self, prepared: &Prepared, strict: bool) -> Result<Vec<Gap>> {
        let gaps = prepared.gaps().await?;
        gaps.iter().for_each(|gap| self.options.notices.give(&Notice::Missing { what: gap.to_string() }));
        if strict && !gaps.is_empty() { Err(Error::NotWhole(gaps)) } else { Ok(gaps) }
    }

    /// Finds the files and their metadata. The sources are listed by priority: for each field, the
    /// first with a value wins.
    pub(crate) async fn prepare(&self, request: &PackRequest) -> Result<Prepared> {
        let (plan, modelfile, stated, from) = match &request.source {
            PackSource::Directory(directory) => {
                let (directory, request) = (directory.clone(), request.clone());
                let (plan, modelfile) = blocking(move || {
                    let modelfile = request.modelfile.as_ref().map(|path| path.read(Some(&directory))).transpose()?;
                    Ok::<_, Error>((plan(&directory, modelfile.as_ref(), &request.filter)?, modelfile))
                })
                .await?;
                (plan, modelfile, Metadata::default(), None)
            }
            PackSource::Place(place) => {
                let opened = self.open(place).await?;
                let modelfile = request.modelfile.clone();
                let modelfile = blocking(move || modelfile.map(|path| path.read(None)).transpose()).await?;
                let (image, mut artifact) = (image_of(&opened.manifest)?, artifact_of(&opened.manifest)?);
                let contents = opened.place.blame(read_config_contents(opened.source.as_ref(), &mut artifact).await)?.unwrap_or_default();
                let (name, source) = (opened.place.to_string(), opened.source.clone());
                let files = ArtifactFiles::list(name, source, &artifact, self.options.concurrency, &self.progress).await;
                let files = Arc::new(opened.place.blame(files)?);
                let plan = plan_artifact(&files, modelfile.as_ref(), &request.filter)?;
                let annotations = image.annotations.iter().chain(&contents.annotations).filter(|(key, _)| !is_foreign(key));
                let stated = stated(&contents.config, annotations, &opened.place);
                (plan, modelfile, stated, Some(opened))
            }
        };
        let model = plan.model();
        model.fetch_headers(self.options.concurrency).await;
        let (model, inferred) = blocking(move || {
            let inferred = infer(&model);
            (Arc::new(model), inferred)
        })
        .await;
        model.failure()?;
        let written = modelfile.map(|modelfile| modelfile.metadata().clone()).unwrap_or_default();
        let description = Description::of([request.metadata.clone(), written, stated, inferred.into()]);
        Ok(Prepared { plan, description, model, from })
    }
}

/// The metadata of an artifact that is packed.
fn stated<'a>(config: &Config, annotations: impl Iterator<Item = (&'a String, &'a String)>, place: &Place) -> Metadata {
    let (mut stated, left_out) = Metadata::of_config(config, &format!("the config of {place}"));
    left_out.iter().for_each(|value| stated.warn(format!("{place}: {value}; it is left out")));
    let source = format!("the manifest of {place}");
    annotations.for_each(|(key, value)| stated.annotate_as(key, value, &source));
    stated
}

/// Files to pack, and their metadata.
pub(crate) struct Prepared {
    pub(crate) plan: Plan,
    pub(crate) description: Description,
    model: Arc<ModelFiles>,
    /// The artifact that contains the files, if any. It must not be collected while they are read.
    from: Option<Opened>,
}

impl Prepared {
    /// The layers for the files.
    pub(crate) fn layers(&self, request: &PackRequest) -> Result<Vec<PlannedLayer>> {
        Ok(layers(&self.plan, &request.layers)?)
    }

    /// The missing parts of the model.
    pub(crate) async fn gaps(&self) -> Result<Vec<Gap>> {
        let model = self.model.clone();
        let gaps = blocking(move || gaps(&model)).await;
        self.model.failure()?;
        Ok(gaps)
    }

    /// The result of reading the files. If bytes are damaged and the files are in the store, it
    /// becomes an error about the store.
    pub(crate) fn blame<T, E: Into<Error>>(&self, result: Result<T, E>) -> Result<T> {
        match &self.from {
            Some(opened) => opened.place.blame(result),
            None => result.map_err(Into::into),
        }
    }

    /// The repository from which a registry can mount the unchanged blobs.
    fn repository(&self) -> Option<&RepositoryName> {
        self.from.as_ref().and_then(Opened::repository)
    }
}
