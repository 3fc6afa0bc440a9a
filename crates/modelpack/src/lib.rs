//! Packs, moves and unpacks AI models as OCI artifacts. Programs that embed it make one call per
//! operation.
//!
//! [`Modelpack`] opens a [`Place`] (a registry, the local store, a layout directory, an archive) as
//! source or sink, and runs an operation such as [`pack`](Modelpack::pack),
//! [`copy`](Modelpack::copy) or [`unpack`](Modelpack::unpack). It reads no environment variables
//! and uses no terminal: all settings are in [`Options`].
//!
//! The results of operations can be serialised, and `--json` of the program prints them in this
//! form; `docs/json.md` lists the fields. An [`Error`] has a [`kind`](Error::kind).
//!
//! The feature `validate`, which is off by default, adds `Modelpack::validate` and the module `validation`.

mod attach;
mod cache;
mod convert;
mod copy;
mod diff;
mod error;
mod image;
mod inspect;
mod lint;
mod list;
mod model;
mod modelfile;
mod open;
mod options;
mod pack;
mod place;
mod prune;
mod registry;
mod repair;
mod scan;
mod store;
mod unpack;
#[cfg(feature = "validate")]
mod validate;
mod verify;

pub use attach::{AttachOptions, Attached, Attachment};
pub use cache::{CacheListing, CachePulled, CacheRemoved, CachedModel, NodeCache};
pub use convert::ConvertedCopy;
pub use copy::{Copied, CopyReferrers};
pub use diff::{Aspect, Change, Diff, DiffSide, DiffSize, LayerChange, ValueChange};
pub use error::{Error, ErrorKind, Result};
pub use image::ImageCopy;
pub use inspect::{InspectedLayer, Inspection};
pub use lint::Linted;
pub use list::{ListTarget, ListedEntry, ListedRepository, ListedTag};
pub use model::Model;
pub use modelpack_distribution::client::{
    Authorities, Certificates, ClientOptions, Credentials, KeepHashStates, Proxies, ProxyUrl, RegistriesFile, RetryOptions, Timeouts,
};
pub use modelpack_distribution::server::RegistryOptions;
pub use modelpack_lint as consumers;
pub use modelpack_pack::{
    Description, Error as PackError, Field, FileFilter, Finding, Gap, ImagePrefix, InvalidImagePrefix, InvalidLayerRule, InvalidPattern,
    InvalidValue, LayerPolicy, LayerRule, LeftOut, Metadata, ModelfileError, ModelfileProblem, NotAPreset, Patterns, PlannedFile,
    PlannedLayer, Preset, Selection,
};
pub use modelpack_scan::{FileReport, Finding as ScanFinding, Report as ScanReport, Severity};
pub use modelpack_server::{Access, AccessLog, Action, Everybody, Identity, Server, ServerOptions};
pub use modelpack_spec as spec;
pub use modelpack_store::{BrokenRepository, EntrySelector, Incomplete, RepairedRepository};
pub use modelpack_transfer::{
    DEFAULT_CONNECTIONS, Error as StoreError, InvalidRate, Notice, Notices, PartSnapshot, Progress, Rate, Snapshot, Wait, Waiting,
};
#[cfg(feature = "validate")]
pub use modelpack_validate as validation;
pub use options::{DEFAULT_CONCURRENCY, Options};
pub use pack::{ModelfilePath, PackRequest, PackSource, Packed, Planned};
pub use place::{InvalidPlace, Place};
pub use prune::{PruneOptions, Pruned, RemovedBlob, RemovedFile};
pub use registry::{LoggedIn, LoggedOut, serve};
pub use repair::{RepairedArtifact, RepairedStore, UnrepairedBlob};
pub use scan::{ScanOptions, ScanTarget, Scanned};
pub use store::{Listed, Listing, RemovedName, Unreadable};
pub use unpack::{UnpackOptions, Unpacked};
#[cfg(feature = "validate")]
pub use validate::{Subject, ValidateOptions, ValidateTarget, Validated, Validation};
pub use verify::Verified;

use modelpack_distribution::client::{Client, OpenUploads, Registries};
use modelpack_store::{Store, Untagged};
use modelpack_transfer::{Connections, CopyOptions};
use std::sync::{Arc, OnceLock};

/// The operations. Creation is cheap, because stores and clients are opened on first use. Clones
/// share the opened store, the connections and the tokens of registries.
///
/// Every future can be dropped: unfinished work is undone, and finished work is kept.
#[derive(Clone)]
pub struct Modelpack {
    options: Arc<Options>,
    opened: Arc<OpenedOnce>,
    progress: Arc<Progress>,
    connections: Arc<Connections>,
}

/// The stores and clients, which are opened on first use and then kept.
#[derive(Default)]
struct OpenedOnce {
    store: OnceLock<Store>,
    writable_store: OnceLock<Store>,
    client: OnceLock<Client>,
    registries: OnceLock<Registries>,
}

impl Modelpack {
    /// Creates an instance with these options.
    pub fn new(options: Options) -> Self {
        let connections = Connections::new(options.connections);
        Self { options: Arc::new(options), opened: Arc::default(), progress: Arc::default(), connections }
    }

    /// The same operations, with `progress` as the counter of their bytes. Both handles share the
    /// opened stores and clients, so a handle per call is cheap.
    ///
    /// ```no_run
    /// # use modelpack::{Modelpack, Options, Place, Progress};
    /// # use std::sync::Arc;
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let modelpack = Modelpack::new(Options::new("/var/lib/models"));
    /// let places: [Place; 2] = ["registry.example.com/tiny:v1".parse()?, "registry.example.com/large:v1".parse()?];
    /// let pulls = places.map(|place| {
    ///     let progress = Arc::<Progress>::default();
    ///     let modelpack = modelpack.with_progress(progress.clone());
    ///     (progress, tokio::spawn(async move { modelpack.pull(&place).await }))
    /// });
    /// // The counters can be read at any time.
    /// for (progress, pull) in pulls {
    ///     println!("{} of {} bytes", progress.snapshot().moved, progress.snapshot().total);
    ///     pull.await??;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_progress(&self, progress: Arc<Progress>) -> Self {
        Self { progress, ..self.clone() }
    }

    /// The same operations for one call. Its bytes are counted separately, and also in the progress
    /// of this handle.
    fn one_call(&self) -> Self {
        self.with_progress(Arc::new(Progress::part_of(self.progress.clone())))
    }

    /// The local store for reading. It may be missing or read-only.
    fn store(&self) -> Result<&Store> {
        get_or_try_init(&self.opened.store, || Ok(Store::open_existing(&self.options.store, Untagged::Drop)?))
    }

    /// The local store for writing. It is created if it is missing, and files left by killed
    /// writers are removed.
    fn writable_store(&self) -> Result<&Store> {
        get_or_try_init(&self.opened.writable_store, || {
            let store = Store::open(&self.options.store, Untagged::Drop)?;
            // `prune` reports files that cannot be removed.
            let _ = store.remove_abandoned();
            Ok(store)
        })
    }

    fn client(&self) -> Result<&Client> {
        get_or_try_init(&self.opened.client, || {
            let notices = self.options.notices.clone();
            let options = self.options.client.clone().notices(notices).connections(self.connections.clone());
            let client = Client::with_registries(options, self.registries()?.clone())?;
            // A push that is interrupted continues, also by another process.
            Ok(client.remembering_uploads(OpenUploads::new(self.options.store.join("uploads"))))
        })
    }

    /// What the files in the options say of registries.
    fn registries(&self) -> Result<&Registries> {
        get_or_try_init(&self.opened.registries, || Ok(Registries::read(&self.options.registries)?))
    }

    fn copy_options(&self) -> CopyOptions {
        CopyOptions { concurrency: self.options.concurrency, progress: self.progress.clone(), connections: self.connections.clone() }
    }
}

/// The value of `cell`. If it is empty, it is filled with the result of `make`.
fn get_or_try_init<T>(cell: &OnceLock<T>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    match cell.get() {
        Some(made) => Ok(made),
        None => make().map(|made| cell.get_or_init(|| made)),
    }
}

#[cfg(all(doctest, feature = "validate"))]
#[doc = include_str!("../../../docs/embedding.md")]
struct DocumentedExample;
