//! Configs, manifests and their annotations.

use modelpack_spec::{
    Artifact, Config, Content, Descriptor, Digest, DockerModel, Document, ImageManifest, Manifest, ModelKit, OllamaModel, media_type,
};
use modelpack_validate::{unread, validate_artifact, validate_config, validate_document, validate_manifest};
use std::collections::BTreeMap;

/// A config that can be read reads as the same after it was written. So do the configs of other
/// tools after translation.
pub(crate) fn config(data: &[u8]) {
    let said = [
        ModelKit::parse(data).map(|kit| kit.config()),
        DockerModel::parse(data).map(|docker| docker.config()),
        OllamaModel::parse(data).map(|ollama| ollama.config()),
    ];
    for config in said.into_iter().flatten() {
        assert_eq!(Config::parse(&config.to_bytes()).expect("what is written can be read"), config);
    }
    if let Ok(docker) = DockerModel::parse(data) {
        assert!(docker.annotations().values().all(|tokens| tokens.parse::<u64>().is_ok()));
    }
    if let Ok(kit) = ModelKit::parse(data) {
        assert!(kit.annotations().keys().all(|key| key.starts_with("ml.kitops.")));
    }
    let Ok(config) = Config::parse(data) else { return };
    let written = config.to_bytes();
    let again = Config::parse(&written).expect("what is written can be read");
    assert_eq!(again, config);
    assert_eq!(again.to_bytes(), written);
}

/// A manifest keeps its bytes, and its content survives writing.
pub(crate) fn manifest(data: &[u8]) {
    let Ok(manifest) = Manifest::parse(data.to_vec(), None) else { return };
    assert_eq!(manifest.bytes(), data);
    assert_eq!(manifest.digest(), &Digest::of(data));
    let _ = (manifest.subject(), manifest.descriptor(), manifest.blobs().count(), manifest.manifests().len());
    if let Document::Image(image) = manifest.document() {
        let written = serde_json::to_vec(image).expect("an image manifest has string keys");
        let again: ImageManifest = serde_json::from_slice(&written).expect("what is written can be read");
        assert_eq!(&again, image);
        layers(image);
    }
}

/// Validation gives a report for any bytes as any document. A valid document can be read, and stays
/// valid after it was written.
///
/// The bytes up to the first line feed are a config, the rest is a manifest.
pub(crate) fn validate(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (config, manifest) = (&data[..end], &data[(end + 1).min(data.len())..]);
    let _ = (validate_artifact(manifest, Some(config), &BTreeMap::new()), unread(manifest, config), validate_document(data, None));
    if validate_config(config).is_valid() {
        let written = Config::parse(config).expect("a valid config can be read").to_bytes();
        let again = validate_config(&written);
        assert!(again.is_valid(), "{again:?}");
    }
    if validate_manifest(manifest).is_valid() {
        let manifest = Manifest::parse(manifest.to_vec(), None).expect("a valid manifest can be read");
        let image = manifest.image().expect("a valid manifest is no index");
        let written = serde_json::to_vec(image).expect("an image manifest has string keys");
        let again = validate_manifest(&written);
        assert!(again.is_valid(), "{again:?}");
    }
}

/// The annotations of a layer, whatever they contain, give a path that stays below a directory, or
/// are refused.
///
/// The bytes are the layer's media type and the annotations' keys and values, separated by line
/// feeds.
pub(crate) fn annotations(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n').map(str::to_owned);
    let mut layer = Descriptor::new(lines.next().unwrap_or_default(), Digest::of(b""), 0);
    while let (Some(key), Some(value)) = (lines.next(), lines.next()) {
        layer.annotations.insert(key, value);
    }
    layers(&ImageManifest {
        schema_version: 2,
        media_type: None,
        artifact_type: None,
        config: Descriptor::of(media_type::CONFIG, b"{}"),
        layers: vec![layer],
        subject: None,
        annotations: BTreeMap::new(),
        other: Default::default(),
    });
}

/// The layers that were read from a manifest can be used without further checks.
fn layers(image: &ImageManifest) {
    let Ok(artifact) = Artifact::read(image) else { return };
    assert_eq!(artifact.layers.len(), image.layers.len());
    let _ = (artifact.size(), artifact.has_model_config());
    for layer in &artifact.layers {
        let _ = layer.is_executable();
        if let Content::File(path) | Content::Compressed(path, _) = &layer.content {
            assert!(path.components().all(|part| !matches!(part, "" | "." | "..") && !part.contains(['/', '\\', '\0'])), "{path}");
        }
    }
}
