//! The local store: layout on disk, several processes' worth of writers, deletion and collection.

mod common;

use common::{name, open, put_model, tag};
use modelpack_spec::{Algorithm, Descriptor, Digest, ImageIndex, Manifest, RepositoryName, Selector, Tag};
use modelpack_store::{ReferrersPage, Repository};
use modelpack_transfer::{Begin, Body, CHUNK, CopyOptions, Error, FileRange, MemoryStore, Sink, Source, Upload, copy, put_bytes};
use std::{fs, io::Write, path::Path, sync::Arc};

fn pool_files(root: &Path) -> usize {
    fs::read_dir(root.join("blobs/sha256")).unwrap().count()
}

#[tokio::test]
async fn a_repository_is_an_oci_image_layout_as_it_lies() {
    let root = tempfile::tempdir().unwrap();
    let repository = open(root.path()).repository(&name("localhost:5000/a/blobs"));
    let manifest = put_model(&repository, &tag("v1"), &[b"x"]).await;
    let layout = root.path().join("repositories/localhost+5000/a/_blobs");
    assert_eq!(fs::read_to_string(layout.join("oci-layout")).unwrap(), r#"{"imageLayoutVersion":"1.0.0"}"#);
    let index: ImageIndex = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    assert_eq!(index.manifests.len(), 1);
    assert_eq!(index.manifests[0].annotations["org.opencontainers.image.ref.name"], "v1");
    assert_eq!(fs::read(layout.join("blobs/sha256").join(manifest.digest().hex())).unwrap(), manifest.bytes());
    assert!(fs::read_link(layout.join("blobs")).unwrap().is_relative(), "the store can be moved");
}

#[tokio::test]
async fn repositories_share_blobs_but_hold_only_their_own() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let (a, b) = (store.repository(&name("a")), store.repository(&name("a/b")));
    put_model(&a, &tag("v1"), &[b"shared"]).await;
    let shared = Digest::of(b"shared");
    assert_eq!(a.blob_size(&shared).await.unwrap(), Some(6));
    assert_eq!(b.blob_size(&shared).await.unwrap(), None);
    assert!(!b.mount(&shared, Some(&store.repository(&name("c")))).await.unwrap());
    assert!(b.mount(&shared, Some(&a)).await.unwrap());
    assert_eq!(b.blob_size(&shared).await.unwrap(), Some(6));
    assert!(a.delete_blob(&shared).await.unwrap());
    assert!(!a.delete_blob(&shared).await.unwrap());
    assert_eq!((a.blob_size(&shared).await.unwrap(), b.blob_size(&shared).await.unwrap()), (None, Some(6)));
    assert!(store.repository(&name("c")).mount(&shared, None).await.unwrap());
    assert_eq!(store.repositories().unwrap(), [name("a"), name("a/b"), name("c")]);
}

#[tokio::test]
async fn large_files_are_hashed_beside_the_copy() {
    let root = tempfile::tempdir().unwrap();
    let repository = open(root.path()).repository(&name("a"));
    let content: Vec<u8> = (0..40 * CHUNK + 3).map(|i| (i * i % 253) as u8).collect();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&content).unwrap();
    let range = FileRange { file: Arc::new(file), path: "large".into(), offset: 0, len: content.len() as u64 };
    let blob = Descriptor::of("x/x", &content);
    let Begin::Upload(mut upload) = repository.begin(None).await.unwrap() else { panic!("nothing is there") };
    upload.write(Body::from_file(range.clone())).await.unwrap();
    let committed = upload.commit(None).await.unwrap();
    assert_eq!((&committed.digest, committed.size), (&blob.digest, blob.size));
    let back = repository.blob(&blob, 0..blob.size).await.unwrap().collect(usize::MAX, "x").await.unwrap();
    assert!(back == content);

    let longer = FileRange { len: range.len + 1, ..range };
    let mut upload = repository.begin_upload(Algorithm::Sha256).await.unwrap();
    assert!(matches!(upload.write(Body::from_file(longer)).await, Err(Error::Changed { .. })), "a file that became shorter is noticed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_fails_does_not_concern_those_that_are_written_at_the_same_time() {
    let root = tempfile::tempdir().unwrap();
    let repository = open(root.path()).repository(&name("a"));
    let content = |number: usize| -> Vec<u8> { (0..(33 + number) * CHUNK + number).map(|i| (i * (i + number) % 253) as u8).collect() };
    let write = async |number: usize, missing: u64, is_file: bool| {
        let (content, path) = (content(number), root.path().join(number.to_string()));
        fs::write(&path, &content).unwrap();
        let range = FileRange::open(&path).unwrap();
        let body = match Body::from_file(FileRange { len: range.len + missing, ..range }) {
            file if is_file => file,
            file => Body::from_stream(file.into_stream(), None),
        };
        let Begin::Upload(mut upload) = repository.begin(None).await? else { panic!("nothing is there") };
        upload.write(body).await?;
        let committed = upload.commit(None).await?;
        assert_eq!((committed.digest, committed.size), (Digest::of(&content), content.len() as u64));
        Ok::<_, Error>(())
    };
    let (short, cut, whole, stream, other) =
        tokio::join!(write(1, 1, true), write(2, 1, false), write(3, 0, true), write(4, 0, false), write(5, 0, true));
    assert!([short, cut].into_iter().all(|failed| matches!(failed, Err(Error::Changed { .. }))));
    [whole, stream, other].into_iter().for_each(Result::unwrap);
    assert_eq!(fs::read_dir(root.path().join("ingest")).unwrap().count(), 0, "no file is left over");
}

#[tokio::test]
async fn a_large_file_that_has_other_bytes_than_promised_or_more_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let repository = open(root.path()).repository(&name("a"));
    let path = root.path().join("large");
    let content = vec![7; 9 << 20];
    fs::write(&path, &content).unwrap();
    let mut other = content.clone();
    other[8 << 20] = 8;
    for promised in [&other[..], &content[..8 << 20], &content[..1]] {
        let blob = Descriptor::of("x/x", promised);
        let Begin::Upload(mut upload) = repository.begin(Some(&blob)).await.unwrap() else { panic!("it is not there") };
        let written = upload.write(Body::from_file(FileRange::open(&path).unwrap())).await;
        let refused = match written {
            Ok(()) => upload.commit(None).await.unwrap_err(),
            Err(error) => error,
        };
        let is_size = promised.len() < content.len();
        assert!(matches!(refused, Error::WrongSize { .. }) == is_size, "{refused}");
        assert!(matches!(refused, Error::WrongDigest { .. }) != is_size, "{refused}");
        assert_eq!(repository.blob_size(&blob.digest).await.unwrap(), None);
    }
    assert_eq!(fs::read_dir(root.path().join("ingest")).unwrap().count(), 0, "no file is left over");
}

#[tokio::test]
async fn a_sha512_blob_is_verified_whatever_it_was_hashed_with_while_written() {
    let root = tempfile::tempdir().unwrap();
    let repository = open(root.path()).repository(&name("a"));
    let mut hasher = modelpack_spec::Hasher::new(Algorithm::Sha512);
    hasher.update(b"content");
    let digest = hasher.finish();
    let mut upload = repository.begin_upload(Algorithm::Sha256).await.unwrap();
    upload.write(Body::from_bytes(&b"content"[..])).await.unwrap();
    assert_eq!(upload.commit_as(&digest).await.unwrap(), 7);
    assert_eq!(repository.blob_size(&digest).await.unwrap(), Some(7));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_of_one_blob_and_one_index_lose_nothing() {
    let root = tempfile::tempdir().unwrap();
    let tasks = (0..32).map(|i| {
        // A store of its own each: locks must hold between processes, not only between tasks.
        let store = open(root.path());
        tokio::spawn(async move {
            let repository = store.repository(&name("a"));
            let _lease = store.lease(&name("a")).unwrap();
            put_model(&repository, &tag(&format!("t{i}")), &[b"the same layer", format!("layer {i}").as_bytes()]).await;
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let store = open(root.path());
    assert_eq!(store.repository(&name("a")).tags().await.unwrap().len(), 32);
    assert_eq!(fs::read_dir(root.path().join("ingest")).unwrap().count(), 0, "no file is left over");
    assert_eq!(store.prune(true).unwrap().bytes(), 0);
}

#[tokio::test]
async fn prune_takes_what_no_manifest_needs_and_says_what_it_frees() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let a = store.repository(&name("a"));
    put_model(&a, &tag("v1"), &[b"old layer", b"kept layer"]).await;
    let v1: Tag = "v1".parse().unwrap();
    let manifest = put_model(&a, &tag("v1"), &[b"kept layer"]).await;
    put_model(&store.repository(&name("b")), &tag("v1"), &[b"another"]).await;
    store.repository(&name("b")).delete_tag(&v1).await.unwrap();
    fs::write(root.path().join("ingest/.ingest-dead"), b"half a blob").unwrap();

    let dry = store.prune(true).unwrap();
    assert_eq!(pool_files(root.path()), 7, "a dry run removes nothing");
    let pruned = store.prune(false).unwrap();
    assert_eq!(dry, pruned, "a dry run says what will be removed");
    let freed: Vec<_> = pruned.blobs.iter().map(|(digest, _)| digest.clone()).collect();
    assert_eq!(freed.len(), 4, "old layer and manifest; the other repository's layer and manifest: {freed:?}");
    assert!(freed.contains(&Digest::of(b"old layer")) && freed.contains(&Digest::of(b"another")));
    assert_eq!(pruned.repositories, [name("b")]);
    assert_eq!(pruned.abandoned.len(), 1);
    assert_eq!(store.repositories().unwrap(), [name("a")]);

    let back = MemoryStore::new();
    let options = CopyOptions { concurrency: 2, ..CopyOptions::default() };
    copy(&a, &a.manifest(&tag("v1")).await.unwrap(), &back, &tag("v1"), &options).await.unwrap();
    assert_eq!(back.manifest(&tag("v1")).await.unwrap().digest(), manifest.digest());
    assert_eq!(store.prune(false).unwrap(), Default::default(), "a second time there is nothing to do");
}

#[tokio::test]
async fn a_served_name_that_looks_like_a_bad_host_is_listed_and_kept() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let odd = RepositoryName::without_host("a_b.example/x").unwrap();
    put_model(&store.repository(&odd), &tag("v1"), &[b"x"]).await;
    assert_eq!(store.repositories().unwrap(), [odd]);
    assert_eq!(store.prune(false).unwrap().bytes(), 0);
}

#[tokio::test]
async fn prune_takes_nothing_that_a_lease_or_a_writer_holds() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let a = store.repository(&name("a"));
    let lease = store.lease(a.name()).unwrap();
    put_bytes(&a, "x/x", b"pushed, its manifest still to come".to_vec()).await.unwrap();
    let mut writing = a.begin_upload(Algorithm::Sha256).await.unwrap();
    writing.write(Body::from_bytes(&b"half"[..])).await.unwrap();

    let pruned = open(root.path()).prune(false).unwrap();
    assert_eq!((pruned.bytes(), pruned.busy), (0, vec![name("a")]));
    writing.commit_as(&Digest::of(b"half")).await.unwrap();
    drop(lease);
    let pruned = store.prune(false).unwrap();
    assert_eq!(pruned.blobs.len(), 2);
    assert_eq!(pool_files(root.path()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn prune_and_writers_at_once_never_break_a_manifest() {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let pruner = {
        let (store, done) = (store.clone(), done.clone());
        std::thread::spawn(move || {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                store.prune(false).unwrap();
            }
        })
    };
    let options = CopyOptions { concurrency: 2, ..CopyOptions::default() };
    for i in 0..60 {
        let repository = store.repository(&name("a/b"));
        let lease = store.lease(repository.name()).unwrap();
        let manifest = put_model(&repository, &tag("v1"), &[b"shared by all", format!("layer {i}").as_bytes()]).await;
        copy(&repository, &manifest, &MemoryStore::new(), &tag("x"), &options).await.unwrap();
        drop(lease);
        if i % 3 == 0 {
            repository.delete_tag(&"v1".parse().unwrap()).await.unwrap();
        }
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    pruner.join().unwrap();
}

async fn corrupt_and_read(repository: &Repository, root: &Path, manifest: &Manifest) -> Error {
    let path = root.join("blobs/sha256").join(manifest.digest().hex());
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] ^= 1;
    fs::write(&path, bytes).unwrap();
    repository.manifest(&tag("v1")).await.unwrap_err()
}

#[tokio::test]
async fn a_manifest_that_rotted_is_not_believed() {
    let root = tempfile::tempdir().unwrap();
    let repository = open(root.path()).repository(&name("a"));
    let manifest = put_model(&repository, &tag("v1"), &[b"x"]).await;
    assert!(matches!(corrupt_and_read(&repository, root.path(), &manifest).await, Error::WrongDigest { .. }));
}

#[tokio::test]
async fn referrers_are_found_by_their_subject() {
    let root = tempfile::tempdir().unwrap();
    let repository = open(root.path()).repository(&name("a"));
    let subject = put_model(&repository, &tag("v1"), &[b"x"]).await;
    let mut image = subject.image().unwrap().clone();
    image.subject = Some(subject.descriptor());
    image.artifact_type = Some("application/signature".into());
    let referrer = Manifest::from_image(image).unwrap();
    repository.put_manifest(&Selector::Digest(referrer.digest().clone()), &referrer).await.unwrap();
    let found = repository.referrers(subject.digest(), ReferrersPage::default()).await.unwrap().referrers;
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0].digest, found[0].artifact_type.as_deref()), (referrer.digest(), Some("application/signature")));
    assert!(repository.delete_manifest(referrer.digest()).await.unwrap());
    assert!(repository.referrers(subject.digest(), ReferrersPage::default()).await.unwrap().referrers.is_empty());
}
