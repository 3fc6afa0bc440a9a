//! What keeps artifacts on disk: the local store, OCI image layout directories, and tar archives of them.
//!
//! Each is a source and a sink of the seam in `modelpack-transfer`. Files are verified where they are written: [`BlobWriter`] for directories,
//! [`ArchiveWriter`] for archives.

mod archive;
mod disk;
mod partial;

pub use archive::{Archive, ArchiveWriter};
pub use disk::{
    BlobWriter, BrokenRepository, DigestCache, Entry, EntrySelector, Incomplete, Layout, Lease, Mark, Pruned, Referrers, ReferrersPage,
    Repaired, RepairedRepository, Repository, Selected, Settled, Stamp, Store, StoredManifest, SuspendedWriter, Untagged, Writeback,
};
