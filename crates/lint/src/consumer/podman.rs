//! Podman: `podman artifact extract`, and artifacts as volumes.

use crate::{Consumer, Rule, Severity};
use modelpack_spec::annotation;

pub(crate) const PODMAN: Consumer = Consumer {
    id: "podman",
    name: "Podman",
    versions: "5.7 and later",
    rules: &[
        Rule {
            name: "title-has-directory",
            severity: Severity::Fatal,
            reason: "a title with `/` fails the whole mount",
            change: "keep all files at the top of the model's directory: without their titles `oras` would skip them",
            breaches: |subject| subject.each(annotation::TITLE, |layer| layer.title.filter(|title| title.contains('/')).map(str::to_owned)),
        },
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
