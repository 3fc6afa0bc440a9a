//! Reads the metadata of an artifact.

use crate::{
    Error, Modelpack, Place, Result, StoreError,
    open::{artifact_of, image_of},
};
use modelpack_spec::{Artifact, Config, ConfigContents, Content, Descriptor, Digest, FilePath, LayerKind, Manifest};
use modelpack_transfer::Source;
use std::collections::BTreeMap;

/// An artifact as described by its manifest and config.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// The place where it was found.
    pub place: Place,
    /// The manifest, with its bytes.
    pub manifest: Manifest,
    /// The type of the artifact, with its current name.
    pub artifact_type: Option<String>,
    /// The metadata of the model, also of a KitOps ModelKit and of models of Docker and Ollama.
    /// `None` for an artifact with another config, such as one pushed with `oras`.
    pub config: Option<Config>,
    /// The annotations of the manifest, and values of another tool's config that have no field in
    /// `config`.
    pub annotations: BTreeMap<String, String>,
    /// The layers in order.
    pub layers: Vec<InspectedLayer>,
    /// For an index, its entries.
    pub manifests: Vec<Descriptor>,
}

/// A layer as described by its descriptor.
#[derive(Clone, Debug, PartialEq)]
pub struct InspectedLayer {
    /// The file's path, or the path in an archive layer's annotations.
    pub path: Option<FilePath>,
    /// The kind of the layer, if its media type defines it.
    pub kind: Option<LayerKind>,
    /// Its media type as written in the manifest.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Whether it is an archive and not a single file.
    pub is_archive: bool,
}

impl Modelpack {
    /// Reads only manifest and config.
    pub async fn inspect(&self, place: &Place) -> Result<Inspection> {
        let opened = self.open(place).await?;
        if opened.manifest.image().is_none() {
            let manifests = opened.manifest.manifests().to_vec();
            return Ok(Inspection {
                place: opened.place,
                manifest: opened.manifest,
                artifact_type: None,
                config: None,
                annotations: BTreeMap::new(),
                layers: Vec::new(),
                manifests,
            });
        }
        let (image, mut artifact) = (image_of(&opened.manifest)?, artifact_of(&opened.manifest)?);
        let contents = opened.place.blame(read_config_contents(opened.source.as_ref(), &mut artifact).await)?;
        let layers = artifact.layers.into_iter().map(|layer| InspectedLayer {
            is_archive: matches!(layer.content, Content::Archive(_)),
            path: layer.path,
            kind: layer.kind,
            media_type: layer.descriptor.media_type,
            digest: layer.descriptor.digest,
            size: layer.descriptor.size,
        });
        let layers = layers.collect();
        let (config, noted) = contents.map(|contents| (contents.config, contents.annotations)).unzip();
        let annotations = image.annotations.clone().into_iter().chain(noted.unwrap_or_default()).collect();
        Ok(Inspection {
            place: opened.place,
            artifact_type: artifact.artifact_type,
            config,
            annotations,
            layers,
            manifests: Vec::new(),
            manifest: opened.manifest,
        })
    }
}

/// Reads the config of `artifact` if its type is known. Sets layer paths that only the config
/// contains.
pub(crate) async fn read_config_contents(source: &dyn Source, artifact: &mut Artifact) -> Result<Option<ConfigContents>> {
    if !artifact.has_known_config() {
        return Ok(None);
    }
    let bytes = modelpack_transfer::read_config(source, &artifact.config).await?;
    config_contents(artifact, &bytes)
}

/// Parses the config of `artifact` if its type is known. Sets layer paths that only the config
/// contains.
pub(crate) fn config_contents(artifact: &mut Artifact, config: &[u8]) -> Result<Option<ConfigContents>> {
    if !artifact.has_known_config() {
        return Ok(None);
    }
    let what = format!("config {}", artifact.config.digest);
    artifact.read_config(config).map(Some).map_err(|e| Error::Store(StoreError::Invalid { what, why: e.to_string() }))
}

/// Reads a ModelPack config and verifies it against its descriptor.
pub(crate) async fn read_config(source: &dyn Source, config: &Descriptor) -> Result<Config> {
    let bytes = modelpack_transfer::read_config(source, config).await?;
    let what = format!("config {}", config.digest);
    Config::parse(&bytes).map_err(|e| Error::Store(StoreError::Invalid { what, why: e.to_string() }))
}
