//! Rules that do not depend on the consumer: whether the model is complete, as far as names and
//! sizes show.

use crate::{Rule, Severity, subject::Breach, subject::Layer, subject::Subject};
use modelpack_spec::{LayerKind, ShardSet, annotation};
use std::ops::RangeInclusive;

/// A part of the model is missing.
pub const NOT_WHOLE: Rule = Rule {
    name: "not-whole",
    severity: Severity::Loss,
    reason: "loading the model needs all of its files, and each tensor in the file that the index gives",
    change: "pack the complete model; `modelpack pack --strict` refuses an incomplete one",
    breaches: missing_files,
};

/// The rules for every model.
pub const MODEL_RULES: [Rule; 2] = [
    NOT_WHOLE,
    Rule {
        name: "pointer-size",
        severity: Severity::Note,
        reason: "weights of this size may be a git LFS pointer that was packed instead of the file",
        change: "check the file; `git lfs pull` fetches the real content",
        breaches: |subject| {
            subject.each("size", |layer| {
                let is_suspect = is_weight(layer) && !layer.is_archive() && POINTER_BYTES.contains(&layer.descriptor.size);
                is_suspect.then(|| format!("{} bytes", layer.descriptor.size))
            })
        },
    },
];

/// The sizes of git LFS pointers to files whose sizes have one to thirteen digits.
const POINTER_BYTES: RangeInclusive<u64> = 126..=138;

/// The extensions of sharded model files.
const SHARDED: [&str; 8] = ["safetensors", "gguf", "bin", "pt", "pth", "onnx", "h5", "msgpack"];

fn is_weight(layer: &Layer<'_>) -> bool {
    layer.is(LayerKind::Weight)
}

/// Weights without content, and shards whose numbers show that others are missing. Weights inside a
/// bundle cannot be checked from outside.
fn missing_files(subject: &Subject<'_>) -> Vec<Breach> {
    let mut breaches =
        subject.each("size", |layer| (is_weight(layer) && layer.descriptor.size == 0).then(|| "weights of 0 bytes".to_owned()));
    if subject.layers.iter().any(|layer| is_weight(layer) && layer.is_archive() && layer.metadata.is_none()) {
        return breaches;
    }
    // Other tools have their own media types for weights.
    let may_be_weight = |layer: &&Layer<'_>| is_weight(layer) || layer.layer_type.is_none();
    let is_sharded =
        |path: &&str| path.rsplit_once('.').is_some_and(|(_, extension)| SHARDED.contains(&extension.to_ascii_lowercase().as_str()));
    let paths = subject.layers.iter().filter(may_be_weight).filter_map(|layer| layer.path()).filter(is_sharded);
    for set in ShardSet::all(paths).into_iter().flatten() {
        let Some(lack) = set.lack() else { continue };
        let layer = subject.layers.iter().find(|layer| layer.path() == Some(set.first()));
        breaches.extend(layer.map(|layer| layer.breach(annotation::FILEPATH, format!("{} {lack}", set.first()))));
    }
    breaches
}
