//! KServe: `oci://` storage wants a container image.

use crate::{Consumer, Rule, Severity};

pub(crate) const KSERVE: Consumer = Consumer {
    id: "kserve",
    name: "KServe",
    versions: "as of August 2026",
    rules: &[Rule {
        name: "not-an-image",
        severity: Severity::Fatal,
        reason: "`oci://` takes a container image that holds the model (kserve#4083)",
        change: "add a `ClusterStorageContainer` that unpacks artifacts to /mnt/models, or build a container image that holds the files",
        breaches: |subject| subject.not_an_image(),
    }],
};
