//! The consumers, one file per project. The rules come from the source code of the projects;
//! `docs/reference/compatibility.md` lists them.

mod containerd;
mod cri_o;
mod docker;
mod harbor;
mod kitops;
mod kserve;
mod llmman;
mod modctl;
mod model_csi_driver;
mod oras;
mod podman;
mod ramalama;

use crate::Consumer;

/// All consumers.
pub const CONSUMERS: &[Consumer] = &[
    oras::ORAS,
    docker::MODEL_RUNNER,
    kitops::CURRENT,
    kitops::OLDER,
    cri_o::CURRENT,
    cri_o::OLDER,
    containerd::CONTAINERD,
    podman::PODMAN,
    ramalama::WITH_PODMAN,
    ramalama::WITHOUT_PODMAN,
    llmman::LLMMAN,
    harbor::CURRENT,
    harbor::OLDER,
    modctl::CURRENT,
    modctl::OLDER,
    model_csi_driver::MODEL_CSI_DRIVER,
    kserve::KSERVE,
];
