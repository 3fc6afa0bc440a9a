//! Pack, move and unpack AI models as OCI artifacts: one call a verb, for programs that embed it.
//!
//! [`Modelpack`] opens what a [`Place`] names (a registry, the local store, a layout directory, an archive) as source or sink, and
//! makes one call below: [`pack`](Modelpack::pack), [`copy`](Modelpack::copy), [`unpack`](Modelpack::unpack) and their kin.
//! It reads no environment and no terminal: everything comes in [`Options`].

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

/// What every verb needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory of the local store; it is created when something is first written to it.
    pub store: PathBuf,
    /// How registries are spoken to.
    pub client: ClientOptions,
    /// How many blobs are moved at once; at least 1.
    pub concurrency: usize,
    /// Counts the bytes.
    pub progress: Arc<Progress>,
    /// Where notices go, those of `client` too.
    pub notices: Notices,
}

/// The verbs. Cheap to make; nothing is opened before it is needed.
pub struct Modelpack {
    options: Options,
    store: OnceLock<Store>,
    writable_store: OnceLock<Store>,
    client: OnceLock<Client>,
}

impl Modelpack {
    /// The verbs with these options.
    pub fn new(options: Options) -> Self {
        Self { options, store: OnceLock::new(), writable_store: OnceLock::new(), client: OnceLock::new() }
    }

    /// The local store, to be read. It need not be there, and may be read-only.
    fn store(&self) -> Result<&Store> {
        get_or_try_init(&self.store, || Ok(Store::open_existing(&self.options.store, Untagged::Drop)?))
    }

    /// The local store, to be written: it is made if it is not there, and what writers left in it that were killed goes.
    fn writable_store(&self) -> Result<&Store> {
        get_or_try_init(&self.writable_store, || {
            let store = Store::open(&self.options.store, Untagged::Drop)?;
            // What cannot be removed is for `prune` to report.
            let _ = store.remove_abandoned();
            Ok(store)
        })
    }

    fn client(&self) -> Result<&Client> {
        get_or_try_init(&self.client, || {
            let notices = self.options.notices.clone();
            Ok(Client::new(ClientOptions { notices, ..self.options.client.clone() })?)
        })
    }

    fn copy_options(&self) -> CopyOptions {
        CopyOptions { concurrency: self.options.concurrency, progress: self.options.progress.clone() }
    }
}

/// What `cell` holds. If it holds nothing, it holds from now on what `make` returns.
fn get_or_try_init<T>(cell: &OnceLock<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    match cell.get() {
        Some(made) => Ok(made),
        None => make().map(|made| cell.get_or_init(|| made)),
    }
}

#[cfg(doctest)]
#[doc = include_str!("../../../docs/embedding.md")]
struct DocumentedExample;
