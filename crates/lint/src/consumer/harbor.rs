//! Harbor: stores any artifact, and shows what it understands: values of the config, the files, the README and the licence.

use crate::{
    Consumer, Rule, Severity,
    subject::{Breach, Layer, OLDER_CONFIG, Subject},
};
use modelpack_spec::{Encoding, LayerKind, annotation, media_type};
use serde_json::Value;

/// The largest README or licence that is shown, in bytes.
const SHOWN: u64 = 4 << 20;

const CONFIG_OBJECT: Rule = Rule {
    name: "config-object-missing",
    severity: Severity::Fatal,
    reason: "`descriptor` and `config` of the config are read without asking whether they are there",
    change: "write both objects, even if they are empty",
    breaches: |subject| if is_understood(subject) { missing_objects(subject) } else { Vec::new() },
};
const CONFIG_TIME: Rule = Rule {
    name: "config-time",
    severity: Severity::Loss,
    reason: "a config with a time that is not RFC 3339 is not read, so its values are not shown",
    change: "write the time as `2025-01-31T00:00:00Z`",
    breaches: |subject| if is_understood(subject) { subject.times_that_do_not_parse() } else { Vec::new() },
};
const FILE_AND_DIRECTORY: Rule = Rule {
    name: "file-and-directory",
    severity: Severity::Loss,
    reason: "a path that is a file in one layer and a directory in another fails the whole tree of files",
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
    reason: "the README that is shown is a doc layer, raw or tar, of at most 4 MiB, whose path is `README` or `README.md`",
    change: "put the README at the top under one of these names, in a raw doc layer",
    breaches: |subject| not_shown(subject, "readme", &["README", "README.md"]),
};
const LICENCE: Rule = Rule {
    name: "licence-not-shown",
    severity: Severity::Loss,
    reason: "the licence that is shown is a doc layer, raw or tar, of at most 4 MiB, whose path is `LICENSE` or `LICENSE.txt`",
    change: "put the licence at the top under one of these names, in a raw doc layer",
    breaches: |subject| not_shown(subject, "license", &["LICENSE", "LICENSE.txt"]),
};
const FIELD: Rule = Rule {
    name: "value-not-said",
    severity: Severity::Note,
    reason: "name, family, architecture, format and precision of the config are shown",
    change: "say them when packing",
    breaches: |subject| {
        let Some(config) = subject.config.as_ref().filter(|_| is_understood(subject) && missing_objects(subject).is_empty()) else {
            return Vec::new();
        };
        let shown = ["/descriptor/name", "/descriptor/family", "/config/architecture", "/config/format", "/config/precision"];
        let said = |pointer: &&str| config.pointer(pointer).and_then(Value::as_str).is_some_and(|value| !value.is_empty());
        shown.into_iter().filter(|pointer| !said(pointer)).map(|pointer| Breach::config(pointer, "missing")).collect()
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
            reason: "an artifact with another config is stored and pulled, and nothing of it is shown",
            change: "give the config the type `application/vnd.cncf.model.config.v1+json`",
            breaches: |subject| subject.config_type_outside(&[media_type::CONFIG]),
        },
        CONFIG_OBJECT,
        CONFIG_TIME,
        Rule {
            name: "filepath-missing",
            severity: Severity::Loss,
            reason: "a layer without a path is left out of the tree of files",
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
            reason: "only `application/vnd.cnai.model.*` is understood; any other artifact is stored and pulled, and nothing of it is shown",
            change: "nothing in the artifact, which other consumers would lose; a later Harbor shows it",
            breaches: |subject| subject.config_type_outside(&[OLDER_CONFIG]),
        },
        Rule {
            breaches: |subject| if subject.config_type_outside(&[OLDER_CONFIG]).is_empty() { missing_objects(subject) } else { Vec::new() },
            ..CONFIG_OBJECT
        },
    ],
};

/// Whether it is taken for a model; of anything else nothing is read.
fn is_understood(subject: &Subject<'_>) -> bool {
    subject.config_type_outside(&[media_type::CONFIG]).is_empty()
}

fn missing_objects(subject: &Subject<'_>) -> Vec<Breach> {
    let Some(config) = &subject.config else { return Vec::new() };
    let missing = ["/descriptor", "/config"].into_iter().filter(|pointer| !config.pointer(pointer).is_some_and(Value::is_object));
    missing.map(|pointer| Breach::config(pointer, "missing")).collect()
}

/// The documents whose names begin with `stem` in whatever case, if none of them is shown.
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
