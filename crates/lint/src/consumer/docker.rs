//! Docker Model Runner: reads its own artifacts and those of ModelPack, takes layers as the files that they are, and runs the weights.
//!
//! It makes files of an artifact in two ways. By paths: each layer becomes the file at its path. By types, which is the older way: the
//! weights are written under names of its own, and little else is.

use crate::{
    Consumer, Rule, Severity,
    subject::{Breach, Layer, Subject, is_projector, leaves_directory, shard},
};
use modelpack_spec::{Digest, LayerKind, annotation, media_type};
use serde_json::Value;

/// The config of its own artifacts whose layers are known by their types.
const BY_TYPES: &str = "application/vnd.docker.ai.model.config.v0.1+json";
/// The config of its own artifacts whose layers have paths.
const BY_PATHS: &str = "application/vnd.docker.ai.model.config.v0.2+json";
/// Types of weights that say their format, two of them ModelPack's by their form alone.
const WEIGHTS: [&str; 5] = [
    "application/vnd.docker.ai.gguf.v3",
    "application/vnd.docker.ai.safetensors",
    "application/vnd.docker.ai.dduf",
    "application/vnd.cncf.model.weight.v1.gguf",
    "application/vnd.cncf.model.weight.v1.safetensors",
];
/// Formats that are run.
const FORMATS: [&str; 4] = ["gguf", "safetensors", "dduf", "diffusers"];

pub(crate) const MODEL_RUNNER: Consumer = Consumer {
    id: "docker-model-runner",
    name: "Docker Model Runner",
    versions: "as of August 2026",
    rules: &[
        Rule {
            name: "config-type",
            severity: Severity::Fatal,
            reason: "the config is that of ModelPack or one of Docker's own two; an artifact with another is not pulled",
            change: "give the config the type `application/vnd.cncf.model.config.v1+json`",
            breaches: |subject| subject.config_type_outside(&[media_type::CONFIG, BY_TYPES, BY_PATHS]),
        },
        Rule {
            name: "config-time",
            severity: Severity::Fatal,
            reason: "an artifact whose config has a time that is not RFC 3339 is not pulled",
            change: "write the time as `2025-01-31T00:00:00Z`",
            breaches: |subject| subject.times_that_do_not_parse(),
        },
        Rule {
            name: "artifact-type",
            severity: Severity::Loss,
            reason: "without the artifact type, the weights are unpacked under names of its own, and all other files are lost",
            change: "set `artifactType` to `application/vnd.cncf.model.manifest.v1+json`",
            breaches: |subject| if weight_configs(subject) == 1 { Vec::new() } else { missing_artifact_type(subject) },
        },
        Rule {
            name: "config-taken-for-archive",
            severity: Severity::Fatal,
            reason: "without the artifact type, a weight config that is the only one is unpacked as a tar archive, which fails",
            change: "set `artifactType` to `application/vnd.cncf.model.manifest.v1+json`",
            breaches: |subject| if weight_configs(subject) == 1 { missing_artifact_type(subject) } else { Vec::new() },
        },
        Rule {
            name: "filepath-missing",
            severity: Severity::Loss,
            reason: "a layer without a path is skipped without a word",
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
            reason: "`..` at the start of a path are dropped, so that the file is not where its path says",
            change: "use a relative path without `..`",
            breaches: |subject| wrong_paths(subject, |path| !path.starts_with('/') && leaves_directory(path)),
        },
        Rule {
            name: "filepath-twice",
            severity: Severity::Loss,
            reason: "of layers with one path only the first is unpacked, without a word",
            change: "give each layer a path of its own",
            breaches: |subject| {
                let by_paths = is_read_by_paths(subject);
                if by_paths { subject.named_twice(annotation::FILEPATH, |layer| layer.filepath) } else { Vec::new() }
            },
        },
        Rule {
            name: "file-and-directory",
            severity: Severity::Fatal,
            reason: "a path that is a file in one layer and a directory in another fails the unpacking",
            change: "rename the file",
            breaches: |subject| {
                let named = subject.by_name(|layer| layer.filepath.filter(|_| is_read_by_paths(subject)));
                subject.files_that_are_directories(annotation::FILEPATH, &named)
            },
        },
        Rule {
            name: "archive-layer",
            severity: Severity::Loss,
            reason: "nothing is unpacked or decompressed: an archive is kept as if it were the file",
            change: "make the layer raw, one file a layer",
            breaches: |subject| {
                subject.each("mediaType", |layer| {
                    (layer.is_archive() && !layer.is(LayerKind::Weight)).then(|| layer.descriptor.media_type.clone())
                })
            },
        },
        Rule {
            name: "no-weights",
            severity: Severity::Fatal,
            reason: "weights are read from raw layers with a path, or from those of Docker's own types, and there has to be one",
            change: "put the weights into layers of the type `application/vnd.cncf.model.weight.v1.raw`, each with its path",
            breaches: |subject| {
                let has_weights = weights(subject).next().is_some();
                if has_weights { Vec::new() } else { vec![Breach::manifest("/layers", "no layer that is read as weights")] }
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
            reason: "a diffId, where there is one, is compared with the digest of the bytes as they are stored",
            change: "make the layer raw, and its diffId its digest",
            breaches: wrong_diff_ids,
        },
        Rule {
            name: "first-weight",
            severity: Severity::Fatal,
            reason: "the first load opens the first weight layer, whatever its name is",
            change: "put the GGUF file before other weights, or give what is no model another type",
            breaches: |subject| {
                let wrong = first_gguf(subject).filter(|(_, path)| !path.to_lowercase().ends_with(".gguf"));
                wrong.map(|(layer, path)| layer.breach(annotation::FILEPATH, path)).into_iter().collect()
            },
        },
        Rule {
            name: "first-shard",
            severity: Severity::Fatal,
            reason: "the first load opens the first weight layer, which has to be the first of a GGUF's shards",
            change: "put the shard that ends in `-00001-of-…` before the others",
            breaches: |subject| {
                let wrong = first_gguf(subject).filter(|(_, path)| shard(path).is_some_and(|number| number != 1));
                wrong.map(|(layer, path)| layer.breach(annotation::FILEPATH, path)).into_iter().collect()
            },
        },
        Rule {
            name: "gguf-not-first-by-name",
            severity: Severity::Loss,
            reason: "later loads open the first `*.gguf` by name, of the top directory if it has one; the first load opens the first weight layer",
            change: "keep one GGUF model in an artifact, its files in the order of their names",
            breaches: |subject| {
                let Some((layer, path)) = first_gguf(subject).filter(|(_, path)| path.ends_with(".gguf")) else { return Vec::new() };
                let later = found_later(subject, ".gguf", |path| !is_projector(path));
                if later == Some(path) { Vec::new() } else { vec![layer.breach(annotation::FILEPATH, path)] }
            },
        },
        Rule {
            name: "safetensors-directory",
            severity: Severity::Loss,
            reason: "the first load takes the directory of the first weight layer for the model's, later loads that of the first `*.safetensors` by name",
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
            reason: "with more than one `*.jinja` in the top directory none is used",
            change: "keep one chat template at the top",
            breaches: |subject| all_but_first(subject, |name| name.ends_with(".jinja")),
        },
        Rule {
            name: "several-projectors",
            severity: Severity::Loss,
            reason: "of several multimodal projectors (`*mmproj*.gguf`) in the top directory only the first is used",
            change: "keep one projector at the top",
            breaches: |subject| all_but_first(subject, |name| name.ends_with(".gguf") && is_projector(name)),
        },
        Rule {
            name: "format-unknown",
            severity: Severity::Fatal,
            reason: "`config.format` says how to run the model, or else the extension of the weights",
            change: "set `config.format` to `gguf` or `safetensors`; other formats are not run",
            breaches: unknown_format,
        },
    ],
};

/// Whether each layer becomes the file at its path.
fn is_read_by_paths(subject: &Subject<'_>) -> bool {
    subject.manifest.config.media_type == BY_PATHS || subject.other_artifact_type().is_empty()
}

/// The type of a ModelPack artifact that is not told by it, and so is read by types.
fn missing_artifact_type(subject: &Subject<'_>) -> Vec<Breach> {
    if subject.manifest.config.media_type == media_type::CONFIG { subject.other_artifact_type() } else { Vec::new() }
}

fn weight_configs(subject: &Subject<'_>) -> usize {
    subject.layers.iter().filter(|layer| layer.is_raw(LayerKind::WeightConfig)).count()
}

/// The layers that are taken for weights as they are.
fn weights<'s, 'a>(subject: &'s Subject<'a>) -> impl Iterator<Item = &'s Layer<'a>> {
    let by_paths = is_read_by_paths(subject);
    let is_weight = |layer: &Layer<'_>| layer.is_raw(LayerKind::Weight) || WEIGHTS.contains(&layer.descriptor.media_type.as_str());
    subject.layers.iter().filter(move |layer| is_weight(layer) && (!by_paths || layer.filepath.is_some()))
}

/// The weights that the first load opens; a projector among raw weights is told by its name.
fn first_weight<'s, 'a>(subject: &'s Subject<'a>) -> Option<(&'s Layer<'a>, &'a str)> {
    let named = weights(subject).filter_map(|layer| Some((layer, layer.filepath?)));
    let mut models = named.filter(|(layer, path)| !(layer.is_raw(LayerKind::Weight) && is_projector(path)));
    models.next().filter(|_| is_read_by_paths(subject))
}

fn first_gguf<'s, 'a>(subject: &'s Subject<'a>) -> Option<(&'s Layer<'a>, &'a str)> {
    if format(subject).as_deref() == Some("gguf") { first_weight(subject) } else { None }
}

/// The file that later loads find: by name in the top directory, or else in the order of a walk.
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

/// Files of the top directory that `is` takes, from the second on.
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
        // What is no digest is not compared.
        let id = id.as_str().and_then(|id| id.parse::<Digest>().ok());
        id.is_some_and(|id| id != layer.descriptor.digest)
    });
    wrong.map(|(at, (id, _))| Breach::config(&format!("{pointer}/{at}"), format!("{id}, which is not the layer's digest"))).collect()
}

/// The format that the config says, or else the extension of the first file in a weight layer that has a known one.
fn format(subject: &Subject<'_>) -> Option<String> {
    let said = subject.config.as_ref().and_then(|config| config.pointer("/config/format")?.as_str()).filter(|format| !format.is_empty());
    let weights = subject.layers.iter().filter(|layer| layer.descriptor.media_type.starts_with("application/vnd.cncf.model.weight."));
    let mut extensions = weights.filter_map(|layer| Some(layer.filepath?.rsplit_once('.')?.1.to_lowercase()));
    said.map(str::to_lowercase).or_else(|| extensions.find(|extension| FORMATS.contains(&extension.as_str())))
}

fn unknown_format(subject: &Subject<'_>) -> Vec<Breach> {
    let Some(config) = &subject.config else { return Vec::new() };
    // Other types of weights say their format themselves.
    let needs_format = weights(subject).next().is_some() && weights(subject).all(|layer| layer.is_raw(LayerKind::Weight));
    if !needs_format || format(subject).is_some_and(|format| FORMATS.contains(&format.as_str())) {
        return Vec::new();
    }
    vec![Breach::config("/config/format", config.pointer("/config/format").and_then(Value::as_str).unwrap_or("missing"))]
}
