//! CRI-O: each layer of an image volume is mounted as one file.

use crate::{
    Consumer, Rule, Severity,
    subject::{Layer, OLDER_FILEPATH, Subject},
};
use modelpack_spec::annotation;

const ARCHIVE_LAYER: Rule = Rule {
    name: "archive-layer",
    severity: Severity::Loss,
    reason: "archives are not unpacked: an archive is mounted as one file",
    change: "make the layers raw, one file per layer",
    breaches: |subject| subject.archives(),
};

pub(crate) const CURRENT: Consumer = Consumer {
    id: "cri-o",
    name: "CRI-O",
    versions: "1.34 and later",
    rules: &[
        Rule {
            name: "name-missing",
            severity: Severity::Loss,
            reason: "a layer is mounted at its title, or else at its path; a layer without both is skipped",
            change: "annotate every layer with `org.opencontainers.image.title` or `org.cncf.model.filepath`",
            breaches: |subject| unnamed(subject, annotation::FILEPATH, |layer| layer.filepath),
        },
        ARCHIVE_LAYER,
    ],
};

pub(crate) const OLDER: Consumer = Consumer {
    id: "cri-o-1.33",
    name: "CRI-O",
    versions: "1.33",
    rules: &[
        Rule {
            name: "name-missing",
            severity: Severity::Loss,
            reason: "a layer is mounted at its title, or else at the path in the older annotation; a layer without both is skipped",
            change: "annotate every layer with `org.opencontainers.image.title`",
            breaches: |subject| unnamed(subject, OLDER_FILEPATH, |layer| layer.older_filepath),
        },
        ARCHIVE_LAYER,
    ],
};

fn unnamed(subject: &Subject<'_>, key: &'static str, path: for<'a> fn(&Layer<'a>) -> Option<&'a str>) -> Vec<crate::Breach> {
    subject.each(annotation::TITLE, |layer| {
        (layer.title.is_none() && path(layer).is_none()).then(|| format!("missing, and `{key}` is missing too"))
    })
}
