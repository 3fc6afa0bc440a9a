use crate::harness::{Registry, failure, header, json, sha512};
use modelpack_spec::{Digest, MAX_MANIFEST_BYTES, media_type};
use reqwest::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_manifest_is_returned_unchanged_with_its_media_type() {
    let registry = Registry::start().await;
    let bytes = [registry.manifest("a/b", json!({ "odd": "field" })).await, b"\n  ".to_vec()].concat();
    let digest = Digest::of(&bytes);
    for pushed_as in [media_type::IMAGE_MANIFEST, media_type::DOCKER_MANIFEST] {
        let put = registry.put("/v2/a/b/manifests/v1").header("content-type", format!("{pushed_as}; charset=utf-8"));
        let put = put.body(bytes.clone()).send().await.unwrap();
        assert_eq!(put.status(), StatusCode::CREATED);
        assert_eq!(header(&put, "location"), format!("/v2/a/b/manifests/{digest}"));
        assert_eq!(header(&put, "docker-content-digest"), digest.to_string());
        assert!(put.headers().get("oci-subject").is_none());
        for path in ["/v2/a/b/manifests/v1".to_owned(), format!("/v2/a/b/manifests/{digest}")] {
            for request in [registry.head(&path), registry.get(&path)] {
                let response = request.send().await.unwrap();
                assert_eq!(response.status(), StatusCode::OK);
                assert_eq!(header(&response, "content-type"), pushed_as);
                assert_eq!(header(&response, "content-length"), bytes.len().to_string());
                assert_eq!(header(&response, "docker-content-digest"), digest.to_string());
            }
            assert_eq!(registry.get(&path).send().await.unwrap().bytes().await.unwrap(), bytes);
        }
        registry.delete(&format!("/v2/a/b/manifests/{digest}")).send().await.unwrap();
    }
}

#[tokio::test]
async fn everything_that_a_manifest_references_must_exist_except_its_subject() {
    let registry = Registry::start().await;
    let absent = Digest::of(b"absent");
    let named = json!({ "mediaType": "application/x", "digest": absent.to_string(), "size": 6 });
    let image = registry.manifest("a/b", json!({ "layers": [named] })).await;
    let index = serde_json::to_vec(&json!({ "schemaVersion": 2, "manifests": [named] })).unwrap();
    for (bytes, media_type) in [(image, media_type::IMAGE_MANIFEST), (index, media_type::IMAGE_INDEX)] {
        let put = registry.put("/v2/a/b/manifests/v1").header("content-type", media_type).body(bytes).send().await.unwrap();
        let (code, message) = failure(put, StatusCode::BAD_REQUEST).await;
        assert_eq!(code, "MANIFEST_BLOB_UNKNOWN");
        assert!(message.contains(&absent.to_string()), "{message}");
    }
    let with_subject = registry.manifest("a/b", json!({ "subject": named })).await;
    let put = registry.put("/v2/a/b/manifests/v1").header("content-type", media_type::IMAGE_MANIFEST).body(with_subject);
    let put = put.send().await.unwrap();
    assert_eq!((put.status(), header(&put, "oci-subject")), (StatusCode::CREATED, absent.to_string().as_str()));
}

#[tokio::test]
async fn an_incomplete_manifest_is_reported_as_not_existing_to_a_pushing_client() {
    let registry = Registry::start().await;
    let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    let layer = registry.push_blob("a/b", *b"a layer").await;
    let named = |media_type, digest: &Digest| json!({ "mediaType": media_type, "digest": digest.to_string(), "size": 7 });
    let layers = json!({ "layers": [named("x/x", &layer), named(foreign, &Digest::of(b"elsewhere"))] });
    let image = registry.push_manifest("a/b", "image", layers).await.digest;
    let index = json!({ "schemaVersion": 2, "manifests": [named(media_type::IMAGE_MANIFEST, &image)] }).to_string().into_bytes();
    let put = |tag: &str, media_type: &str, bytes: &[u8]| {
        registry.put(&format!("/v2/a/b/manifests/{tag}")).header("content-type", media_type).body(bytes.to_vec()).send()
    };
    assert_eq!(put("index", media_type::IMAGE_INDEX, &index).await.unwrap().status(), StatusCode::CREATED);
    let status = async |tag: &str| registry.head(&format!("/v2/a/b/manifests/{tag}")).send().await.unwrap().status();
    let image_bytes = registry.get("/v2/a/b/manifests/image").send().await.unwrap().bytes().await.unwrap();

    for (lost, content, tag) in [(&layer, &b"a layer"[..], "image"), (&Digest::of(b"{}"), b"{}", "image"), (&image, &image_bytes, "index")]
    {
        let path = registry.store.root().join("blobs").join(lost.to_string().replace(':', "/"));
        for change in ["damaged", "removed", "unlinked"] {
            assert_eq!(status(tag).await, StatusCode::OK);
            match change {
                "damaged" => std::fs::write(&path, "other bytes").unwrap(),
                "removed" => std::fs::remove_file(&path).unwrap(),
                _ => drop(registry.delete(&format!("/v2/a/b/blobs/{lost}")).send().await.unwrap()),
            }
            assert_eq!(status(tag).await, StatusCode::NOT_FOUND, "{tag} {lost} {change}");
            assert_eq!(registry.get(&format!("/v2/a/b/manifests/{tag}")).send().await.unwrap().status(), StatusCode::OK);
            if tag == "index" {
                assert_eq!(put(&image.to_string(), media_type::IMAGE_MANIFEST, content).await.unwrap().status(), StatusCode::CREATED);
            } else {
                registry.push_blob("a/b", content).await;
            }
        }
    }
}

#[tokio::test]
async fn a_manifest_may_have_4_mib_and_not_one_byte_more() {
    let registry = Registry::start().await;
    let mut bytes = registry.manifest("a/b", json!({})).await;
    bytes.resize(MAX_MANIFEST_BYTES, b' ');
    let put =
        |body: reqwest::Body| registry.put("/v2/a/b/manifests/v1").header("content-type", media_type::IMAGE_MANIFEST).body(body).send();
    assert_eq!(put(bytes.clone().into()).await.unwrap().status(), StatusCode::CREATED);
    bytes.push(b' ');
    failure(put(bytes.clone().into()).await.unwrap(), StatusCode::PAYLOAD_TOO_LARGE).await;
    let unannounced = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes)]);
    failure(put(reqwest::Body::wrap_stream(unannounced)).await.unwrap(), StatusCode::PAYLOAD_TOO_LARGE).await;

    let mut connection = registry.connect().await;
    let lie = "PUT /v2/a/b/manifests/v1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000000000\r\n\r\n{";
    connection.write_all(lie.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    connection.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 413");
}

#[tokio::test]
async fn a_manifest_is_accepted_only_under_its_own_digest() {
    let registry = Registry::start().await;
    let bytes = registry.manifest("a/b", json!({})).await;
    for wrong in [Digest::of(b"other"), sha512(b"other")] {
        let put = registry.put(&format!("/v2/a/b/manifests/{wrong}")).body(bytes.clone()).send().await.unwrap();
        assert_eq!(failure(put, StatusCode::BAD_REQUEST).await.0, "DIGEST_INVALID");
    }
    for right in [Digest::of(&bytes), sha512(&bytes)] {
        let path = format!("/v2/a/b/manifests/{right}");
        let put = registry.put(&path).body(bytes.clone()).send().await.unwrap();
        assert_eq!((put.status(), header(&put, "docker-content-digest")), (StatusCode::CREATED, right.to_string().as_str()));
        let pulled = registry.get(&path).send().await.unwrap();
        assert_eq!(header(&pulled, "docker-content-digest"), right.to_string());
        assert_eq!(pulled.bytes().await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn a_push_by_digest_sets_the_tags_of_its_query() {
    let registry = Registry::start().await;
    let bytes = registry.manifest("a/b", json!({})).await;
    let digest = sha512(&bytes);
    let mut tags: Vec<String> = (0..12).map(|i| format!("v1.{i}")).collect();
    let query = |tags: &[String]| tags.iter().map(|tag| format!("tag={tag}")).collect::<Vec<_>>().join("&");
    let bad = format!("/v2/a/b/manifests/{digest}?{}&tag=.bad", query(&tags));
    failure(registry.put(&bad).body(bytes.clone()).send().await.unwrap(), StatusCode::BAD_REQUEST).await;
    assert_eq!(json(registry.get("/v2/a/b/tags/list").send().await.unwrap()).await["tags"], json!([]));

    let path = format!("/v2/a/b/manifests/{digest}?{}", query(&tags));
    let put = registry.put(&path).body(bytes.clone()).send().await.unwrap();
    assert_eq!(put.status(), StatusCode::CREATED);
    let answered: Vec<_> = put.headers().get_all("oci-tag").iter().map(|tag| tag.to_str().unwrap().to_owned()).collect();
    assert_eq!(answered, tags);
    tags.sort();
    assert_eq!(json(registry.get("/v2/a/b/tags/list").send().await.unwrap()).await["tags"], json!(tags));
    for tag in tags {
        let pulled = registry.head(&format!("/v2/a/b/manifests/{tag}")).send().await.unwrap();
        assert_eq!(header(&pulled, "docker-content-digest"), digest.to_string());
    }
}

#[tokio::test]
async fn deleting_a_tag_keeps_its_manifest_and_deleting_a_manifest_removes_its_tags() {
    let registry = Registry::start().await;
    let digest = registry.push_manifest("a/b", "v1", json!({})).await.digest;
    registry.push_manifest("a/b", "v2", json!({})).await;
    let by_digest = format!("/v2/a/b/manifests/{digest}");
    assert_eq!(registry.delete("/v2/a/b/manifests/v1").send().await.unwrap().status(), StatusCode::ACCEPTED);
    assert_eq!(registry.head("/v2/a/b/manifests/v1").send().await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(registry.head(&by_digest).send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(registry.delete(&by_digest).send().await.unwrap().status(), StatusCode::ACCEPTED);
    for path in ["/v2/a/b/manifests/v1", "/v2/a/b/manifests/v2", &by_digest] {
        for request in [registry.get(path), registry.delete(path)] {
            assert_eq!(failure(request.send().await.unwrap(), StatusCode::NOT_FOUND).await.0, "MANIFEST_UNKNOWN");
        }
    }
}

#[tokio::test]
async fn a_damaged_manifest_does_not_exist_until_it_is_pushed_again() {
    let registry = Registry::start().await;
    let of = registry.push_manifest("a/b", "v1", json!({})).await;
    let file = registry.store.root().join("blobs/sha256").join(of.digest.hex());
    let damaged = std::fs::read_to_string(&file).unwrap().replace("vnd.example", "VND.example");
    std::fs::write(&file, damaged).unwrap();
    let manifest = "/v2/a/b/manifests/v1";
    for (path, status) in [
        (manifest.to_owned(), StatusCode::NOT_FOUND),
        (format!("/v2/a/b/referrers/{}", Digest::of(b"x")), StatusCode::INTERNAL_SERVER_ERROR),
    ] {
        let (_, message) = failure(registry.get(&path).send().await.unwrap(), status).await;
        assert!(message.contains("damaged"), "{message}");
    }
    assert_eq!(registry.head(manifest).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    registry.push_manifest("a/b", "v1", json!({})).await;
    assert_eq!(registry.head(manifest).send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(registry.get("/v2/").send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn other_documents_are_refused_and_never_served_as_manifests() {
    let registry = Registry::start().await;
    let config = registry.push_blob("a/b", *b"{}").await;
    let descriptor = json!({ "mediaType": "application/x", "digest": config.to_string(), "size": 2 });
    let both = json!({ "schemaVersion": 2, "config": descriptor, "layers": [], "manifests": [] }).to_string();
    let image = json!({ "schemaVersion": 2, "config": descriptor, "layers": [] }).to_string();
    for (bytes, media_type) in [
        ("not json".to_owned(), media_type::IMAGE_MANIFEST),
        (String::new(), media_type::IMAGE_MANIFEST),
        (both, media_type::IMAGE_MANIFEST),
        (image.clone(), "text/plain"),
    ] {
        let put = registry.put("/v2/a/b/manifests/v1").header("content-type", media_type).body(bytes.clone()).send().await.unwrap();
        assert_eq!(failure(put, StatusCode::BAD_REQUEST).await.0, "MANIFEST_INVALID", "{bytes}");
    }
    let odd = json!({ "schemaVersion": 2, "mediaType": "a\nb", "config": descriptor, "layers": [] }).to_string();
    for content in ["{}".to_owned(), "no json".to_owned(), odd] {
        let digest = registry.push_blob("a/b", content).await;
        let pulled = registry.get(&format!("/v2/a/b/manifests/{digest}")).send().await.unwrap();
        assert_eq!(failure(pulled, StatusCode::NOT_FOUND).await.0, "MANIFEST_UNKNOWN");
    }
}
