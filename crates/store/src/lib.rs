//! Artifacts on disk: the local store, OCI image layout directories, tar archives of them, and the cache of a node.
//!
//! Each implements the source and the sink of `modelpack-transfer`. [`BlobWriter`] verifies what is written to directories, and
//! [`ArchiveWriter`] what is written to archives.

mod archive;
mod cache;
mod disk;
mod partial;

pub use archive::{Archive, ArchiveWriter};
pub use cache::{Cache, CacheBegin, CacheSink, CacheUsage, CachedArtifact, CachedBlob, CachedTree, NewTree, RemovedArtifact};
pub use disk::{
    BlobWriter, BrokenRepository, DigestCache, Entry, EntrySelector, Incomplete, Layout, Lease, Pruned, Referrers, ReferrersPage,
    Remembered, Repaired, RepairedRepository, Repository, Selected, Settled, Stamp, Store, StoredManifest, Untagged, Writeback,
};
