//! model-csi-driver: mounts models into pods, with the libraries of modctl.

use super::modctl::{FILEPATH_MISSING, UNREADABLE_LAYER};
use crate::Consumer;

pub(crate) const MODEL_CSI_DRIVER: Consumer = Consumer {
    id: "model-csi-driver",
    name: "model-csi-driver",
    versions: "as of August 2026",
    rules: &[UNREADABLE_LAYER, FILEPATH_MISSING],
};
