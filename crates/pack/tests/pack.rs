//! The output of packing, and the changes that it detects.

use async_trait::async_trait;
use modelpack_pack::{Description, Error, FileFilter, LayerPolicy, PackOptions, PlannedLayer, layers, pack, plan, preview};
use modelpack_spec::{
    Config, Descriptor, Digest, Encoding, ImageManifest, LayerType, Manifest, ModelConfig, ModelDescriptor, Selector, annotation,
    media_type,
};
use modelpack_store::{Store, Untagged};
use modelpack_transfer::{Begin, Error as StoreError, MemoryStore, Sink, Source};
use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

fn options() -> PackOptions {
    PackOptions { concurrency: 3, ..PackOptions::default() }
}

fn at() -> Selector {
    Selector::Tag("v1".parse().unwrap())
}

/// The model, with each file as a raw layer.
fn model() -> (tempfile::TempDir, Vec<PlannedLayer>) {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
    fs::create_dir(directory.path().join("nested")).unwrap();
    write("model.safetensors", &vec![7; 600_000]);
    write("config.json", b"{}");
    write("nested/config.json", b"{}");
    write("README.md", b"# A model");
    write("run.py", b"print()");
    fs::set_permissions(directory.path().join("run.py"), fs::Permissions::from_mode(0o700)).unwrap();
    let layers = layers_of(directory.path(), &[], 512);
    (directory, layers)
}

fn layers_of(directory: &Path, rules: &[&str], max_layers: usize) -> Vec<PlannedLayer> {
    let rules = rules.iter().map(|rule| rule.parse().unwrap());
    layers(&plan(directory, None, &FileFilter::default()).unwrap(), &LayerPolicy::default().rules(rules).max_layers(max_layers)).unwrap()
}

/// The bytes of a blob.
async fn read(store: &MemoryStore, blob: &Descriptor) -> Vec<u8> {
    store.blob(blob, 0..blob.size).await.unwrap().collect(usize::MAX, "blob").await.unwrap()
}

/// The uncompressed archive in a layer, or its file.
fn uncompressed(layer: &Descriptor, bytes: &[u8]) -> Vec<u8> {
    match layer.media_type.parse::<LayerType>().unwrap().encoding {
        Encoding::Raw | Encoding::Tar => bytes.to_vec(),
        Encoding::TarGzip => {
            let mut read = Vec::new();
            flate2::bufread::GzDecoder::new(bytes).read_to_end(&mut read).unwrap();
            read
        }
        Encoding::TarZstd => zstd::decode_all(bytes).unwrap(),
    }
}

/// Packs into memory, checks that config and manifest describe the layers correctly, and returns
/// the manifest.
async fn packed(layers: &[PlannedLayer]) -> (MemoryStore, ImageManifest) {
    let memory = MemoryStore::new();
    let manifest = pack(layers, &Description::default(), &memory, &at(), &options()).await.unwrap();
    let image = manifest.image().unwrap().clone();
    let config = Config::parse(&read(&memory, &image.config).await).unwrap();
    assert_eq!(config.modelfs.diff_ids.len(), image.layers.len());
    for ((layer, diff_id), planned) in image.layers.iter().zip(&config.modelfs.diff_ids).zip(layers) {
        let bytes = read(&memory, layer).await;
        assert_eq!((Digest::of(&bytes), bytes.len() as u64), (layer.digest.clone(), layer.size));
        assert_eq!(Digest::of(&uncompressed(layer, &bytes)), *diff_id);
        assert_eq!(planned.size().unwrap_or(layer.size), layer.size, "the layer has its planned size");
    }
    (memory, image)
}

#[tokio::test]
async fn layers_have_the_paths_of_their_files_and_the_config_has_their_digests() {
    let (_directory, layers) = model();
    let memory = MemoryStore::new();
    let manifest = pack(&layers, &Description::default(), &memory, &at(), &options()).await.unwrap();
    assert_eq!(memory.manifest(&at()).await.unwrap(), manifest);
    let image = manifest.image().unwrap();
    assert_eq!(image.artifact_type.as_deref(), Some(media_type::ARTIFACT));
    let found: Vec<_> = image.layers.iter().map(|l| (l.media_type.as_str(), l.annotations[annotation::FILEPATH].as_str())).collect();
    assert_eq!(
        found,
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
async fn a_preview_equals_the_artifact_except_for_digests() {
    let (_directory, layers) = model();
    let descriptor = ModelDescriptor { name: Some("tiny".into()), ..Default::default() };
    let description = Description { descriptor, ..Description::default() };
    let packed = pack(&layers, &description, &MemoryStore::new(), &at(), &options()).await.unwrap();
    let preview = preview(&layers, &description).unwrap();
    let read = Config::parse(&preview.config_bytes).unwrap();
    assert_eq!(read.descriptor, description.descriptor);
    let mut image = preview.manifest.image().unwrap().clone();
    assert_eq!(read.modelfs.diff_ids, image.layers.iter().map(|l| l.digest.clone()).collect::<Vec<_>>());
    let packed = packed.image().unwrap();
    for (layer, packed) in image.layers.iter_mut().zip(&packed.layers) {
        layer.digest = packed.digest.clone();
    }
    image.config.digest = packed.config.digest.clone();
    assert_eq!(image, *packed);
}

#[tokio::test]
async fn a_config_that_the_specification_does_not_allow_is_refused_before_anything_is_written() {
    let (_directory, layers) = model();
    let config = ModelConfig { param_size: Some("8x7B".into()), ..ModelConfig::default() };
    let description = Description { config, ..Description::default() };
    let directory = tempfile::tempdir().unwrap();
    let repository = Store::open(directory.path(), Untagged::Drop).unwrap().repository(&"tiny".parse().unwrap());
    let error = pack(&layers, &description, &repository, &at(), &options()).await.unwrap_err();
    assert!(matches!(error, Error::Config(_)) && error.to_string().contains("/config/paramSize"), "{error}");
    assert!(!repository.exists());
}

#[tokio::test]
async fn every_kind_of_sink_gets_the_same_artifact() {
    let (_directory, layers) = model();
    let root = tempfile::tempdir().unwrap();
    let store = Store::open(root.path(), Untagged::Drop).unwrap();
    let options = PackOptions { digest_cache: Some(store.digest_cache().clone()), ..options() };
    let in_memory = pack(&layers, &Description::default(), &MemoryStore::new(), &at(), &options).await.unwrap();
    let repository = store.repository(&"tiny".parse().unwrap());
    // The second time, the digest of the weights is known from the first.
    let stored = pack(&layers, &Description::default(), &repository, &at(), &options).await.unwrap();
    assert_eq!(in_memory, stored);
    assert_eq!(repository.blob_size(&Digest::of(&vec![7; 600_000])).await.unwrap(), Some(600_000));
}

/// A store wrapper that changes a file on disk whenever a blob is begun.
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
async fn a_file_that_changes_while_it_is_read_is_detected_and_nothing_is_tagged() {
    for (asks_for_digests, rule) in [(false, "raw"), (true, "raw"), (false, "tar"), (true, "tar"), (false, "tar+zstd"), (true, "tar+gzip")]
    {
        let (directory, _) = model();
        let layers = layers_of(directory.path(), &[rule], 512);
        let file = directory.path().join("model.safetensors");
        let disturbed = Disturbed { store: MemoryStore::new(), file: file.clone(), asks_for_digests };
        let packed = pack(&layers, &Description::default(), &disturbed, &at(), &options()).await;
        let Err(Error::Store(StoreError::Changed { path })) = packed else { panic!("packed a changed file: {packed:?}") };
        assert!(path.ends_with("model.safetensors"), "{path:?}");
        assert!(disturbed.store.manifest(&at()).await.is_err());
    }
}

#[tokio::test]
async fn layers_have_the_policys_encodings_and_diff_ids_of_their_uncompressed_content() {
    let (directory, _) = model();
    let layers = layers_of(directory.path(), &["tar", "doc=tar+gzip", "code=tar+zstd", "weight=raw"], 512);
    let (memory, image) = packed(&layers).await;
    let found: Vec<_> = image.layers.iter().map(|l| (&l.media_type[27..], l.annotations[annotation::FILEPATH].as_str())).collect();
    let expected = [
        ("weight.config.v1.tar", "config.json"),
        ("weight.config.v1.tar", "nested/config.json"),
        ("weight.v1.raw", "model.safetensors"),
        ("code.v1.tar+zstd", "run.py"),
        ("doc.v1.tar+gzip", "README.md"),
    ];
    assert_eq!(found, expected);
    let titles: Vec<_> = image.layers.iter().map(|l| l.annotations[annotation::TITLE].as_str()).collect();
    assert_eq!(titles, ["config.json.tar", "nested/config.json.tar", "model.safetensors", "run.py.tar.zst", "README.md.tar.gz"]);
    assert!(image.layers[3].annotations[annotation::FILE_METADATA].contains(r#""name":"run.py","mode":493"#));
    let archive = uncompressed(&image.layers[3], &read(&memory, &image.layers[3]).await);
    let mut archive = tar::Archive::new(&archive[..]);
    let entry = archive.entries().unwrap().next().unwrap().unwrap();
    assert_eq!((entry.path_bytes().as_ref(), entry.header().mode().unwrap(), entry.size()), (&b"run.py"[..], 0o755, 7));
}

#[tokio::test]
async fn a_bundle_has_its_own_name_and_its_files_keep_theirs() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("docs")).unwrap();
    for number in 0..20 {
        fs::write(directory.path().join(format!("docs/{number:02}.md")), vec![b'x'; number * 100]).unwrap();
    }
    fs::write(directory.path().join("model.gguf"), "GGUF").unwrap();
    let layers = layers_of(directory.path(), &["doc=tar+zstd"], 2);
    let (memory, image) = packed(&layers).await;
    let bundle = &image.layers[1];
    assert_eq!(bundle.media_type, "application/vnd.cncf.model.doc.v1.tar+zstd");
    let said = [annotation::FILEPATH, annotation::TITLE].map(|key| bundle.annotations[key].as_str());
    assert_eq!(said, ["doc.bundle-1.tar.zst"; 2]);
    assert!(!bundle.annotations.contains_key(annotation::FILE_METADATA));
    let archive = uncompressed(bundle, &read(&memory, bundle).await);
    let mut archive = tar::Archive::new(&archive[..]);
    let names: Vec<_> = archive.entries().unwrap().map(|e| String::from_utf8(e.unwrap().path_bytes().into_owned()).unwrap()).collect();
    assert_eq!(names.len(), 21);
    assert_eq!((names[0].as_str(), names[1].as_str(), names[20].as_str()), ("docs/", "docs/00.md", "docs/19.md"));
}

/// The digests that each encoding had for these files when it was first written. A change here
/// changes every artifact.
#[tokio::test]
async fn the_digests_of_every_encoding_never_change() {
    let (directory, _) = model();
    let mut digests = Vec::new();
    for rule in ["raw", "tar", "tar+gzip", "tar+zstd"] {
        let layers = layers_of(directory.path(), &[rule], 512);
        let manifest = pack(&layers, &Description::default(), &MemoryStore::new(), &at(), &options()).await.unwrap();
        digests.push(manifest.digest().to_string());
    }
    assert_eq!(
        digests,
        [
            "sha256:502c94a4cf17630cf2bc7020d2b1f77c88d0fac1ee7750f18d068b950d58c936",
            "sha256:bff58704f5fc2671e58843522d704697e41be6f8c1f7773093fa5dd5c4a1310f",
            "sha256:129b5d0c70c06137da939b4081bdc6e434cf32954b502fce3ab7a04f613f83eb",
            "sha256:0150642fcde63a40359e009961afb4230e2e6c2f8f09dbbe9b1a2b405ea49253"
        ]
    );
}

#[tokio::test]
async fn a_sink_that_wants_digests_gets_the_same_archives() {
    let (directory, _) = model();
    let undisturbed = tempfile::NamedTempFile::new().unwrap();
    for rule in ["tar", "tar+gzip", "tar+zstd"] {
        let layers = layers_of(directory.path(), &[rule], 4);
        let sink = Disturbed { store: MemoryStore::new(), file: undisturbed.path().to_owned(), asks_for_digests: true };
        let asked = pack(&layers, &Description::default(), &sink, &at(), &options()).await.unwrap();
        let (_, image) = packed(&layers).await;
        assert_eq!(asked.image().unwrap(), &image);
        let progress = PackOptions { progress: Arc::default(), ..options() };
        pack(&layers, &Description::default(), &sink, &at(), &progress).await.unwrap();
        let counted = progress.progress.snapshot();
        let bytes: u64 = layers.iter().map(PlannedLayer::bytes).sum();
        assert_eq!((counted.total, counted.hashed, counted.moved, counted.skipped), (bytes, bytes, 0, bytes), "all blobs already exist");
    }
}

#[tokio::test]
async fn a_too_large_manifest_is_refused_before_anything_is_written() {
    let directory = tempfile::tempdir().unwrap();
    for number in 0..9000 {
        fs::write(directory.path().join(format!("{number}-{}.md", "x".repeat(100))), "").unwrap();
    }
    let layers = layers_of(directory.path(), &[], 10_000);
    let store = MemoryStore::new();
    let error = pack(&layers, &Description::default(), &store, &at(), &options()).await.unwrap_err();
    assert!(matches!(error, Error::Config(modelpack_spec::BuildError::Manifest(_))), "{error}");
    assert!(store.blob(&Descriptor::of("x", b""), 0..0).await.is_err());
}
