//! The client against our own registry.

use bytes::Bytes;
use futures_util::stream;
use modelpack_distribution::{
    client::{Client, ClientOptions, RemoteRepository},
    server::{Registry, RegistryOptions},
};
use modelpack_server::{Server, ServerOptions};
use modelpack_spec::{Descriptor, ImageManifest, Manifest, Selector, Tag};
use modelpack_store::{ReferrersPage, Store, Untagged};
use modelpack_testkit::{Fault, FaultProxy};
use modelpack_transfer::{Begin, Body, CopyOptions, Error, FileRange, MemoryStore, Progress, Sink, Source, contract, copy, put_bytes};
use std::{collections::BTreeMap, fs::File, sync::Arc};
use tempfile::TempDir;

/// A registry over a new directory, which is served until the value is dropped.
pub(crate) struct Served {
    _directory: TempDir,
    store: Store,
    host: String,
    task: tokio::task::JoinHandle<()>,
}

impl Served {
    pub(crate) async fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let store = Store::open(directory.path(), Untagged::Keep).unwrap();
        let server = Server::bind(store.clone(), "127.0.0.1:0".parse().unwrap(), ServerOptions::default()).await.unwrap();
        let registry = Registry::new(server.repositories(), RegistryOptions::default());
        let server = server.with_view(registry);
        let host = server.address().to_string();
        let task = tokio::spawn(async move { server.run(std::future::pending()).await.unwrap() });
        Self { _directory: directory, store, host, task }
    }

    /// A proxy in front of it.
    pub(crate) fn behind(&self, faults: Vec<Fault>) -> FaultProxy {
        FaultProxy::start(self.host.parse().unwrap(), faults)
    }

    pub(crate) fn repository(&self, path: &str) -> RemoteRepository {
        let client = Client::new(ClientOptions::default()).unwrap();
        client.repository(&format!("{}/{path}", self.host).parse().unwrap()).unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

/// Puts an artifact with this layer, and returns its manifest.
async fn put_artifact(sink: &dyn Sink, layer: &[u8], subject: Option<Descriptor>) -> Manifest {
    let config = put_bytes(sink, "application/vnd.oci.empty.v1+json", b"{}".to_vec()).await.unwrap();
    let layers = vec![put_bytes(sink, "application/x", layer.to_vec()).await.unwrap()];
    let image = ImageManifest {
        schema_version: 2,
        media_type: None,
        artifact_type: Some("application/x".to_owned()),
        config,
        layers,
        subject,
        annotations: BTreeMap::new(),
        other: Default::default(),
    };
    Manifest::from_image(image).unwrap()
}

#[tokio::test]
async fn a_remote_repository_keeps_the_contract_of_the_seam() {
    let served = Served::start().await;
    let repository = served.repository("a/b");
    contract::check(&repository, &repository).await;
}

#[tokio::test]
async fn an_artifact_goes_there_and_back() {
    let served = Served::start().await;
    let (here, there) = (MemoryStore::new(), served.repository("team/model"));
    let layer: Vec<u8> = (0..1_000_003u32).map(|i| (i % 253) as u8).collect();
    let manifest = put_artifact(&here, &layer, None).await;
    let v1 = Selector::Tag(tag("v1"));
    here.put_manifest(&v1, &manifest).await.unwrap();
    let progress = Arc::new(Progress::default());
    let options = CopyOptions { concurrency: 4, progress: progress.clone(), ..CopyOptions::default() };
    copy(&here, &manifest, &there, &v1, &options).await.unwrap();
    assert_eq!(progress.snapshot().moved, layer.len() as u64 + 2);
    let back = MemoryStore::new();
    let pulled = there.manifest(&v1).await.unwrap();
    assert_eq!(pulled, manifest);
    copy(&there, &pulled, &back, &v1, &options).await.unwrap();
    let blob = &manifest.image().unwrap().layers[0];
    let read = back.blob(blob, 0..blob.size).await.unwrap().collect(usize::MAX, "layer").await.unwrap();
    assert!(read == layer);
    assert_eq!(there.tags().await.unwrap(), [tag("v1")]);
}

#[tokio::test]
async fn a_file_is_pushed_and_a_stream_of_unknown_length_is() {
    let served = Served::start().await;
    let repository = served.repository("a");
    let content: Vec<u8> = (0..900_000u32).map(|i| (i % 249) as u8).collect();
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("weights");
    std::fs::write(&path, &content).unwrap();
    let part = Descriptor::of("x/x", &content[100..800_000]);
    let Begin::Upload(mut upload) = repository.begin(Some(&part)).await.unwrap() else { panic!("it is not there") };
    let range = FileRange { file: Arc::new(File::open(&path).unwrap()), path, offset: 100, len: part.size };
    upload.write(Body::from_file(range)).await.unwrap();
    upload.commit(Some(&part)).await.unwrap();

    let Begin::Upload(mut upload) = repository.begin(None).await.unwrap() else { panic!("it is not known") };
    let pieces: Vec<_> = content.chunks(10_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    upload.write(Body::from_stream(stream::iter(pieces), None)).await.unwrap();
    let whole = Descriptor::of("x/x", &content);
    let committed = upload.commit(None).await.unwrap();
    assert_eq!((&committed.digest, committed.size), (&whole.digest, whole.size));
    for blob in [part, whole] {
        assert!(matches!(repository.begin(Some(&blob)).await, Ok(Begin::Exists)));
    }
}

#[tokio::test]
async fn blobs_are_mounted_and_tags_and_manifests_deleted() {
    let served = Served::start().await;
    let first = served.repository("first");
    let manifest = put_artifact(&first, b"layer", None).await;
    first.put_manifest(&Selector::Tag(tag("v1")), &manifest).await.unwrap();
    first.put_manifest(&Selector::Both(tag("v2"), manifest.digest().clone()), &manifest).await.unwrap();
    let second = served.repository("second").mounting_from(&format!("{}/first", served.host).parse().unwrap());
    for blob in manifest.blobs() {
        assert!(matches!(second.begin(Some(blob)).await, Ok(Begin::Exists)));
    }
    second.put_manifest(&Selector::Tag(tag("v1")), &manifest).await.unwrap();

    first.delete(&Selector::Tag(tag("v1"))).await.unwrap();
    assert_eq!(first.tags().await.unwrap(), [tag("v2")]);
    first.delete(&Selector::Digest(manifest.digest().clone())).await.unwrap();
    assert!(matches!(first.manifest(&Selector::Tag(tag("v2"))).await, Err(Error::NotFound { .. })));
    assert!(second.manifest(&Selector::Tag(tag("v1"))).await.is_ok());
}

#[tokio::test]
async fn a_referrer_is_listed_by_the_registry_itself() {
    let served = Served::start().await;
    let repository = served.repository("a");
    let subject = put_artifact(&repository, b"layer", None).await;
    repository.put_manifest(&Selector::Tag(tag("v1")), &subject).await.unwrap();
    let referrer = put_artifact(&repository, b"signature", Some(subject.descriptor())).await;
    repository.put_manifest(&Selector::Digest(referrer.digest().clone()), &referrer).await.unwrap();
    assert_eq!(repository.tags().await.unwrap(), [tag("v1")], "no tag stands in for the API");
    let listed = served.store.repository(&"a".parse().unwrap()).referrers(subject.digest(), ReferrersPage::default()).await.unwrap();
    assert_eq!(listed.referrers.iter().map(|d| &d.digest).collect::<Vec<_>>(), [referrer.digest()]);
}
