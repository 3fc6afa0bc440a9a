//! What is true of a model for whoever uses it: whether it is whole, as far as names and sizes tell.

use crate::{Rule, Severity, subject::Breach, subject::Layer, subject::Subject};
use modelpack_spec::{LayerKind, ShardSet, annotation};
use std::ops::RangeInclusive;

/// Something is missing of the model.
pub const NOT_WHOLE: Rule = Rule {
    name: "not-whole",
    severity: Severity::Loss,
    reason: "what loads the model needs all of its files, and tensors where the index has them",
    change: "pack the whole model; `modelpack pack --strict` packs nothing else",
    breaches: missing_files,
};

/// The rules that are asked of every model, whatever uses it.
pub const MODEL_RULES: [Rule; 2] = [
    NOT_WHOLE,
    Rule {
        name: "pointer-size",
        severity: Severity::Note,
        reason: "weights of so few bytes may be a pointer of git LFS, which was packed in the place of the file",
        change: "look at the file; `git lfs pull` fetches what it points to",
        breaches: |subject| {
            subject.each("size", |layer| {
                let is_suspect = is_weight(layer) && !layer.is_archive() && POINTER_BYTES.contains(&layer.descriptor.size);
                is_suspect.then(|| format!("{} bytes", layer.descriptor.size))
            })
        },
    },
];

/// The sizes of pointers of git LFS to files of one to ten thousand billion bytes.
const POINTER_BYTES: RangeInclusive<u64> = 126..=138;

/// The extensions of files of which a model may have several that are numbered.
const SHARDED: [&str; 8] = ["safetensors", "gguf", "bin", "pt", "pth", "onnx", "h5", "msgpack"];

fn is_weight(layer: &Layer<'_>) -> bool {
    layer.is(LayerKind::Weight)
}

/// Weights without a byte, and shards whose numbers say that there should be others. Where weights are in a bundle, nobody can tell from outside.
fn missing_files(subject: &Subject<'_>) -> Vec<Breach> {
    let mut breaches =
        subject.each("size", |layer| (is_weight(layer) && layer.descriptor.size == 0).then(|| "weights of 0 bytes".to_owned()));
    if subject.layers.iter().any(|layer| is_weight(layer) && layer.is_archive() && layer.metadata.is_none()) {
        return breaches;
    }
    // Other tools have types of their own for weights.
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
