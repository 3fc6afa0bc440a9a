//! KitOps: `kit unpack` and related commands.

use crate::{
    Consumer, Rule, Severity,
    subject::{Subject, leaves_directory},
};
use modelpack_spec::{Encoding, annotation, media_type};
use serde_json::Value;

const KITFILE: &str = "application/vnd.kitops.modelkit.config.v1+json";

const CONFIG_TYPE: Rule = Rule {
    name: "config-type",
    severity: Severity::Fatal,
    reason: "ModelPack artifacts and ModelKits are recognised by the type of their config",
    change: "give the config the type `application/vnd.cncf.model.config.v1+json`",
    breaches: |subject| subject.config_type_outside(&[media_type::CONFIG, KITFILE]),
};
const FILEPATH_MISSING: Rule = Rule {
    name: "filepath-missing",
    severity: Severity::Fatal,
    reason: "every layer of a ModelPack artifact must have a path",
    change: "annotate every layer with `org.cncf.model.filepath`",
    breaches: |subject| if is_kit(subject) { Vec::new() } else { subject.without_filepath() },
};
const FILEPATH_OUTSIDE: Rule = Rule {
    name: "filepath-outside",
    severity: Severity::Fatal,
    reason: "a path that leaves the directory is refused",
    change: "use a relative path without `..`",
    breaches: |subject| subject.each(annotation::FILEPATH, |layer| layer.filepath.filter(|path| leaves_directory(path)).map(str::to_owned)),
};

pub(crate) const CURRENT: Consumer = Consumer {
    id: "kitops",
    name: "KitOps",
    versions: "1.15 and later",
    rules: &[
        CONFIG_TYPE,
        FILEPATH_MISSING,
        FILEPATH_OUTSIDE,
        Rule {
            name: "metadata-size",
            severity: Severity::Fatal,
            reason: "the size in a raw layer's file metadata must be the size of the layer",
            change: "write the file's size in bytes as `size` of `org.cncf.model.file.metadata+json`",
            breaches: |subject| {
                subject.each(annotation::FILE_METADATA, |layer| {
                    let metadata: Value = serde_json::from_str(layer.metadata?).ok()?;
                    let size = metadata.get("size")?;
                    let differs = layer.encoding() == Some(Encoding::Raw) && size.as_u64() != Some(layer.descriptor.size);
                    differs.then(|| format!("size {size}, but the layer has {} bytes", layer.descriptor.size))
                })
            },
        },
    ],
};

pub(crate) const OLDER: Consumer = Consumer {
    id: "kitops-1.10",
    name: "KitOps",
    versions: "1.10 to 1.14",
    rules: &[
        CONFIG_TYPE,
        FILEPATH_MISSING,
        FILEPATH_OUTSIDE,
        Rule {
            name: "raw-layer",
            severity: Severity::Fatal,
            reason: "only archive layers are supported",
            change: "use KitOps 1.15 or later, or pack tar layers, which other consumers do not support",
            breaches: |subject| {
                subject.each("mediaType", |layer| (layer.encoding() == Some(Encoding::Raw)).then(|| layer.descriptor.media_type.clone()))
            },
        },
    ],
};

fn is_kit(subject: &Subject<'_>) -> bool {
    subject.manifest.config.media_type == KITFILE
}
