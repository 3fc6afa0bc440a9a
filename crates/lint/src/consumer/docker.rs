//! Docker Model Runner: reads its own artifacts and ModelPack artifacts, uses layers as files
//! without unpacking them, and runs the weights.
//!
//! It has two ways to create files from an artifact. By path: each layer becomes the file at its
//! path. By media type, the older way: the weights are written under fixed names, and most other
//! files are lost.

use crate::{
    Consumer, Rule, Severity,
    subject::{Breach, Layer, Subject, is_projector, leaves_directory, shard},
};
use modelpack_spec::{Digest, LayerKind, annotation, media_type};
use serde_json::Value;

/// The config type of Docker's own artifacts whose layers are identified by media type.
const BY_TYPES: &str = "application/vnd.docker.ai.model.config.v0.1+json";
/// The config type of Docker's own artifacts whose layers have paths.
const BY_PATHS: &str = "application/vnd.docker.ai.model.config.v0.2+json";
/// Media types of weights that contain the format. Two of them have only the form of ModelPack
/// types.
const WEIGHTS: [&str; 5] = [
    "application/vnd.docker.ai.gguf.v3",
    "application/vnd.docker.ai.safetensors",
    "application/vnd.docker.ai.dduf",
    "application/vnd.cncf.model.weight.v1.gguf",
    "application/vnd.cncf.model.weight.v1.safetensors",
];
/// The formats that it can run.
const FORMATS: [&str; 4] = ["gguf", "safetensors", "dduf", "diffusers"];

pub(crate) const MODEL_RUNNER: Consumer = Consumer {
    id: "docker-model-runner",
    name: "Docker Model Runner",
    versions: "as of August 2026",
    rules: &[
        Rule {
            name: "config-type",
            severity: Severity::Fatal,
            reason: "only the ModelPack config and Docker's own two configs are supported; an artifact with another config is not pulled",
            change: "give the config the type `application/vnd.cncf.model.config.v1+json`",
            breaches: |subject| subject.config_type_outside(&[media_type::CONFIG, BY_TYPES, BY_PATHS]),
        },
        Rule {
            name: "config-time",
            severity: Severity::Fatal,
            reason: "an artifact is not pulled if its config has a time that is not RFC 3339",
            change: "write the time as `2025-01-31T00:00:00Z`",
            breaches: |subject| subject.times_that_do_not_parse(),
        },
        Rule {
            name: "artifact-type",
            severity: Severity::Loss,
            reason: "without the artifact type, the weights are unpacked under fixed names, and all other files are lost",
            change: "set `artifactType` to `application/vnd.cncf.model.manifest.v1+json`",
            breaches: |subject| if weight_configs(subject) == 1 { Vec::new() } else { missing_artifact_type(subject) },
        },
        Rule {
            name: "config-taken-for-archive",
            severity: Severity::Fatal,
            reason: "without the artifact type, a single weight config is unpacked as a tar archive, which fails",
            change: "set `artifactType` to `application/vnd.cncf.model.manifest.v1+json`",
            breaches: |subject| if weight_configs(subject) == 1 { missing_artifact_type(subject) } else { Vec::new() },
        },
        Rule {
            name: "filepath-missing",
            severity: Severity::Loss,
            reason: "a layer without a path is skipped silently",
            change: "annotate every layer with `org.cncf.model.filepath`",
            breaches: |subject| if is_read_by_paths(subject) { subject.without_filepath() } else { Vec::new() },
        },
        Rule {
            name: "filepath-absolute",
            severity: Severity::Fatal,
            reason: "a path that begins with `/` is refused",
            change: "use a relative path without `..`",
            breaches: |subject| wrong_paths(subject, |path| path.starts_with('/')),
        },
        Rule {
            name: "filepath-outside",
            severity: Severity::Loss,
            reason: "`..` at the start of a path is dropped, so the file is not at its path",
            change: "use a relative path without `..`",
            breaches: |subject| wrong_paths(subject, |path| !path.starts_with('/') && leaves_directory(path)),
        },
        Rule {
            name: "filepath-twice",
            severity: Severity::Loss,
            reason: "if several layers have the same path, only the first is unpacked; the others are skipped silently",
            change: "give each layer a different path",
            breaches: |subject| {
                let by_paths = is_read_by_paths(subject);
                if by_paths { subject.named_twice(annotation::FILEPATH, |layer| layer.filepath) } else { Vec::new() }
            },
        },
        Rule {
            name: "file-and-directory",
            severity: Severity::Fatal,
            reason: "unpacking fails if a path is a file in one layer and a directory in another",
            change: "rename the file",
            breaches: |subject| {
                let named = subject.by_name(|layer| layer.filepath.filter(|_| is_read_by_paths(subject)));
                subject.files_that_are_directories(annotation::FILEPATH, &named)
            },
        },
        Rule {
            name: "archive-layer",
            severity: Severity::Loss,
            reason: "layers are not unpacked or decompressed: an archive is used as if it were the file",
            change: "make the layers raw, one file per layer",
            breaches: |subject| {
                subject.each("mediaType", |layer| {
                    (layer.is_archive() && !layer.is(LayerKind::Weight)).then(|| layer.descriptor.media_type.clone())
                })
            },
        },
        Rule {
            name: "no-weights",
            severity: Severity::Fatal,
            reason: "weights must be in a raw layer with a path or in a layer of Docker's own types",
            change: "put the weights into layers of the type `application/vnd.cncf.model.weight.v1.raw`, each with a path",
            breaches: |subject| {
                let has_weights = weights(subject).next().is_some();
                if has_weights { Vec::new() } else { vec![Breach::manifest("/layers", "no layer with weights")] }
            },
        },
        Rule {
            name: "weight-archive",
            severity: Severity::Fatal,
            reason: "weights in an archive are not found",
            change: "make the layer raw",
            breaches: |subject| {
                subject.each("mediaType", |layer| {
                    (layer.is(LayerKind::Weight) && layer.is_archive()).then(|| layer.descriptor.media_type.clone())
                })
            },
        },
        Rule {
            name: "diff-id",
            severity: Severity::Fatal,
            reason: "if there is a diffId, it is compared with the digest of the stored bytes",
            change: "make the layer raw, with its digest as its diffId",
            breaches: wrong_diff_ids,
        },
        Rule {
            name: "first-weight",
            severity: Severity::Fatal,
            reason: "the first load opens the first weight layer, whatever its name",
            change: "put the GGUF file before other weights, or give files that are not models another type",
            breaches: |subject| {
                let wrong = first_gguf(subject).filter(|(_, path)| !path.to_lowercase().ends_with(".gguf"));
                wrong.map(|(layer, path)| layer.breach(annotation::FILEPATH, path)).into_iter().collect()
            },
        },
        Rule {
            name: "first-shard",
            severity: Severity::Fatal,
            reason: "the first load opens the first weight layer, which must be the first shard of a GGUF model",
            change: "put the shard with `-00001-of-…` before the others",
            breaches: |subject| {
                let wrong = first_gguf(subject).filter(|(_, path)| shard(path).is_some_and(|number| number != 1));
                wrong.map(|(layer, path)| layer.breach(annotation::FILEPATH, path)).into_iter().collect()
            },
        },
        Rule {
            name: "gguf-not-first-by-name",
            severity: Severity::Loss,
            reason: "the first load opens the first weight layer, but later loads open the first `*.gguf` by name, preferably in the top directory",
            change: "put only one GGUF model into an artifact, with its files in the order of their names",
            breaches: |subject| {
                let Some((layer, path)) = first_gguf(subject).filter(|(_, path)| path.ends_with(".gguf")) else { return Vec::new() };
                let later = found_later(subject, ".gguf", |path| !is_projector(path));
                if later == Some(path) { Vec::new() } else { vec![layer.breach(annotation::FILEPATH, path)] }
            },
        },
        Rule {
            name: "safetensors-directory",
            severity: Severity::Loss,
            reason: "the first load uses the directory of the first weight layer as the model's, but later loads use the directory of the first `*.safetensors` by name",
            change: "put the weights of the top directory before those of other directories",
            breaches: |subject| {
                let first = if format(subject).as_deref() == Some("safetensors") { first_weight(subject) } else { None };
                let Some((layer, path)) = first else { return Vec::new() };
                let later = found_later(subject, ".safetensors", |_| true);
                let differs = later.is_some_and(|later| directory(later) != directory(path));
                if differs { vec![layer.breach(annotation::FILEPATH, path)] } else { Vec::new() }
            },
        },
        Rule {
            name: "several-templates",
            severity: Severity::Loss,
            reason: "if the top directory has more than one `*.jinja`, none is used",
            change: "keep one chat template in the top directory",
            breaches: |subject| all_but_first(subject, |name| name.ends_with(".jinja")),
        },
        Rule {
            name: "several-projectors",
            severity: Severity::Loss,
            reason: "only the first multimodal projector (`*mmproj*.gguf`) in the top directory is used",
            change: "keep one projector in the top directory",
            breaches: |subject| all_but_first(subject, |name| name.ends_with(".gguf") && is_projector(name)),
        },
        Rule {
            name: "format-unknown",
            severity: Severity::Fatal,
            reason: "`config.format` determines how to run the model, or else the extension of the weights",
            change: "set `config.format` to `gguf` or `safetensors`; other formats are not supported",
            breaches: unknown_format,
        },
    ],
};

/// Whether each layer becomes the file at its path.
fn is_read_by_paths(subject: &Subject<'_>) -> bool {
    subject.manifest.config.media_type == BY_PATHS || subject.other_artifact_type().is_empty()
}

/// The artifact type, if a ModelPack artifact does not have today's, so that it is read by media
/// type.
fn missing_artifact_type(subject: &Subject<'_>) -> Vec<Breach> {
    if subject.manifest.config.media_type == media_type::CONFIG { subject.other_artifact_type() } else { Vec::new() }
}

fn weight_configs(subject: &Subject<'_>) -> usize {
    subject.layers.iter().filter(|layer| layer.is_raw(LayerKind::WeightConfig)).count()
}

/// The layers that are used as weights without unpacking.
fn weights<'s, 'a>(subject: &'s Subject<'a>) -> impl Iterator<Item = &'s Layer<'a>> {
    let by_paths = is_read_by_paths(subject);
    let is_weight = |layer: &Layer<'_>| layer.is_raw(LayerKind::Weight) || WEIGHTS.contains(&layer.descriptor.media_type.as_str());
    subject.layers.iter().filter(move |layer| is_weight(layer) && (!by_paths || layer.filepath.is_some()))
}

/// The weights that the first load opens. A projector in a raw weight layer is recognised by its
/// name.
fn first_weight<'s, 'a>(subject: &'s Subject<'a>) -> Option<(&'s Layer<'a>, &'a str)> {
    let named = weights(subject).filter_map(|layer| Some((layer, layer.filepath?)));
    let mut models = named.filter(|(layer, path)| !(layer.is_raw(LayerKind::Weight) && is_projector(path)));
    models.next().filter(|_| is_read_by_paths(subject))
}

fn first_gguf<'s, 'a>(subject: &'s Subject<'a>) -> Option<(&'s Layer<'a>, &'a str)> {
    if format(subject).as_deref() == Some("gguf") { first_weight(subject) } else { None }
}

/// The file that later loads open: the first by name in the top directory, or else the first of a
/// directory walk.
fn found_later<'a>(subject: &Subject<'a>, extension: &str, is: fn(&str) -> bool) -> Option<&'a str> {
    let is_found = |path: &&str| {
        let name = crate::subject::file_name(path);
        name.ends_with(extension) && !name.starts_with('.') && is(path)
    };
    let found = subject.layers.iter().filter_map(|layer| layer.filepath).filter(is_found);
    found.min_by_key(|path| (path.contains('/'), path.split('/').collect::<Vec<_>>()))
}

fn directory(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

/// The files of the top directory for which `is` is true, except the first.
fn all_but_first(subject: &Subject<'_>, is: fn(&str) -> bool) -> Vec<Breach> {
    let found = subject.layers.iter().filter_map(|layer| Some((layer, layer.filepath?)));
    let found = found.filter(|(_, path)| !path.contains('/') && !path.starts_with('.') && is(path)).skip(1);
    found.map(|(layer, path)| layer.breach(annotation::FILEPATH, path)).collect()
}

fn wrong_paths(subject: &Subject<'_>, is_wrong: fn(&str) -> bool) -> Vec<Breach> {
    let by_paths = is_read_by_paths(subject);
    subject.each(annotation::FILEPATH, |layer| layer.filepath.filter(|path| by_paths && is_wrong(path)).map(str::to_owned))
}

fn wrong_diff_ids(subject: &Subject<'_>) -> Vec<Breach> {
    let pointers = ["/rootfs/diff_ids", "/modelfs/diffIds"];
    let ids = pointers.into_iter().find_map(|pointer| Some((pointer, subject.config.as_ref()?.pointer(pointer)?.as_array()?)));
    let Some((pointer, ids)) = ids else { return Vec::new() };
    let wrong = ids.iter().zip(&subject.layers).enumerate().filter(|(_, (id, layer))| {
        // A value that is not a digest is not compared.
        let id = id.as_str().and_then(|id| id.parse::<Digest>().ok());
        id.is_some_and(|id| id != layer.descriptor.digest)
    });
    wrong.map(|(at, (id, _))| Breach::config(&format!("{pointer}/{at}"), format!("{id}, which differs from the layer's digest"))).collect()
}

/// The format in the config, or else the extension of the first file in a weight layer with a known
/// extension.
fn format(subject: &Subject<'_>) -> Option<String> {
    let declared =
        subject.config.as_ref().and_then(|config| config.pointer("/config/format")?.as_str()).filter(|format| !format.is_empty());
    let weights = subject.layers.iter().filter(|layer| layer.descriptor.media_type.starts_with("application/vnd.cncf.model.weight."));
    let mut extensions = weights.filter_map(|layer| Some(layer.filepath?.rsplit_once('.')?.1.to_lowercase()));
    declared.map(str::to_lowercase).or_else(|| extensions.find(|extension| FORMATS.contains(&extension.as_str())))
}

fn unknown_format(subject: &Subject<'_>) -> Vec<Breach> {
    let Some(config) = &subject.config else { return Vec::new() };
    // The other media types of weights contain the format.
    let needs_format = weights(subject).next().is_some() && weights(subject).all(|layer| layer.is_raw(LayerKind::Weight));
    if !needs_format || format(subject).is_some_and(|format| FORMATS.contains(&format.as_str())) {
        return Vec::new();
    }
    vec![Breach::config("/config/format", config.pointer("/config/format").and_then(Value::as_str).unwrap_or("missing"))]
}
