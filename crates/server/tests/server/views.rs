use crate::harness::{ECHO, Echo, Running, Tiny};
use http::{Method, StatusCode};
use modelpack_server::ServerOptions;
use reqwest::Response;

async fn start() -> Running {
    Running::start(ServerOptions::default(), |server| {
        let repositories = server.repositories();
        server.with_view(Tiny(repositories)).with_view(Echo)
    })
    .await
}

async fn text(response: Response) -> (StatusCode, String) {
    (response.status(), response.text().await.unwrap())
}

#[tokio::test]
async fn the_same_path_belongs_to_the_first_view_that_claims_the_head() {
    let server = start().await;
    let request = || server.request(Method::POST, "/names").body("sent");
    let not_found = (StatusCode::NOT_FOUND, "tiny: nothing at /names\n".to_owned());
    assert_eq!(text(request().header("accept", ECHO).send().await.unwrap()).await, (StatusCode::OK, "sent".to_owned()));
    assert_eq!(text(request().header("user-agent", "tiny/1").send().await.unwrap()).await, not_found);
    let both = request().header("user-agent", "tiny/1").header("accept", ECHO);
    assert_eq!(text(both.send().await.unwrap()).await, not_found, "the views are asked in their order");
}

#[tokio::test]
async fn unclaimed_requests_get_a_plain_404() {
    let server = start().await;
    for path in ["/", "/v2/", "/names"] {
        let response = server.get(path).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
        assert_eq!(text(response).await, (StatusCode::NOT_FOUND, "no resource has this path\n".to_owned()));
    }
}

#[tokio::test]
async fn a_panic_becomes_one_error_response_of_its_view() {
    let server = start().await;
    let tiny = |path| server.get(path).header("user-agent", "tiny/1").send();
    let failed = (StatusCode::INTERNAL_SERVER_ERROR, "tiny: failed\n".to_owned());
    assert_eq!(text(tiny("/panic").await.unwrap()).await, failed);
    assert_eq!(text(tiny("/names").await.unwrap()).await, (StatusCode::OK, String::new()));
}
