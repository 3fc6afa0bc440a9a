//! Models that are mounted for real. This needs `/dev/fuse` and the right to mount; without them, the tests say so and do nothing.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use modelpack_mount::{Model, Mounted, Mounts, MountsOptions, Unmount, mounted_models, unmount};
use modelpack_spec::{
    Algorithm, Artifact, Content, Descriptor, Digest, Encoding, FileMetadata, Hasher, Layer, LayerKind, Manifest, Selector, annotation,
};
use modelpack_store::Cache;
use modelpack_transfer::{Body, Connections, Error, Progress, Result, Source, Unverified};
use std::{
    collections::HashMap,
    fs, io,
    ops::Range,
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::watch;

/// Reads that nothing arrives for fail so soon.
const PATIENCE: Duration = Duration::from_millis(1500);

/// What a registry does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Works,
    /// It does not answer.
    Hangs,
    /// It sends the first megabyte of each answer, and nothing more.
    Stalls,
    /// It answers that there is no such blob.
    IsGone,
    /// The first byte of each answer is wrong.
    Lies,
    /// The same, and the rest comes when something else is done.
    LiesAndStalls,
}

/// A registry in memory.
struct Registry {
    blobs: HashMap<Digest, Bytes>,
    mode: watch::Sender<Mode>,
    asked: Mutex<Vec<(Digest, Range<u64>)>>,
}

impl Registry {
    fn asked(&self) -> u64 {
        self.asked.lock().unwrap().iter().map(|(_, range)| range.end - range.start).sum()
    }
}

#[async_trait]
impl Source for Registry {
    async fn manifest(&self, at: &Selector) -> Result<Manifest> {
        Err(Error::not_found(format!("{at}")))
    }

    async fn blob(&self, blob: &Descriptor, range: Range<u64>) -> Result<Body> {
        if range.is_empty() {
            return Ok(Body::from_bytes(Bytes::new()));
        }
        let mode = *self.mode.subscribe().wait_for(|mode| *mode != Mode::Hangs).await.expect("the sender is here");
        if mode == Mode::IsGone {
            return Err(Error::not_found(format!("blob {}", blob.digest)));
        }
        self.asked.lock().unwrap().push((blob.digest.clone(), range.clone()));
        let mut bytes = self.blobs[&blob.digest].slice(range.start as usize..range.end as usize);
        if matches!(mode, Mode::Lies | Mode::LiesAndStalls) {
            let mut wrong = bytes.to_vec();
            wrong[0] ^= 1;
            bytes = wrong.into();
        }
        let changed = self.mode.subscribe();
        let pieces = (0..bytes.len()).step_by(1 << 18).map(move |at| (at, bytes.slice(at..bytes.len().min(at + (1 << 18)))));
        let pieces = stream::iter(pieces).then(move |(at, piece)| {
            let mut changed = changed.clone();
            async move {
                if mode == Mode::LiesAndStalls && at >= 1 << 20 {
                    let _ = changed.wait_for(|mode| *mode != Mode::LiesAndStalls).await;
                }
                if mode == Mode::Stalls && at >= 1 << 20 {
                    let _ = changed.wait_for(|mode| *mode == Mode::IsGone).await;
                    return Err(Error::not_found("the rest"));
                }
                Ok(piece)
            }
        });
        Ok(Body::from_stream(pieces, Some(range.end - range.start)))
    }
}

/// A model in a registry, a cache, and a directory to mount it.
struct Scene {
    directory: TempDir,
    registry: Arc<Registry>,
    artifact: Artifact,
    unverified: Unverified,
}

/// The bytes of a file of this length; each megabyte is another one.
fn content(len: usize) -> Bytes {
    let mut content = vec![7; len];
    content.chunks_mut(1 << 20).zip(len as u64..).for_each(|(chunk, at)| {
        let end = chunk.len().min(8);
        chunk[..end].copy_from_slice(&at.to_le_bytes()[..end]);
    });
    content.into()
}

fn layer(path: &str, content: &[u8], kind: LayerKind, executable: bool) -> Layer {
    let path: modelpack_spec::FilePath = path.parse().unwrap();
    let mode = if executable { 0o755 } else { 0o644 };
    let (name, mtime) = (path.file_name().to_owned(), "1970-01-01T00:00:00Z".to_owned());
    Layer {
        descriptor: Descriptor::of("application/vnd.cncf.model.weight.v1.raw", content),
        kind: Some(kind),
        content: Content::File(path.clone()),
        path: Some(path),
        metadata: Some(FileMetadata { name, mode, uid: 0, gid: 0, size: content.len() as u64, mtime, typeflag: 0 }),
    }
}

impl Scene {
    /// A model with these files. `None` if this process cannot mount anything.
    fn new(files: &[(&str, Bytes)]) -> Option<Self> {
        if fs::File::options().read(true).write(true).open("/dev/fuse").is_err() || !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: this test mounts a file system, which needs root and /dev/fuse");
            return None;
        }
        let layers: Vec<Layer> = files.iter().map(|(path, bytes)| layer(path, bytes, LayerKind::Weight, path.ends_with(".sh"))).collect();
        let blobs = layers.iter().zip(files).map(|(layer, (_, bytes))| (layer.descriptor.digest.clone(), bytes.clone())).collect();
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("model")).unwrap();
        Some(Self {
            directory,
            registry: Arc::new(Registry { blobs, mode: watch::Sender::new(Mode::Works), asked: Mutex::default() }),
            artifact: Artifact { artifact_type: None, config: Descriptor::of("config", b"{}"), layers },
            unverified: Unverified::Hidden,
        })
    }

    /// Adds an archive with these files.
    fn with_archive(mut self, files: &[(&str, &[u8])]) -> Self {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, path, *bytes).unwrap();
        }
        let bytes = Bytes::from(archive.into_inner().unwrap());
        let layer = Layer { content: Content::Archive(Encoding::Tar), ..layer("files.tar", &bytes, LayerKind::WeightConfig, false) };
        Arc::get_mut(&mut self.registry).unwrap().blobs.insert(layer.descriptor.digest.clone(), bytes);
        self.artifact.layers.push(layer);
        self
    }

    /// Lets each large layer name the list of its hash states.
    fn with_lists(mut self) -> Self {
        let blobs = &mut Arc::get_mut(&mut self.registry).unwrap().blobs;
        for layer in &mut self.artifact.layers {
            let mut hasher = Hasher::recording(Algorithm::Sha256);
            hasher.update(&blobs[&layer.descriptor.digest]);
            let Some(list) = hasher.hash_states() else { continue };
            let named = serde_json::to_string(&list.descriptor()).unwrap();
            layer.descriptor.annotations.insert(annotation::HASH_STATES.to_owned(), named);
            blobs.insert(list.descriptor().digest, Bytes::copy_from_slice(list.bytes()));
        }
        self
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Mounts of a process of their own.
    fn mounts(&self) -> Mounts {
        Mounts::new(MountsOptions {
            cache: Cache::open(&self.at("cache"), None).unwrap(),
            connections: Connections::new(4),
            progress: Arc::<Progress>::default(),
            unverified: self.unverified,
            patience: PATIENCE,
        })
    }

    async fn mount_with(&self, mounts: &Mounts, directory: &str) -> Mounted {
        let _ = fs::create_dir(self.at(directory));
        let model = Model {
            name: "m:v1".to_owned(),
            digest: Digest::of(b"manifest"),
            artifact: self.artifact.clone(),
            source: self.registry.clone(),
            in_place: false,
        };
        mounts.mount(model, &self.at(directory)).await.unwrap()
    }

    async fn mount(&self) -> Mounted {
        self.mount_with(&self.mounts(), "model").await
    }

    fn set(&self, mode: Mode) {
        self.registry.mode.send_replace(mode);
    }

    async fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let path = self.at("model").join(name);
        off_runtime(move || fs::read(path)).await
    }

    /// The bytes at `offset`, as many as there are.
    async fn read_at(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let path = self.at("model").join(name);
        off_runtime(move || {
            let mut bytes = vec![0; len];
            let n = fs::File::open(path)?.read_at(&mut bytes, offset)?;
            bytes.truncate(n);
            Ok(bytes)
        })
        .await
    }
}

/// Runs what waits for the mount on a thread that serves none.
async fn off_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn is_eio<T>(read: io::Result<T>) -> bool {
    read.is_err_and(|error| error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()))
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mounted_model_is_its_files() {
    let large = content(5_000_001);
    let files = [
        ("config.json", Bytes::from_static(b"{}")),
        ("a/b/w.bin", large.clone()),
        ("run.sh", Bytes::from_static(b"hi")),
        ("empty", Bytes::new()),
    ];
    let Some(scene) = Scene::new(&files) else { return };
    let scene = scene.with_archive(&[("tokenizer.json", b"tokens"), ("a/code.py", b"pass")]);
    let mounted = scene.mount().await;
    let at = scene.at("model");
    off_runtime(move || {
        assert_eq!(names(&at), ["a", "config.json", "empty", "run.sh", "tokenizer.json"]);
        assert_eq!(names(&at.join("a")), ["b", "code.py"]);
        let mode = |name: &str| fs::metadata(at.join(name)).unwrap().permissions().mode();
        assert_eq!(["a", "config.json", "run.sh"].map(mode), [0o40555, 0o100444, 0o100555]);
        assert!(fs::read(at.join("a/b/w.bin")).unwrap() == large);
        assert_eq!(fs::read(at.join("tokenizer.json")).unwrap(), b"tokens");
        assert_eq!(fs::read(at.join("empty")).unwrap(), b"");
        assert_eq!(fs::metadata(at.join("absent")).unwrap_err().kind(), io::ErrorKind::NotFound);
        let write = fs::write(at.join("config.json"), "x").unwrap_err();
        assert_eq!(write.kind(), io::ErrorKind::ReadOnlyFilesystem);
        assert_eq!(fs::write(at.join("new"), "x").unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
        let listed = mounted_models().unwrap().into_iter().find(|mounted| mounted.directory == at).expect("it is mounted");
        assert_eq!(listed.name, "m:v1");
        unmount(&at, Unmount::IfIdle).unwrap();
        assert_eq!(names(&at), Vec::<String>::new());
    })
    .await;
    mounted.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_there_at_once_and_a_read_that_gets_nothing_is_an_error_that_passes() {
    let large = content(3 << 20);
    let Some(scene) = Scene::new(&[("w.bin", large.clone())]) else { return };
    scene.set(Mode::Hangs);
    let _mounted = scene.mount().await;
    let at = scene.at("model/w.bin");
    assert_eq!(off_runtime(move || fs::metadata(at).unwrap().len()).await, large.len() as u64);
    assert!(is_eio(scene.read("w.bin").await));
    scene.set(Mode::IsGone);
    assert!(is_eio(scene.read("w.bin").await));
    scene.set(Mode::Works);
    assert!(scene.read("w.bin").await.unwrap() == large);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_mounts_share_arrives_once_and_a_later_mount_moves_nothing() {
    let files = [("one.bin", content(9 << 20)), ("two.bin", content(2 << 20))];
    let Some(scene) = Scene::new(&files) else { return };
    let mounts = scene.mounts();
    let mounted = [scene.mount_with(&mounts, "model").await, scene.mount_with(&mounts, "other").await];
    let other = scene.at("other/one.bin");
    let (read, other) = tokio::join!(scene.read("one.bin"), off_runtime(move || fs::read(other)));
    assert!(read.unwrap() == files[0].1 && other.unwrap() == files[0].1);
    assert!(scene.read("two.bin").await.unwrap() == files[1].1);
    assert_eq!(scene.registry.asked(), 11 << 20);
    drop(mounted);
    scene.set(Mode::IsGone);
    let _mounted = scene.mount().await;
    assert!(scene.read("one.bin").await.unwrap() == files[0].1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_file_with_a_list_is_read_before_the_rest_is_there() {
    let large = content((200 << 20) + 5);
    let Some(scene) = Scene::new(&[("w.bin", large.clone())]) else { return };
    let scene = scene.with_lists();
    scene.set(Mode::Stalls);
    let _mounted = scene.mount().await;
    let end = (200 << 20) - 1000;
    assert!(scene.read_at("w.bin", end as u64, 1000).await.unwrap() == large[end..200 << 20]);
    assert!(scene.read_at("w.bin", 100 << 20, 4096).await.unwrap() == large[100 << 20..(100 << 20) + 4096]);
    assert!(scene.registry.asked() < 150 << 20, "{}", scene.registry.asked());
    scene.set(Mode::IsGone);
    assert!(is_eio(scene.read_at("w.bin", 150 << 20, 10).await));
    scene.set(Mode::Works);
    assert!(scene.read("w.bin").await.unwrap() == large);
    assert!(scene.registry.asked() < 270 << 20, "what has arrived is not asked for again: {}", scene.registry.asked());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_bytes_are_an_error_and_are_not_kept() {
    let files = [("with.bin", content(70 << 20)), ("without.bin", content(3 << 20))];
    let Some(scene) = Scene::new(&files) else { return };
    let scene = scene.with_lists();
    scene.set(Mode::Lies);
    let mounted = scene.mount().await;
    assert!(is_eio(scene.read("with.bin").await));
    assert!(is_eio(scene.read("without.bin").await));
    drop(mounted);
    scene.set(Mode::Works);
    let _mounted = scene.mount().await;
    for (name, bytes) in files {
        assert!(scene.read(name).await.unwrap() == bytes);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_may_be_in_an_archive_is_never_said_to_be_absent() {
    let Some(scene) = Scene::new(&[("w.bin", content(100))]) else { return };
    let scene = scene.with_archive(&[("tokenizer.json", b"tokens")]);
    scene.set(Mode::IsGone);
    let _mounted = scene.mount().await;
    assert!(is_eio(scene.read("tokenizer.json").await));
    assert!(is_eio(scene.read("absent").await));
    let at = scene.at("model");
    assert!(off_runtime(move || fs::read_dir(at).and_then(|mut entries| entries.next().transpose())).await.is_err());
    scene.set(Mode::Works);
    // It is tried again after a moment.
    while scene.read("tokenizer.json").await.is_err() {}
    assert_eq!(scene.read("absent").await.unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn if_they_may_be_seen_bytes_without_a_list_are_read_as_they_arrive() {
    let large = content(20 << 20);
    let Some(mut scene) = Scene::new(&[("w.bin", large.clone())]) else { return };
    scene.set(Mode::Stalls);
    let hidden = scene.mount().await;
    assert!(is_eio(scene.read_at("w.bin", 0, 1000).await));
    drop(hidden);
    scene.unverified = Unverified::Visible;
    let _mounted = scene.mount().await;
    assert!(scene.read_at("w.bin", 0, 1000).await.unwrap() == large[..1000]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mount_in_use_is_not_unmounted_unless_that_is_wanted() {
    let large = content(1 << 20);
    let Some(scene) = Scene::new(&[("w.bin", large.clone())]) else { return };
    let mounted = scene.mount().await;
    let at = scene.at("model");
    let (directory, path) = (at.clone(), at.join("w.bin"));
    off_runtime(move || {
        let file = fs::File::open(path).unwrap();
        assert!(unmount(&directory, Unmount::IfIdle).is_err());
        unmount(&directory, Unmount::WhenIdle).unwrap();
        assert_eq!(names(&directory), Vec::<String>::new());
        let mut bytes = vec![0; 1 << 20];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes == large);
    })
    .await;
    mounted.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_bytes_that_somebody_has_seen_are_forgotten() {
    let large = content(20 << 20);
    let Some(mut scene) = Scene::new(&[("w.bin", large.clone())]) else { return };
    scene.unverified = Unverified::Visible;
    scene.set(Mode::LiesAndStalls);
    let _mounted = scene.mount().await;
    assert!(scene.read_at("w.bin", 0, 1000).await.unwrap() != large[..1000]);
    scene.set(Mode::Lies);
    // At the end, the digest is wrong. From then on nothing is seen that is not verified.
    while scene.read("w.bin").await.is_ok() {}
    assert!(is_eio(scene.read_at("w.bin", 0, 1000).await));
    scene.set(Mode::Works);
    while scene.read("w.bin").await.is_err() {}
    assert!(scene.read("w.bin").await.unwrap() == large);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_files_and_then_the_headers_of_all_large_ones_arrive_first() {
    let files = [("1.bin", content(70 << 20)), ("2.bin", content((70 << 20) + 1)), ("config.json", Bytes::from_static(b"{}"))];
    let Some(scene) = Scene::new(&files) else { return };
    let scene = scene.with_lists();
    let mounts = scene.mounts();
    let _mounted = scene.mount_with(&mounts, "model").await;
    while scene.registry.asked() < 140 << 20 {
        tokio::task::yield_now().await;
    }
    let layers: Vec<Digest> = scene.artifact.layers.iter().map(|layer| layer.descriptor.digest.clone()).collect();
    let asked = scene.registry.asked.lock().unwrap().clone();
    let of_layers: Vec<_> =
        asked.iter().filter_map(|(digest, range)| Some((layers.iter().position(|layer| layer == digest)?, range))).collect();
    assert_eq!(of_layers[0], (2, &(0..2)));
    let mut headers = [of_layers[1].0, of_layers[2].0];
    headers.sort_unstable();
    assert_eq!(headers, [0, 1], "{of_layers:?}");
    assert!(of_layers[1..3].iter().all(|(_, range)| **range == (0..1 << 20)), "{of_layers:?}");
}
