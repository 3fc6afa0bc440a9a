//! containerd: supports container images only.

use crate::{Consumer, Rule, Severity};

pub(crate) const CONTAINERD: Consumer = Consumer {
    id: "containerd",
    name: "containerd",
    versions: "as of August 2026",
    rules: &[Rule {
        name: "not-an-image",
        severity: Severity::Fatal,
        reason: "artifacts are not supported: an artifact is mounted as an empty directory, without an error (containerd#11381)",
        change: "mount it through a CSI driver, or make an image of it with `modelpack cp --to image`",
        breaches: |subject| subject.not_an_image(),
    }],
};
