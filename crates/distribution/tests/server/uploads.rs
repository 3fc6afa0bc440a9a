use crate::harness::{Registry, begin_request, failure, header, name, noise, sha512};
use futures_util::future::join_all;
use modelpack_server::ServerOptions;
use modelpack_spec::Digest;
use modelpack_testkit::TinyDisk;
use reqwest::StatusCode;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn chunks_are_accepted_in_order_only_and_a_refused_one_changes_nothing() {
    let registry = Registry::start().await;
    let content = noise(3000);
    let digest = Digest::of(&content);
    let upload = registry.begin("a/b").await;
    assert_eq!(registry.range_of(&upload).await, "0-0");
    let patch = |range: &str, bytes: &[u8]| registry.patch(&upload).header("content-range", range).body(bytes.to_vec()).send();

    let ahead = patch("1000-1999", &content[1000..2000]).await.unwrap();
    assert_eq!(header(&ahead, "location"), upload);
    failure(ahead, StatusCode::RANGE_NOT_SATISFIABLE).await;
    let first = patch("0-999", &content[..1000]).await.unwrap();
    assert_eq!((first.status(), header(&first, "range")), (StatusCode::ACCEPTED, "0-999"));
    let again = patch("0-999", &content[..1000]).await.unwrap();
    assert_eq!(header(&again, "range"), "0-999");
    failure(again, StatusCode::RANGE_NOT_SATISFIABLE).await;
    for (range, code) in
        [("1000-1998", "SIZE_INVALID"), ("bytes 1000-1999/3000", "BLOB_UPLOAD_INVALID"), ("1999-1000", "BLOB_UPLOAD_INVALID")]
    {
        let refused = patch(range, &content[1000..2000]).await.unwrap();
        assert_eq!(failure(refused, StatusCode::BAD_REQUEST).await.0, code, "{range}");
    }
    assert_eq!(registry.range_of(&upload).await, "0-999");
    let second = patch("1000-1999", &content[1000..2000]).await.unwrap();
    assert_eq!((second.status(), header(&second, "range")), (StatusCode::ACCEPTED, "0-1999"));

    let finish = format!("{upload}?digest={digest}");
    let early = registry.put(&finish).header("content-range", "2500-2999").body(content[2500..].to_vec()).send().await.unwrap();
    failure(early, StatusCode::RANGE_NOT_SATISFIABLE).await;
    let nameless = registry.put(&upload).body(content[2000..].to_vec()).send().await.unwrap();
    assert_eq!(failure(nameless, StatusCode::BAD_REQUEST).await.0, "DIGEST_INVALID");
    let done = registry.put(&finish).header("content-range", "2000-2999").body(content[2000..].to_vec()).send().await.unwrap();
    assert_eq!(done.status(), StatusCode::CREATED);
    assert_eq!(header(&done, "docker-content-digest"), digest.to_string());
    let pulled = registry.get(header(&done, "location")).send().await.unwrap();
    assert_eq!(pulled.bytes().await.unwrap(), content);
    assert_eq!(failure(registry.get(&upload).send().await.unwrap(), StatusCode::NOT_FOUND).await.0, "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn a_chunk_longer_than_its_range_adds_only_the_bytes_of_the_range() {
    let registry = Registry::start().await;
    let upload = registry.begin("a/b").await;
    let pieces = futures_util::stream::iter([Ok::<_, std::io::Error>("0123"), Ok("4567")]);
    let request = registry.patch(&upload).header("content-range", "0-3").body(reqwest::Body::wrap_stream(pieces));
    assert_eq!(failure(request.send().await.unwrap(), StatusCode::BAD_REQUEST).await.0, "SIZE_INVALID");
    assert_eq!(registry.range_of(&upload).await, "0-3");
}

#[tokio::test]
async fn bytes_with_another_digest_are_refused_and_never_visible() {
    let registry = Registry::start().await;
    let digest = Digest::of(b"right");
    let whole = registry.post(&format!("/v2/a/b/blobs/uploads/?digest={digest}")).body("wrong").send().await.unwrap();
    assert_eq!(failure(whole, StatusCode::BAD_REQUEST).await.0, "DIGEST_INVALID");
    let upload = registry.begin("a/b").await;
    let put = registry.put(&format!("{upload}?digest={digest}")).body("wrong").send().await.unwrap();
    assert_eq!(failure(put, StatusCode::BAD_REQUEST).await.0, "DIGEST_INVALID");
    assert_eq!(registry.head(&format!("/v2/a/b/blobs/{digest}")).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    for path in ["?digest=sha256:12", "?digest=md5:aa", "?digest-algorithm=md5", "?mount=x&from=a/c"] {
        let begun = registry.post(&format!("/v2/a/b/blobs/uploads/{path}")).send().await.unwrap();
        assert_eq!(failure(begun, StatusCode::BAD_REQUEST).await.0, "DIGEST_INVALID", "{path}");
    }
}

#[tokio::test]
async fn sha512_uploads_need_no_parameter() {
    let registry = Registry::start().await;
    for (at, query) in [("", ""), ("", "?digest-algorithm=sha512"), ("whole", "")] {
        let content = format!("{at}{query} by sha512").into_bytes();
        let digest = sha512(&content);
        let done = if at == "whole" {
            registry.post(&format!("/v2/a/b/blobs/uploads/?digest={digest}")).body(content.clone()).send().await.unwrap()
        } else {
            let begun = registry.post(&format!("/v2/a/b/blobs/uploads/{query}")).send().await.unwrap();
            let upload = header(&begun, "location").to_owned();
            let patched = registry.patch(&upload).body(content.clone()).send().await.unwrap();
            assert_eq!(patched.status(), StatusCode::ACCEPTED);
            registry.put(&format!("{upload}?digest={digest}")).send().await.unwrap()
        };
        assert_eq!(done.status(), StatusCode::CREATED, "{query}");
        let pulled = registry.get(&format!("/v2/a/b/blobs/{digest}")).send().await.unwrap();
        assert_eq!(header(&pulled, "docker-content-digest"), digest.to_string());
        assert_eq!(pulled.bytes().await.unwrap(), content);
    }
}

#[tokio::test]
async fn a_blob_is_mounted_if_possible_and_pushed_otherwise() {
    let registry = Registry::start().await;
    let digest = registry.push_blob("a/source", *b"shared").await;
    let absent = Digest::of(b"absent");
    for (repository, query, expected) in [
        ("a/one", format!("mount={digest}&from=a/source"), StatusCode::CREATED),
        ("a/two", format!("mount={digest}"), StatusCode::CREATED),
        ("a/three", format!("mount={absent}&from=a/source"), StatusCode::ACCEPTED),
        ("a/three", format!("mount={digest}&from=a/none"), StatusCode::ACCEPTED),
        ("a/three", format!("mount={digest}&from=NOT-A-NAME"), StatusCode::ACCEPTED),
        ("a/three", format!("mount={absent}"), StatusCode::ACCEPTED),
    ] {
        let begun = registry.post(&format!("/v2/{repository}/blobs/uploads/?{query}")).send().await.unwrap();
        assert_eq!(begun.status(), expected, "{query}");
        let location = header(&begun, "location");
        if expected == StatusCode::CREATED {
            assert_eq!(header(&begun, "docker-content-digest"), digest.to_string());
            assert_eq!(registry.get(location).send().await.unwrap().bytes().await.unwrap(), "shared");
        } else {
            let pushed = registry.put(&format!("{location}?digest={absent}")).body("absent").send().await.unwrap();
            assert_eq!(pushed.status(), StatusCode::CREATED, "{query}");
            registry.delete(&format!("/v2/a/three/blobs/{absent}")).send().await.unwrap();
            registry.store.prune(false).unwrap();
        }
    }
}

#[tokio::test]
async fn an_upload_belongs_to_its_repository_and_ends_when_cancelled() {
    let registry = Registry::start().await;
    let upload = registry.begin("a/b").await;
    let elsewhere = upload.replace("/a/b/", "/a/c/");
    assert_eq!(failure(registry.get(&elsewhere).send().await.unwrap(), StatusCode::NOT_FOUND).await.0, "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(registry.delete(&upload).send().await.unwrap().status(), StatusCode::NO_CONTENT);
    for request in [registry.get(&upload), registry.delete(&upload), registry.patch(&upload).body("x")] {
        assert_eq!(failure(request.send().await.unwrap(), StatusCode::NOT_FOUND).await.0, "BLOB_UPLOAD_UNKNOWN");
    }
    assert_eq!(std::fs::read_dir(registry.store.root().join("ingest")).unwrap().count(), 0);
}

#[tokio::test]
async fn an_upload_with_a_lost_connection_continues_after_the_last_byte() {
    let registry = Registry::start().await;
    let content = noise(1 << 20);
    let digest = Digest::of(&content);
    let upload = registry.begin("a/b").await;
    let mut connection = registry.connect().await;
    begin_request(&mut connection, "PATCH", &upload, content.len()).await;
    connection.write_all(&content[..300_000]).await.unwrap();
    drop(connection);
    assert_eq!(registry.range_of(&upload).await, "0-299999");

    let mut connection = registry.connect().await;
    let finish = format!("{upload}?digest={digest}");
    begin_request(&mut connection, "PUT", &finish, content.len() - 300_000).await;
    connection.write_all(&content[300_000..500_000]).await.unwrap();
    drop(connection);
    assert_eq!(registry.range_of(&upload).await, "0-499999");

    let done = registry.put(&finish).header("content-range", "500000-1048575").body(content[500_000..].to_vec()).send().await.unwrap();
    assert_eq!(done.status(), StatusCode::CREATED);
    assert_eq!(registry.get(header(&done, "location")).send().await.unwrap().bytes().await.unwrap(), content);
}

#[tokio::test]
async fn an_idle_body_is_given_up_and_its_upload_can_continue() {
    let registry = Registry::start_with(ServerOptions::default().body_idle(Duration::from_millis(50))).await;
    let upload = registry.begin("a/b").await;
    let mut connection = registry.connect().await;
    begin_request(&mut connection, "PATCH", &upload, 1000).await;
    connection.write_all(&[b'x'; 10]).await.unwrap();
    assert_eq!(registry.range_of(&upload).await, "0-9");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("BLOB_UPLOAD_INVALID"), "{answer}");
}

#[tokio::test]
async fn a_client_that_sends_a_large_body_can_read_the_refusal() {
    let registry = Registry::start().await;
    let upload = registry.begin("a/b").await;
    let len = 16 << 20;
    let mut connection = registry.connect().await;
    let head = format!("PATCH {upload} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len}\r\nContent-Range: 5-{}\r\n\r\n", len + 4);
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(&vec![0; len]).await.unwrap();
    let mut status = [0; 12];
    connection.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 416");
}

#[tokio::test]
async fn a_blob_pushed_by_many_clients_is_stored_once() {
    let registry = Registry::start().await;
    let content = noise(300_000);
    let digest = Digest::of(&content);
    let pushes = (0..32).map(|i| {
        let (registry, content, digest) = (&registry, content.clone(), &digest);
        async move {
            let upload = registry.begin(&format!("a/b{}", i % 4)).await;
            let patched = registry.patch(&upload).body(content).send().await.unwrap();
            assert_eq!(patched.status(), StatusCode::ACCEPTED);
            registry.put(&format!("{upload}?digest={digest}")).send().await.unwrap().status()
        }
    });
    assert!(join_all(pushes).await.into_iter().all(|status| status == StatusCode::CREATED));
    for i in 0..4 {
        let pulled = registry.get(&format!("/v2/a/b{i}/blobs/{digest}")).send().await.unwrap();
        assert_eq!(pulled.bytes().await.unwrap(), content);
    }
    assert_eq!(std::fs::read_dir(registry.store.root().join("blobs/sha256")).unwrap().count(), 1);
    assert_eq!(std::fs::read_dir(registry.store.root().join("ingest")).unwrap().count(), 0);
}

#[tokio::test]
async fn collection_removes_nothing_from_a_push_in_progress() {
    let registry = Registry::start().await;
    let layer = registry.push_blob("a/b", *b"a layer").await;
    let upload = registry.begin("a/b").await;
    registry.patch(&upload).body("half").send().await.unwrap();
    let store = registry.store.clone();
    let pruned = store.prune(false).unwrap();
    assert_eq!((pruned.blobs.len(), pruned.abandoned.len(), pruned.busy), (0, 0, vec![name("a/b")]));
    assert_eq!(registry.range_of(&upload).await, "0-3");
    assert_eq!(registry.head(&format!("/v2/a/b/blobs/{layer}")).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_full_disk_is_reported_and_damages_nothing() {
    let Some(disk) = TinyDisk::mount(2 << 20) else {
        eprintln!("SKIPPED: this process is not allowed to mount a file system");
        return;
    };
    let registry = Registry::start_in(disk.path(), ServerOptions::default()).await;
    let before = registry.push_blob("a/b", *b"before").await;
    let large = noise(8 << 20);
    let digest = Digest::of(&large);
    let refused = registry.post(&format!("/v2/a/b/blobs/uploads/?digest={digest}")).body(large).send().await.unwrap();
    let (_, message) = failure(refused, StatusCode::INSUFFICIENT_STORAGE).await;
    assert!(message.contains("disk is full") && !message.contains(disk.path().to_str().unwrap()), "{message}");
    assert_eq!(registry.get(&format!("/v2/a/b/blobs/{before}")).send().await.unwrap().bytes().await.unwrap(), "before");
    registry.push_blob("a/b", noise(500_000)).await;
}
