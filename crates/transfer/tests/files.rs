//! The trees of files that need no disk keep the contract of `Files`.

use modelpack_spec::{Artifact, Descriptor, FilePath, ImageManifest, annotation, media_type};
use modelpack_transfer::{
    FileEntry, Files, FilesReader, LayerFiles, MemoryFiles, MemoryStore, OpenFile, Result, blocking,
    files_contract::{check, expected_files},
    put_bytes,
};
use std::{collections::BTreeMap, io::Read, sync::Arc, time::Duration};

async fn artifact(store: &MemoryStore) -> Artifact {
    let mut layers = Vec::new();
    for file in expected_files() {
        let mut layer = put_bytes(store, "application/vnd.cncf.model.weight.v1.raw", file.bytes.clone()).await.unwrap();
        let metadata = format!(r#"{{"name":"x","mode":{}}}"#, if file.executable { 0o755 } else { 0o644 });
        layer.annotations.insert(annotation::FILEPATH.to_owned(), file.path.to_owned());
        layer.annotations.insert(annotation::FILE_METADATA.to_owned(), metadata);
        layers.push(layer);
    }
    layers.reverse();
    let image = ImageManifest {
        schema_version: 2,
        media_type: Some(media_type::IMAGE_MANIFEST.to_owned()),
        artifact_type: Some(media_type::ARTIFACT.to_owned()),
        config: Descriptor::of(media_type::CONFIG, b"{}"),
        layers,
        subject: None,
        annotations: BTreeMap::new(),
        other: Default::default(),
    };
    Artifact::read(&image).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn memory() {
    let files = expected_files().into_iter().map(|file| (file.path.parse().unwrap(), file.bytes.into(), file.executable));
    check(Arc::new(MemoryFiles::new(files))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_layers_of_an_artifact() {
    let store = MemoryStore::new();
    let layers = LayerFiles::new(Arc::new(store.clone()), &artifact(&store).await);
    assert_eq!(layers.layers()[0].path.as_str(), "scripts/run me.sh", "in the order of the manifest");
    check(Arc::new(layers)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_without_a_path_get_one_that_no_file_has() {
    let store = MemoryStore::new();
    let mut artifact = artifact(&store).await;
    artifact.layers.truncate(3);
    artifact.layers[0].path = None;
    artifact.layers[1].path = None;
    artifact.layers[2].path = Some("layer 1".parse().unwrap());
    let layers = LayerFiles::new(Arc::new(store), &artifact);
    let paths: Vec<_> = layers.layers().iter().map(|layer| layer.path.as_str()).collect();
    assert_eq!(paths, ["layer 0", "layer 1+", "layer 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_fetched_is_a_failure_that_is_kept() {
    let store = MemoryStore::new();
    let mut artifact = artifact(&store).await;
    artifact.layers[0].descriptor = Descriptor::of("x/x", b"nobody has these bytes");
    let layers: Arc<dyn Files> = Arc::new(LayerFiles::new(Arc::new(store), &artifact));
    let reader = FilesReader::new(layers.clone());
    reader.fetch_beginnings(layers.entries().iter().map(|entry| (&entry.path, entry.size)), 4).await;
    reader.failure().expect("what could not be fetched ahead is tried again");
    blocking(move || {
        let size = artifact.layers[0].descriptor.size;
        let mut file = reader.open(&"scripts/run me.sh".parse().unwrap(), size).unwrap();
        file.read_to_end(&mut Vec::new()).unwrap_err();
        assert!(reader.failure().unwrap_err().is_not_found());
        reader.failure().expect("it is told once");
    })
    .await;
}

/// Files that are opened only when three of them are being opened.
struct Together {
    files: MemoryFiles,
    opening: tokio::sync::Barrier,
}

#[async_trait::async_trait]
impl Files for Together {
    fn entries(&self) -> &[FileEntry] {
        self.files.entries()
    }

    async fn open(&self, path: &FilePath) -> Result<Arc<dyn OpenFile>> {
        self.opening.wait().await;
        self.files.open(path).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_beginnings_of_several_files_are_fetched_at_once() {
    let files = (0..6).map(|n| (format!("shard-{n}").parse().unwrap(), vec![n; 100].into(), false));
    let files = Arc::new(Together { files: MemoryFiles::new(files), opening: tokio::sync::Barrier::new(3) });
    let reader = FilesReader::new(files.clone());
    let wanted = files.entries().iter().map(|entry| (&entry.path, entry.size));
    tokio::time::timeout(Duration::from_secs(60), reader.fetch_beginnings(wanted, 3)).await.expect("three are opened at once");
    let path = files.entries()[4].path.clone();
    let first = blocking(move || {
        let mut first = [0; 10];
        // Nothing is opened again: alone, it would wait for two others.
        reader.open(&path, 100).unwrap().read_exact(&mut first).unwrap();
        first
    });
    assert_eq!(first.await, [4; 10]);
}
