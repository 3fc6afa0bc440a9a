//! Sources and sinks of content-addressed artifacts, and the copy engine between them.
//!
//! A registry, a layout directory, an archive and a store in memory are each a [`Source`], a [`Sink`] or both. [`copy`] is the only way
//! from one to the other. Bytes are verified where they are written ([`Verifier`], [`verify_manifest`]), and no caller can avoid that.

mod blocking;
mod body;
mod connections;
pub mod contract;
mod copy;
mod demand;
mod error;
mod fetch;
mod files;
mod hashing;
mod memory;
mod notice;
mod overlay;
mod partial;
mod plan;
pub mod platform;
mod produced;
mod progress;
mod ranges;
mod rate;
mod referrers;
mod seam;
mod send_file;
mod symlink;
mod verifier;
mod verify;

pub use blocking::{Cancelled, LARGE_FILE, blocking, blocking_cancellable, copy_hashed};
pub use body::{Body, CHUNK, FileRange, Piece, Reopen, Window};
pub use connections::{Connections, Control, DEFAULT_CONNECTIONS, Permit};
pub use copy::{CopyOptions, copy, for_each_concurrent, put_bytes, read_bytes, read_config};
pub use demand::Demand;
pub use error::{Cause, Error, Result};
pub use fetch::{Attempt, fetch, retried_if_damaged};
pub use files::{
    BlobFile, FileEntry, FileReader, Files, FilesReader, LayerFile, LayerFiles, MemoryFiles, OpenFile, Origin, Stated,
    contract as files_contract,
};
pub use hashing::Hashing;
pub use memory::MemoryStore;
pub use notice::{Notice, Notices};
pub use overlay::Overlay;
pub use partial::{Leftover, Mark, Partial, PartialDirectory, Unverified, UploadSession, wait_for_owner};
pub use produced::{PieceWriter, Producer};
pub use progress::{PartSnapshot, Progress, Snapshot, Wait, Waiting};
pub use ranges::Ranges;
pub use rate::{InvalidRate, Rate, RateLimit};
pub use referrers::{MAX_REFERRERS, Referrers, referrers_by_tag};
pub use seam::{Begin, Committed, RangedUpload, Sink, Source, Upload, named_hash_states};
pub use send_file::PartsToSend;
pub use symlink::follow_links;
pub use verifier::{VerifiedBlob, Verifier, hash_file, verify_by_hash_states};
pub use verify::{verify_blob, verify_bytes, verify_manifest, verify_selected};
