use crate::harness::{Registry, failure, header, noise};
use modelpack_distribution::server::{Registry as View, RegistryOptions};
use modelpack_server::ServerOptions;
use modelpack_spec::Digest;
use reqwest::{Method, StatusCode};

#[tokio::test]
async fn a_blob_is_returned_with_its_size_and_digest() {
    let registry = Registry::start().await;
    let content = noise(700_000);
    let digest = registry.push_blob("a/b", content.clone()).await;
    let path = format!("/v2/a/b/blobs/{digest}");
    for request in [registry.head(&path), registry.get(&path)] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(header(&response, "content-length"), "700000");
        assert_eq!(header(&response, "docker-content-digest"), digest.to_string());
        assert_eq!(header(&response, "accept-ranges"), "bytes");
    }
    assert_eq!(registry.get(&path).send().await.unwrap().bytes().await.unwrap(), content);
    let escaped = path.replace(':', "%3A");
    assert_eq!(registry.get(&escaped).send().await.unwrap().bytes().await.unwrap(), content);
}

#[tokio::test]
async fn ranges_return_exactly_the_requested_bytes() {
    let registry = Registry::start().await;
    let content = noise(2048);
    let digest = registry.push_blob("a/b", content.clone()).await;
    let path = format!("/v2/a/b/blobs/{digest}");
    for (range, expected) in [
        ("bytes=0-0", 0..1),
        ("bytes=500-1499", 500..1500),
        ("bytes=2000-5000", 2000..2048),
        ("bytes=2047-", 2047..2048),
        ("bytes=-500", 1548..2048),
        ("bytes=-9999", 0..2048),
    ] {
        let response = registry.get(&path).header("range", range).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT, "{range}");
        let content_range = format!("bytes {}-{}/2048", expected.start, expected.end - 1);
        assert_eq!(header(&response, "content-range"), content_range, "{range}");
        assert_eq!(header(&response, "content-length"), expected.len().to_string(), "{range}");
        assert_eq!(header(&response, "docker-content-digest"), digest.to_string());
        assert_eq!(response.bytes().await.unwrap(), content[expected], "{range}");
    }
    for range in ["bytes=500-0", "bytes=2048-", "bytes=5000-10000", "bytes=-0", "bytes=x"] {
        let response = registry.get(&path).header("range", range).send().await.unwrap();
        assert_eq!(header(&response, "content-range"), "bytes */2048", "{range}");
        failure(response, StatusCode::RANGE_NOT_SATISFIABLE).await;
    }
    for (range, condition) in [("bytes=0-1,5-6", None), ("items=0-1", None), ("bytes=0-1", Some("\"other\""))] {
        let request = registry.get(&path).header("range", range);
        let request = condition.into_iter().fold(request, |request, etag| request.header("if-range", etag));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{range}");
        assert_eq!(response.bytes().await.unwrap(), content, "{range}");
    }
}

#[tokio::test]
async fn the_empty_blob_can_be_stored() {
    let registry = Registry::start().await;
    let digest = registry.push_blob("a/b", []).await;
    let path = format!("/v2/a/b/blobs/{digest}");
    let response = registry.get(&path).send().await.unwrap();
    assert_eq!((response.status(), header(&response, "content-length")), (StatusCode::OK, "0"));
    let response = registry.get(&path).header("range", "bytes=0-").send().await.unwrap();
    failure(response, StatusCode::RANGE_NOT_SATISFIABLE).await;
}

#[tokio::test]
async fn a_deleted_blob_is_gone_from_its_repository_only() {
    let registry = Registry::start().await;
    let digest = registry.push_blob("a/b", *b"x").await;
    registry.push_blob("a/c", *b"x").await;
    let path = format!("/v2/a/b/blobs/{digest}");
    assert_eq!(registry.delete(&path).send().await.unwrap().status(), StatusCode::ACCEPTED);
    for request in [registry.get(&path), registry.delete(&path)] {
        let (code, _) = failure(request.send().await.unwrap(), StatusCode::NOT_FOUND).await;
        assert_eq!(code, "BLOB_UNKNOWN");
    }
    assert_eq!(registry.head(&path).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    let other = registry.get(&format!("/v2/a/c/blobs/{digest}")).send().await.unwrap();
    assert_eq!(other.bytes().await.unwrap(), "x");
}

#[tokio::test]
async fn a_registry_without_deletes_refuses_them_but_lets_uploads_be_cancelled() {
    let directory = tempfile::tempdir().unwrap();
    let (store, server) = Registry::bind_in(directory.path(), ServerOptions::default()).await;
    let view = View::new(server.repositories(), RegistryOptions::default().allow_delete(false));
    let registry = Registry::run(store, server.with_view(view));
    let digest = registry.push_blob("a/b", *b"x").await;
    for path in [format!("/v2/a/b/blobs/{digest}"), format!("/v2/a/b/manifests/{digest}"), "/v2/a/b/manifests/v1".to_owned()] {
        let response = registry.delete(&path).send().await.unwrap();
        assert!(!header(&response, "allow").contains("DELETE"));
        let (code, _) = failure(response, StatusCode::METHOD_NOT_ALLOWED).await;
        assert_eq!(code, "UNSUPPORTED");
    }
    assert_eq!(registry.head(&format!("/v2/a/b/blobs/{digest}")).send().await.unwrap().status(), StatusCode::OK);
    let upload = registry.begin("a/b").await;
    assert_eq!(registry.delete(&upload).send().await.unwrap().status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn every_failure_has_a_status_a_code_and_a_reason() {
    let registry = Registry::start().await;
    let digest = Digest::of(b"absent");
    registry.push_blob("a/b", *b"x").await;
    for (method, path, status, expected) in [
        (Method::GET, "/".to_owned(), StatusCode::NOT_FOUND, "UNSUPPORTED"),
        (Method::GET, "/v3/".to_owned(), StatusCode::NOT_FOUND, "UNSUPPORTED"),
        (Method::GET, "/v2/a/b".to_owned(), StatusCode::NOT_FOUND, "UNSUPPORTED"),
        (Method::POST, "/v2/".to_owned(), StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
        (Method::PUT, format!("/v2/a/b/blobs/{digest}"), StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
        (Method::GET, "/v2/a/b/blobs/uploads/".to_owned(), StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
        (Method::GET, "/v2/A/tags/list".to_owned(), StatusCode::BAD_REQUEST, "NAME_INVALID"),
        (Method::GET, "/v2/a/b/blobs/sha256:12".to_owned(), StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
        (Method::GET, "/v2/a/b/blobs/md5:d41d8cd98f00b204e9800998ecf8427e".to_owned(), StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
        (Method::GET, format!("/v2/a/b/blobs/{digest}"), StatusCode::NOT_FOUND, "BLOB_UNKNOWN"),
        (Method::GET, "/v2/a/b/blobs/uploads/none".to_owned(), StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN"),
        (Method::GET, "/v2/a/b/manifests/none".to_owned(), StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"),
        (Method::GET, "/v2/a/none/manifests/v1".to_owned(), StatusCode::NOT_FOUND, "NAME_UNKNOWN"),
        (Method::GET, "/v2/a/none/tags/list".to_owned(), StatusCode::NOT_FOUND, "NAME_UNKNOWN"),
        (Method::GET, "/v2/a/b/tags/list?n=x".to_owned(), StatusCode::BAD_REQUEST, "UNSUPPORTED"),
    ] {
        let response = registry.client.request(method, registry.url(&path)).send().await.unwrap();
        let (code, message) = failure(response, status).await;
        assert_eq!(code, expected, "{path}");
        assert!(!message.is_empty(), "{path}");
    }
}
