//! What packing writes, and what it notices.

use async_trait::async_trait;
use modelpack_pack::{Description, Error, FileFilter, PackOptions, Plan, pack, plan, preview};
use modelpack_spec::{Config, Descriptor, Digest, Manifest, ModelConfig, ModelDescriptor, Selector, annotation, media_type};
use modelpack_store::{Begin, Error as StoreError, MemoryStore, Sink, Source, Store, Untagged};
use std::{fs, io::Write, os::unix::fs::PermissionsExt, path::PathBuf, sync::Arc};

fn options() -> PackOptions {
    PackOptions { concurrency: 3, progress: Arc::default(), digest_cache: None }
}

fn at() -> Selector {
    Selector::Tag("v1".parse().unwrap())
}

fn model() -> (tempfile::TempDir, Plan) {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
    fs::create_dir(directory.path().join("nested")).unwrap();
    write("model.safetensors", &vec![7; 600_000]);
    write("config.json", b"{}");
    write("nested/config.json", b"{}");
    write("README.md", b"# A model");
    write("run.py", b"print()");
    fs::set_permissions(directory.path().join("run.py"), fs::Permissions::from_mode(0o700)).unwrap();
    let plan = plan(directory.path(), None, &FileFilter::default()).unwrap();
    (directory, plan)
}

#[tokio::test]
async fn every_layer_says_which_file_it_is_and_the_config_which_bytes() {
    let (_directory, plan) = model();
    let memory = MemoryStore::new();
    let manifest = pack(&plan, &Description::default(), &memory, &at(), &options()).await.unwrap();
    assert_eq!(memory.manifest(&at()).await.unwrap(), manifest);
    let image = manifest.image().unwrap();
    assert_eq!(image.artifact_type.as_deref(), Some(media_type::ARTIFACT));
    let layers: Vec<_> = image.layers.iter().map(|l| (l.media_type.as_str(), l.annotations[annotation::FILEPATH].as_str())).collect();
    assert_eq!(
        layers,
        [
            ("application/vnd.cncf.model.weight.config.v1.raw", "config.json"),
            ("application/vnd.cncf.model.weight.config.v1.raw", "nested/config.json"),
            ("application/vnd.cncf.model.weight.v1.raw", "model.safetensors"),
            ("application/vnd.cncf.model.code.v1.raw", "run.py"),
            ("application/vnd.cncf.model.doc.v1.raw", "README.md"),
        ]
    );
    for layer in &image.layers {
        assert_eq!(layer.annotations[annotation::TITLE], layer.annotations[annotation::FILEPATH]);
        assert_eq!(layer.annotations[annotation::MEDIATYPE_UNTESTED], "true");
    }
    assert_eq!(
        image.layers[3].annotations[annotation::FILE_METADATA],
        r#"{"name":"run.py","mode":493,"uid":0,"gid":0,"size":7,"mtime":"1970-01-01T00:00:00Z","typeflag":0}"#
    );
    let config = memory.blob(&image.config, 0..image.config.size).await.unwrap().collect(1 << 20, "config").await.unwrap();
    let config = Config::parse(&config).unwrap();
    assert_eq!(config.modelfs.diff_ids, image.layers.iter().map(|l| l.digest.clone()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_preview_is_the_artifact_but_for_the_digests() {
    let (_directory, plan) = model();
    let descriptor = ModelDescriptor { name: Some("tiny".into()), ..Default::default() };
    let description = Description { descriptor, ..Description::default() };
    let packed = pack(&plan, &description, &MemoryStore::new(), &at(), &options()).await.unwrap();
    let mut preview = preview(&plan, &description);
    let read = Config::parse(&preview.config).unwrap();
    assert_eq!(read.descriptor, description.descriptor);
    assert_eq!(read.modelfs.diff_ids, preview.manifest.layers.iter().map(|l| l.digest.clone()).collect::<Vec<_>>());
    let packed = packed.image().unwrap();
    for (layer, packed) in preview.manifest.layers.iter_mut().zip(&packed.layers) {
        layer.digest = packed.digest.clone();
    }
    preview.manifest.config.digest = packed.config.digest.clone();
    assert_eq!(preview.manifest, *packed);
}

#[tokio::test]
async fn a_config_that_the_specification_does_not_allow_is_refused_before_anything_is_written() {
    let (_directory, plan) = model();
    let config = ModelConfig { param_size: Some("8x7B".into()), ..ModelConfig::default() };
    let description = Description { config, ..Description::default() };
    let directory = tempfile::tempdir().unwrap();
    let repository = Store::open(directory.path(), Untagged::Drop).unwrap().repository(&"tiny".parse().unwrap());
    let error = pack(&plan, &description, &repository, &at(), &options()).await.unwrap_err();
    assert!(matches!(error, Error::Config(_)) && error.to_string().contains("/config/paramSize"), "{error}");
    assert!(!repository.exists());
}

#[tokio::test]
async fn every_kind_of_sink_gets_the_same_artifact() {
    let (_directory, plan) = model();
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path(), Untagged::Drop).unwrap();
    let options = PackOptions { digest_cache: Some(store.digest_cache().clone()), ..options() };
    let in_memory = pack(&plan, &Description::default(), &MemoryStore::new(), &at(), &options).await.unwrap();
    let repository = store.repository(&"tiny".parse().unwrap());
    // The second time the weights' digest is known from the first.
    let stored = pack(&plan, &Description::default(), &repository, &at(), &options).await.unwrap();
    assert_eq!(in_memory, stored);
    assert_eq!(repository.blob_size(&Digest::of(&vec![7; 600_000])).await.unwrap(), Some(600_000));
}

/// A store that somebody writes to a file beside, whenever a blob is begun.
struct Disturbed {
    store: MemoryStore,
    file: PathBuf,
    asks_for_digests: bool,
}

#[async_trait]
impl Sink for Disturbed {
    fn wants_digest(&self) -> bool {
        self.asks_for_digests
    }

    async fn begin(&self, blob: Option<&Descriptor>) -> Result<Begin, StoreError> {
        let mut file = fs::OpenOptions::new().append(true).open(&self.file).unwrap();
        file.write_all(b"more").unwrap();
        self.store.begin(blob).await
    }

    async fn put_manifest(&self, at: &Selector, manifest: &Manifest) -> Result<(), StoreError> {
        self.store.put_manifest(at, manifest).await
    }
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_is_noticed_and_nothing_is_tagged() {
    for asks_for_digests in [false, true] {
        let (directory, plan) = model();
        let file = directory.path().join("model.safetensors");
        let disturbed = Disturbed { store: MemoryStore::new(), file: file.clone(), asks_for_digests };
        let packed = pack(&plan, &Description::default(), &disturbed, &at(), &options()).await;
        let Err(Error::Store(StoreError::Changed { path })) = packed else { panic!("packed half-new: {packed:?}") };
        assert!(path.ends_with("model.safetensors"), "{path:?}");
        assert!(disturbed.store.manifest(&at()).await.is_err());
    }
}
