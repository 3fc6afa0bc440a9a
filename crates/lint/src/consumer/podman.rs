//! Podman: `podman artifact extract`, and artifacts as volumes.

use crate::{Consumer, Rule, Severity};
use modelpack_spec::annotation;
use std::collections::BTreeSet;

pub(crate) const TITLE_HAS_DIRECTORY: Rule = Rule {
    name: "title-has-directory",
    severity: Severity::Fatal,
    reason: "the whole mount fails if a title contains `/`",
    change: "keep all files in the top directory; do not remove the titles, because `oras` would then skip the files",
    breaches: |subject| subject.each(annotation::TITLE, |layer| layer.title.filter(|title| title.contains('/')).map(str::to_owned)),
};
pub(crate) const TITLE_TWICE: Rule = Rule {
    name: "title-twice",
    severity: Severity::Fatal,
    reason: "the whole mount fails if two layers have the same title, even with the same content",
    change: "give each layer a different title",
    breaches: |subject| {
        let mut seen = BTreeSet::new();
        let twice = subject.layers.iter().filter_map(|layer| Some((layer, layer.title?))).filter(|(_, title)| !seen.insert(*title));
        twice.map(|(layer, title)| layer.breach(annotation::TITLE, title)).collect()
    },
};

pub(crate) const PODMAN: Consumer = Consumer {
    id: "podman",
    name: "Podman",
    versions: "5.7 and later",
    rules: &[
        TITLE_HAS_DIRECTORY,
        TITLE_TWICE,
        Rule {
            name: "title-missing",
            severity: Severity::Loss,
            reason: "a file without a title gets its digest as its name",
            change: "annotate every layer with its name as `org.opencontainers.image.title`",
            breaches: |subject| subject.each(annotation::TITLE, |layer| layer.title.is_none().then(|| "missing".to_owned())),
        },
        Rule {
            name: "archive-layer",
            severity: Severity::Loss,
            reason: "archives are not unpacked: an archive is mounted as one file",
            change: "make the layers raw, one file per layer",
            breaches: |subject| subject.archives(),
        },
    ],
};
