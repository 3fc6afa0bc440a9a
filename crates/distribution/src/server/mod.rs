//! A registry: the OCI distribution specification as a view of a store.
//!
//! What a path names decides which one function answers a request, and which permission it needs: the function takes the repository as
//! a [`Permitted`](modelpack_server::Permitted), which is not to be had without. Bodies stream both ways: memory is a few buffers for
//! each connection, whatever the size of a blob.

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

/// How a registry behaves.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// Whether clients may delete tags, manifests and blobs.
    pub allow_delete: bool,
    /// How long an upload that nobody continues is kept.
    pub upload_idle: Duration,
    /// How long after a push collection stays away from its repository, so that the next request of that push finds what the last one
    /// left.
    pub lease_idle: Duration,
}

impl Default for RegistryOptions {
    /// Deletes are allowed; an hour; a quarter of an hour.
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self { allow_delete: true, upload_idle: minutes(60), lease_idle: minutes(15) }
    }
}
