//! A registry with a policy that denies access.

use crate::harness::{Registry, failure, header, json, name, noise};
use modelpack_server::{Access, Action, Identity, ServerOptions};
use modelpack_spec::{Descriptor, Digest, RepositoryName, media_type};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;

/// A policy in which the first component of the repository's name determines the allowed actions.
#[derive(Debug)]
struct ByName;

impl Access for ByName {
    fn may(&self, _: &Identity, action: Action, repository: &RepositoryName) -> bool {
        match repository.as_str().split('/').next() {
            Some("secret") => false,
            Some("read") => action == Action::Pull,
            Some("write") => action == Action::Push,
            Some("clean") => action == Action::Delete,
            _ => true,
        }
    }
}

/// The registry in `directory`, restarted with the policy.
async fn restricted(directory: &Path) -> Registry {
    Registry::start_in(directory, ServerOptions::default().access(ByName)).await
}

/// The content of a repository that was pushed before the policy applied.
struct Pushed {
    manifest: Descriptor,
    layer: Digest,
}

async fn push(registry: &Registry, repository: &str) -> Pushed {
    let layer = registry.push_blob(repository, format!("the layer of {repository}")).await;
    let manifest = registry.push_manifest(repository, "v1", layers(&layer, repository)).await;
    Pushed { manifest, layer }
}

fn layers(layer: &Digest, repository: &str) -> Value {
    let size = format!("the layer of {repository}").len();
    json!({ "layers": [{ "mediaType": "application/x", "digest": layer.to_string(), "size": size }] })
}

/// All requests that concern a repository, each with the permission that it needs.
fn requests(registry: &Registry, repository: &str, pushed: &Pushed) -> Vec<(Action, &'static str, RequestBuilder)> {
    let (manifest, layer) = (&pushed.manifest.digest, &pushed.layer);
    let request = |method: Method, path: String| registry.client.request(method, registry.url(&format!("/v2/{repository}/{path}")));
    let put = |at: &str| request(Method::PUT, format!("manifests/{at}")).header("content-type", media_type::IMAGE_MANIFEST);
    vec![
        (Action::Pull, "GET blob", request(Method::GET, format!("blobs/{layer}"))),
        (Action::Pull, "HEAD blob", request(Method::HEAD, format!("blobs/{layer}"))),
        (Action::Pull, "GET range", request(Method::GET, format!("blobs/{layer}")).header("range", "bytes=0-0")),
        (Action::Pull, "GET tag", request(Method::GET, "manifests/v1".to_owned())),
        (Action::Pull, "HEAD tag", request(Method::HEAD, "manifests/v1".to_owned())),
        (Action::Pull, "GET manifest", request(Method::GET, format!("manifests/{manifest}"))),
        (Action::Pull, "HEAD manifest", request(Method::HEAD, format!("manifests/{manifest}"))),
        (Action::Pull, "GET tags", request(Method::GET, "tags/list".to_owned())),
        (Action::Pull, "GET tags page", request(Method::GET, "tags/list?n=x".to_owned())),
        (Action::Pull, "GET referrers", request(Method::GET, format!("referrers/{manifest}"))),
        (Action::Push, "PUT tag", put("v2").body("{}")),
        (Action::Push, "PUT manifest", put(&manifest.to_string()).body("{}")),
        (Action::Push, "POST upload", request(Method::POST, "blobs/uploads/".to_owned())),
        (Action::Push, "POST blob", request(Method::POST, format!("blobs/uploads/?digest={layer}")).body(noise(1 << 20))),
        (Action::Push, "POST mount", request(Method::POST, format!("blobs/uploads/?mount={layer}"))),
        (Action::Push, "GET upload", request(Method::GET, "blobs/uploads/some".to_owned())),
        (Action::Push, "PATCH upload", request(Method::PATCH, "blobs/uploads/some".to_owned()).body("x")),
        (Action::Push, "PUT upload", request(Method::PUT, format!("blobs/uploads/some?digest={layer}"))),
        (Action::Push, "DELETE upload", request(Method::DELETE, "blobs/uploads/some".to_owned())),
        (Action::Delete, "DELETE tag", request(Method::DELETE, "manifests/v1".to_owned())),
        (Action::Delete, "DELETE blob", request(Method::DELETE, format!("blobs/{layer}"))),
        (Action::Delete, "DELETE manifest", request(Method::DELETE, format!("manifests/{manifest}"))),
    ]
}

/// Status, headers and body, without the time and the name of the repository.
async fn answer(request: RequestBuilder, repository: &str) -> (StatusCode, Vec<(String, String)>, String) {
    let response = request.send().await.unwrap();
    let headers = response.headers().iter().filter(|(name, _)| *name != "date");
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let status = response.status();
    (status, headers, response.text().await.unwrap().replace(repository, "REPOSITORY"))
}

#[tokio::test]
async fn denied_requests_get_the_same_answer_for_any_content_and_change_nothing() {
    let directory = TempDir::new().unwrap();
    let pushed = push(&Registry::start_in(directory.path(), ServerOptions::default()).await, "secret/full").await;
    let registry = restricted(directory.path()).await;
    let there = requests(&registry, "secret/full", &pushed);
    let absent = requests(&registry, "secret/none", &pushed);
    for ((action, what, there), (_, _, absent)) in there.into_iter().zip(absent) {
        let there = answer(there, "secret/full").await;
        assert_eq!(there, answer(absent, "secret/none").await, "{what}");
        assert_eq!(there.0, StatusCode::FORBIDDEN, "{what}");
        if !what.starts_with("HEAD") {
            let body: Value = serde_json::from_str(&there.2).unwrap();
            let message = format!("you do not have permission to {action} in the repository REPOSITORY");
            assert_eq!(body, json!({ "errors": [{ "code": "DENIED", "message": message }] }), "{what}");
        }
    }
    let full = registry.store.repository(&name("secret/full"));
    let tags: Vec<_> = full.tags().await.unwrap().into_iter().map(|(tag, at)| (tag.to_string(), at.digest)).collect();
    assert_eq!(tags, [("v1".to_owned(), pushed.manifest.digest)]);
    assert!(full.blob_size(&pushed.layer).await.unwrap().is_some());
    assert!(!registry.store.repository(&name("secret/none")).layout().path().exists());
    assert_eq!(std::fs::read_dir(registry.store.root().join("ingest")).unwrap().count(), 0);
}

#[tokio::test]
async fn no_permission_implies_another_one() {
    let directory = TempDir::new().unwrap();
    let everybody = Registry::start_in(directory.path(), ServerOptions::default()).await;
    for (repository, permission) in [("read/x", Action::Pull), ("write/x", Action::Push), ("clean/x", Action::Delete)] {
        let pushed = push(&everybody, repository).await;
        let registry = restricted(directory.path()).await;
        for (action, what, request) in requests(&registry, repository, &pushed) {
            let status = request.send().await.unwrap().status();
            assert_eq!(status != StatusCode::FORBIDDEN, action == permission, "{what} of {repository}: {status}");
        }
    }
    assert_eq!(everybody.get("/v2/").send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn the_catalogue_lists_only_repositories_that_the_client_may_pull() {
    let directory = TempDir::new().unwrap();
    let everybody = Registry::start_in(directory.path(), ServerOptions::default()).await;
    for repository in ["a", "read/x", "secret/x", "write/x", "z"] {
        everybody.push_blob(repository, *b"x").await;
    }
    let registry = restricted(directory.path()).await;
    let listed = json(registry.get("/v2/_catalog").send().await.unwrap()).await;
    assert_eq!(listed, json!({ "repositories": ["a", "read/x", "z"] }));
    let page = registry.get("/v2/_catalog?n=2").send().await.unwrap();
    assert_eq!(header(&page, "link"), "</v2/_catalog?n=2&last=read/x>; rel=\"next\"");
    let last = registry.get("/v2/_catalog?n=1&last=read/x").send().await.unwrap();
    assert!(last.headers().get("link").is_none());
    assert_eq!(json(last).await, json!({ "repositories": ["z"] }));
}

/// Requests a mount into the repository `open`, and returns whether it was done. Otherwise the
/// upload that was begun instead is finished.
async fn mounts(registry: &Registry, query: &str, content: &[u8]) -> bool {
    let begun = registry.post(&format!("/v2/open/blobs/uploads/?{query}")).send().await.unwrap();
    let blob = format!("/v2/open/blobs/{}", Digest::of(content));
    let is_there = registry.head(&blob).send().await.unwrap().status() == StatusCode::OK;
    assert_eq!(begun.status(), if is_there { StatusCode::CREATED } else { StatusCode::ACCEPTED }, "{query}");
    if !is_there {
        let finish = format!("{}?digest={}", header(&begun, "location"), Digest::of(content));
        assert_eq!(registry.put(&finish).body(content.to_vec()).send().await.unwrap().status(), StatusCode::CREATED, "{query}");
    }
    assert_eq!(registry.delete(&blob).send().await.unwrap().status(), StatusCode::ACCEPTED);
    is_there
}

#[tokio::test]
async fn a_mount_needs_pull_permission_for_its_source() {
    let directory = TempDir::new().unwrap();
    let everybody = Registry::start_in(directory.path(), ServerOptions::default()).await;
    let (hidden, known) = (*b"in a secret repository", *b"in two repositories");
    for repository in ["secret/x", "write/x"] {
        everybody.push_blob(repository, hidden).await;
        everybody.push_blob(repository, known).await;
    }
    everybody.push_blob("read/x", known).await;

    let registry = restricted(directory.path()).await;
    for (content, from, expected) in [
        (&hidden[..], "", false),
        (&hidden[..], "&from=secret/x", false),
        (&hidden[..], "&from=write/x", false),
        (&hidden[..], "&from=read/x", false),
        (&known[..], "&from=secret/x", false),
        (&known[..], "&from=read/x", true),
        (&known[..], "", true),
        (&b"nowhere"[..], "", false),
    ] {
        let query = format!("mount={}{from}", Digest::of(content));
        assert_eq!(mounts(&registry, &query, content).await, expected, "{query}");
    }
    let refused = registry.post(&format!("/v2/read/x/blobs/uploads/?mount={}&from=read/x", Digest::of(&known))).send().await.unwrap();
    assert_eq!(failure(refused, StatusCode::FORBIDDEN).await.0, "DENIED");
}

#[tokio::test]
async fn a_manifest_uses_no_blob_from_a_repository_without_pull_permission() {
    let directory = TempDir::new().unwrap();
    let pushed = push(&Registry::start_in(directory.path(), ServerOptions::default()).await, "secret/x").await;
    let registry = restricted(directory.path()).await;
    let manifest = registry.manifest("open", layers(&pushed.layer, "secret/x")).await;
    let put = registry.put("/v2/open/manifests/v1").header("content-type", media_type::IMAGE_MANIFEST).body(manifest);
    assert_eq!(failure(put.send().await.unwrap(), StatusCode::BAD_REQUEST).await.0, "MANIFEST_BLOB_UNKNOWN");
    for digest in [&pushed.layer, &pushed.manifest.digest] {
        let blob = registry.head(&format!("/v2/open/blobs/{digest}")).send().await.unwrap();
        assert_eq!(blob.status(), StatusCode::NOT_FOUND);
    }
}
