//! Validates documents and artifacts.

use crate::{Error, Model, Modelpack, Result, StoreError, model::Digests};
use modelpack_pack::{Allowance, content_digest};
use modelpack_spec::{Artifact, Digest, Manifest, Selector, media_type};
use modelpack_store::Layout;
use modelpack_transfer::{Source, blocking, read_bytes};
use modelpack_validate::{Document, MAX_BYTES, Problem, Report, Unread, unread, validate_artifact, validate_document};
use serde::{Serialize, Serializer};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    fs::File,
    io::Read,
    path::PathBuf,
};

/// The maximum number of manifests in an index, including those of nested indexes.
const MAX_LISTED: usize = 1000;

/// The target of a validation.
#[derive(Clone, Debug)]
pub enum ValidateTarget {
    /// A file with a JSON document, and its type; without a type, the content determines it.
    File(PathBuf, Option<Document>),
    /// An artifact, or an index with all its manifests; or files, which are not hashed.
    Model(Model),
    /// An OCI image layout directory: every manifest in its index.
    Layout(PathBuf),
}

/// Options of a validation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ValidateOptions {
    /// Whether layers are read if a diffId can be checked only with their content. This applies to
    /// all compressed layers, which may be gigabytes.
    pub layers: bool,
}

impl ValidateOptions {
    /// Sets whether layers are read if a diffId can be checked only with their content.
    pub fn layers(self, layers: bool) -> Self {
        Self { layers }
    }
}

/// The result of validating a target.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Validated {
    /// The name of the target, as given.
    pub target: String,
    /// Whether there are no problems.
    pub valid: bool,
    /// The results for each document and artifact in it.
    pub results: Vec<Validation>,
}

/// The result for a document or an artifact.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Validation {
    /// The subject.
    pub subject: Subject,
    /// The problems.
    pub report: Report,
}

/// The subject of a validation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A single document.
    Document(Document),
    /// A stored artifact, by the digest of its manifest.
    Artifact(Digest),
    /// An artifact that is not packed yet.
    Planned,
}

impl Serialize for Validation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Judged<'a> {
            subject: Kind,
            digest: Option<&'a Digest>,
            valid: bool,
            problems: &'a [Problem],
            omitted: usize,
            unread_layers: &'a [usize],
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        enum Kind {
            Artifact,
            PlannedArtifact,
            #[serde(untagged)]
            Document(Document),
        }
        let Report { problems, omitted, unread } = &self.report;
        let (subject, digest) = match &self.subject {
            Subject::Document(document) => (Kind::Document(*document), None),
            Subject::Artifact(digest) => (Kind::Artifact, Some(digest)),
            Subject::Planned => (Kind::PlannedArtifact, None),
        };
        let valid = self.report.is_valid();
        Judged { subject, digest, valid, problems, omitted: *omitted, unread_layers: unread }.serialize(serializer)
    }
}

impl fmt::Display for ValidateTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, _) | Self::Layout(path) => path.display().fmt(f),
            Self::Model(model) => model.fmt(f),
        }
    }
}

impl Modelpack {
    /// Validates documents and artifacts against the specification, and reports all problems. Fails
    /// if something cannot be read.
    ///
    /// For an artifact, manifest and config are read, and layers only if `options` requires it. An
    /// index or a layout gives a result for each artifact in it.
    ///
    /// ```
    /// # use modelpack::{Modelpack, Options, ValidateOptions, ValidateTarget};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// # let modelpack = Modelpack::new(Options::new(scratch.path().join("store")));
    /// let config = scratch.path().join("config.json");
    /// std::fs::write(&config, r#"{"descriptor":{},"config":{"precision":16},"modelfs":{"type":"layers"}}"#)?;
    /// let validated = modelpack.validate(&ValidateTarget::File(config, None), &ValidateOptions::default()).await?;
    /// assert!(!validated.valid);
    /// assert!(validated.results[0].report.problems.iter().any(|problem| problem.pointer == "/config/precision"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn validate(&self, target: &ValidateTarget, options: &ValidateOptions) -> Result<Validated> {
        let results = self.judge(target, *options).await?;
        let valid = results.iter().all(|validation| validation.report.is_valid());
        Ok(Validated { target: target.to_string(), valid, results })
    }

    async fn judge(&self, target: &ValidateTarget, options: ValidateOptions) -> Result<Vec<Validation>> {
        match target {
            ValidateTarget::File(path, document) => {
                let (path, document) = (path.clone(), *document);
                blocking(move || validate_file(path, document)).await.map(|validation| vec![validation])
            }
            ValidateTarget::Model(Model::Place(place)) => {
                let opened = self.open(place).await?;
                opened.place.blame(self.validate_all(opened.source.as_ref(), opened.manifest, options).await)
            }
            ValidateTarget::Layout(path) => self.validate_layout(&Layout::at(path), options).await,
            ValidateTarget::Model(model @ Model::Files(_)) => {
                let planned = self.subject(model, Digests::StandIns).await?;
                let mut report = validate_artifact(planned.manifest.bytes(), planned.config.as_deref(), &BTreeMap::new());
                // The digests are placeholders for those that packing computes, so they cannot be
                // compared.
                report.unread.clear();
                Ok(vec![Validation { subject: Subject::Planned, report }])
            }
        }
    }

    /// Validates all manifests of an index, including those that readers would reject. Signatures
    /// and other referrers of other manifests are not models, and are skipped unless their type is
    /// that of a model.
    async fn validate_layout(&self, layout: &Layout, options: ValidateOptions) -> Result<Vec<Validation>> {
        let entries = layout.entries().await?;
        let models: BTreeSet<_> = entries.iter().filter(|entry| !entry.is_referrer).map(|entry| entry.descriptor.digest.clone()).collect();
        let distinct: BTreeMap<_, _> = entries.into_iter().map(|entry| (entry.descriptor.digest.clone(), entry.descriptor)).collect();
        let mut validations = Vec::new();
        for (digest, entry) in distinct {
            match layout.manifest_of(&entry).await {
                Ok(manifest) if !models.contains(&digest) && !has_model_type(&manifest) => {}
                Ok(manifest) => validations.extend(self.validate_all(layout, manifest, options).await?),
                Err(StoreError::InvalidManifest { .. }) if entry.size <= MAX_BYTES as u64 => {
                    let what = format!("manifest {digest}");
                    let bytes = read_bytes(layout, &entry, MAX_BYTES, &what).await?;
                    let report = modelpack_validate::validate_manifest(&bytes);
                    validations.push(Validation { subject: Subject::Artifact(digest), report });
                }
                Err(e) => return Err(e.into()),
            }
        }
        if validations.is_empty() {
            return Err(Error::Store(StoreError::not_found(format!("a model in {}", layout.path().display()))));
        }
        Ok(validations)
    }

    /// Validates an artifact, or all artifacts of an index, including those of nested indexes.
    async fn validate_all(&self, source: &dyn Source, manifest: Manifest, options: ValidateOptions) -> Result<Vec<Validation>> {
        let what = format!("index {}", manifest.digest());
        let invalid = |why: String| Error::Store(StoreError::Invalid { what: what.clone(), why });
        let (mut validations, mut seen, mut listed) = (Vec::new(), BTreeSet::new(), VecDeque::new());
        let mut next = Some(manifest);
        while let Some(manifest) = next {
            if manifest.image().is_some() {
                let report = self.validate_image(source, &manifest, options).await?;
                validations.push(Validation { subject: Subject::Artifact(manifest.digest().clone()), report });
            }
            for descriptor in manifest.manifests() {
                if seen.len() == MAX_LISTED {
                    return Err(invalid(format!("it lists more than {MAX_LISTED} manifests")));
                }
                if seen.insert(descriptor.digest.clone()) {
                    listed.push_back(descriptor.digest.clone());
                }
            }
            next = match listed.pop_front() {
                Some(digest) => Some(source.manifest(&Selector::Digest(digest)).await?),
                None => None,
            };
        }
        if validations.is_empty() { Err(invalid("it lists no artifact".to_owned())) } else { Ok(validations) }
    }

    async fn validate_image(&self, source: &dyn Source, manifest: &Manifest, options: ValidateOptions) -> Result<Report> {
        // A config of another type can have any content and size; the manifest is then reported as
        // invalid.
        let config = match manifest.image() {
            Some(image) if media_type::is_config(&image.config.media_type) => {
                Some(modelpack_transfer::read_config(source, &image.config).await?)
            }
            _ => None,
        };
        let mut contents = BTreeMap::new();
        if let (Some(config), true) = (&config, options.layers) {
            contents = self.read_contents(source, unread(manifest.bytes(), config)).await?;
        }
        Ok(validate_artifact(manifest.bytes(), config.as_deref(), &contents))
    }

    /// Reads layers, each blob once, and returns the digests of their content: see
    /// [`validate_artifact`].
    async fn read_contents(&self, source: &dyn Source, layers: Vec<Unread>) -> Result<BTreeMap<usize, Result<Digest, String>>> {
        let mut distinct: BTreeMap<_, (Unread, Vec<usize>)> = BTreeMap::new();
        for layer in layers {
            let index = layer.index;
            let key = (layer.layer.digest.clone(), layer.encoding.name(), layer.algorithm);
            distinct.entry(key).or_insert_with(|| (layer, Vec::new())).1.push(index);
        }
        let stored = distinct.values().fold(0, |sum: u64, (layer, _)| sum.saturating_add(layer.layer.size));
        let allowance = Allowance::of(stored);
        self.progress.expect(stored);
        let mut contents = BTreeMap::new();
        for (Unread { layer, encoding, algorithm, .. }, indices) in distinct.into_values() {
            let body = source.blob(&layer, 0..layer.size).await?.counted(self.progress.blob(&layer));
            let content = match content_digest(&layer, encoding, algorithm, body, allowance.clone()).await {
                Ok(digest) => Ok(digest),
                Err(StoreError::Invalid { why, .. }) => Err(why),
                Err(e) => return Err(e.into()),
            };
            contents.extend(indices.into_iter().map(|index| (index, content.clone())));
        }
        Ok(contents)
    }
}

/// Whether a manifest has the type of a ModelPack model, in any of its names.
fn has_model_type(manifest: &Manifest) -> bool {
    let artifact = manifest.image().map(Artifact::read);
    artifact.is_some_and(|artifact| artifact.is_ok_and(|artifact| artifact.artifact_type.as_deref() == Some(media_type::ARTIFACT)))
}

fn validate_file(path: PathBuf, document: Option<Document>) -> Result<Validation> {
    let io = |source| Error::Store(StoreError::Io { action: "read", path: path.clone(), source });
    let mut bytes = Vec::new();
    // Reads one byte more than the limit, so that larger files are detected.
    File::open(&path).and_then(|file| file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)).map_err(io)?;
    if bytes.get(257..262) == Some(b"ustar") {
        let why = "it is a tar archive, not a JSON document; put `oci-archive:` before its path to validate the artifacts in it".to_owned();
        return Err(Error::Store(StoreError::Invalid { what: path.display().to_string(), why }));
    }
    let (document, report) = validate_document(&bytes, document).ok_or(Error::UnknownDocument { path })?;
    Ok(Validation { subject: Subject::Document(document), report })
}
