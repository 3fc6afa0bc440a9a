//! Stores on disk: the local store, and OCI image layout directories that somebody else may have written.

pub(crate) mod abandoned;
mod blob_writer;
pub(crate) mod blobs;
mod digest_cache;
mod entries;
pub(crate) mod format;
mod index;
mod large_index;
mod layout;
mod links;
pub(crate) mod lock;
mod partial_upload;
mod prune;
#[cfg(all(target_os = "linux", not(modelpack_portable)))]
mod read_lease;
#[cfg(not(all(target_os = "linux", not(modelpack_portable))))]
#[path = "no_read_lease.rs"]
mod read_lease;
mod referrers;
mod repair;
mod repository;
pub(crate) mod reserve;
mod sessions;
mod settled;
mod store;
mod writeback;

pub use blob_writer::BlobWriter;
pub use digest_cache::{DigestCache, Remembered, Stamp};
pub(crate) use entries::{Entries, written_name};
pub use entries::{Entry, EntrySelector, Selected};
pub(crate) use index::Index;
pub use layout::{Layout, StoredManifest};
pub use lock::Lease;
pub use prune::{BrokenRepository, Pruned};
pub(crate) use referrers::all as all_referrers;
pub use referrers::{Referrers, ReferrersPage};
pub use repair::{Incomplete, Repaired, RepairedRepository};
pub use repository::Repository;
pub use settled::Settled;
pub use store::Store;
pub use writeback::Writeback;

/// What becomes of a manifest whose last tag is moved to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untagged {
    /// It stays, reachable by its digest, as readers of a registry expect.
    Keep,
    /// It goes, as users of a local store expect; one that was written by its digest stays.
    Drop,
}
