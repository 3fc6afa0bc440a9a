//! RamaLama.

use crate::{
    Consumer, Rule, Severity,
    subject::{Layer, leaves_directory},
};
use modelpack_spec::{LayerKind, annotation, media_type};
use serde_json::Value;

/// What the metadata of a file has to have.
const FIELDS: [&str; 7] = ["name", "mode", "uid", "gid", "size", "mtime", "typeflag"];

pub(crate) const RAMALAMA: Consumer = Consumer {
    id: "ramalama",
    name: "RamaLama",
    versions: "as of August 2026",
    rules: &[
        Rule {
            name: "unknown-artifact",
            severity: Severity::Fatal,
            reason: "an artifact is known by its type, that of its config, or those of its layers",
            change: "set `artifactType` to `application/vnd.cncf.model.manifest.v1+json`",
            breaches: |subject| {
                let is_model =
                    |layer: &Layer<'_>| layer.layer_type.is_some_and(|layer_type| layer_type.to_string() == layer.descriptor.media_type);
                let known = subject.other_artifact_type().is_empty()
                    || subject.config_type_outside(&[media_type::CONFIG]).is_empty()
                    || subject.layers.iter().any(is_model);
                if known { Vec::new() } else { subject.other_artifact_type() }
            },
        },
        Rule {
            name: "filepath-missing",
            severity: Severity::Fatal,
            reason: "every layer needs a path, or file metadata with a name to take for one",
            change: "annotate every layer with `org.cncf.model.filepath`",
            breaches: |subject| {
                let unnamed = |layer: &Layer<'_>| layer.filepath.is_none() && layer.metadata.is_none();
                subject.each(annotation::FILEPATH, |layer| unnamed(layer).then(|| "missing".to_owned()))
            },
        },
        Rule {
            name: "filepath-outside",
            severity: Severity::Fatal,
            reason: "a path that leads out of the directory is refused",
            change: "use a relative path without `..`",
            breaches: |subject| {
                subject.each(annotation::FILEPATH, |layer| layer.filepath.filter(|path| leaves_directory(path)).map(str::to_owned))
            },
        },
        Rule {
            name: "metadata-incomplete",
            severity: Severity::Fatal,
            reason: "file metadata, where there is any, needs all seven fields, each of its type",
            change: "write name, mode, uid, gid, size, mtime and typeflag, or leave the annotation out",
            breaches: |subject| subject.each(annotation::FILE_METADATA, |layer| wrong_fields(layer.metadata?)),
        },
        Rule {
            name: "untested-value",
            severity: Severity::Fatal,
            reason: "`org.cncf.model.file.mediatype.untested`, where there is one, is `true` or `false`",
            change: "write one of these, or leave the annotation out",
            breaches: |subject| {
                subject.each(annotation::MEDIATYPE_UNTESTED, |layer| {
                    let value = layer.descriptor.annotations.get(annotation::MEDIATYPE_UNTESTED)?;
                    (!matches!(value.as_str(), "true" | "false")).then(|| value.clone())
                })
            },
        },
        Rule {
            name: "archive-layer",
            severity: Severity::Loss,
            reason: "nothing is unpacked: an archive is kept as one file",
            change: "make the layer raw, one file a layer",
            breaches: |subject| subject.archives(),
        },
        Rule {
            name: "entry-point",
            severity: Severity::Loss,
            reason: "with an artifact in Podman's store, a GGUF model is started from the first of all file names, directories left aside",
            change: "name the weights so that they come first, or let RamaLama keep the artifact in its own store",
            breaches: |subject| {
                let named = subject.layers.iter().filter_map(|layer| Some((layer.filepath.or(layer.title)?, layer)));
                let named = named.map(|(path, layer)| (path.rsplit('/').next().unwrap_or(path), layer));
                let has_gguf = named.clone().any(|(name, layer)| layer.is(LayerKind::Weight) && name.ends_with(".gguf"));
                let first = named.min_by_key(|(name, _)| *name).filter(|(_, layer)| has_gguf && !layer.is(LayerKind::Weight));
                first.map(|(name, layer)| layer.breach(annotation::FILEPATH, name)).into_iter().collect()
            },
        },
    ],
};

fn wrong_fields(metadata: &str) -> Option<String> {
    let Ok(Value::Object(metadata)) = serde_json::from_str(metadata) else { return Some("not a JSON object".to_owned()) };
    let is_right = |field: &str| match (field, metadata.get(field)) {
        ("name" | "mtime", Some(Value::String(text))) => !text.is_empty(),
        ("name" | "mtime", _) => false,
        (_, value) => value.is_some_and(|value| value.is_i64() || value.is_u64()),
    };
    let wrong: Vec<&str> = FIELDS.into_iter().filter(|field| !is_right(field)).collect();
    (!wrong.is_empty()).then(|| format!("without a sound {}", wrong.join(", ")))
}
