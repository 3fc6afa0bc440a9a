//! An artifact that satisfies every rule, and for each rule a change to it that breaks only that
//! rule of its consumer.

mod model;
mod rules;

use crate::{CONSUMERS, Consumer, Report, Severity, Verdict, lint};
use modelpack_spec::{Descriptor, Digest, FileMetadata, ImageManifest, annotation, media_type};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// An artifact that a test changes and checks.
#[derive(Clone)]
pub(super) struct Sample {
    pub(super) manifest: ImageManifest,
    pub(super) config: Value,
}

impl Sample {
    pub(super) fn report(&self) -> Report {
        lint(&self.manifest, Some(self.config.to_string().as_bytes()))
    }

    /// The rules that the artifact breaks for one consumer, and the verdict.
    pub(super) fn ask(&self, id: &str) -> (BTreeSet<&'static str>, Verdict) {
        let report = self.report();
        let report = report.consumers.iter().find(|report| report.consumer.id == id).expect(id);
        (report.findings.iter().map(|finding| finding.rule.name).collect(), report.verdict)
    }

    pub(super) fn layer(&mut self, path: &str) -> &mut Descriptor {
        let is_meant = |layer: &&mut Descriptor| layer.annotations.values().any(|value| value == path);
        self.manifest.layers.iter_mut().find(is_meant).expect(path)
    }

    /// Sets an annotation of the layer with this path; `None` removes it.
    pub(super) fn annotate(&mut self, path: &str, key: &str, value: Option<&str>) {
        let annotations = &mut self.layer(path).annotations;
        match value {
            Some(value) => annotations.insert(key.to_owned(), value.to_owned()),
            None => annotations.remove(key),
        };
    }

    /// Adds a layer in the form that the packer writes.
    pub(super) fn add(&mut self, kind: &str, path: &str) {
        let layer = layer(kind, path);
        self.config["modelfs"]["diffIds"].as_array_mut().unwrap().push(json!(layer.digest.to_string()));
        self.manifest.layers.push(layer);
    }

    /// Replaces all names by the older names of the specification.
    pub(super) fn in_older_names(mut self) -> Self {
        self.manifest.artifact_type = Some("application/vnd.cnai.model.manifest.v1+json".to_owned());
        self.manifest.config.media_type = "application/vnd.cnai.model.config.v1+json".to_owned();
        for layer in &mut self.manifest.layers {
            layer.media_type = layer.media_type.replace("vnd.cncf", "vnd.cnai");
            let annotations = std::mem::take(&mut layer.annotations).into_iter();
            layer.annotations = annotations.map(|(key, value)| (key.replace("org.cncf", "org.cnai"), value)).collect();
        }
        self
    }

    /// Makes every layer a tar archive.
    pub(super) fn in_tar(mut self) -> Self {
        self.manifest.layers.iter_mut().for_each(|layer| layer.media_type = layer.media_type.replace("raw", "tar"));
        self
    }

    /// Turns the artifact into a container image.
    pub(super) fn in_image(mut self) -> Self {
        self.manifest.artifact_type = None;
        self.manifest.config.media_type = "application/vnd.oci.image.config.v1+json".to_owned();
        for layer in &mut self.manifest.layers {
            layer.media_type = "application/vnd.oci.image.layer.v1.tar+gzip".to_owned();
            layer.annotations.clear();
        }
        self
    }

    /// Moves the last layer to the front.
    pub(super) fn last_first(&mut self) {
        self.manifest.layers.rotate_right(1);
        self.config["modelfs"]["diffIds"].as_array_mut().unwrap().rotate_right(1);
    }
}

fn layer(kind: &str, path: &str) -> Descriptor {
    let mut layer = Descriptor::of(format!("application/vnd.cncf.model.{kind}.v1.raw"), path.as_bytes());
    let metadata = FileMetadata {
        name: path.to_owned(),
        mode: 0o644,
        size: layer.size,
        mtime: "2025-01-01T00:00:00Z".to_owned(),
        ..FileMetadata::default()
    };
    layer.annotations = BTreeMap::from([
        (annotation::FILEPATH.to_owned(), path.to_owned()),
        (annotation::TITLE.to_owned(), path.to_owned()),
        (annotation::FILE_METADATA.to_owned(), serde_json::to_string(&metadata).unwrap()),
    ]);
    layer
}

/// A GGUF model without subdirectories, which most consumers can use.
pub(super) fn flat() -> Sample {
    let layers = [("weight", "0-model.gguf"), ("weight.config", "chat_template.jinja"), ("doc", "LICENSE"), ("doc", "README.md")];
    let layers: Vec<_> = layers.into_iter().map(|(kind, path)| layer(kind, path)).collect();
    let diff_ids: Vec<String> = layers.iter().map(|layer| layer.digest.to_string()).collect();
    let manifest = ImageManifest {
        schema_version: 2,
        media_type: Some(media_type::IMAGE_MANIFEST.to_owned()),
        artifact_type: Some(media_type::ARTIFACT.to_owned()),
        config: Descriptor::new(media_type::CONFIG, Digest::of(b"config"), 2),
        layers,
        subject: None,
        annotations: BTreeMap::new(),
        other: Default::default(),
    };
    let config = json!({
        "descriptor": { "name": "a", "family": "llama", "createdAt": "2025-01-01T00:00:00Z" },
        "config": { "architecture": "transformer", "format": "gguf", "precision": "float16" },
        "modelfs": { "type": "layers", "diffIds": diff_ids },
    });
    Sample { manifest, config }
}

/// An artifact as Docker Model Runner writes it, with config version `0.1` or `0.2`. Only the
/// second needs paths.
pub(super) fn of_docker(version: &str) -> Sample {
    let own = ["gguf.v3", "chat.template.jinja", "license", "model.file"];
    let mut sample = flat();
    sample.manifest.artifact_type = None;
    sample.manifest.config.media_type = format!("application/vnd.docker.ai.model.config.v{version}+json");
    for (layer, own) in sample.manifest.layers.iter_mut().zip(own) {
        layer.media_type = format!("application/vnd.docker.ai.{own}");
        layer.annotations.retain(|key, _| version != "0.1" && key != annotation::TITLE);
    }
    let diff_ids = sample.config["modelfs"]["diffIds"].take();
    sample.config = json!({
        "config": { "format": "gguf", "parameters": "1B" },
        "descriptor": { "created": "2025-01-01T00:00:00Z" },
        "rootfs": { "type": "rootfs", "diff_ids": diff_ids },
    });
    sample
}

#[test]
fn names_of_consumers_and_of_their_rules_are_unique() {
    let ids: BTreeSet<_> = CONSUMERS.iter().map(|consumer| consumer.id).collect();
    assert_eq!(ids.len(), CONSUMERS.len());
    for consumer in CONSUMERS {
        let names: BTreeSet<_> = consumer.rules.iter().map(|rule| rule.name).collect();
        assert_eq!(names.len(), consumer.rules.len(), "{}", consumer.id);
        assert_eq!(Consumer::find(consumer.id).unwrap().id, consumer.id);
    }
    assert!(Consumer::find("floppy").is_none());
}

#[test]
fn a_flat_raw_artifact_works_with_every_consumer_that_supports_artifacts() {
    let works: Vec<_> = flat().report().consumers.iter().filter(|r| r.verdict == Verdict::Works).map(|r| r.consumer.id).collect();
    let all = "oras docker-model-runner kitops cri-o cri-o-1.33 podman ramalama llmman harbor modctl model-csi-driver";
    assert_eq!(works.join(" "), all);
}

#[test]
fn a_manifest_without_config_is_checked_without_config_rules() {
    let mut sample = flat();
    sample.config = json!({});
    assert_eq!(sample.ask("harbor").1, Verdict::Cannot);
    let report = lint(&sample.manifest, None);
    let harbor = report.consumers.iter().find(|report| report.consumer.id == "harbor").unwrap();
    assert_eq!(harbor.verdict, Verdict::Works);
    let broken = lint(&sample.manifest, Some(b"not json"));
    assert_eq!(broken.consumers.iter().find(|report| report.consumer.id == "harbor").unwrap().verdict, Verdict::Cannot);
}

#[test]
fn the_documented_table_has_every_rule() {
    let documented = include_str!("../../../docs/reference/compatibility.md");
    for consumer in CONSUMERS {
        assert!(documented.contains(&format!("### `{}`: {} {}", consumer.id, consumer.name, consumer.versions)), "{}", consumer.id);
        for rule in consumer.rules {
            let row = format!("| `{}` | {} | {} | {} |", rule.name, rule.severity, rule.reason, rule.change);
            assert!(documented.contains(&row), "docs/reference/compatibility.md lacks this row in `{}`:\n{row}", consumer.id);
        }
    }
}

#[test]
fn a_note_does_not_change_the_verdict() {
    let mut sample = flat();
    sample.config["descriptor"]["name"] = Value::Null;
    let report = sample.report();
    let harbor = report.consumers.iter().find(|report| report.consumer.id == "harbor").unwrap();
    assert_eq!((harbor.verdict, harbor.findings[0].rule.severity), (Verdict::Works, Severity::Note));
}
