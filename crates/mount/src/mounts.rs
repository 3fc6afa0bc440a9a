//! Mounting and unmounting.

use crate::{
    Error, Result, Unmount,
    archives::unpack_layer,
    blobs::{Blob, Blobs},
    device::connect,
    filesystem::{File, Files, ModelFilesystem, Unpacking},
    order::load_order,
    patience::Patience,
    tree::{Number, Tree},
    unmount,
};
use fuser::{Config, INodeNo, Notifier, Session, SessionACL};
use futures_util::{StreamExt, stream};
use modelpack_spec::{Artifact, Content, Digest, Layer};
use modelpack_store::Cache;
use modelpack_transfer::{Connections, Progress, Source, Unverified, blocking};
use rustix::{
    fs::stat,
    process::{getegid, geteuid},
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};
use tokio::{runtime::Handle, sync::watch, task::JoinSet, time::sleep};

/// How far the kernel reads ahead of a process, in KiB. Its default of 128 is for disks.
const READ_AHEAD_KIB: u32 = 4096;

/// How many threads answer the kernel.
const THREADS: usize = 4;

/// How many blobs arrive at the same time before somebody asks for them.
const AHEAD_AT_ONCE: usize = 4;

/// How long the next attempt waits if a blob cannot be had, at first and at most.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Options for all mounts of a process.
#[derive(Clone)]
pub struct MountsOptions {
    /// The cache of the node.
    pub cache: Cache,
    /// The connections that all transfers share.
    pub connections: Arc<Connections>,
    /// Counts the bytes of all transfers.
    pub progress: Arc<Progress>,
    /// What readers may see of layers that name no list of hash states before all of the layer is verified.
    pub unverified: Unverified,
    /// A reader gets an error if nothing arrives for so long of what it waits for.
    pub patience: Duration,
}

/// The mounted models of a process, which share what arrives.
#[derive(Clone)]
pub struct Mounts(Arc<Blobs>);

/// A model to mount.
pub struct Model {
    /// Its name in the list of the system's mounts and in errors.
    pub name: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// Its layers.
    pub artifact: Artifact,
    /// Has the blobs of the layers. Whoever mounts may read them.
    pub source: Arc<dyn Source>,
    /// Whether the source has verified files on this machine, which are not copied into the cache.
    pub in_place: bool,
}

/// A mounted model. If it is dropped, it is unmounted.
pub struct Mounted {
    directory: PathBuf,
    digest: Digest,
    ended: watch::Receiver<bool>,
    _tasks: JoinSet<()>,
}

impl Mounts {
    /// No mounts yet. To be called in a runtime, whose threads fetch the models.
    pub fn new(options: MountsOptions) -> Self {
        let MountsOptions { cache, connections, progress, unverified, patience } = options;
        let (runtime, known) = (Handle::current(), Mutex::default());
        Self(Arc::new(Blobs { cache, connections, progress, unverified, patience, runtime, known }))
    }

    /// Mounts a model at an existing directory. It can be read at once. All of it is fetched meanwhile.
    ///
    /// Fails if the paths of its files clash, if it has no file, or if the system does not allow the mount.
    pub async fn mount(&self, model: Model, directory: &Path) -> Result<Mounted> {
        let blobs = &self.0;
        let mut tree = Tree::new();
        let mut layers: Vec<Option<Arc<Blob>>> = Vec::new();
        let mut archives = Vec::new();
        for (number, layer) in model.artifact.layers.iter().enumerate() {
            if layer.content == Content::Unnamed {
                layers.push(None);
                continue;
            }
            let blob = self.blob(&model, layer).await?;
            match &layer.content {
                Content::File(path) => {
                    let file = File::Layer { blob: blob.clone(), source: model.source.clone(), executable: layer.is_executable() };
                    if !tree.insert(path, Arc::new(file)) {
                        return Err(Error::Artifact { what: model.name, why: format!("another file is in the way of {path}") });
                    }
                }
                Content::Archive(_) | Content::Compressed(..) => archives.push(number),
                Content::Unnamed => {}
            }
            layers.push(Some(blob));
        }
        if layers.iter().all(Option::is_none) {
            return Err(Error::Artifact { what: model.name, why: "none of its layers has a file name, so it has no files".to_owned() });
        }
        let files = Arc::new(Files {
            tree: RwLock::new(tree),
            unpacking: watch::Sender::new(Unpacking { waiting: archives.len(), has_failed: false }),
            progress: blobs.progress.clone(),
            patience: Patience::new(blobs.patience),
        });
        let owner = (geteuid().as_raw(), getegid().as_raw());
        let filesystem = ModelFilesystem::new(files.clone(), blobs.runtime.clone(), owner);
        let failed = |what| {
            let directory = directory.to_owned();
            move |source| Error::Directory { what, directory, source }
        };
        let directory = &directory.canonicalize().map_err(failed("find the directory"))?;
        let (at, name) = (directory.clone(), model.name.clone());
        let session = blocking(move || {
            let device = connect(&at, &name)?;
            let session = Session::from_fd(filesystem, device, SessionACL::All, config());
            session.inspect_err(|_| drop(unmount(&at, Unmount::WhenIdle)))
        });
        let session = session.await.map_err(failed("mount a model there"))?;
        let mut tasks = JoinSet::new();
        if blobs.unverified == Unverified::Visible {
            for (number, file) in files.tree().files() {
                if let File::Layer { blob, .. } = &**file {
                    tasks.spawn(forget_wrong_bytes(blob.clone(), number, session.notifier()));
                }
            }
        }
        let (end, ended) = watch::channel(false);
        let run = move || {
            if let Err(error) = session.run() {
                tracing::debug!("the session has ended: {error}");
            }
            end.send_replace(true);
        };
        std::thread::Builder::new().name("mount".to_owned()).spawn(run).map_err(failed("begin to answer the kernel there"))?;
        read_ahead(directory);
        let order = load_order(&model.artifact);
        let model = Arc::new(model);
        for number in archives {
            let Some(blob) = layers[number].clone() else { continue };
            tasks.spawn(unpack(blobs.clone(), blob, model.clone(), number, files.clone()));
        }
        let in_order = order.into_iter().filter_map(|number| layers[number].clone()).collect();
        tasks.spawn(fetch_all(in_order, model.clone()));
        Ok(Mounted { directory: directory.to_owned(), digest: model.digest.clone(), ended, _tasks: tasks })
    }

    async fn blob(&self, model: &Model, layer: &Layer) -> Result<Arc<Blob>> {
        let descriptor = &layer.descriptor;
        if !model.in_place {
            return Ok(self.0.blob(descriptor));
        }
        let missing = |why: String| Error::Artifact { what: model.name.clone(), why };
        let body = model.source.blob(descriptor, 0..descriptor.size).await.map_err(|error| missing(error.to_string()))?;
        let file = body.file().cloned().ok_or_else(|| missing(format!("{} is not a file", descriptor.digest)))?;
        Ok(self.0.blob_in_place(descriptor, file))
    }
}

fn config() -> Config {
    let mut config = Config::default();
    (config.n_threads, config.clone_fd) = (Some(THREADS), true);
    config
}

/// Lets the kernel read further ahead. Only root can say so; otherwise reading is slower.
fn read_ahead(directory: &Path) {
    let Ok(found) = stat(directory) else { return };
    let (major, minor) = (rustix::fs::major(found.st_dev), rustix::fs::minor(found.st_dev));
    let _ = fs::write(format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb"), READ_AHEAD_KIB.to_string());
}

/// Lets the kernel forget the bytes of a file that readers may have seen before it turned out that they are wrong.
async fn forget_wrong_bytes(blob: Arc<Blob>, number: Number, notifier: Notifier) {
    let (mut states, notifier) = (blob.states(), Arc::new(notifier));
    loop {
        blob.failed(&mut states).await;
        let notifier = notifier.clone();
        // The kernel may not know the file. Waits for reads that are under way.
        let _ = blocking(move || notifier.inval_inode(INodeNo(number), 0, 0)).await;
    }
}

/// Adds the files of an archive to the tree.
async fn unpack(blobs: Arc<Blobs>, blob: Arc<Blob>, model: Arc<Model>, number: usize, files: Arc<Files>) {
    let mut pause = PAUSE;
    loop {
        match unpack_layer(&blobs, &blob, &model.source, &model.artifact.layers[number]).await {
            Ok(unpacked) => {
                let mut tree = files.tree.write().unwrap_or_else(PoisonError::into_inner);
                for file in unpacked {
                    let path = file.path.clone();
                    if !tree.insert(&path, Arc::new(File::Unpacked(file))) {
                        tracing::error!("{}: another file is in the way of {path}", model.name);
                    }
                }
                drop(tree);
                files.unpacking.send_modify(|unpacking| unpacking.waiting -= 1);
                return;
            }
            Err(error) => {
                tracing::error!("{}: an archive cannot be unpacked: {error}", model.name);
                files.unpacking.send_modify(|unpacking| unpacking.has_failed = true);
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                files.patience.renew();
                files.unpacking.send_modify(|unpacking| unpacking.has_failed = false);
            }
        }
    }
}

/// Lets all blobs arrive in this order: first small ones, then the beginnings of those that can be read in part, then all.
async fn fetch_all(blobs: Vec<Arc<Blob>>, model: Arc<Model>) {
    let large = blobs.iter().position(|blob| blob.has_list()).unwrap_or(blobs.len());
    let (first, others) = blobs.split_at(large);
    stream::iter(first).for_each_concurrent(AHEAD_AT_ONCE, |blob| fetch_whole(blob, &model)).await;
    let with_headers = others.iter().filter(|blob| blob.has_list());
    stream::iter(with_headers).for_each_concurrent(AHEAD_AT_ONCE, |blob| blob.read_header(&model.source)).await;
    stream::iter(others).for_each_concurrent(AHEAD_AT_ONCE, |blob| fetch_whole(blob, &model)).await;
    tracing::info!("{} is complete", model.name);
}

/// Lets a blob arrive. If it cannot be had, it is tried again.
async fn fetch_whole(blob: &Blob, model: &Model) {
    let mut pause = PAUSE;
    while blob.arrived(&model.source).await.is_err() {
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

impl Mounted {
    /// Where it is mounted.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The digest of the manifest that it was mounted from.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Waits until somebody has unmounted it.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        // The session has ended as well if its thread is gone.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Whether nobody has unmounted it.
    fn is_there(&self) -> bool {
        !*self.ended.borrow()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.is_there() {
            let _ = unmount(&self.directory, Unmount::WhenIdle);
        }
    }
}
