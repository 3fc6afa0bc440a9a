//! The files of a model as its manifest describes them. This is the one place that normalises the
//! older names of the specification and the conventions of other tools.

use crate::{
    Config, ConfigContents, Descriptor, DockerModel, Encoding, FilePath, ImageManifest, InvalidPath, LayerKind, LayerType, ModelKit,
    OllamaModel, annotation,
    media_type::{self, KitLayer},
    path::PathSet,
    typed_layer::{Holds, TypedLayer, name_by_type},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Attributes of a layer's file (specification, `docs/annotations.md`, "File Metadata Annotation Value").
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileMetadata {
    /// The file's name, without directories.
    pub name: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Modification time, RFC 3339.
    pub mtime: String,
    /// Type as in a tar header: 0 or `'0'` is a regular file.
    pub typeflag: u8,
}

/// The way in which the bytes of a layer are stored: as one file or as an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The bytes are the file with this path.
    File(FilePath),
    /// The bytes are an archive. Its entries have their own paths.
    Archive(Encoding),
    /// The bytes are the file with this path, compressed with the compression of this archive
    /// encoding.
    Compressed(FilePath, Encoding),
    /// Neither the annotations nor the media type name a file for the bytes.
    Unnamed,
}

/// A layer of an artifact.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The descriptor, unchanged from the manifest.
    pub descriptor: Descriptor,
    /// The role of the layer in the model, if its media type tells it.
    pub kind: Option<LayerKind>,
    /// Whether its bytes are one file or an archive.
    pub content: Content,
    /// The path in the layer's annotations (an archive may have one too), or else the path that the
    /// media type implies.
    pub path: Option<FilePath>,
    /// The file's attributes, if the layer has a readable annotation with them.
    pub metadata: Option<FileMetadata>,
}

impl Layer {
    fn read(descriptor: &Descriptor) -> Result<Self, InvalidPath> {
        let annotations: BTreeMap<String, &str> =
            descriptor.annotations.iter().map(|(k, v)| (annotation::normalise(k), v.as_str())).collect();
        let typed = TypedLayer::parse(&descriptor.media_type);
        // Docker treats an empty path as no path.
        let get = |key| annotations.get(key).filter(|path| typed.is_none() || !path.is_empty());
        let path = get(annotation::FILEPATH).or_else(|| get(annotation::TITLE));
        let mut path: Option<FilePath> = path.map(|p| p.parse()).transpose()?;
        let mut metadata = annotations.get(annotation::FILE_METADATA).and_then(|json| serde_json::from_str(json).ok());
        if let Some(TypedLayer { holds: Holds::Archive, .. }) = typed {
            (path, metadata) = (None, None);
        } else if let (Some(typed), None) = (typed, &path) {
            path = typed.named_path(descriptor.other.get("name").as_ref())?;
        }
        let kit_layer = KitLayer::parse(&descriptor.media_type);
        let layer_type = descriptor.media_type.parse::<LayerType>().ok().or_else(|| kit_layer?.layer_type);
        let encoding = match (layer_type, typed) {
            (Some(layer_type), _) => layer_type.encoding,
            (None, Some(typed)) => typed.holds.encoding(),
            // oras gives a plain file the media type of an image layer. Only this annotation tells
            // a packed directory from a file.
            _ if annotations.get(annotation::ORAS_UNPACK) == Some(&"true") => Encoding::TarGzip,
            _ => Encoding::Raw,
        };
        let content = match (encoding, &path) {
            // An unknown KitOps media type: the bytes need not be the file itself.
            _ if kit_layer.is_some() && layer_type.is_none() => Content::Unnamed,
            (compressed, path) if compressed != Encoding::Raw && kit_layer.is_some_and(|layer| layer.is_file) => match path {
                Some(path) => Content::Compressed(path.clone(), compressed),
                None => Content::Unnamed,
            },
            (Encoding::Raw, Some(path)) => Content::File(path.clone()),
            (Encoding::Raw, None) => Content::Unnamed,
            (archive, _) => Content::Archive(archive),
        };
        let kind = layer_type.map(|t| t.kind).or(typed.and_then(|t| t.kind));
        Ok(Self { descriptor: descriptor.clone(), kind, content, path, metadata })
    }

    /// Whether the file's attributes have the executable bit for its owner.
    pub fn is_executable(&self) -> bool {
        self.metadata.as_ref().is_some_and(|m| m.mode & 0o100 != 0)
    }
}

impl Descriptor {
    /// The name of this blob for people: the path of its file, or else the kind of the layer, or
    /// `blob`, and the beginning of the digest. Two blobs may have the same name.
    pub fn display_name(&self) -> String {
        // A hostile path is not shown.
        let (kind, path) = Layer::read(self).map_or((None, None), |layer| (layer.kind, layer.path));
        path.map_or_else(|| format!("{} {}", kind.map_or("blob", LayerKind::name), self.digest.short()), |path| path.to_string())
    }
}

/// The format of a config.
#[derive(Clone, Copy)]
enum Form {
    ModelPack,
    ModelKit,
    DockerModel,
    Ollama,
}

/// The files of a model, as its manifest describes them.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    /// The artifact type, with the older name replaced by today's name.
    pub artifact_type: Option<String>,
    /// The config's descriptor, unchanged from the manifest.
    pub config: Descriptor,
    /// The layers in order.
    pub layers: Vec<Layer>,
}

impl Artifact {
    /// Reads `manifest`, whichever tool wrote it.
    ///
    /// Fails if a path is hostile, or if two files could not both be written to one directory.
    pub fn read(manifest: &ImageManifest) -> Result<Self, InvalidPath> {
        let mut layers = manifest.layers.iter().map(Layer::read).collect::<Result<Vec<_>, _>>()?;
        let mut paths = PathSet::default();
        for layer in &mut layers {
            let (Content::File(path) | Content::Compressed(path, _)) = &layer.content else { continue };
            match paths.insert(path) {
                Ok(()) => {}
                // Docker's titles are file names without directories, so two files may have the
                // same title. Such files get a path from their media type instead.
                Err(_) if TypedLayer::parse(&layer.descriptor.media_type).is_some_and(|typed| typed.has_usual_name()) => {
                    (layer.content, layer.path) = (Content::Unnamed, None);
                }
                Err(taken) => return Err(taken),
            }
        }
        name_by_type(&mut layers, &mut paths);
        let artifact_type = manifest.artifact_type.as_deref().map(media_type::normalise);
        let mut artifact = Self { artifact_type, config: manifest.config.clone(), layers };
        if artifact.artifact_type.is_none() {
            artifact.artifact_type = match artifact.form() {
                Some(Form::ModelKit) => Some(media_type::MODELKIT.to_owned()),
                // OCI's default for a manifest without `artifactType`.
                Some(Form::DockerModel) => Some(artifact.config.media_type.clone()),
                _ => None,
            };
        }
        Ok(artifact)
    }

    /// Whether the config has the media type of the specification, today's or the older one.
    pub fn has_model_config(&self) -> bool {
        media_type::is_config(&self.config.media_type)
    }

    /// Whether [`read_config`](Self::read_config) can read the config: the specification's, or that
    /// of another supported tool.
    pub fn has_known_config(&self) -> bool {
        self.form().is_some()
    }

    /// Reads the model's description from the config blob `bytes`, in the format of any supported
    /// tool. Layers get the paths that only the config contains. A config that is not
    /// [known](Self::has_known_config) gives an empty result.
    ///
    /// Fails if the blob is not a JSON object, or contains a field of the specification twice.
    pub fn read_config(&mut self, bytes: &[u8]) -> Result<ConfigContents, serde_json::Error> {
        Ok(match self.form() {
            None => ConfigContents::default(),
            Some(Form::ModelPack) => ConfigContents { config: Config::parse(bytes)?, annotations: BTreeMap::new() },
            Some(Form::ModelKit) => {
                let kit = ModelKit::parse(bytes)?;
                kit.name_layers(self);
                ConfigContents { config: kit.config(), annotations: kit.annotations() }
            }
            Some(Form::DockerModel) => {
                let docker = DockerModel::parse(bytes)?;
                ConfigContents { config: docker.config(), annotations: docker.annotations() }
            }
            Some(Form::Ollama) => {
                let ollama = OllamaModel::parse(bytes)?;
                ConfigContents { config: ollama.config(), annotations: ollama.annotations() }
            }
        })
    }

    /// The format of the config, if it is a known one.
    fn form(&self) -> Option<Form> {
        match self.config.media_type.as_str() {
            _ if self.has_model_config() => Some(Form::ModelPack),
            media_type::MODELKIT_CONFIG => Some(Form::ModelKit),
            other if other.starts_with(media_type::DOCKER_MODEL_CONFIG) => Some(Form::DockerModel),
            // A container image has the same media type.
            media_type::DOCKER_IMAGE_CONFIG => {
                let is_ollama = self.layers.iter().any(|layer| TypedLayer::is_of_ollama(&layer.descriptor.media_type));
                is_ollama.then_some(Form::Ollama)
            }
            _ => None,
        }
    }

    /// The total size of the layers in bytes, from the manifest.
    pub fn size(&self) -> u64 {
        self.layers.iter().fold(0, |sum, layer| sum.saturating_add(layer.descriptor.size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digest, Manifest, UnknownFields};

    fn layer(media_type: &str, annotations: &[(&str, &str)]) -> Descriptor {
        let mut descriptor = Descriptor::new(media_type, Digest::of(b"x"), 1);
        descriptor.annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        descriptor
    }

    fn read(layers: Vec<Descriptor>) -> Result<Artifact, InvalidPath> {
        let config = Descriptor::of("application/vnd.cnai.model.config.v1+json", b"{}");
        let image = ImageManifest {
            schema_version: 2,
            media_type: None,
            artifact_type: Some("application/vnd.cnai.model.manifest.v1+json".into()),
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
            other: UnknownFields::default(),
        };
        Artifact::read(Manifest::from_image(image).unwrap().image().unwrap())
    }

    #[test]
    fn older_names_are_read_as_todays_names() {
        let metadata = r#"{"name":"a","mode":493,"size":1,"typeflag":0}"#;
        let old = layer(
            "application/vnd.cnai.model.weight.v1.raw",
            &[("org.cnai.model.filepath", "w/a"), ("org.cnai.model.file.metadata+json", metadata)],
        );
        let artifact = read(vec![old]).unwrap();
        assert_eq!(artifact.artifact_type.as_deref(), Some(media_type::ARTIFACT));
        assert!(artifact.has_model_config());
        assert_eq!(artifact.layers[0].kind, Some(LayerKind::Weight));
        assert_eq!(artifact.layers[0].content, Content::File("w/a".parse().unwrap()));
        assert!(artifact.layers[0].is_executable());
    }

    #[test]
    fn oras_files_and_directories_are_distinguished() {
        let file = layer("application/vnd.oci.image.layer.v1.tar", &[(annotation::TITLE, "a.txt")]);
        let directory =
            layer("application/vnd.oci.image.layer.v1.tar+gzip", &[(annotation::TITLE, "d"), (annotation::ORAS_UNPACK, "true")]);
        let unnamed = layer("application/octet-stream", &[]);
        let artifact = read(vec![file, directory, unnamed]).unwrap();
        assert_eq!(artifact.layers[0].content, Content::File("a.txt".parse().unwrap()));
        assert_eq!(artifact.layers[1].content, Content::Archive(Encoding::TarGzip));
        assert_eq!(artifact.layers[2].content, Content::Unnamed);
    }

    #[test]
    fn modelkit_layers_are_read_like_modelpack_layers() {
        let kit = |what: &str| format!("application/vnd.kitops.modelkit.{what}");
        let archive = layer(&kit("modelpart.v1.tar+gzip"), &[]);
        let file = layer(&kit("dataset.v1.raw"), &[(annotation::FILEPATH, "d.csv")]);
        let compressed = layer(&kit("docs.v1.raw+gzip"), &[(annotation::FILEPATH, "README.md")]);
        let unknown = layer(&kit("model.v1.raw+lz4"), &[(annotation::FILEPATH, "m")]);
        let unnamed = read(vec![layer(&kit("docs.v1.raw+zstd"), &[])]).unwrap();
        assert_eq!(unnamed.layers[0].content, Content::Unnamed);
        assert!(read(vec![file.clone(), compressed.clone(), compressed.clone()]).is_err(), "two files with one path");
        let artifact = read(vec![archive, file, compressed.clone(), unknown]).unwrap();
        let contents: Vec<_> = artifact.layers.iter().map(|layer| (layer.kind, layer.content.clone())).collect();
        assert_eq!(
            contents,
            [
                (Some(LayerKind::Weight), Content::Archive(Encoding::TarGzip)),
                (Some(LayerKind::Dataset), Content::File("d.csv".parse().unwrap())),
                (Some(LayerKind::Doc), Content::Compressed("README.md".parse().unwrap(), Encoding::TarGzip)),
                (None, Content::Unnamed),
            ]
        );
    }

    #[test]
    fn a_blob_is_displayed_by_its_path_or_else_by_kind_and_digest() {
        let weight = "application/vnd.cncf.model.weight.v1.raw";
        let name = |media_type: &str, annotations: &[(&str, &str)]| layer(media_type, annotations).display_name();
        let short = layer(weight, &[]).digest.short().to_owned();
        assert_eq!(name(weight, &[(annotation::FILEPATH, "w/a"), (annotation::TITLE, "t")]), "w/a");
        assert_eq!(name(weight, &[("org.cnai.model.filepath", "old")]), "old");
        assert_eq!(name("application/octet-stream", &[(annotation::TITLE, "t")]), "t");
        assert_eq!(name("application/vnd.cncf.model.weight.v1.tar", &[]), format!("weight {short}"));
        assert_eq!(name("application/vnd.oci.image.layer.v1.tar", &[]), format!("blob {short}"));
        assert_eq!(name(weight, &[(annotation::FILEPATH, "../x")]), format!("blob {short}"));
    }

    #[test]
    fn hostile_and_clashing_paths_fail_the_whole_artifact() {
        let raw = |path| layer("application/vnd.cncf.model.doc.v1.raw", &[(annotation::FILEPATH, path)]);
        assert!(read(vec![raw("ok"), raw("../x")]).is_err());
        assert!(read(vec![raw("a"), raw("a")]).is_err());
        assert!(read(vec![raw("a"), raw("b")]).is_ok());
    }
}
