//! Podman: `podman artifact extract`, and artifacts as volumes.

use crate::{Consumer, Rule, Severity};
use modelpack_spec::annotation;
use std::collections::BTreeSet;

pub(crate) const TITLE_HAS_DIRECTORY: Rule = Rule {
    name: "title-has-directory",
    severity: Severity::Fatal,
    reason: "a title with `/` fails the whole mount",
    change: "keep all files at the top of the model's directory: without their titles `oras` would skip them",
    breaches: |subject| subject.each(annotation::TITLE, |layer| layer.title.filter(|title| title.contains('/')).map(str::to_owned)),
};
pub(crate) const TITLE_TWICE: Rule = Rule {
    name: "title-twice",
    severity: Severity::Fatal,
    reason: "a title that two layers have fails the whole mount, even if their contents are the same",
    change: "give each layer a title of its own",
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
            reason: "a file without a title is named by its digest",
            change: "annotate every layer with `org.opencontainers.image.title`, its name",
            breaches: |subject| subject.each(annotation::TITLE, |layer| layer.title.is_none().then(|| "missing".to_owned())),
        },
        Rule {
            name: "archive-layer",
            severity: Severity::Loss,
            reason: "nothing is unpacked: an archive is mounted as one file",
            change: "make the layer raw, one file a layer",
            breaches: |subject| subject.archives(),
        },
    ],
};
