//! The registry with few descriptors, few threads, and half-dead clients.

use crate::harness::{Registry, begin_request, failure, header, http_client, name, noise, open_files};
use futures_util::future::join_all;
use modelpack_server::ServerOptions;
use modelpack_spec::Digest;
use reqwest::StatusCode;
use serde_json::json;
use std::{
    fs::File,
    time::{Duration, SystemTime},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

/// Only reached if the registry is broken.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn repositories_and_open_uploads_use_no_descriptors() {
    let registry = Registry::start().await;
    for i in 0..20 {
        registry.push_blob(&format!("a/pushed{i}"), *b"{}").await;
        let upload = registry.begin(&format!("a/begun{i}")).await;
        registry.patch(&upload).body("some bytes").send().await.unwrap();
    }
    let nothing = Vec::<std::path::PathBuf>::new();
    assert_eq!(open_files(registry.store.root()), nothing);
    let all = registry.get("/v2/_catalog").send().await.unwrap();
    assert_eq!(crate::harness::json(all).await["repositories"].as_array().unwrap().len(), 40);
    assert_eq!(open_files(registry.store.root()), nothing);
}

#[tokio::test]
async fn idle_connections_make_room_for_others() {
    // This number of descriptors allows six connections.
    let registry = Registry::start_with(ServerOptions::default().descriptors(64)).await;
    let mut idle = Vec::new();
    for _ in 0..40 {
        let mut stream = timeout(PATIENCE, registry.connect()).await.unwrap();
        stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut answer = [0; 15];
        timeout(PATIENCE, stream.read_exact(&mut answer)).await.expect("an idle connection does not block others").unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        idle.push(stream);
    }
    let pushed = join_all((0..60).map(|i| registry.push_blob_as_others_do(i))).await;
    assert_eq!(pushed, [StatusCode::CREATED; 60]);
}

#[tokio::test]
async fn idle_clients_make_room_for_others_and_their_uploads_continue() {
    // The idle timeout is longer than the test's timeout, so only the need for places can end these
    // requests.
    let options = ServerOptions::default().descriptors(64).body_idle(10 * PATIENCE);
    let registry = Registry::start_with(options).await;
    let content = noise(50_000);
    let digest = Digest::of(&content);
    let large = registry.push_blob("a/b", noise(16 << 20)).await;
    let upload = registry.begin("a/b").await;
    let mut half_dead = registry.connect().await;
    begin_request(&mut half_dead, "PATCH", &upload, content.len()).await;
    half_dead.write_all(&content[..30_000]).await.unwrap();
    let mut others = Vec::new();
    for i in 0..60 {
        let mut stream = registry.connect().await;
        let begun = match i % 4 {
            0 => format!("POST /v2/a/b/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx"),
            1 => "PUT /v2/a/b/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{".to_owned(),
            2 => format!("GET /v2/a/b/blobs/{large} HTTP/1.1\r\nHost: x\r\n\r\n"),
            _ => "GET /v2/ HTTP/1.1\r\nHost: x\r\n".to_owned(),
        };
        stream.write_all(begun.as_bytes()).await.unwrap();
        others.push(stream);
    }
    let pushed = timeout(PATIENCE, registry.push_blob_as_others_do(0)).await;
    assert_eq!(pushed.expect("idle clients do not block others"), StatusCode::CREATED);
    let mut answer = String::new();
    timeout(PATIENCE, half_dead.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    let rest = registry.put(&format!("{upload}?digest={digest}")).header("content-range", "30000-49999").body(content[30_000..].to_vec());
    assert_eq!(timeout(PATIENCE, rest.send()).await.unwrap().unwrap().status(), StatusCode::CREATED, "the received bytes were kept");
}

impl Registry {
    /// Pushes a blob on a separate connection.
    async fn push_blob_as_others_do(&self, i: usize) -> StatusCode {
        let (client, content) = (http_client(), noise(100_000 + i));
        let digest = Digest::of(&content);
        let request = client.post(self.url(&format!("/v2/a/b/blobs/uploads/?digest={digest}"))).body(content);
        request.send().await.unwrap().status()
    }
}

#[tokio::test]
async fn a_request_that_waits_for_a_lock_does_not_block_readers() {
    let registry = Registry::start().await;
    let digest = registry.push_blob("a/other", *b"read me").await;
    registry.push_blob("a/locked", *b"{}").await;
    // As if a collection worked on this repository for a long time.
    let lease = File::options().write(true).open(registry.store.root().join("repositories/a/locked/_lease")).unwrap();
    lease.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let restarted = Registry::start_in(registry.store.root(), ServerOptions::default()).await;
    lease.lock().unwrap();
    let posts: Vec<_> = (0..700).map(|_| tokio::spawn(restarted.post("/v2/a/locked/blobs/uploads/").timeout(PATIENCE).send())).collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let read = timeout(PATIENCE, restarted.get(&format!("/v2/a/other/blobs/{digest}")).send()).await;
    assert_eq!(read.expect("reading does not wait for a lock").unwrap().bytes().await.unwrap(), "read me");
    drop(lease);
    for post in posts {
        assert_eq!(post.await.unwrap().unwrap().status(), StatusCode::ACCEPTED);
    }
}

#[tokio::test]
async fn a_blob_that_was_reported_as_existing_stays_until_the_manifest_arrives() {
    let first = Registry::start().await;
    let (root, tag) = (first.store.root().to_owned(), "v1");
    let layer = first.push_blob("a/b", *b"a layer").await;
    let manifest = first.manifest("a/b", json!({ "layers": [{ "mediaType": "x/x", "digest": layer.to_string(), "size": 7 }] })).await;
    let config = Digest::of(b"{}");
    let forget = || File::options().write(true).open(root.join("repositories/a/b/_lease")).unwrap().set_modified(SystemTime::UNIX_EPOCH);

    // After a restart, or after some time without pushes, no lease protects the blobs.
    forget().unwrap();
    let registry = Registry::start_in(&root, ServerOptions::default()).await;
    for digest in [&layer, &config] {
        assert_eq!(registry.head(&format!("/v2/a/b/blobs/{digest}")).send().await.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(registry.store.prune(false).unwrap().busy, [name("a/b")]);
    let put = registry.put(&format!("/v2/a/b/manifests/{tag}")).header("content-type", modelpack_spec::media_type::IMAGE_MANIFEST);
    assert_eq!(put.body(manifest).send().await.unwrap().status(), StatusCode::CREATED);

    // Blobs that no client asked for are collected, and a request for one does not create the
    // repository.
    let unneeded = registry.push_blob("a/c", *b"unneeded").await;
    File::options().write(true).open(root.join("repositories/a/c/_lease")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(registry.store.prune(false).unwrap().blobs, [(unneeded.clone(), 8)]);
    for repository in ["a/c", "a/d"] {
        let absent = registry.head(&format!("/v2/{repository}/blobs/{unneeded}")).send().await.unwrap();
        assert_eq!(absent.status(), StatusCode::NOT_FOUND);
        assert!(!root.join("repositories").join(repository).exists(), "{repository}");
    }
}

#[tokio::test]
async fn nothing_is_appended_to_an_incomplete_put() {
    let registry = Registry::start().await;
    let content = noise(300_000);
    let digest = Digest::of(&content);
    for method in ["PUT", "PATCH"] {
        let upload = registry.begin("a/b").await;
        let mut cut = registry.connect().await;
        begin_request(&mut cut, method, &format!("{upload}?digest={digest}"), content.len()).await;
        cut.write_all(&content[..100_000]).await.unwrap();
        drop(cut);

        let again = registry.put(&format!("{upload}?digest={digest}")).body(content.clone()).send().await.unwrap();
        assert_eq!(again.status(), StatusCode::RANGE_NOT_SATISFIABLE, "all bytes again, after a part of them");
        assert_eq!((header(&again, "range"), header(&again, "location")), ("0-99999", upload.as_str()));
        let end = registry.put(&format!("{upload}?digest={digest}")).send().await.unwrap();
        assert_eq!(end.status(), StatusCode::RANGE_NOT_SATISFIABLE, "the end of an upload with missing bytes");
        assert_eq!(header(&end, "range"), "0-99999");
        let rest = registry.patch(&upload).header("content-range", "100000-299999").body(content[100_000..].to_vec());
        assert_eq!(rest.send().await.unwrap().status(), StatusCode::ACCEPTED, "the received bytes were kept");
        let done = registry.put(&format!("{upload}?digest={digest}")).send().await.unwrap();
        assert_eq!(done.status(), StatusCode::CREATED);
        registry.delete(&format!("/v2/a/b/blobs/{digest}")).send().await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_knows_the_upload_position_continues_without_a_range() {
    let registry = Registry::start().await;
    let content = noise(50_000);
    let digest = Digest::of(&content);
    let upload = registry.begin("a/b").await;
    let mut cut = registry.connect().await;
    begin_request(&mut cut, "PATCH", &upload, content.len()).await;
    cut.write_all(&content[..20_000]).await.unwrap();
    drop(cut);
    assert_eq!(registry.range_of(&upload).await, "0-19999");
    let rest = registry.put(&format!("{upload}?digest={digest}")).body(content[20_000..].to_vec()).send().await.unwrap();
    assert_eq!(rest.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn a_put_with_the_wrong_digest_leaves_its_upload_unchanged() {
    let registry = Registry::start().await;
    let content = noise(50_000);
    let digest = Digest::of(&content);
    let upload = registry.begin("a/b").await;
    let finish = format!("{upload}?digest={digest}");
    registry.patch(&upload).body(content[..20_000].to_vec()).send().await.unwrap();
    for wrong in [&content[..], b"", b"short"] {
        let put = registry.put(&finish).body(wrong.to_vec()).send().await.unwrap();
        assert_eq!((header(&put, "range"), header(&put, "location")), ("0-19999", upload.as_str()));
        assert_eq!(failure(put, StatusCode::BAD_REQUEST).await.0, "DIGEST_INVALID");
        assert_eq!(registry.range_of(&upload).await, "0-19999");
    }
    let rest = registry.put(&finish).header("content-range", "20000-49999").body(content[20_000..].to_vec()).send().await.unwrap();
    assert_eq!(rest.status(), StatusCode::CREATED);
    assert_eq!(registry.get(header(&rest, "location")).send().await.unwrap().bytes().await.unwrap(), content);
}

#[tokio::test]
async fn a_half_dead_connection_does_not_block_its_upload() {
    // The idle timeout is longer than the test's timeout, so only the second request can end the
    // first one.
    let registry = Registry::start_with(ServerOptions::default().body_idle(10 * PATIENCE)).await;
    let content = noise(50_000);
    let digest = Digest::of(&content);
    let upload = registry.begin("a/b").await;
    let mut half_dead = registry.connect().await;
    begin_request(&mut half_dead, "PUT", &format!("{upload}?digest={digest}"), content.len()).await;
    half_dead.write_all(&content[..30_000]).await.unwrap();
    let status = timeout(PATIENCE, registry.range_of(&upload)).await;
    assert_eq!(status.expect("the upload is available to the next request"), "0-29999");
    let rest = registry.put(&format!("{upload}?digest={digest}")).header("content-range", "30000-49999").body(content[30_000..].to_vec());
    assert_eq!(timeout(PATIENCE, rest.send()).await.unwrap().unwrap().status(), StatusCode::CREATED);
    drop(half_dead);
}
