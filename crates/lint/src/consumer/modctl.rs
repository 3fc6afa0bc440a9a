//! modctl. Some releases write today's names, some the older ones. Since 0.1.0 all releases read
//! both.

use crate::{
    Consumer, Rule, Severity,
    subject::{Layer, OLDER_FILEPATH, is_go_time},
};
use modelpack_spec::annotation;
use serde_json::Value;

pub(crate) const UNREADABLE_LAYER: Rule = Rule {
    name: "unreadable-layer",
    severity: Severity::Fatal,
    reason: "a layer must have a type that ends in `.raw` or `.tar`, which is unpacked; extraction fails on other types",
    change: "make the layer raw or tar, without compression",
    breaches: |subject| {
        subject.each("mediaType", |layer| {
            let media_type = &layer.descriptor.media_type;
            // A layer with this type and a title is a plain file that `oras` packed.
            let is_file = media_type == "application/vnd.oci.image.layer.v1.tar" && layer.title.is_some();
            let is_read = is_raw(layer) || media_type.ends_with(".tar") && !is_file;
            (!is_read).then(|| media_type.clone())
        })
    },
};
pub(crate) const FILEPATH_MISSING: Rule = Rule {
    name: "filepath-missing",
    severity: Severity::Fatal,
    reason: "a raw layer without a path is written to the path of the output directory, which fails",
    change: "annotate every layer with `org.cncf.model.filepath`",
    breaches: |subject| {
        subject.each(annotation::FILEPATH, |layer| {
            let unnamed = layer.filepath.or(layer.older_filepath).is_none();
            (is_raw(layer) && unnamed).then(|| "missing".to_owned())
        })
    },
};
pub(crate) const METADATA: Rule = Rule {
    name: "metadata-unreadable",
    severity: Severity::Fatal,
    reason: "extraction fails on file metadata that cannot be parsed",
    change: "write `org.cncf.model.file.metadata+json` as a JSON object with an RFC 3339 `mtime`, or leave it out",
    breaches: |subject| {
        subject.each(annotation::FILE_METADATA, |layer| {
            if !is_raw(layer) {
                return None;
            }
            let Ok(Value::Object(metadata)) = serde_json::from_str(layer.metadata?) else { return Some("not a JSON object".to_owned()) };
            let mtime = metadata.get("mtime").filter(|mtime| !mtime.as_str().is_some_and(is_go_time))?;
            Some(format!("mtime {mtime}"))
        })
    },
};
const CONFIG_TIME: Rule = Rule {
    name: "config-time",
    severity: Severity::Loss,
    reason: "`inspect` refuses a config with a time that is not RFC 3339; `pull` and `extract` do not read it",
    change: "write the time as `2025-01-31T00:00:00Z`",
    breaches: |subject| subject.times_that_do_not_parse(),
};

pub(crate) const CURRENT: Consumer = Consumer {
    id: "modctl",
    name: "modctl",
    versions: "0.1.0 and later",
    rules: &[UNREADABLE_LAYER, FILEPATH_MISSING, METADATA, CONFIG_TIME],
};

pub(crate) const OLDER: Consumer = Consumer {
    id: "modctl-0.0",
    name: "modctl",
    versions: "0.0.1 to 0.0.5",
    rules: &[
        UNREADABLE_LAYER,
        Rule {
            name: "older-filepath-missing",
            severity: Severity::Fatal,
            reason: "only the older names are read; a raw layer without a path is written to the path of the output directory, which fails",
            change: "use modctl 0.1.0 or later, or annotate every layer with `org.cnai.model.filepath` too",
            breaches: |subject| {
                subject.each(OLDER_FILEPATH, |layer| (is_raw(layer) && layer.older_filepath.is_none()).then(|| "missing".to_owned()))
            },
        },
    ],
};

/// Whether modctl treats the layer as one file. It checks only the end of the media type.
fn is_raw(layer: &Layer<'_>) -> bool {
    layer.descriptor.media_type.ends_with(".raw")
}
