//! The registry and another view over the same store.

use crate::harness::{Registry, failure, header};
use async_trait::async_trait;
use http::{StatusCode, header::USER_AGENT};
use modelpack_distribution::server::{Registry as RegistryView, RegistryOptions};
use modelpack_server::{Answer, Head, Pull, Repositories, Request, Response, ServerOptions, View};
use modelpack_spec::RepositoryName;
use std::sync::Arc;

/// A view for clients with the user agent `plain`: the tags of a repository, one per line, at the
/// path where the registry returns them as JSON.
struct Plain(Repositories);

#[async_trait]
impl View for Plain {
    fn claims(&self, head: &Head) -> bool {
        head.headers.get(USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"plain/"))
    }

    async fn answer(self: Arc<Self>, request: Request) -> Response {
        let path = request.head.uri.path();
        let name = path.strip_prefix("/v2/").and_then(|rest| rest.strip_suffix("/tags/list"));
        let Some(Ok(name)) = name.map(RepositoryName::without_host) else {
            return Answer::new(StatusCode::NOT_FOUND).text("no such page\n");
        };
        match self.0.permit::<Pull>(&request.who, &name) {
            Ok(repository) => {
                let tags = repository.tags().await.unwrap();
                Answer::new(StatusCode::OK).text(tags.iter().map(|(tag, _)| format!("{tag}\n")).collect::<String>())
            }
            Err(denied) => Answer::new(StatusCode::FORBIDDEN).text(format!("{denied}\n")),
        }
    }

    fn answer_to_panic(&self) -> Response {
        Answer::new(StatusCode::INTERNAL_SERVER_ERROR).text("failed\n")
    }
}

#[tokio::test]
async fn a_view_gets_the_requests_of_its_clients_and_the_registry_all_others() {
    let directory = tempfile::tempdir().unwrap();
    let (store, server) = Registry::bind_in(directory.path(), ServerOptions::default()).await;
    let plain = Plain(server.repositories());
    let registry = RegistryView::new(server.repositories(), RegistryOptions::default());
    let registry = Registry::run(store, server.with_view(plain).with_view(registry));
    for tag in ["v1", "v2"] {
        registry.push_manifest("a/b", tag, serde_json::json!({})).await;
    }

    let plain = |path| registry.get(path).header("user-agent", "plain/1").send();
    let tags = plain("/v2/a/b/tags/list").await.unwrap();
    assert!(tags.headers().get("docker-distribution-api-version").is_none());
    assert_eq!(tags.text().await.unwrap(), "v1\nv2\n");
    assert_eq!(plain("/v2/").await.unwrap().text().await.unwrap(), "no such page\n");

    let tags = registry.get("/v2/a/b/tags/list").send().await.unwrap();
    assert_eq!(header(&tags, "docker-distribution-api-version"), "registry/2.0");
    assert_eq!(tags.text().await.unwrap(), r#"{"name":"a/b","tags":["v1","v2"]}"#);
    let nothing = registry.get("/other").send().await.unwrap();
    assert_eq!(failure(nothing, StatusCode::NOT_FOUND).await.0, "UNSUPPORTED", "a registry client gets the registry's errors");
}
