//! Sources and sinks of content-addressed artifacts, the copy engine between them, and the stores that implement both.
//!
//! [`Source`] and [`Sink`] are the seam: a registry, a layout directory, an archive, memory are each one or both. [`copy`] is the one
//! way between them. What is written is verified where it is written ([`BlobWriter`], [`verify_manifest`]), so no caller can pass by it.

mod archive;
mod body;
pub mod contract;
mod copy;
mod disk;
mod error;
mod memory;
mod notice;
mod overlay;
mod partial;
mod produced;
mod progress;
mod seam;
mod verify;

pub use archive::{Archive, ArchiveWriter};
pub use body::{Body, CHUNK, FileRange, blocking};
pub use copy::{CopyOptions, copy, for_each_concurrent, put_bytes, read_bytes, read_config};
pub use disk::{
    BlobWriter, BrokenRepository, DigestCache, Entry, EntrySelector, Incomplete, Layout, Lease, Mark, Pruned, Referrers, ReferrersPage,
    Repaired, RepairedRepository, Repository, Selected, Settled, Stamp, Store, StoredManifest, SuspendedWriter, Untagged, Writeback,
};
pub use error::{Error, Result};
pub use memory::MemoryStore;
pub use notice::{Notice, Notices};
pub use overlay::Overlay;
pub use produced::Producer;
pub use progress::{Progress, Snapshot};
pub use seam::{Begin, Sink, Source, Upload};
pub use verify::{verify_blob, verify_bytes, verify_manifest};
