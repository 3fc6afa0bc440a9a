//! Images: what a runtime that applies their layers gets, and what is refused.

mod artifact;

use artifact::{ARCHIVES, Artifact, compressed, ended, entry, media_type_of, record, tar_of};
use async_trait::async_trait;
use modelpack_pack::{Error, Image, ImagePrefix, UnpackOptions, image, unpack};
use modelpack_spec::{Descriptor, Encoding, ImageManifest, Manifest, Selector, Tag, annotation, media_type};
use modelpack_transfer::{Begin, CopyOptions, Error as StoreError, MemoryStore, Progress, Sink, Source};
use std::{
    collections::BTreeMap,
    io::Read,
    mem::discriminant,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

fn latest() -> Selector {
    Selector::Tag(Tag::latest())
}

/// A store that asks for digests, as a registry does, and counts the blobs that it gets.
#[derive(Default)]
struct Registry {
    store: MemoryStore,
    uploads: AtomicUsize,
}

#[async_trait]
impl Sink for Registry {
    fn wants_digest(&self) -> bool {
        true
    }

    async fn begin(&self, blob: Option<&Descriptor>) -> Result<Begin, StoreError> {
        let begun = self.store.begin(Some(blob.expect("the digest of each blob is known"))).await?;
        self.uploads.fetch_add(usize::from(matches!(begun, Begin::Upload(_))), Relaxed);
        Ok(begun)
    }

    async fn put_manifest(&self, at: &Selector, manifest: &Manifest) -> Result<(), StoreError> {
        self.store.put_manifest(at, manifest).await
    }
}

async fn image_in(sink: &dyn Sink, artifact: Arc<Artifact>, prefix: &str, progress: &Arc<Progress>) -> Result<Image, Error> {
    let read = modelpack_spec::Artifact::read(artifact.manifest().image().unwrap()).unwrap();
    let (source, prefix): (Arc<dyn Source>, ImagePrefix) = (artifact, prefix.parse().unwrap());
    let options = CopyOptions { concurrency: 2, progress: progress.clone(), ..CopyOptions::default() };
    image(&source, &read, &BTreeMap::new(), &prefix, sink, &latest(), &options).await
}

/// Makes the image of an artifact, below `/models`.
async fn image_of(artifact: Artifact) -> (MemoryStore, Image) {
    let store = MemoryStore::new();
    let image = image_in(&store, Arc::new(artifact), "/models", &Arc::default()).await.unwrap();
    (store, image)
}

/// Expects that no image is made, by a sink that asks for digests and by one that does not, and
/// returns the reason.
async fn refused(artifact: Artifact) -> StoreError {
    let (store, registry, artifact) = (MemoryStore::new(), Registry::default(), Arc::new(artifact));
    let asked = image_in(&registry, artifact.clone(), "/models", &Arc::default()).await.unwrap_err();
    let error = image_in(&store, artifact, "/models", &Arc::default()).await.unwrap_err();
    assert!(store.manifest(&latest()).await.is_err() && registry.store.manifest(&latest()).await.is_err());
    let (Error::Store(asked), Error::Store(error)) = (asked, error) else { panic!("other errors") };
    assert_eq!(discriminant(&asked), discriminant(&error), "{asked}, {error}");
    error
}

/// The manifest of one platform. All platforms have the same layers, with the digests that their configs
/// name.
async fn manifest_of(store: &MemoryStore, image: &Image) -> ImageManifest {
    assert_eq!(store.manifest(&latest()).await.unwrap(), image.manifest);
    let mut found: Vec<ImageManifest> = Vec::new();
    for entry in image.manifest.manifests() {
        let manifest = store.manifest(&Selector::Digest(entry.digest.clone())).await.unwrap().image().unwrap().clone();
        let config: serde_json::Value = serde_json::from_slice(&bytes_of(store, &manifest.config).await).unwrap();
        let digests: Vec<_> = manifest.layers.iter().map(|layer| &layer.digest).collect();
        assert_eq!(config["rootfs"]["diff_ids"], serde_json::json!(digests));
        assert!(manifest.layers.iter().all(|layer| layer.media_type == media_type::IMAGE_LAYER));
        assert!(found.iter().all(|other| other.layers == manifest.layers && other.config != manifest.config));
        found.push(manifest);
    }
    assert_eq!(found.len(), image.platforms.len());
    found.remove(0)
}

async fn bytes_of(store: &MemoryStore, blob: &Descriptor) -> Vec<u8> {
    store.blob(blob, 0..blob.size).await.unwrap().collect(usize::MAX, "a blob").await.unwrap()
}

/// Path, mode and content of each entry, as another reader of archives finds them. Directories have
/// no content.
fn entries(archive: &[u8]) -> Vec<(String, u32, Option<Vec<u8>>)> {
    let mut archive = tar::Archive::new(archive);
    let entry = |entry: Result<tar::Entry<'_, _>, _>| {
        let mut entry = entry.unwrap();
        let (header, path) = (entry.header().clone(), String::from_utf8(entry.path_bytes().into_owned()).unwrap());
        assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (0, 0, 0));
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (path, header.mode().unwrap(), header.entry_type().is_file().then_some(content))
    };
    archive.entries().unwrap().map(entry).collect()
}

fn directory(path: &str) -> (String, u32, Option<Vec<u8>>) {
    (path.to_owned(), 0o755, None)
}

fn file(path: &str, mode: u32, content: &[u8]) -> (String, u32, Option<Vec<u8>>) {
    (path.to_owned(), mode, Some(content.to_owned()))
}

#[tokio::test]
async fn each_raw_layer_is_an_archive_with_the_bytes_of_the_layer() {
    let weights: Vec<u8> = (0..600_000_u32).map(|n| (n % 251) as u8).collect();
    let long = format!("{}/{}", "é".repeat(100), "x".repeat(200));
    let mut artifact = Artifact::new();
    artifact.raw("model.safetensors", 0o600, weights.clone()).await;
    artifact.raw("a/b/run.sh", 0o777, "#!").await;
    artifact.raw("empty", 0o644, "").await;
    artifact.raw(&long, 0o644, [7; 512]).await;
    let (store, image) = image_of(artifact).await;
    let manifest = manifest_of(&store, &image).await;
    let mut found = Vec::new();
    for layer in &manifest.layers {
        found.push(entries(&bytes_of(&store, layer).await));
    }
    let models = || directory("models/");
    let expected = [
        vec![models(), file("models/model.safetensors", 0o644, &weights)],
        vec![models(), directory("models/a/"), directory("models/a/b/"), file("models/a/b/run.sh", 0o755, b"#!")],
        vec![models(), file("models/empty", 0o644, b"")],
        vec![models(), directory(&format!("models/{}/", "é".repeat(100))), file(&format!("models/{long}"), 0o644, &[7; 512])],
    ];
    assert_eq!(found, expected);
    assert_eq!((image.layers, image.platforms.contains(&"linux/arm64".to_owned())), (4, true));
}

#[tokio::test]
async fn archives_in_every_encoding_are_the_same_archive_of_the_same_files() {
    let content = [7; 300_000];
    // Names, owners and times of any kind, and directories after their files or not at all.
    let tar = ended(
        [
            entry(b'5', "./", 0o700, b""),
            entry(b'0', "./b/run.sh", 0o700, b"#!"),
            entry(b'0', "a", 0o666, &content),
            entry(b'5', "b", 0o700, b""),
            entry(b'0', "b/c/d", 0o644, b""),
            entry(b'5', "empty/inner/", 0o755, b""),
        ]
        .concat(),
    );
    let mut found = Vec::new();
    for encoding in ARCHIVES {
        let mut artifact = Artifact::new();
        artifact.archive(encoding, &tar).await;
        let (store, image) = image_of(artifact).await;
        let layer = manifest_of(&store, &image).await.layers.remove(0);
        found.push((image, bytes_of(&store, &layer).await));
    }
    assert!(found.iter().all(|other| *other == found[0]));
    let expected = [
        directory("models/"),
        directory("models/b/"),
        file("models/b/run.sh", 0o755, b"#!"),
        file("models/a", 0o644, &content),
        directory("models/b/c/"),
        file("models/b/c/d", 0o644, b""),
        directory("models/empty/"),
        directory("models/empty/inner/"),
    ];
    assert_eq!(entries(&found[0].1), expected);
}

#[tokio::test]
async fn a_compressed_file_and_an_archive_without_files_are_layers_too() {
    let content: Vec<u8> = (0..700_000_u32).map(|n| (n % 241) as u8).collect();
    let mut artifact = Artifact::new();
    let media_type = "application/vnd.kitops.modelkit.model.v1.raw+gzip";
    artifact.layer(media_type, &[(annotation::FILEPATH, "weights/m.gguf")], compressed(Encoding::TarGzip, &content)).await;
    artifact.archive(Encoding::TarZstd, &ended(Vec::new())).await;
    let artifact = Arc::new(artifact);
    for prefix in ["/models", "/srv/models", "/"] {
        let (store, registry) = (MemoryStore::new(), Registry::default());
        let image = image_in(&store, artifact.clone(), prefix, &Arc::default()).await.unwrap();
        assert_eq!(image_in(&registry, artifact.clone(), prefix, &Arc::default()).await.unwrap(), image);
        let layers = manifest_of(&store, &image).await.layers;
        let (kit, empty) = (entries(&bytes_of(&store, &layers[0]).await), entries(&bytes_of(&store, &layers[1]).await));
        let below = prefix.trim_start_matches('/');
        let above: Vec<_> = below.match_indices('/').map(|(end, _)| &below[..end]).chain((!below.is_empty()).then_some(below)).collect();
        let above: Vec<_> = above.into_iter().map(|path| directory(&format!("{path}/"))).collect();
        assert_eq!(empty, above);
        let inner = if below.is_empty() { String::new() } else { format!("{below}/") };
        let expected = [directory(&format!("{inner}weights/")), file(&format!("{inner}weights/m.gguf"), 0o644, &content)];
        assert_eq!(kit, [above, expected.to_vec()].concat());
    }
}

/// A model with a layer of each kind.
async fn any_model() -> Artifact {
    let mut artifact = Artifact::new();
    artifact.raw("model.safetensors", 0o644, vec![7; 600_000]).await;
    artifact.raw("nested/run.sh", 0o755, "#!").await;
    artifact.archive(Encoding::TarGzip, &tar_of(&[("docs/a.md", b"a"), ("docs/b.md", b"b")])).await;
    artifact
}

/// The digest of this image when it was first made. A change here changes every image.
#[tokio::test]
async fn the_digest_of_an_image_never_changes() {
    let (_, image) = image_of(any_model().await).await;
    assert_eq!(image.manifest.digest().to_string(), "sha256:07abe35d828b9ac2be3b365e761cd2fdad87e7edcfa87dabe02315384d8709f8");
}

#[tokio::test]
async fn a_sink_that_wants_digests_gets_the_same_image_and_nothing_twice() {
    let (_, expected) = image_of(any_model().await).await;
    let (registry, artifact) = (Registry::default(), Arc::new(any_model().await));
    let progress = Arc::new(Progress::default());
    assert_eq!(image_in(&registry, artifact.clone(), "/models", &progress).await.unwrap(), expected);
    let layers = manifest_of(&registry.store, &expected).await.layers;
    let bytes = layers.iter().map(|layer| layer.size).sum::<u64>();
    let counted = progress.snapshot();
    assert_eq!((counted.total, counted.hashed, counted.moved, counted.skipped), (bytes, bytes, bytes, 0));

    let (progress, uploads) = (Arc::new(Progress::default()), registry.uploads.load(Relaxed));
    assert_eq!(image_in(&registry, artifact, "/models", &progress).await.unwrap(), expected);
    let counted = progress.snapshot();
    assert_eq!((counted.total, counted.hashed, counted.moved, counted.skipped), (bytes, bytes, 0, bytes));
    assert_eq!(registry.uploads.load(Relaxed), uploads, "it has every blob");
}

#[tokio::test]
async fn hostile_archives_are_refused() {
    for path in ["../x", "/x", "a/../../x", "a\\x", "C:x"] {
        let pax = [entry(b'x', "pax", 0, &record("path", path)), entry(b'0', "harmless", 0o644, b"x")].concat();
        for tar in [tar_of(&[(path, b"x")]), ended(pax), ended(entry(b'5', path, 0o755, b""))] {
            for encoding in ARCHIVES {
                let mut artifact = Artifact::new();
                artifact.archive(encoding, &tar).await;
                let error = refused(artifact).await;
                assert!(matches!(error, StoreError::InvalidPath { .. } | StoreError::Invalid { .. }), "{path:?}: {error}");
            }
        }
    }
    for (kind, says) in [(b'1', "link"), (b'2', "link"), (b'3', "device"), (b'6', "FIFO")] {
        let mut artifact = Artifact::new();
        artifact.archive(Encoding::Tar, &ended(entry(kind, "special", 0o644, b""))).await;
        let error = refused(artifact).await.to_string();
        assert!(error.contains("special"), "{says}: {error}");
    }
    let mut truncated = tar_of(&[("a", &[7; 2000])]);
    truncated.truncate(1500);
    let mut artifact = Artifact::new();
    artifact.archive(Encoding::Tar, &truncated).await;
    assert!(matches!(refused(artifact).await, StoreError::Invalid { .. }));
}

#[tokio::test]
async fn a_name_that_deletes_files_of_an_image_is_refused() {
    for path in [".wh.model.safetensors", "a/.wh..wh..opq", ".wh.a/b"] {
        let mut raw = Artifact::new();
        raw.raw(path, 0o644, "").await;
        let mut archive = Artifact::new();
        archive.archive(Encoding::TarZstd, &tar_of(&[("a/b", b"x"), (path, b"")])).await;
        let mut directory = Artifact::new();
        directory.archive(Encoding::Tar, &ended(entry(b'5', path, 0o755, b""))).await;
        for artifact in [raw, archive, directory] {
            let error = refused(artifact).await.to_string();
            assert!(error.contains(path) && error.contains("means a deletion"), "{error}");
        }
    }
}

#[tokio::test]
async fn files_that_clash_are_refused_between_layers() {
    let mut artifact = Artifact::new();
    artifact.raw("a", 0o644, "raw").await;
    artifact.archive(Encoding::TarGzip, &tar_of(&[("a", b"archived")])).await;
    assert!(matches!(refused(artifact).await, StoreError::InvalidPath { .. }));
    let mut artifact = Artifact::new();
    artifact.archive(Encoding::Tar, &tar_of(&[("a", b"one")])).await;
    artifact.archive(Encoding::Tar, &tar_of(&[("a/b", b"two")])).await;
    assert!(matches!(refused(artifact).await, StoreError::InvalidPath { .. }));
}

#[tokio::test]
async fn a_layer_that_cannot_be_files_is_refused() {
    let mut artifact = Artifact::new();
    artifact.raw("a", 0o644, "a").await;
    artifact.layer(&media_type_of(Encoding::Raw), &[], "nameless").await;
    assert!(refused(artifact).await.to_string().contains("it has no file name"));
    assert!(refused(Artifact::new()).await.to_string().contains("it has no layers"));
}

#[tokio::test]
async fn bytes_that_are_not_those_of_the_layer_never_become_an_image() {
    for encoding in [Encoding::Raw, Encoding::Tar, Encoding::TarGzip, Encoding::TarZstd] {
        let content = vec![7; 600_000];
        let tar = tar_of(&[("m", &content)]);
        let stored = if encoding == Encoding::Raw { content } else { compressed(encoding, &tar) };
        let mut other = stored.clone();
        // In an archive it is a byte of the file, or of its compressed form.
        let middle = other.len() / 2;
        other[middle] ^= 1;
        let longer = [&stored[..], b"\0"].concat();
        for damage in [other, stored[..stored.len() - 1].to_vec(), longer] {
            let mut artifact = Artifact::new();
            let digest = match encoding {
                Encoding::Raw => artifact.raw("m", 0o644, stored.clone()).await,
                _ => artifact.layer(&media_type_of(encoding), &[], stored.clone()).await,
            };
            artifact.damage(digest, damage);
            let error = refused(artifact).await;
            assert!(matches!(error, StoreError::WrongDigest { .. } | StoreError::WrongSize { .. }), "{encoding:?}: {error}");
        }
    }
}

#[tokio::test]
async fn what_the_layers_make_is_what_unpacking_makes() {
    let (unpacked, applied) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let artifact = any_model().await;
    unpack(&artifact, &artifact.manifest(), unpacked.path(), &UnpackOptions::default(), || {}).await.unwrap();
    let (store, image) = image_of(artifact).await;
    for layer in manifest_of(&store, &image).await.layers {
        tar::Archive::new(&bytes_of(&store, &layer).await[..]).unpack(applied.path()).unwrap();
    }
    modelpack_testkit::assert_same_tree(unpacked.path(), &applied.path().join("models"));
}

#[tokio::test]
async fn too_many_layers_for_a_manifest_are_refused_before_anything_is_read() {
    let mut artifact = Artifact::new();
    artifact.raw("first", 0o644, "first").await;
    let mut manifest = artifact.manifest().image().unwrap().clone();
    let first = manifest.layers.remove(0);
    for number in 0..40_000 {
        let mut layer = first.clone();
        layer.annotations.insert(annotation::FILEPATH.to_owned(), format!("{number}"));
        manifest.layers.push(layer);
    }
    let read = modelpack_spec::Artifact::read(&manifest).unwrap();
    let (store, source): (_, Arc<dyn Source>) = (MemoryStore::new(), Arc::new(artifact));
    let made = image(&source, &read, &BTreeMap::new(), &ImagePrefix::default(), &store, &latest(), &CopyOptions::default()).await;
    assert!(made.unwrap_err().to_string().contains("cannot become an image"));
    let blob = Descriptor::of("x", b"");
    assert!(store.blob(&blob, 0..0).await.is_err_and(|error| error.is_not_found()));
}
