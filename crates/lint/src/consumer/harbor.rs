//! Harbor: stores any artifact, and displays the parts that it understands: config values, files,
//! README and licence.

use crate::{
    Consumer, Rule, Severity,
    subject::{Breach, Layer, OLDER_CONFIG, Subject},
};
use modelpack_spec::{Encoding, LayerKind, annotation, media_type};
use serde_json::Value;

/// The largest README or licence that is displayed, in bytes.
const SHOWN: u64 = 4 << 20;

const CONFIG_OBJECT: Rule = Rule {
    name: "config-object-missing",
    severity: Severity::Fatal,
    reason: "the config must have the objects `descriptor` and `config`, because they are read without a check",
    change: "write both objects, even if they are empty",
    breaches: |subject| if is_understood(subject) { missing_objects(subject) } else { Vec::new() },
};
const CONFIG_TIME: Rule = Rule {
    name: "config-time",
    severity: Severity::Loss,
    reason: "a config with a time that is not RFC 3339 is not read, so its values are not displayed",
    change: "write the time as `2025-01-31T00:00:00Z`",
    breaches: |subject| if is_understood(subject) { subject.times_that_do_not_parse() } else { Vec::new() },
};
const FILE_AND_DIRECTORY: Rule = Rule {
    name: "file-and-directory",
    severity: Severity::Loss,
    reason: "no files are listed if a path is a file in one layer and a directory in another",
    change: "rename the file",
    breaches: |subject| {
        if !is_understood(subject) {
            return Vec::new();
        }
        // A path that ends in `/` is a directory already.
        let named = subject.layers.iter().filter_map(|layer| Some((layer.filepath.filter(|path| !path.ends_with('/'))?, layer)));
        subject.files_that_are_directories(annotation::FILEPATH, &named.collect())
    },
};
const README: Rule = Rule {
    name: "readme-not-shown",
    severity: Severity::Loss,
    reason: "a README is displayed if it is a raw or tar doc layer of at most 4 MiB with the path `README` or `README.md`",
    change: "put the README into the top directory under one of these names, in a raw doc layer",
    breaches: |subject| not_shown(subject, "readme", &["README", "README.md"]),
};
const LICENCE: Rule = Rule {
    name: "licence-not-shown",
    severity: Severity::Loss,
    reason: "a licence is displayed if it is a raw or tar doc layer of at most 4 MiB with the path `LICENSE` or `LICENSE.txt`",
    change: "put the licence into the top directory under one of these names, in a raw doc layer",
    breaches: |subject| not_shown(subject, "license", &["LICENSE", "LICENSE.txt"]),
};
const FIELD: Rule = Rule {
    name: "value-not-said",
    severity: Severity::Note,
    reason: "name, family, architecture, format and precision are displayed from the config",
    change: "set them when packing",
    breaches: |subject| {
        let Some(config) = subject.config.as_ref().filter(|_| is_understood(subject) && missing_objects(subject).is_empty()) else {
            return Vec::new();
        };
        let shown = ["/descriptor/name", "/descriptor/family", "/config/architecture", "/config/format", "/config/precision"];
        let has_value = |pointer: &&str| config.pointer(pointer).and_then(Value::as_str).is_some_and(|value| !value.is_empty());
        shown.into_iter().filter(|pointer| !has_value(pointer)).map(|pointer| Breach::config(pointer, "missing")).collect()
    },
};

pub(crate) const CURRENT: Consumer = Consumer {
    id: "harbor",
    name: "Harbor",
    versions: "main, after 2.15",
    rules: &[
        Rule {
            name: "config-type",
            severity: Severity::Loss,
            reason: "an artifact with another config is stored and can be pulled, but its content is not displayed",
            change: "give the config the type `application/vnd.cncf.model.config.v1+json`",
            breaches: |subject| subject.config_type_outside(&[media_type::CONFIG]),
        },
        CONFIG_OBJECT,
        CONFIG_TIME,
        Rule {
            name: "filepath-missing",
            severity: Severity::Loss,
            reason: "a layer without a path is not in the list of files",
            change: "annotate every layer with `org.cncf.model.filepath`",
            breaches: |subject| if is_understood(subject) { subject.without_filepath() } else { Vec::new() },
        },
        FILE_AND_DIRECTORY,
        README,
        LICENCE,
        FIELD,
    ],
};

pub(crate) const OLDER: Consumer = Consumer {
    id: "harbor-2.13",
    name: "Harbor",
    versions: "2.13 to 2.15",
    rules: &[
        Rule {
            name: "older-config-type",
            severity: Severity::Loss,
            reason: "only `application/vnd.cnai.model.*` is supported; any other artifact is stored and can be pulled, but its content is not displayed",
            change: "change nothing in the artifact, because other consumers would lose support; use a later Harbor",
            breaches: |subject| subject.config_type_outside(&[OLDER_CONFIG]),
        },
        Rule {
            breaches: |subject| if subject.config_type_outside(&[OLDER_CONFIG]).is_empty() { missing_objects(subject) } else { Vec::new() },
            ..CONFIG_OBJECT
        },
    ],
};

/// Whether Harbor recognises the artifact as a model. It reads nothing of other artifacts.
fn is_understood(subject: &Subject<'_>) -> bool {
    subject.config_type_outside(&[media_type::CONFIG]).is_empty()
}

fn missing_objects(subject: &Subject<'_>) -> Vec<Breach> {
    let Some(config) = &subject.config else { return Vec::new() };
    let missing = ["/descriptor", "/config"].into_iter().filter(|pointer| !config.pointer(pointer).is_some_and(Value::is_object));
    missing.map(|pointer| Breach::config(pointer, "missing")).collect()
}

/// The documents whose names begin with `stem` in any case, if none of them is displayed.
fn not_shown(subject: &Subject<'_>, stem: &str, paths: &[&str]) -> Vec<Breach> {
    let name = |layer: &Layer<'_>| layer.filepath.map(|path| path.rsplit('/').next().unwrap_or(path).to_lowercase());
    let is_meant = |layer: &&Layer<'_>| name(layer).is_some_and(|name| name == stem || name.starts_with(&format!("{stem}.")));
    let is_shown = |layer: &Layer<'_>| {
        layer.filepath.is_some_and(|path| paths.contains(&path))
            && layer.is(LayerKind::Doc)
            && matches!(layer.encoding(), Some(Encoding::Raw | Encoding::Tar))
            && layer.descriptor.size <= SHOWN
    };
    let meant: Vec<_> = subject.layers.iter().filter(is_meant).collect();
    if !is_understood(subject) || meant.iter().any(|layer| is_shown(layer)) {
        return Vec::new();
    }
    let found = |layer: &Layer<'_>| format!("{}, {} bytes", layer.descriptor.media_type, layer.descriptor.size);
    meant.into_iter().map(|layer| layer.breach("mediaType", found(layer))).collect()
}
