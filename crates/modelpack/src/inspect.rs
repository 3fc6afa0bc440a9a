//! Reads the metadata of an artifact.

use crate::{
    Error, Modelpack, Place, Result, StoreError,
    open::{artifact_of, image_of},
};
use modelpack_spec::{Artifact, Config, ConfigContents, Content, Descriptor, Digest, FilePath, Layer, LayerKind, Manifest};
use modelpack_transfer::Source;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// An artifact as described by its manifest and config.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Inspection {
    /// The place where it was found.
    #[serde(rename = "reference")]
    pub place: Place,
    /// The manifest with its bytes. The JSON form consists of digest, media type and size in bytes.
    #[serde(flatten, serialize_with = "without_bytes")]
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
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
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
    #[serde(rename = "archive")]
    pub is_archive: bool,
    /// Whether the owner may execute it, according to its annotations.
    #[serde(rename = "executable")]
    pub is_executable: bool,
}

impl From<Layer> for InspectedLayer {
    fn from(layer: Layer) -> Self {
        Self {
            is_archive: matches!(layer.content, Content::Archive(_)),
            is_executable: layer.is_executable(),
            path: layer.path,
            kind: layer.kind,
            media_type: layer.descriptor.media_type,
            digest: layer.descriptor.digest,
            size: layer.descriptor.size,
        }
    }
}

/// The data of a manifest that is known before it is read.
fn without_bytes<S: Serializer>(manifest: &Manifest, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Summary<'a> {
        digest: &'a Digest,
        media_type: &'a str,
        size: usize,
    }
    Summary { digest: manifest.digest(), media_type: manifest.media_type(), size: manifest.bytes().len() }.serialize(serializer)
}

impl Modelpack {
    /// Reads only manifest and config.
    ///
    /// ```
    /// # use modelpack::{Modelpack, Options, PackRequest};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scratch = tempfile::tempdir()?;
    /// # std::fs::write(scratch.path().join("config.json"), r#"{"model_type":"llama"}"#)?;
    /// # let modelpack = Modelpack::new(Options::new(scratch.path().join("store")));
    /// # modelpack.pack(&PackRequest::new(scratch.path()), &"tiny:v1".parse()?).await?;
    /// let inspection = modelpack.inspect(&"tiny:v1".parse()?).await?;
    /// let config = inspection.config.expect("it was packed here");
    /// assert_eq!(config.descriptor.family.as_deref(), Some("llama"));
    /// assert_eq!(inspection.layers[0].path, Some("config.json".parse()?));
    /// # Ok(())
    /// # }
    /// ```
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
        let layers = artifact.layers.into_iter().map(InspectedLayer::from).collect();
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
