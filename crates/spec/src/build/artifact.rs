//! The builder of an artifact: a manifest and a config that agree.

use super::{BuildError, ConfigBuilder};
use crate::{
    Config, Descriptor, Digest, Encoding, FileMetadata, FilePath, HashStates, ImageManifest, LayerKind, LayerType, Manifest, UnknownFields,
    annotation, media_type,
    path::PathSet,
    value::{is_date_time, is_media_type},
};
use std::collections::{BTreeMap, BTreeSet};

/// The largest size that a document can contain, in bytes: OCI and the specification use signed
/// 64-bit integers.
const MAX_SIZE: u64 = i64::MAX as u64;

/// A stored layer and its metadata.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerInput {
    /// The role of the layer in the model.
    pub kind: LayerKind,
    /// The encoding of the layer.
    pub encoding: Encoding,
    /// The digest of the layer's bytes.
    pub digest: Digest,
    /// The digest of the uncompressed bytes. Required for a compressed layer; equal to `digest`, or
    /// `None`, for any other layer.
    pub diff_id: Option<Digest>,
    /// The layer's size in bytes.
    pub size: u64,
    /// The path of the layer's file, or of the directory in an archive. Required for a raw layer.
    pub path: Option<FilePath>,
    /// The attributes of the layer's file.
    pub metadata: Option<FileMetadata>,
    /// `Some(true)` if `kind` was inferred from a name, `Some(false)` if a person gave it, `None`
    /// to write no annotation.
    pub untested: Option<bool>,
    /// The list of the layer's hash states: see [`HashStates::descriptor`].
    pub hash_states: Option<Descriptor>,
}

impl LayerInput {
    /// The annotations that depend on this layer alone: path, attributes, `untested`, hash states,
    /// and the title of a raw file.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let path = self.path.as_ref().map(FilePath::to_string);
        let json = |metadata| serde_json::to_string(metadata).expect("metadata has string keys only, so it always serialises");
        let pairs = [
            (annotation::TITLE, path.clone().filter(|_| self.encoding == Encoding::Raw)),
            (annotation::FILEPATH, path),
            (annotation::FILE_METADATA, self.metadata.as_ref().map(json)),
            (annotation::MEDIATYPE_UNTESTED, self.untested.map(|untested| untested.to_string())),
            (annotation::HASH_STATES, self.hash_states.as_ref().map(HashStates::annotation)),
        ];
        pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }
}

/// A manifest and its config.
#[derive(Clone, Debug, PartialEq)]
pub struct BuiltArtifact {
    /// The manifest, with its bytes.
    pub manifest: Manifest,
    /// The content of the config blob.
    pub config: Config,
    /// The config blob.
    pub config_bytes: Vec<u8>,
}

/// Builds a [`BuiltArtifact`] from layers, in their order.
///
/// For each layer the builder writes path, title, attributes and `untested` as annotations, and one
/// entry of `diffIds`. The title of an archive has an extension, such as `.tar.gz`, because tools
/// that unpack nothing keep the archive as a file. The builder refuses layers whose paths clash,
/// and attributes that contradict their layer.
#[derive(Clone, Debug, Default)]
pub struct ArtifactBuilder {
    config: ConfigBuilder,
    layers: Vec<LayerInput>,
    annotations: BTreeMap<String, String>,
    subject: Option<Descriptor>,
}

impl ArtifactBuilder {
    /// An artifact without layers. It cannot be built until a layer is added.
    pub fn new(config: ConfigBuilder) -> Self {
        Self { config, ..Self::default() }
    }

    /// Adds a layer.
    pub fn layer(mut self, layer: LayerInput) -> Self {
        self.layers.push(layer);
        self
    }

    /// Adds an annotation to the manifest.
    pub fn annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.annotations.insert(key.into(), value.into());
        self
    }

    /// Sets the manifest that this one refers to.
    pub fn subject(mut self, subject: Descriptor) -> Self {
        self.subject = Some(subject);
        self
    }

    /// Builds config and manifest. Their bytes depend on the builder's input alone.
    pub fn build(self) -> Result<BuiltArtifact, BuildError> {
        check_paths(&self.layers)?;
        self.subject.as_ref().map_or(Ok(()), check_subject)?;
        let layers = self.layers.iter().enumerate().map(|(index, layer)| descriptor(index, layer));
        let mut layers = layers.collect::<Result<Vec<_>, _>>()?;
        give_titles(&self.layers, &mut layers);
        let diff_ids = self.layers.into_iter().map(|layer| layer.diff_id.unwrap_or(layer.digest));
        let config = self.config.build(diff_ids)?;
        let config_bytes = config.to_bytes();
        let manifest = Manifest::from_image(ImageManifest {
            schema_version: 2,
            media_type: Some(media_type::IMAGE_MANIFEST.to_owned()),
            artifact_type: Some(media_type::ARTIFACT.to_owned()),
            config: Descriptor::of(media_type::CONFIG, &config_bytes),
            layers,
            subject: self.subject,
            annotations: self.annotations,
            other: UnknownFields::default(),
        })?;
        Ok(BuiltArtifact { manifest, config, config_bytes })
    }
}

/// All files must fit into one directory. The entries of an archive have their own paths, so the
/// path of an archive must only be unique.
fn check_paths(layers: &[LayerInput]) -> Result<(), BuildError> {
    let (mut files, mut all) = (PathSet::default(), BTreeSet::new());
    for (index, layer) in layers.iter().enumerate() {
        let Some(path) = &layer.path else { continue };
        if layer.encoding == Encoding::Raw {
            files.insert(path).map_err(|source| BuildError::Path { field: format!("/layers/{index}"), source })?;
        }
        if !all.insert(path) {
            return Err(contradiction(index, annotation::FILEPATH, format!("another layer has the same path, {:?}", path.as_str())));
        }
    }
    Ok(())
}

fn check_subject(subject: &Descriptor) -> Result<(), BuildError> {
    if !is_media_type(&subject.media_type) {
        let (field, value) = ("/subject/mediaType".to_owned(), subject.media_type.clone());
        return Err(BuildError::Value { field, value, expected: "a media type (RFC 6838, section 4.2)" });
    }
    if subject.size > MAX_SIZE {
        return Err(BuildError::Value {
            field: "/subject/size".to_owned(),
            value: subject.size.to_string(),
            expected: "a size of at most 63 bits",
        });
    }
    Ok(())
}

fn descriptor(index: usize, layer: &LayerInput) -> Result<Descriptor, BuildError> {
    check_layer(index, layer)?;
    let layer_type = LayerType { kind: layer.kind, encoding: layer.encoding };
    let mut descriptor = Descriptor::new(layer_type.to_string(), layer.digest.clone(), layer.size);
    descriptor.annotations = layer.annotations();
    Ok(descriptor)
}

/// Gives each archive a title for tools that unpack nothing: its path with an extension, so that
/// nobody mistakes the archive for the file inside it. An archive whose title would clash with
/// another layer's path gets no title.
fn give_titles(layers: &[LayerInput], descriptors: &mut [Descriptor]) {
    let mut taken = PathSet::default();
    for path in layers.iter().filter(|layer| layer.encoding == Encoding::Raw).filter_map(|layer| layer.path.as_ref()) {
        // `check_paths` has refused layers whose paths clash.
        let _ = taken.insert(path);
    }
    for (layer, descriptor) in layers.iter().zip(descriptors) {
        let (Some(path), Some(extension)) = (&layer.path, layer.encoding.extension()) else { continue };
        let has_extension = path.as_str().ends_with(&format!(".{extension}"));
        let title = if has_extension { Ok(path.clone()) } else { format!("{path}.{extension}").parse() };
        if let Ok(title) = title
            && taken.insert(&title).is_ok()
        {
            descriptor.annotations.insert(annotation::TITLE.to_owned(), title.to_string());
        }
    }
}

fn check_layer(index: usize, layer: &LayerInput) -> Result<(), BuildError> {
    let is_raw = layer.encoding == Encoding::Raw;
    if layer.size > MAX_SIZE {
        return Err(BuildError::Layer {
            field: format!("/layers/{index}/size"),
            reason: format!("{} is more than {MAX_SIZE}", layer.size),
        });
    }
    if is_raw && layer.path.is_none() {
        return Err(contradiction(index, annotation::FILEPATH, "a raw layer is a file, so it needs a path".to_owned()));
    }
    match (&layer.diff_id, layer.encoding) {
        (None, Encoding::TarGzip | Encoding::TarZstd) => {
            let reason = "a compressed layer needs the digest of its uncompressed bytes".to_owned();
            return Err(BuildError::Layer { field: format!("/modelfs/diffIds/{index}"), reason });
        }
        (Some(diff_id), Encoding::Raw | Encoding::Tar) if *diff_id != layer.digest => {
            let reason = format!("{diff_id} is not the layer's digest, but the layer is not compressed");
            return Err(BuildError::Layer { field: format!("/modelfs/diffIds/{index}"), reason });
        }
        (Some(diff_id), Encoding::TarGzip | Encoding::TarZstd) if *diff_id == layer.digest => {
            let reason = format!("{diff_id} is the digest of the compressed layer, not of its uncompressed bytes");
            return Err(BuildError::Layer { field: format!("/modelfs/diffIds/{index}"), reason });
        }
        _ => {}
    }
    let Some(metadata) = &layer.metadata else { return Ok(()) };
    let refuse = |reason| Err(contradiction(index, annotation::FILE_METADATA, reason));
    // Other tools write either the file name or the path.
    if let Some(path) = &layer.path
        && metadata.name != path.file_name()
        && metadata.name != path.as_str()
    {
        return refuse(format!("the name is {:?}, but the path is {:?}", metadata.name, path.as_str()));
    }
    if metadata.name.is_empty() {
        return refuse("name: it is empty".to_owned());
    }
    if metadata.size > MAX_SIZE {
        return refuse(format!("size: {} is more than {MAX_SIZE}", metadata.size));
    }
    if !is_date_time(&metadata.mtime) {
        return refuse(format!("mtime: {:?} is not an RFC 3339 time", metadata.mtime));
    }
    if is_raw && metadata.size != layer.size {
        return refuse(format!("size: {} differs from the size of the layer, {}", metadata.size, layer.size));
    }
    if is_raw && !matches!(metadata.typeflag, 0 | b'0') {
        return refuse(format!("typeflag: {} is not that of a regular file, 0", metadata.typeflag));
    }
    Ok(())
}

fn contradiction(index: usize, annotation: &str, reason: String) -> BuildError {
    BuildError::Layer { field: format!("/layers/{index}/annotations/{annotation}"), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Artifact, Content};

    fn file(path: &str) -> LayerInput {
        let path: FilePath = path.parse().unwrap();
        let metadata = FileMetadata {
            name: path.file_name().to_owned(),
            mode: 0o644,
            size: 1,
            mtime: "1970-01-01T00:00:00Z".to_owned(),
            ..FileMetadata::default()
        };
        LayerInput {
            kind: LayerKind::Weight,
            encoding: Encoding::Raw,
            digest: Digest::of(path.as_str().as_bytes()),
            diff_id: None,
            size: 1,
            path: Some(path),
            metadata: Some(metadata),
            untested: Some(true),
            hash_states: None,
        }
    }

    fn archive(encoding: Encoding) -> LayerInput {
        let diff_id = Some(Digest::of(b"tar")).filter(|_| encoding != Encoding::Tar);
        LayerInput { encoding, diff_id, path: None, metadata: None, untested: None, ..file("x") }
    }

    fn build(layers: impl IntoIterator<Item = LayerInput>) -> Result<BuiltArtifact, BuildError> {
        layers.into_iter().fold(ArtifactBuilder::new(ConfigBuilder::new().name("tiny")), ArtifactBuilder::layer).build()
    }

    #[test]
    fn config_and_manifest_agree() {
        let layers = [file("sub/a"), archive(Encoding::TarGzip), archive(Encoding::Tar)];
        let expected: Vec<Digest> = layers.iter().map(|layer| layer.diff_id.clone().unwrap_or(layer.digest.clone())).collect();
        let subject = Descriptor::of(media_type::IMAGE_MANIFEST, b"subject");
        let builder = layers.into_iter().fold(ArtifactBuilder::new(ConfigBuilder::new()), ArtifactBuilder::layer);
        let built = builder.annotation("key", "value").subject(subject.clone()).build().unwrap();
        assert_eq!(built.config.modelfs.diff_ids, expected);
        assert_eq!(Config::parse(&built.config_bytes).unwrap(), built.config);
        let image = built.manifest.image().unwrap();
        assert_eq!(image.config, Descriptor::of(media_type::CONFIG, &built.config_bytes));
        assert_eq!((image.annotations["key"].as_str(), image.subject.as_ref()), ("value", Some(&subject)));
        assert_eq!(image.layers[0].annotations[annotation::TITLE], "sub/a");
        assert_eq!(image.layers[0].annotations[annotation::MEDIATYPE_UNTESTED], "true");
        assert!(image.layers[1].annotations.is_empty());
        let read = Artifact::read(image).unwrap();
        assert!(read.has_model_config());
        assert_eq!(read.layers[0].content, Content::File("sub/a".parse().unwrap()));
        assert_eq!(read.layers[0].metadata, file("sub/a").metadata);
        assert_eq!(read.layers[1].content, Content::Archive(Encoding::TarGzip));
    }

    #[test]
    fn contradictions_are_refused_with_their_location() {
        let changed = |change: fn(&mut LayerInput)| {
            let mut layer = file("sub/a");
            change(&mut layer);
            layer
        };
        let metadata = |change: fn(&mut FileMetadata)| {
            let mut layer = file("sub/a");
            change(layer.metadata.as_mut().unwrap());
            layer
        };
        let at = |key: &str| format!("/layers/1/annotations/{key}");
        let diff_id = "/modelfs/diffIds/1".to_owned();
        for (layer, expected) in [
            (changed(|layer| layer.path = None), at(annotation::FILEPATH)),
            (changed(|layer| layer.diff_id = Some(Digest::of(b"other"))), diff_id.clone()),
            (LayerInput { diff_id: None, ..archive(Encoding::TarZstd) }, diff_id.clone()),
            (LayerInput { diff_id: Some(archive(Encoding::TarGzip).digest), ..archive(Encoding::TarGzip) }, diff_id),
            (metadata(|metadata| metadata.name = "b".to_owned()), at(annotation::FILE_METADATA)),
            (metadata(|metadata| metadata.size = 2), at(annotation::FILE_METADATA)),
            (changed(|layer| layer.size = u64::MAX), "/layers/1/size".to_owned()),
            (LayerInput { metadata: Some(FileMetadata::default()), ..archive(Encoding::Tar) }, at(annotation::FILE_METADATA)),
            (metadata(|metadata| metadata.mtime = "now".to_owned()), at(annotation::FILE_METADATA)),
            (metadata(|metadata| metadata.typeflag = b'5'), at(annotation::FILE_METADATA)),
            (LayerInput { path: file("first").path, ..archive(Encoding::Tar) }, at(annotation::FILEPATH)),
        ] {
            match build([file("first"), layer.clone()]) {
                Err(BuildError::Layer { field, .. }) => assert_eq!(field, expected, "{layer:?}"),
                other => panic!("{layer:?}: {other:?}"),
            }
        }
        for clash in [["a", "a"], ["a", "A"], ["a", "a/b"], ["a/b", "a"]] {
            let error = build(clash.map(file)).unwrap_err();
            assert!(matches!(&error, BuildError::Path { field, .. } if field == "/layers/1"), "{clash:?}: {error}");
        }
        assert!(matches!(build([]), Err(BuildError::Missing { .. })));
        let attributes = metadata(|metadata| (metadata.name, metadata.typeflag) = ("sub/a".to_owned(), b'0'));
        assert!(build([attributes]).is_ok(), "other tools' conventions with the same meaning");
        let archives = [archive(Encoding::Tar), archive(Encoding::TarZstd)];
        assert!(build(archives).is_ok(), "archives need no path");
    }

    #[test]
    fn an_archive_is_not_titled_like_the_file_in_it() {
        let at = |path: &str, encoding| LayerInput { path: Some(path.parse().unwrap()), metadata: None, ..archive(encoding) };
        let layers = [
            at("a", Encoding::Tar),
            at("b", Encoding::TarGzip),
            at("c.tar.zst", Encoding::TarZstd),
            at("taken", Encoding::Tar),
            file("taken.tar"),
            at("Twice.tar", Encoding::Tar),
            at("twice", Encoding::Tar),
        ];
        let built = build(layers).unwrap();
        let titles =
            built.manifest.image().unwrap().layers.iter().map(|layer| layer.annotations.get(annotation::TITLE).map(String::as_str));
        let expected = [Some("a.tar"), Some("b.tar.gz"), Some("c.tar.zst"), None, Some("taken.tar"), Some("Twice.tar"), None];
        assert_eq!(titles.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_manifest_that_readers_would_refuse_is_refused() {
        let builder = ArtifactBuilder::new(ConfigBuilder::new()).layer(file("a")).annotation("key", "x".repeat(crate::MAX_MANIFEST_BYTES));
        assert!(matches!(builder.build(), Err(BuildError::Manifest(_))));
        assert!(matches!(
            ArtifactBuilder::new(ConfigBuilder::new().precision("bf16")).layer(file("a")).build(),
            Err(BuildError::Value { field, .. }) if field == "/config/precision"
        ));
    }
}
