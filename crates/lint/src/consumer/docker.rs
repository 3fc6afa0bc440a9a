//! Docker Model Runner: takes layers as the files that they are, finds the weights, and runs them.

use crate::{
    Consumer, Rule, Severity,
    subject::{Breach, Layer, Subject},
};
use modelpack_spec::{LayerKind, annotation, media_type};
use serde_json::Value;

/// Formats that are run.
const FORMATS: [&str; 3] = ["gguf", "safetensors", "dduf"];

pub(crate) const MODEL_RUNNER: Consumer = Consumer {
    id: "docker-model-runner",
    name: "Docker Model Runner",
    versions: "as of August 2026",
    rules: &[
        Rule {
            name: "config-type",
            severity: Severity::Loss,
            reason: "another config is read by an older path that loses the config files",
            change: "give the config the type `application/vnd.cncf.model.config.v1+json`",
            breaches: |subject| subject.config_type_outside(&[media_type::CONFIG]),
        },
        Rule {
            name: "artifact-type",
            severity: Severity::Loss,
            reason: "another artifact is read by an older path that loses the config files",
            change: "set `artifactType` to `application/vnd.cncf.model.manifest.v1+json`",
            breaches: |subject| subject.other_artifact_type(),
        },
        Rule {
            name: "filepath-missing",
            severity: Severity::Loss,
            reason: "a layer without a path is skipped without a word",
            change: "annotate every layer with `org.cncf.model.filepath`",
            breaches: |subject| subject.without_filepath(),
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
            reason: "weights are read from raw layers with a path, and there has to be one",
            change: "put the weights into layers of the type `application/vnd.cncf.model.weight.v1.raw`, each with its path",
            breaches: |subject| {
                let has_weights = subject.layers.iter().any(|layer| is_weight_file(layer) && layer.filepath.is_some());
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
            name: "first-shard",
            severity: Severity::Fatal,
            reason: "the first load opens the first weight layer, which has to be the first of a GGUF's shards",
            change: "put the shard that ends in `-00001-of-…` before the others",
            breaches: |subject| {
                let first = gguf(subject).next();
                let wrong = first.filter(|(_, path)| shard(path).is_some_and(|number| number != 1));
                wrong.map(|(layer, path)| layer.breach(annotation::FILEPATH, path)).into_iter().collect()
            },
        },
        Rule {
            name: "gguf-not-first-by-name",
            severity: Severity::Loss,
            reason: "later loads open the first `*.gguf` of the top directory by name, the first load the first weight layer",
            change: "keep one GGUF model in an artifact, at the top, its files in the order of their names",
            breaches: |subject| {
                let top = gguf(subject).map(|(_, path)| path).filter(|path| !path.contains('/')).min();
                let wrong = gguf(subject).next().filter(|(_, path)| top != Some(*path));
                wrong.map(|(layer, path)| layer.breach(annotation::FILEPATH, path)).into_iter().collect()
            },
        },
        Rule {
            name: "several-templates",
            severity: Severity::Fatal,
            reason: "more than one `*.jinja` in the top directory is an error",
            change: "keep one chat template at the top",
            breaches: |subject| all_but_first(subject, |name| name.ends_with(".jinja")),
        },
        Rule {
            name: "several-projectors",
            severity: Severity::Fatal,
            reason: "more than one multimodal projector (`*mmproj*.gguf`) in the top directory is an error",
            change: "keep one projector at the top",
            breaches: |subject| all_but_first(subject, is_projector),
        },
        Rule {
            name: "format-unknown",
            severity: Severity::Fatal,
            reason: "`config.format` says how to run the model, or else the extension of the first weights",
            change: "set `config.format` to `gguf` or `safetensors`; other formats are not run",
            breaches: unknown_format,
        },
    ],
};

/// Whether it is taken for weights as it is. Two types are this consumer's own.
fn is_weight_file(layer: &Layer<'_>) -> bool {
    let own = ["application/vnd.cncf.model.weight.v1.gguf", "application/vnd.cncf.model.weight.v1.safetensors"];
    own.contains(&layer.descriptor.media_type.as_str()) || (layer.is(LayerKind::Weight) && !layer.is_archive())
}

/// The weights that are GGUF files, in the order of the layers; projectors are none.
fn gguf<'s, 'a>(subject: &'s Subject<'a>) -> impl Iterator<Item = (&'s Layer<'a>, &'a str)> {
    let weights = subject.layers.iter().filter(|layer| is_weight_file(layer));
    weights.filter_map(|layer| Some((layer, layer.filepath?))).filter(|(_, path)| path.ends_with(".gguf") && !is_projector(path))
}

fn is_projector(path: &str) -> bool {
    path.ends_with(".gguf") && path.contains("mmproj")
}

/// The number in `…-00002-of-00003.gguf`.
fn shard(path: &str) -> Option<u64> {
    let (rest, count) = path.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let number = rest.rsplit_once('-')?.1;
    count.parse::<u64>().ok()?;
    number.parse().ok()
}

/// Files of the top directory that `is` takes, from the second on.
fn all_but_first(subject: &Subject<'_>, is: fn(&str) -> bool) -> Vec<Breach> {
    let found = subject.layers.iter().filter_map(|layer| Some((layer, layer.filepath?)));
    let found = found.filter(|(_, path)| !path.contains('/') && is(path)).skip(1);
    found.map(|(layer, path)| layer.breach(annotation::FILEPATH, path)).collect()
}

fn wrong_diff_ids(subject: &Subject<'_>) -> Vec<Breach> {
    let Some(ids) = subject.config.as_ref().and_then(|config| config.pointer("/modelfs/diffIds")?.as_array()) else { return Vec::new() };
    let wrong = ids.iter().zip(&subject.layers).enumerate().filter(|(_, (id, layer))| **id != layer.descriptor.digest.to_string());
    wrong.map(|(at, (id, _))| Breach::config(&format!("/modelfs/diffIds/{at}"), format!("{id}, which is not the layer's digest"))).collect()
}

fn unknown_format(subject: &Subject<'_>) -> Vec<Breach> {
    let Some(config) = &subject.config else { return Vec::new() };
    let said = config.pointer("/config/format").and_then(Value::as_str).filter(|format| !format.is_empty());
    let weights = subject.layers.iter().filter(|layer| is_weight_file(layer));
    let extension = weights.filter_map(|layer| layer.filepath?.rsplit_once('.')).map(|(_, extension)| extension).next();
    let is_run = said.or(extension).is_some_and(|format| FORMATS.contains(&format.to_lowercase().as_str()));
    if is_run { Vec::new() } else { vec![Breach::config("/config/format", said.unwrap_or("missing"))] }
}
