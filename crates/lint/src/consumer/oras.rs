//! `oras pull`: writes each layer to the path in its title.

use crate::{Consumer, Rule, Severity, subject::leaves_directory};
use modelpack_spec::{Encoding, annotation};

pub(crate) const ORAS: Consumer = Consumer {
    id: "oras",
    name: "oras",
    versions: "1.x",
    rules: &[
        Rule {
            name: "title-missing",
            severity: Severity::Loss,
            reason: "a layer is written to the path in its title; a layer without a title is skipped",
            change: "annotate every layer with its path as `org.opencontainers.image.title`",
            breaches: |subject| subject.each(annotation::TITLE, |layer| layer.title.is_none().then(|| "missing".to_owned())),
        },
        Rule {
            name: "title-clash",
            severity: Severity::Fatal,
            reason: "different layers cannot be written to the same path, and a path cannot be both a file and a directory",
            change: "give each layer a different title",
            breaches: |subject| subject.clashes(annotation::TITLE, |layer| layer.title),
        },
        Rule {
            name: "title-outside",
            severity: Severity::Fatal,
            reason: "a title that leaves the output directory is refused",
            change: "use a relative path without `..` as the title",
            breaches: |subject| {
                subject.each(annotation::TITLE, |layer| layer.title.filter(|title| leaves_directory(title)).map(str::to_owned))
            },
        },
        Rule {
            name: "archive-not-unpacked",
            severity: Severity::Loss,
            reason: "only a layer that `oras` marked as a directory is unpacked; any other archive is written as an archive file",
            change: "make the layers raw, one file per layer",
            breaches: |subject| {
                subject.each("mediaType", |layer| {
                    (layer.is_archive() && !layer.is_oras_directory()).then(|| layer.descriptor.media_type.clone())
                })
            },
        },
        Rule {
            name: "unpack-not-gzip",
            severity: Severity::Fatal,
            reason: "a layer with `io.deis.oras.content.unpack` is read as a gzip-compressed tar archive",
            change: "compress the layer with gzip, or remove the annotation",
            breaches: |subject| {
                subject.each("mediaType", |layer| {
                    let other = matches!(layer.encoding(), Some(Encoding::Raw | Encoding::Tar | Encoding::TarZstd));
                    (layer.is_oras_directory() && other).then(|| layer.descriptor.media_type.clone())
                })
            },
        },
    ],
};
