//! modctl. Its releases write either family of names; since 0.1.0 all of them read both.

use crate::{
    Consumer, Rule, Severity,
    subject::{Layer, OLDER_FILEPATH, is_go_time},
};
use modelpack_spec::annotation;
use serde_json::Value;

pub(crate) const UNREADABLE_LAYER: Rule = Rule {
    name: "unreadable-layer",
    severity: Severity::Fatal,
    reason: "a layer is read if its type ends in `.raw` or `.tar`, and untarred in the second case; one of another type fails the extraction",
    change: "make the layer raw or tar, without compression",
    breaches: |subject| {
        subject.each("mediaType", |layer| {
            let media_type = &layer.descriptor.media_type;
            // By this type and a title, `oras` says that the bytes are the file itself.
            let is_file = media_type == "application/vnd.oci.image.layer.v1.tar" && layer.title.is_some();
            let is_read = is_raw(layer) || media_type.ends_with(".tar") && !is_file;
            (!is_read).then(|| media_type.clone())
        })
    },
};
pub(crate) const FILEPATH_MISSING: Rule = Rule {
    name: "filepath-missing",
    severity: Severity::Fatal,
    reason: "a raw layer without a path is written to the output directory itself, which fails",
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
    reason: "file metadata that does not parse fails the extraction",
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
            reason: "only the older names are read, and a raw layer without a path is written to the output directory itself, which fails",
            change: "use modctl 0.1.0 or later, or annotate every layer with `org.cnai.model.filepath` too",
            breaches: |subject| {
                subject.each(OLDER_FILEPATH, |layer| (is_raw(layer) && layer.older_filepath.is_none()).then(|| "missing".to_owned()))
            },
        },
    ],
};

/// Whether it is one file, to modctl, which asks for no more of a type than its end.
fn is_raw(layer: &Layer<'_>) -> bool {
    layer.descriptor.media_type.ends_with(".raw")
}
