//! Packs, moves and unpacks AI models as OCI artifacts. Programs that embed it make one call per
//! operation.
//!
//! [`Modelpack`] opens a [`Place`] (a registry, the local store, a layout directory, an archive) as
//! source or sink, and runs an operation such as [`pack`](Modelpack::pack),
//! [`copy`](Modelpack::copy) or [`unpack`](Modelpack::unpack). It reads no environment variables
//! and uses no terminal: all settings are in [`Options`].

mod attach;
mod convert;
mod copy;
mod diff;
mod error;
mod inspect;
mod lint;
mod list;
mod model;
mod modelfile;
mod open;
mod pack;
mod place;
mod registry;
mod repair;
mod scan;
mod store;
mod unpack;
mod validate;
mod verify;

pub use attach::Attachment;
pub use convert::ConvertedCopy;
pub use copy::Copied;
pub use diff::{Aspect, Diff, DiffSize, LayerChange, ValueChange};
pub use error::{Error, Result};
pub use inspect::{InspectedLayer, Inspection};
pub use list::{ListTarget, ListedEntry};
pub use model::Model;
pub use modelpack_distribution::client::{ClientOptions, Credentials, Proxies};
pub use modelpack_distribution::server::RegistryOptions;
pub use modelpack_lint as consumers;
pub use modelpack_pack::{
    Attached, Description, Error as PackError, Field, FileFilter, Finding, Gap, InvalidLayerRule, InvalidPattern, InvalidValue,
    LayerPolicy, LayerRule, LeftOut, Metadata, ModelfileError, ModelfileProblem, NotAPreset, Patterns, PlannedFile, PlannedLayer, Preset,
    Selection, UnpackOptions, Unpacked,
};
pub use modelpack_scan::{FileReport, Finding as ScanFinding, Report as ScanReport, Severity};
pub use modelpack_server::{Access, AccessLog, Action, Everybody, Identity, Server, ServerOptions};
pub use modelpack_spec as spec;
pub use modelpack_store::{BrokenRepository, EntrySelector, Incomplete, Pruned, Repaired, RepairedRepository};
pub use modelpack_transfer::{Error as StoreError, Notice, Notices, Progress, Snapshot};
pub use modelpack_validate as validation;
pub use pack::{ModelfilePath, PackRequest, PackSource, Packed, Planned};
pub use place::{InvalidPlace, Place};
pub use registry::serve;
pub use repair::RepairedArtifact;
pub use scan::ScanTarget;
pub use store::{Listed, Listing, Unreadable};
pub use validate::{Subject, ValidateOptions, ValidateTarget, Validation};
pub use verify::Verified;

use modelpack_distribution::client::Client;
use modelpack_store::{Store, Untagged};
use modelpack_transfer::CopyOptions;
use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};

/// Settings of all operations.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory of the local store. It is created on the first write.
    pub store: PathBuf,
    /// Settings of the registry client.
    pub client: ClientOptions,
    /// The maximum number of blobs that are moved at once; at least 1.
    pub concurrency: usize,
    /// Counts the transferred bytes.
    pub progress: Arc<Progress>,
    /// The receiver of notices, including those of `client`.
    pub notices: Notices,
}

/// The operations. Creation is cheap, because stores and clients are opened on first use.
pub struct Modelpack {
    options: Options,
    store: OnceLock<Store>,
    writable_store: OnceLock<Store>,
    client: OnceLock<Client>,
}

impl Modelpack {
    /// Creates an instance with these options.
    pub fn new(options: Options) -> Self {
        Self { options, store: OnceLock::new(), writable_store: OnceLock::new(), client: OnceLock::new() }
    }

    /// The local store for reading. It may be missing or read-only.
    fn store(&self) -> &Store {
        self.store.get_or_init(|| Store::open_existing(&self.options.store, Untagged::Drop))
    }

    /// The local store for writing. It is created if it is missing, and files left by killed
    /// writers are removed.
    fn writable_store(&self) -> Result<&Store> {
        match self.writable_store.get() {
            Some(store) => Ok(store),
            None => {
                let store = Store::open(&self.options.store, Untagged::Drop)?;
                // `prune` reports files that cannot be removed.
                let _ = store.remove_abandoned();
                Ok(self.writable_store.get_or_init(|| store))
            }
        }
    }

    fn client(&self) -> Result<&Client> {
        match self.client.get() {
            Some(client) => Ok(client),
            None => {
                let notices = self.options.notices.clone();
                let client = Client::new(ClientOptions { notices, ..self.options.client.clone() })?;
                Ok(self.client.get_or_init(|| client))
            }
        }
    }

    fn copy_options(&self) -> CopyOptions {
        CopyOptions { concurrency: self.options.concurrency, progress: self.options.progress.clone() }
    }
}

#[cfg(doctest)]
#[doc = include_str!("../../../docs/embedding.md")]
struct DocumentedExample;
