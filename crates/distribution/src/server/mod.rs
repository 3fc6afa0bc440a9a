//! A registry: the OCI distribution specification as a view of a store.
//!
//! The path decides which function answers a request and which permission it needs. The function
//! takes the repository as a [`Permitted`](modelpack_server::Permitted), which exists only with
//! that permission. Bodies are streamed in both directions, so each connection uses a few buffers
//! of memory, whatever the size of a blob.

mod blobs;
mod failure;
mod leases;
mod listings;
mod manifests;
mod registry;
mod sessions;
mod uploads;

pub use registry::Registry;

use std::time::Duration;

/// Options of a registry.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegistryOptions {
    /// Whether clients may delete tags, manifests and blobs.
    pub allow_delete: bool,
    /// How long an upload is kept after its last request.
    pub upload_idle: Duration,
    /// How long a repository is protected from garbage collection after a push, so that the next
    /// request of the push finds the blobs of the earlier ones.
    pub lease_idle: Duration,
}

impl RegistryOptions {
    /// Whether clients may delete tags, manifests and blobs.
    pub fn allow_delete(self, allow_delete: bool) -> Self {
        Self { allow_delete, ..self }
    }

    /// Keeps an upload for this long after its last request.
    pub fn upload_idle(self, upload_idle: Duration) -> Self {
        Self { upload_idle, ..self }
    }

    /// Protects a repository from garbage collection for this long after a push.
    pub fn lease_idle(self, lease_idle: Duration) -> Self {
        Self { lease_idle, ..self }
    }
}

impl Default for RegistryOptions {
    /// Deletes allowed, one hour for uploads, a quarter of an hour for leases.
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self { allow_delete: true, upload_idle: minutes(60), lease_idle: minutes(15) }
    }
}
