//! The documents of an image: a config and a manifest for each platform, which name the same layers,
//! and an index of them.
//!
//! They depend on the layers and the description of the model alone. An image has an index because
//! a runtime does not unpack the layers of an image whose config names another platform than its
//! own.

use crate::pack::NO_TIME;
use modelpack_spec::{
    Config, Descriptor, Digest, ImageIndex, ImageManifest, InvalidManifest, Manifest, ModelDescriptor, UnknownFields, media_type,
};
use serde::Serialize;
use std::collections::BTreeMap;

const OS: &str = "linux";
/// The architectures on which the nodes of a Kubernetes cluster can be.
const ARCHITECTURES: [&str; 4] = ["amd64", "arm64", "ppc64le", "s390x"];

/// The platforms of an image, such as `linux/amd64`.
pub(super) fn platforms() -> Vec<String> {
    ARCHITECTURES.iter().map(|architecture| format!("{OS}/{architecture}")).collect()
}

/// Keys of the OCI image specification begin with this.
const OF_IMAGES: &str = "org.opencontainers.image.";

/// The annotations of an image of a model: the keys of the OCI image specification for what `config`
/// says, and those of `annotations`, which win.
///
/// Several licences are joined to one expression, all of whose terms apply.
pub fn image_annotations(config: &Config, annotations: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let ModelDescriptor { created_at, authors, vendor, name, version, title, description, doc_url, source_url, revision, licenses, .. } =
        &config.descriptor;
    let of_config = [
        ("created", created_at.clone()),
        ("authors", Some(authors.join(", "))),
        ("vendor", vendor.clone()),
        ("title", title.clone().or_else(|| name.clone())),
        ("version", version.clone()),
        ("description", description.clone()),
        ("documentation", doc_url.clone()),
        ("source", source_url.clone()),
        ("revision", revision.clone()),
        ("licenses", Some(all_of(licenses))),
    ];
    let of_config =
        of_config.into_iter().filter_map(|(key, value)| Some((format!("{OF_IMAGES}{key}"), value.filter(|value| !value.is_empty())?)));
    of_config.chain(annotations.clone()).collect()
}

/// The SPDX expression for all of these expressions together.
fn all_of(licenses: &[String]) -> String {
    match licenses {
        [one] => one.clone(),
        several => {
            let parenthesised = several.iter().map(|licence| if licence.contains(' ') { format!("({licence})") } else { licence.clone() });
            parenthesised.collect::<Vec<_>>().join(" AND ")
        }
    }
}

/// An image for one platform.
pub(super) struct PlatformImage {
    pub(super) config: Vec<u8>,
    pub(super) manifest: Manifest,
}

/// The documents of an image.
pub(super) struct Documents {
    pub(super) images: Vec<PlatformImage>,
    pub(super) index: Manifest,
}

impl Documents {
    /// For `layers`, each with the absolute path of what it has. Fails if a manifest would be larger
    /// than readers accept.
    pub(super) fn new(layers: &[(Descriptor, String)], annotations: &BTreeMap<String, String>) -> Result<Self, InvalidManifest> {
        let (mut images, mut entries) = (Vec::new(), Vec::new());
        for architecture in ARCHITECTURES {
            let config = serde_json::to_vec(&ImageConfig::new(architecture, layers, annotations)).expect("it has text keys only");
            let manifest = Manifest::from_image(ImageManifest {
                schema_version: 2,
                media_type: Some(media_type::IMAGE_MANIFEST.to_owned()),
                artifact_type: None,
                config: Descriptor::of(media_type::IMAGE_CONFIG, &config),
                layers: layers.iter().map(|(layer, _)| layer.clone()).collect(),
                subject: None,
                annotations: annotations.clone(),
                other: UnknownFields::default(),
            })?;
            entries.push(Descriptor::of(media_type::IMAGE_MANIFEST, manifest.bytes()).for_platform(OS, architecture));
            images.push(PlatformImage { config, manifest });
        }
        let index = Manifest::from_index(ImageIndex { annotations: annotations.clone(), ..ImageIndex::new(entries) })?;
        Ok(Self { images, index })
    }
}

/// The config of an image (OCI image specification, `config.md`). Nothing in it is run.
#[derive(Serialize)]
struct ImageConfig<'a> {
    created: &'static str,
    architecture: &'static str,
    os: &'static str,
    config: Execution<'a>,
    rootfs: RootFs<'a>,
    history: Vec<History<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Execution<'a> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct RootFs<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: Vec<&'a Digest>,
}

/// A step that has made a layer.
#[derive(Serialize)]
struct History<'a> {
    created: &'static str,
    created_by: &'static str,
    comment: &'a str,
}

impl<'a> ImageConfig<'a> {
    fn new(architecture: &'static str, layers: &'a [(Descriptor, String)], annotations: &'a BTreeMap<String, String>) -> Self {
        let labels = annotations.iter().filter(|(key, _)| key.starts_with(OF_IMAGES));
        let step = |(_, comment): &'a (Descriptor, String)| History { created: NO_TIME, created_by: "modelpack cp --to image", comment };
        Self {
            created: NO_TIME,
            architecture,
            os: OS,
            config: Execution { labels: labels.map(|(key, value)| (key.as_str(), value.as_str())).collect() },
            // Layers are not compressed.
            rootfs: RootFs { kind: "layers", diff_ids: layers.iter().map(|(layer, _)| &layer.digest).collect() },
            history: layers.iter().map(step).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use modelpack_spec::annotation;
    use serde_json::{Value, json};

    fn texts(values: &[(&str, &str)]) -> BTreeMap<String, String> {
        values.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_config_is_said_with_the_keys_of_images() {
        let config = json!({ "descriptor": {
            "createdAt": "2026-01-02T03:04:05Z", "authors": ["a <a@example.com>", "b"], "vendor": "v", "name": "n", "version": "1",
            "description": "d", "docURL": "https://example.com/doc", "sourceURL": "https://example.com/src", "revision": "r",
            "licenses": ["MIT", "Apache-2.0 OR GPL-2.0-only"], "family": "f", "datasetsURL": ["https://example.com/data"],
        } });
        let mut config = Config::parse(config.to_string().as_bytes()).unwrap();
        let own = texts(&[(annotation::BASE_MODEL, "org/base"), ("org.opencontainers.image.version", "2")]);
        let expected = [
            ("dev.modelpack.base-model", "org/base"),
            ("org.opencontainers.image.authors", "a <a@example.com>, b"),
            ("org.opencontainers.image.created", "2026-01-02T03:04:05Z"),
            ("org.opencontainers.image.description", "d"),
            ("org.opencontainers.image.documentation", "https://example.com/doc"),
            ("org.opencontainers.image.licenses", "MIT AND (Apache-2.0 OR GPL-2.0-only)"),
            ("org.opencontainers.image.revision", "r"),
            ("org.opencontainers.image.source", "https://example.com/src"),
            ("org.opencontainers.image.title", "n"),
            ("org.opencontainers.image.vendor", "v"),
            ("org.opencontainers.image.version", "2"),
        ];
        assert_eq!(image_annotations(&config, &own), texts(&expected));
        config.descriptor.title = Some("t".to_owned());
        config.descriptor.licenses.truncate(1);
        let annotations = image_annotations(&config, &own);
        assert_eq!((annotations[annotation::TITLE].as_str(), annotations["org.opencontainers.image.licenses"].as_str()), ("t", "MIT"));
        assert_eq!(image_annotations(&Config::default(), &BTreeMap::new()), BTreeMap::new());
    }

    #[test]
    fn every_platform_has_the_same_layers() {
        let layers =
            [b"a", b"b"].map(|bytes| (Descriptor::of(media_type::IMAGE_LAYER, bytes), format!("/models/{}", char::from(bytes[0]))));
        let annotations = texts(&[(annotation::BASE_MODEL, "org/base"), (annotation::TITLE, "t")]);
        let documents = Documents::new(&layers, &annotations).unwrap();
        let index: Value = serde_json::from_slice(documents.index.bytes()).unwrap();
        assert_eq!((&index["mediaType"], &index["annotations"]), (&json!(media_type::IMAGE_INDEX), &json!(annotations)));
        assert_eq!(index["manifests"].as_array().unwrap().len(), documents.images.len());
        for ((image, entry), architecture) in documents.images.iter().zip(index["manifests"].as_array().unwrap()).zip(ARCHITECTURES) {
            let expected = json!({
                "mediaType": media_type::IMAGE_MANIFEST, "digest": image.manifest.digest(), "size": image.manifest.bytes().len(),
                "platform": { "architecture": architecture, "os": "linux" },
            });
            assert_eq!(*entry, expected);
            let manifest = image.manifest.image().unwrap();
            assert_eq!(manifest.layers, layers.each_ref().map(|(layer, _)| layer.clone()));
            assert_eq!((&manifest.annotations, &manifest.config), (&annotations, &Descriptor::of(media_type::IMAGE_CONFIG, &image.config)));
            let step = |path: &str| json!({ "created": NO_TIME, "created_by": "modelpack cp --to image", "comment": path });
            let expected = json!({
                "created": NO_TIME, "architecture": architecture, "os": "linux",
                "config": { "Labels": { "org.opencontainers.image.title": "t" } },
                "rootfs": { "type": "layers", "diff_ids": layers.each_ref().map(|(layer, _)| layer.digest.clone()) },
                "history": [step("/models/a"), step("/models/b")],
            });
            assert_eq!(serde_json::from_slice::<Value>(&image.config).unwrap(), expected);
        }
    }
}
