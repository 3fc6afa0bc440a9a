//! RamaLama: with Podman it mounts an artifact as a volume and passes one of its files to the
//! engine. Otherwise it downloads the files itself.

use super::podman::{TITLE_HAS_DIRECTORY, TITLE_TWICE};
use crate::{
    Consumer, Rule, Severity,
    subject::{Breach, Layer, Subject, is_projector, leaves_directory},
};
use modelpack_spec::{annotation, media_type};
use serde_json::Value;

/// The fields that file metadata must have.
const FIELDS: [&str; 7] = ["name", "mode", "uid", "gid", "size", "mtime", "typeflag"];

pub(crate) const WITH_PODMAN: Consumer = Consumer {
    id: "ramalama",
    name: "RamaLama",
    versions: "0.24 and 0.25, with Podman 5.7 or later",
    rules: &[
        Rule {
            name: "unknown-artifact",
            severity: Severity::Fatal,
            reason: "an artifact is recognised by its artifact type, its config type or its layer types; anything else is pulled as a container image",
            change: "set `artifactType` to `application/vnd.cncf.model.manifest.v1+json`",
            breaches: |subject| if is_image(subject) || is_artifact(subject) { Vec::new() } else { subject.other_artifact_type() },
        },
        Rule {
            name: "filepath-missing",
            severity: Severity::Fatal,
            reason: "every layer needs a path, or file metadata with a name that is used as the path",
            change: "annotate every layer with `org.cncf.model.filepath`",
            breaches: |subject| {
                let unnamed = |layer: &Layer<'_>| layer.filepath.is_none() && layer.metadata.is_none();
                of_artifact(subject, subject.each(annotation::FILEPATH, |layer| unnamed(layer).then(|| "missing".to_owned())))
            },
        },
        Rule {
            name: "filepath-outside",
            severity: Severity::Fatal,
            reason: "a path that leaves the directory is refused",
            change: "use a relative path without `..`",
            breaches: |subject| {
                let outside = |layer: &Layer<'_>| layer.filepath.filter(|path| leaves_directory(path)).map(str::to_owned);
                of_artifact(subject, subject.each(annotation::FILEPATH, outside))
            },
        },
        Rule {
            name: "metadata-incomplete",
            severity: Severity::Fatal,
            reason: "file metadata that replaces the path needs all seven fields, each with the right type",
            change: "annotate the layer with `org.cncf.model.filepath`, or write name, mode, uid, gid, size, mtime and typeflag",
            breaches: |subject| {
                let unread = |layer: &Layer<'_>| if layer.filepath.is_none() { wrong_fields(layer.metadata?) } else { None };
                of_artifact(subject, subject.each(annotation::FILE_METADATA, unread))
            },
        },
        Rule { breaches: |subject| of_artifact(subject, (TITLE_HAS_DIRECTORY.breaches)(subject)), ..TITLE_HAS_DIRECTORY },
        Rule { breaches: |subject| of_artifact(subject, (TITLE_TWICE.breaches)(subject)), ..TITLE_TWICE },
        Rule {
            name: "no-gguf",
            severity: Severity::Fatal,
            reason: "the engine gets the path of one file, so only GGUF models, which are single files, can be used",
            change: "pack the model as GGUF, or use another tool for it",
            breaches: |subject| {
                let has_gguf = names(subject).iter().any(|(name, _)| is_model(name));
                let found = if has_gguf { Vec::new() } else { vec![Breach::manifest("/layers", "no file that ends in `.gguf`")] };
                of_artifact(subject, found)
            },
        },
        Rule {
            name: "entry-point",
            severity: Severity::Fatal,
            reason: "the engine gets the first of all paths by name, whatever the file is",
            change: "name the weights so that they come first, such as `0-model.gguf`",
            breaches: |subject| {
                let names = names(subject);
                // Without a model, renaming does not help.
                let has_gguf = names.iter().any(|(name, _)| is_model(name));
                let wrong = names.first().filter(|(name, _)| has_gguf && !is_model(name));
                of_artifact(subject, wrong.map(|(name, layer)| layer.breach(annotation::FILEPATH, name)).into_iter().collect())
            },
        },
        Rule {
            name: "entry-title",
            severity: Severity::Fatal,
            reason: "the engine gets the model's path, but Podman mounts the model at its title",
            change: "give the layer of the weights its path as its title",
            breaches: |subject| {
                let names = names(subject);
                // The only file of an artifact is mounted at the path of the directory.
                let entry = names.first().filter(|(name, _)| names.len() > 1 && is_model(name));
                let wrong = entry.filter(|(name, layer)| layer.title != Some(name));
                let found = wrong.map(|(_, layer)| layer.breach(annotation::TITLE, layer.title.unwrap_or("missing")));
                of_artifact(subject, found.into_iter().collect())
            },
        },
        Rule {
            name: "projector-not-used",
            severity: Severity::Loss,
            reason: "a multimodal projector (`*mmproj*.gguf`) in an artifact is not passed to the engine",
            change: "change nothing in the artifact; use another tool for images and sound",
            breaches: |subject| {
                let projectors = subject.each(annotation::FILEPATH, |layer| {
                    layer.filepath.filter(|path| path.ends_with(".gguf") && is_projector(path)).map(str::to_owned)
                });
                of_artifact(subject, projectors)
            },
        },
        Rule {
            name: "archive-layer",
            severity: Severity::Loss,
            reason: "archives are not unpacked: an archive is mounted as one file",
            change: "make the layers raw, one file per layer",
            breaches: |subject| of_artifact(subject, subject.archives()),
        },
    ],
};

pub(crate) const WITHOUT_PODMAN: Consumer = Consumer {
    id: "ramalama-docker",
    name: "RamaLama",
    versions: "0.24 and 0.25, with Docker or an older Podman",
    rules: &[Rule {
        name: "not-an-image",
        severity: Severity::Fatal,
        reason: "the files of an artifact are downloaded to RamaLama's own store, and every download fails",
        change: "use Podman 5.7 or later, or a container image with the model at /models/model.file",
        breaches: |subject| if is_artifact(subject) { vec![artifact(subject)] } else { subject.not_an_image() },
    }],
};

/// Whether RamaLama recognises it as an artifact.
fn is_artifact(subject: &Subject<'_>) -> bool {
    let is_model = |layer: &Layer<'_>| layer.layer_type.is_some_and(|layer_type| layer_type.to_string() == layer.descriptor.media_type);
    subject.other_artifact_type().is_empty()
        || subject.config_type_outside(&[media_type::CONFIG]).is_empty()
        || subject.layers.iter().any(is_model)
}

/// Whether it can be pulled as a container image. The content of the image is not checked.
fn is_image(subject: &Subject<'_>) -> bool {
    subject.not_an_image().is_empty()
}

/// The breaches, if it is recognised as an artifact at all.
fn of_artifact(subject: &Subject<'_>, breaches: Vec<Breach>) -> Vec<Breach> {
    if is_artifact(subject) { breaches } else { Vec::new() }
}

fn artifact(subject: &Subject<'_>) -> Breach {
    Breach::manifest("/artifactType", subject.manifest.artifact_type.as_deref().unwrap_or("missing"))
}

/// The layers with the names that are used as their paths, sorted by these names.
fn names<'s, 'a>(subject: &'s Subject<'a>) -> Vec<(String, &'s Layer<'a>)> {
    let name = |layer: &Layer<'_>| match (layer.filepath, layer.metadata) {
        (Some(path), _) => Some(path.to_owned()),
        (None, Some(metadata)) => Some(serde_json::from_str::<Value>(metadata).ok()?.get("name")?.as_str()?.to_owned()),
        (None, None) => None,
    };
    let mut names: Vec<_> = subject.layers.iter().filter_map(|layer| Some((name(layer)?, layer))).collect();
    names.sort_by(|left, right| left.0.cmp(&right.0));
    names
}

fn is_model(path: &str) -> bool {
    path.to_lowercase().ends_with(".gguf") && !is_projector(path)
}

fn wrong_fields(metadata: &str) -> Option<String> {
    let Ok(Value::Object(metadata)) = serde_json::from_str(metadata) else { return Some("not a JSON object".to_owned()) };
    let is_right = |field: &str| match (field, metadata.get(field)) {
        ("name" | "mtime", Some(Value::String(text))) => !text.is_empty(),
        ("name" | "mtime", _) => false,
        (_, value) => value.is_some_and(|value| value.is_i64() || value.is_u64()),
    };
    let wrong: Vec<&str> = FIELDS.into_iter().filter(|field| !is_right(field)).collect();
    (!wrong.is_empty()).then(|| format!("missing or wrong: {}", wrong.join(", ")))
}
