use crate::harness::{Registry, failure, header, json};
use modelpack_spec::{Descriptor, Digest, ImageIndex, media_type};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

/// The path in a `Link` header, which must have `rel="next"`.
fn next(response: &Response) -> Option<String> {
    let link = response.headers().get("link")?.to_str().unwrap();
    let path = link.strip_prefix('<').and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
    Some(path.unwrap_or_else(|| panic!("{link}")).to_owned())
}

/// All entries of `field`, page by page.
async fn pages(registry: &Registry, first: &str, field: &str) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    let mut path = Some(first.to_owned());
    while let Some(at) = path {
        let response = registry.get(&at).send().await.unwrap();
        path = next(&response);
        pages.push(json(response).await[field].as_array().unwrap().clone());
    }
    pages
}

#[tokio::test]
async fn tags_are_listed_sorted_and_in_pages() {
    let registry = Registry::start().await;
    for tag in ["v10", "v2", "V1", "a", "_x"] {
        registry.push_manifest("a/b", tag, json!({})).await;
    }
    let list = "/v2/a/b/tags/list";
    let whole = json(registry.get(list).send().await.unwrap()).await;
    assert_eq!(whole, json!({ "name": "a/b", "tags": ["V1", "_x", "a", "v10", "v2"] }));
    let by_two = pages(&registry, &format!("{list}?n=2"), "tags").await;
    assert_eq!(json!(by_two), json!([["V1", "_x"], ["a", "v10"], ["v2"]]));
    assert_eq!(json!(pages(&registry, &format!("{list}?n=5"), "tags").await), json!([["V1", "_x", "a", "v10", "v2"]]));
    assert_eq!(json!(pages(&registry, &format!("{list}?last=a"), "tags").await), json!([["v10", "v2"]]));
    assert_eq!(json!(pages(&registry, &format!("{list}?last=b&n=1"), "tags").await), json!([["v10"], ["v2"]]));
    assert_eq!(json!(pages(&registry, &format!("{list}?n=0"), "tags").await), json!([[]]));
}

#[tokio::test]
async fn repositories_are_listed_sorted_and_in_pages() {
    let registry = Registry::start().await;
    assert_eq!(json!(pages(&registry, "/v2/_catalog", "repositories").await), json!([[]]));
    for name in ["b", "a/c", "a", "a.example/x", "localhost/y"] {
        registry.push_manifest(name, "v1", json!({})).await;
    }
    let whole = json(registry.get("/v2/_catalog").send().await.unwrap()).await;
    assert_eq!(whole, json!({ "repositories": ["a", "a.example/x", "a/c", "b", "localhost/y"] }));
    let by_two = pages(&registry, "/v2/_catalog?n=2", "repositories").await;
    assert_eq!(json!(by_two), json!([["a", "a.example/x"], ["a/c", "b"], ["localhost/y"]]));
    assert_eq!(json!(pages(&registry, "/v2/_catalog?n=0", "repositories").await), json!([[]]));
}

fn subject(of: &Descriptor) -> Value {
    json!({ "mediaType": of.media_type, "digest": of.digest.to_string(), "size": of.size })
}

fn digests(index: &Value) -> Vec<&str> {
    index["manifests"].as_array().unwrap().iter().map(|d| d["digest"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn referrers_can_be_filtered_by_type() {
    let registry = Registry::start().await;
    let of = registry.push_manifest("a/b", "v1", json!({})).await;
    let fields = json!({ "subject": subject(&of), "artifactType": "application/x+json", "annotations": { "k": "v" } });
    let typed = registry.push_manifest("a/b", "typed", fields).await;
    let untyped = registry.push_manifest("a/b", "untyped", json!({ "subject": subject(&of) })).await;

    let path = format!("/v2/a/b/referrers/{}", of.digest);
    let response = registry.get(&path).send().await.unwrap();
    assert_eq!(header(&response, "content-type"), media_type::IMAGE_INDEX);
    assert!(response.headers().get("oci-filters-applied").is_none());
    let index = json(response).await;
    assert_eq!(index["mediaType"], media_type::IMAGE_INDEX);
    let mut expected = [typed.digest.to_string(), untyped.digest.to_string()];
    expected.sort();
    assert_eq!(digests(&index), expected);
    for encoded in ["application/x+json", "application/x%2Bjson", "application%2Fx%2Bjson"] {
        let response = registry.get(&format!("{path}?artifactType={encoded}")).send().await.unwrap();
        assert_eq!(header(&response, "oci-filters-applied"), "artifactType");
        let index = json(response).await;
        assert_eq!(digests(&index), [typed.digest.to_string()]);
        assert_eq!(index["manifests"][0]["artifactType"], "application/x+json");
        assert_eq!(index["manifests"][0]["annotations"]["k"], "v");
        assert_eq!(index["manifests"][0]["size"], typed.size);
    }
    let response = registry.get(&format!("{path}?artifactType=application/vnd.example.config")).send().await.unwrap();
    assert_eq!(digests(&json(response).await), [untyped.digest.to_string()]);
    assert_eq!(pages(&registry, &format!("{path}?n=1"), "manifests").await.len(), 2);
}

#[tokio::test]
async fn a_subject_without_referrers_has_an_empty_index_and_a_bad_digest_is_refused() {
    let registry = Registry::start().await;
    let absent = Digest::of(b"absent");
    for name in ["a/b", "never/pushed"] {
        let response = registry.get(&format!("/v2/{name}/referrers/{absent}")).send().await.unwrap();
        assert_eq!(json(response).await["manifests"], json!([]));
        registry.push_blob("a/b", *b"x").await;
    }
    for bad in ["sha256:12", "latest", "sha256:..", ""] {
        let refused = registry.get(&format!("/v2/a/b/referrers/{bad}")).send().await.unwrap();
        assert_eq!(failure(refused, StatusCode::BAD_REQUEST).await.0, "DIGEST_INVALID", "{bad}");
    }
}

#[tokio::test]
async fn entries_of_the_fallback_tag_are_referrers_while_their_manifests_exist() {
    let registry = Registry::start().await;
    let of = registry.push_manifest("a/b", "v1", json!({})).await;
    let direct = registry.push_manifest("a/b", "direct", json!({ "subject": subject(&of) })).await;
    let listed = registry.push_manifest("a/b", "listed", json!({ "artifactType": "application/listed" })).await;
    let blob = Descriptor::new("text/plain", registry.push_blob("a/b", *b"no manifest").await, 11);
    let index = serde_json::to_vec(&ImageIndex::new(vec![direct.clone(), listed.clone(), blob])).unwrap();
    let tag = format!("sha256-{}", of.digest.hex());
    let put = registry.put(&format!("/v2/a/b/manifests/{tag}")).header("content-type", media_type::IMAGE_INDEX).body(index);
    assert_eq!(put.send().await.unwrap().status(), StatusCode::CREATED);

    let path = format!("/v2/a/b/referrers/{}", of.digest);
    let mut expected = [direct.digest.to_string(), listed.digest.to_string()];
    expected.sort();
    assert_eq!(digests(&json(registry.get(&path).send().await.unwrap()).await), expected);
    let filtered = json(registry.get(&format!("{path}?artifactType=application/listed")).send().await.unwrap()).await;
    assert_eq!(digests(&filtered), [listed.digest.to_string()]);
    registry.delete(&format!("/v2/a/b/manifests/{}", listed.digest)).send().await.unwrap();
    assert_eq!(digests(&json(registry.get(&path).send().await.unwrap()).await), [direct.digest.to_string()]);
}

#[tokio::test]
async fn a_referrers_list_larger_than_a_manifest_is_paginated() {
    let registry = Registry::start().await;
    let of = registry.push_manifest("a/b", "v1", json!({})).await;
    for i in 0..5 {
        let annotations = json!({ "number": i.to_string(), "large": "x".repeat(1 << 20) });
        registry.push_manifest("a/b", &format!("r{i}"), json!({ "subject": subject(&of), "annotations": annotations })).await;
    }
    let pages = pages(&registry, &format!("/v2/a/b/referrers/{}", of.digest), "manifests").await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [3, 2]);
}
