//! Files and directories that are replaced between planning and reading: a replacement is never
//! packed.

use modelpack_pack::{Description, Error, FileFilter, LayerPolicy, PackOptions, attach, infer, layers, pack, plan, plan_file};
use modelpack_spec::{Descriptor, Manifest, Selector};
use modelpack_transfer::{Error as StoreError, MemoryStore, Source};
use rustix::fs::{CWD, FileType, RenameFlags, mknodat, renameat_with};
use std::{
    fs,
    hint::spin_loop,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};
use tempfile::TempDir;

/// As long as [`SECRET`], so that the size does not distinguish them.
const PUBLIC: &str = "{\"model_type\": \"llama\"}";
const SECRET: &str = "{\"model_type\": \"theft\"}";

/// A model, and beside it a directory of secrets with files of the same names and sizes.
struct Scene {
    directory: TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { directory: tempfile::tempdir().unwrap() };
        for (top, text) in [("model", PUBLIC), ("secrets", SECRET)] {
            fs::create_dir_all(scene.at(top).join("sub")).unwrap();
            for file in ["config.json", "sub/generation_config.json"] {
                fs::write(scene.at(top).join(file), text).unwrap();
            }
        }
        fs::write(scene.at("model/other.json"), PUBLIC).unwrap();
        scene
    }

    fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    fn model(&self) -> PathBuf {
        self.at("model")
    }
}

fn options() -> PackOptions {
    PackOptions { concurrency: 1, ..PackOptions::default() }
}

fn at() -> Selector {
    Selector::Tag("v1".parse().unwrap())
}

/// The uncompressed content of an artifact's layers and config.
async fn bytes_of(store: &MemoryStore, manifest: &Manifest) -> Vec<u8> {
    let image = manifest.image().unwrap();
    let mut all = Vec::new();
    for blob in image.layers.iter().chain([&image.config]) {
        all.extend(blob_of(store, blob).await);
    }
    all
}

async fn blob_of(store: &MemoryStore, blob: &Descriptor) -> Vec<u8> {
    store.blob(blob, 0..blob.size).await.unwrap().collect(usize::MAX, "blob").await.unwrap()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// An attack: its name and its action.
type Replacement = (&'static str, fn(&Scene));

/// Attacks on a planned model.
const REPLACEMENTS: [Replacement; 6] = [
    ("a link to another file", |scene| {
        fs::remove_file(scene.at("model/config.json")).unwrap();
        symlink("../secrets/config.json", scene.at("model/config.json")).unwrap();
    }),
    ("a link to a file of the model", |scene| {
        fs::remove_file(scene.at("model/config.json")).unwrap();
        symlink("other.json", scene.at("model/config.json")).unwrap();
    }),
    ("a link to another directory", |scene| {
        fs::rename(scene.at("model/sub"), scene.at("gone")).unwrap();
        symlink("../secrets/sub", scene.at("model/sub")).unwrap();
    }),
    ("another directory", |scene| {
        fs::rename(scene.at("model/sub"), scene.at("gone")).unwrap();
        fs::rename(scene.at("secrets/sub"), scene.at("model/sub")).unwrap();
    }),
    ("another file", |scene| fs::rename(scene.at("secrets/config.json"), scene.at("model/config.json")).unwrap()),
    ("a pipe", |scene| {
        fs::remove_file(scene.at("model/config.json")).unwrap();
        mknodat(CWD, scene.at("model/config.json"), FileType::Fifo, 0o600.into(), 0).unwrap();
    }),
];

#[tokio::test]
async fn replacements_after_planning_are_not_packed() {
    for (what, replace) in REPLACEMENTS {
        for rule in ["raw", "tar", "tar+zstd"] {
            let scene = Scene::new();
            let policy = LayerPolicy::default().rules([rule.parse().unwrap()]).max_layers(512);
            let layers = layers(&plan(&scene.model(), None, &FileFilter::default()).unwrap(), &policy).unwrap();
            replace(&scene);
            let store = MemoryStore::new();
            let packed = pack(&layers, &Description::default(), &store, &at(), &options()).await;
            assert!(matches!(packed, Err(Error::Store(StoreError::Changed { .. }))), "{what}, {rule}: {packed:?}");
            assert!(store.manifest(&at()).await.is_err());
        }
    }
}

#[test]
fn replacements_after_planning_give_no_metadata() {
    let unchanged = Scene::new();
    let said = infer(&plan(&unchanged.model(), None, &FileFilter::default()).unwrap().model());
    assert_eq!(said.descriptor.family.as_deref(), Some("llama"));
    for (what, replace) in REPLACEMENTS.into_iter().filter(|(what, _)| !what.contains("directory")) {
        let scene = Scene::new();
        let plan = plan(&scene.model(), None, &FileFilter::default()).unwrap();
        replace(&scene);
        assert_eq!(infer(&plan.model()).descriptor.family, None, "{what}");
    }
}

#[tokio::test]
async fn replacements_after_planning_are_not_attached() {
    for (what, replace) in REPLACEMENTS {
        let scene = Scene::new();
        let planned = ["config.json", "sub/generation_config.json"]
            .map(|path| plan_file(&scene.model().join(path), path.parse().unwrap(), None).unwrap());
        replace(&scene);
        let store = MemoryStore::new();
        let model = tempfile::tempdir().unwrap();
        fs::write(model.path().join("a.bin"), "a").unwrap();
        let layers = layers(&plan(model.path(), None, &FileFilter::default()).unwrap(), &LayerPolicy::default()).unwrap();
        let manifest = pack(&layers, &Description::default(), &store, &at(), &options()).await.unwrap();
        let to = Selector::Tag("v2".parse().unwrap());
        match attach(&store, &manifest, &planned, false, &store, &to, &options()).await {
            Err(Error::Store(StoreError::Changed { .. })) => {}
            // The file's directory was held open, wherever it was moved.
            Ok(attached) if what.contains("directory") => assert!(!holds(&bytes_of(&store, &attached.manifest).await, SECRET), "{what}"),
            attached => panic!("{what}: {attached:?}"),
        }
    }
}

/// Swaps two names and swaps them back at once, repeatedly with pauses of various lengths, until it
/// is dropped.
struct Swapping {
    ended: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Swapping {
    fn start(one: PathBuf, other: PathBuf) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let end = ended.clone();
        let swap = move || {
            for pause in (0..1_000).cycle().step_by(7) {
                for _ in 0..2 {
                    renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                }
                (0..pause).for_each(|_| spin_loop());
                if end.load(Relaxed) {
                    break;
                }
            }
        };
        Self { ended, thread: Some(thread::spawn(swap)) }
    }
}

impl Drop for Swapping {
    fn drop(&mut self) {
        self.ended.store(true, Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[tokio::test]
async fn no_secret_is_packed_if_a_file_or_directory_becomes_a_link_at_any_moment() {
    let mut packed = 0;
    for (name, link) in
        [("config.json", None), ("sub", None), ("config.json", Some("config.json")), ("sub", Some("sub/generation_config.json"))]
    {
        let scene = Scene::new();
        fs::create_dir(scene.at("elsewhere")).unwrap();
        symlink(Path::new("../secrets").join(name), scene.at("elsewhere/link")).unwrap();
        if let Some(target) = link {
            symlink(target, scene.at("model/linked.json")).unwrap();
        }
        let _swapping = Swapping::start(scene.model().join(name), scene.at("elsewhere/link"));
        for run in 0..300 {
            let rule = ["raw", "tar"][run % 2].parse().unwrap();
            let Ok(plan) = plan(&scene.model(), None, &FileFilter::default()) else { continue };
            let said = infer(&plan.model());
            assert_ne!(said.descriptor.family.as_deref(), Some("theft"), "{name}, {link:?}, run {run}");
            let store = MemoryStore::new();
            let layers = layers(&plan, &LayerPolicy::default().rules([rule]).max_layers(512)).unwrap();
            let Ok(manifest) = pack(&layers, &Description::of([said.into()]), &store, &at(), &options()).await else { continue };
            packed += 1;
            assert!(!holds(&bytes_of(&store, &manifest).await, SECRET), "{name}, {link:?}, run {run} packed a file outside the model");
        }
    }
    assert!(packed > 0, "no run succeeded");
    println!("{packed} of 1200 runs packed");
}
