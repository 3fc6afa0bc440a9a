//! Media types of the specification, and the related media types that a reader meets.
//!
//! The older family `application/vnd.cnai.model.*` is read as today's. Only today's is written.

use serde::{Serialize, Serializer};
use std::{fmt, str::FromStr};

/// `artifactType` of a model's manifest.
pub const ARTIFACT: &str = "application/vnd.cncf.model.manifest.v1+json";
/// Media type of a model's config.
pub const CONFIG: &str = "application/vnd.cncf.model.config.v1+json";
/// Media type of an OCI image manifest.
pub const IMAGE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI image index.
pub const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of the config of an OCI image.
pub const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of a layer of an OCI image: a tar archive, not compressed.
pub const IMAGE_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Media type of a Docker image manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Media type of a Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Media type of the list of the hash states of a blob, and `artifactType` of the manifest that has
/// the lists of an artifact: see [`HashStates`](crate::HashStates). This project's own type.
pub const HASH_STATES: &str = "application/vnd.modelpack.hash-states.v1";

/// Media type of the config of a manifest that needs none, and the bytes of that config.
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// See [`EMPTY`].
pub const EMPTY_BYTES: &[u8] = b"{}";

/// `artifactType` of a KitOps ModelKit. Older ModelKits have no artifact type.
pub const MODELKIT: &str = "application/vnd.kitops.modelkit.manifest.v1+json";
/// Media type of a ModelKit's config: see [`ModelKit`](crate::ModelKit).
pub const MODELKIT_CONFIG: &str = "application/vnd.kitops.modelkit.config.v1+json";

/// Prefix of the media types of Docker Model Runner configs: see
/// [`DockerModel`](crate::DockerModel). A version and `+json` follow.
pub const DOCKER_MODEL_CONFIG: &str = "application/vnd.docker.ai.model.config.";
/// Media type of a Docker image's config. The config of an Ollama model has it too: see
/// [`OllamaModel`](crate::OllamaModel).
pub const DOCKER_IMAGE_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

const CURRENT: &str = "application/vnd.cncf.model.";
const OLDER: &str = "application/vnd.cnai.model.";

/// Replaces an older name of the specification by today's name. Any other media type is returned
/// unchanged.
pub(crate) fn normalise(media_type: &str) -> String {
    match media_type.strip_prefix(OLDER) {
        Some(rest) => format!("{CURRENT}{rest}"),
        None => media_type.to_owned(),
    }
}

/// Whether registries distribute layers of this media type: all except
/// `application/vnd.oci.image.layer.nondistributable.*` and Docker's foreign layers.
pub(crate) fn is_distributable(media_type: &str) -> bool {
    !media_type.contains(".nondistributable.") && !media_type.contains(".foreign.")
}

/// Whether `media_type` is that of a model's config, under today's or the older name.
pub fn is_config(media_type: &str) -> bool {
    normalise(media_type) == CONFIG
}

/// A layer of a KitOps ModelKit, by its media type `application/vnd.kitops.modelkit.<what>.v1.<encoding>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KitLayer<'a> {
    /// The section of the Kitfile that it comes from: `model`, `modelpart`, `code`, `dataset`,
    /// `docs` or `mcpb`.
    pub(crate) what: &'a str,
    /// The equivalent layer type, if there is one.
    pub(crate) layer_type: Option<LayerType>,
    /// Whether the layer is a single compressed file and not a compressed archive. No layer type of
    /// the specification has this meaning.
    pub(crate) is_file: bool,
}

impl<'a> KitLayer<'a> {
    pub(crate) fn parse(media_type: &'a str) -> Option<Self> {
        let (what, encoding) = media_type.strip_prefix("application/vnd.kitops.modelkit.")?.split_once(".v1.")?;
        let kind = match what {
            "model" | "modelpart" => Some(LayerKind::Weight),
            // KitOps itself stores prompts in code layers, and an MCP bundle contains a server's
            // program.
            "code" | "mcpb" | "prompt" => Some(LayerKind::Code),
            "dataset" => Some(LayerKind::Dataset),
            "docs" => Some(LayerKind::Doc),
            _ => None,
        };
        let (is_file, encoding) = match encoding {
            "raw+gzip" => (true, Some(Encoding::TarGzip)),
            "raw+zstd" => (true, Some(Encoding::TarZstd)),
            name => (name == Encoding::Raw.name(), Encoding::ALL.into_iter().find(|e| e.name() == name)),
        };
        Some(Self { what, layer_type: kind.zip(encoding).map(|(kind, encoding)| LayerType { kind, encoding }), is_file })
    }
}

/// The role of a layer's files in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LayerKind {
    /// Configuration of the weights: `config.json`, tokenizer and the like.
    WeightConfig,
    /// Weights.
    Weight,
    /// Code.
    Code,
    /// Documentation.
    Doc,
    /// Data sets.
    Dataset,
}

impl LayerKind {
    /// Every kind, in the order in which layers are written.
    pub const ALL: [Self; 5] = [Self::WeightConfig, Self::Weight, Self::Code, Self::Dataset, Self::Doc];

    /// The name in a media type: `weight.config`, `weight`, `code`, `doc` or `dataset`.
    pub fn name(self) -> &'static str {
        match self {
            Self::WeightConfig => "weight.config",
            Self::Weight => "weight",
            Self::Code => "code",
            Self::Doc => "doc",
            Self::Dataset => "dataset",
        }
    }
}

impl Serialize for LayerKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The encoding of a layer: a raw file, or an archive of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// One file, unchanged.
    Raw,
    /// A tar archive.
    Tar,
    /// A tar archive, compressed with gzip.
    TarGzip,
    /// A tar archive, compressed with zstd.
    TarZstd,
}

impl Encoding {
    /// Every encoding.
    pub const ALL: [Self; 4] = [Self::Raw, Self::Tar, Self::TarGzip, Self::TarZstd];

    /// The name in a media type: `raw`, `tar`, `tar+gzip` or `tar+zstd`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Tar => "tar",
            Self::TarGzip => "tar+gzip",
            Self::TarZstd => "tar+zstd",
        }
    }

    /// Whether the layer's bytes differ from the bytes that its diffId is the digest of.
    pub fn is_compressed(self) -> bool {
        matches!(self, Self::TarGzip | Self::TarZstd)
    }

    /// The file extension of such an archive, without a dot; `None` for a raw file.
    pub fn extension(self) -> Option<&'static str> {
        match self {
            Self::Raw => None,
            Self::Tar => Some("tar"),
            Self::TarGzip => Some("tar.gz"),
            Self::TarZstd => Some("tar.zst"),
        }
    }
}

impl Serialize for Encoding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The media type of a layer: `application/vnd.cncf.model.<kind>.v1.<encoding>`, twenty in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerType {
    /// The role of the layer in the model.
    pub kind: LayerKind,
    /// The encoding of the layer.
    pub encoding: Encoding,
}

impl fmt::Display for LayerType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{CURRENT}{}.v1.{}", self.kind.name(), self.encoding.name())
    }
}

impl FromStr for LayerType {
    type Err = NotALayerType;

    /// Accepts today's and the older names.
    fn from_str(media_type: &str) -> Result<Self, NotALayerType> {
        let rest = media_type.strip_prefix(CURRENT).or_else(|| media_type.strip_prefix(OLDER)).ok_or(NotALayerType)?;
        let (kind, encoding) = rest.split_once(".v1.").ok_or(NotALayerType)?;
        Ok(Self {
            kind: *LayerKind::ALL.iter().find(|k| k.name() == kind).ok_or(NotALayerType)?,
            encoding: *Encoding::ALL.iter().find(|e| e.name() == encoding).ok_or(NotALayerType)?,
        })
    }
}

/// The media type is not a layer type of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a layer media type of the ModelPack specification")]
pub struct NotALayerType;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_twenty_print_and_parse_in_both_families() {
        let mut seen = std::collections::HashSet::new();
        for kind in LayerKind::ALL {
            for encoding in Encoding::ALL {
                let layer = LayerType { kind, encoding };
                let text = layer.to_string();
                assert_eq!(text.parse(), Ok(layer));
                assert_eq!(text.replace("cncf", "cnai").parse(), Ok(layer));
                assert!(seen.insert(text));
            }
        }
        assert_eq!(seen.len(), 20);
        assert!(seen.contains("application/vnd.cncf.model.weight.config.v1.tar+gzip"));
    }

    #[test]
    fn modelkit_layer_types_are_read_and_never_written() {
        let read = |text: &str| KitLayer::parse(&format!("application/vnd.kitops.modelkit.{text}")).and_then(|layer| layer.layer_type);
        let layer = |kind, encoding| Some(LayerType { kind, encoding });
        assert_eq!(read("model.v1.tar"), layer(LayerKind::Weight, Encoding::Tar));
        assert_eq!(read("modelpart.v1.tar+gzip"), layer(LayerKind::Weight, Encoding::TarGzip));
        assert_eq!(read("docs.v1.tar+zstd"), layer(LayerKind::Doc, Encoding::TarZstd));
        assert_eq!(read("dataset.v1.raw"), layer(LayerKind::Dataset, Encoding::Raw));
        assert_eq!(read("mcpb.v1.raw"), layer(LayerKind::Code, Encoding::Raw));
        assert_eq!(read("model.v1.raw+gzip"), layer(LayerKind::Weight, Encoding::TarGzip));
        let is_file = |text: &str| KitLayer::parse(&format!("application/vnd.kitops.modelkit.{text}")).unwrap().is_file;
        assert!(is_file("model.v1.raw+gzip") && is_file("model.v1.raw") && !is_file("model.v1.tar+gzip"));
        for other in ["model.v1.zip", "config.v1+json", "other.v1.tar"] {
            assert_eq!(read(other), None, "{other}");
        }
        assert!(MODELKIT_CONFIG.parse::<LayerType>().is_err());
        assert!("application/vnd.kitops.modelkit.model.v1.tar".parse::<LayerType>().is_err());
    }

    #[test]
    fn others_do_not_parse() {
        for bad in [
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.cncf.model.weight.v1.zip",
            "application/vnd.cncf.model.weight.raw",
            "",
        ] {
            assert_eq!(bad.parse::<LayerType>(), Err(NotALayerType), "{bad}");
        }
    }
}
