//! model-csi-driver: mounts models into pods, with the libraries of modctl.

use super::modctl::{FILEPATH_MISSING, METADATA, UNREADABLE_LAYER};
use crate::{Consumer, Rule, Severity};

pub(crate) const MODEL_CSI_DRIVER: Consumer = Consumer {
    id: "model-csi-driver",
    name: "model-csi-driver",
    versions: "as of August 2026",
    rules: &[
        UNREADABLE_LAYER,
        FILEPATH_MISSING,
        METADATA,
        Rule {
            name: "config-time",
            severity: Severity::Loss,
            reason: "a volume that excludes files, or whose size is checked, needs a config with RFC 3339 times",
            change: "write the time as `2025-01-31T00:00:00Z`",
            breaches: |subject| subject.times_that_do_not_parse(),
        },
    ],
};
