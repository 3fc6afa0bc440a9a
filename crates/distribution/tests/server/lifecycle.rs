use crate::harness::{Registry, begin_request, noise};
use futures_util::StreamExt;
use modelpack_server::{Server, ServerOptions};
use modelpack_transfer::Error;
use reqwest::StatusCode;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

#[tokio::test]
async fn a_registry_answers_the_version_check() {
    let registry = Registry::start().await;
    for path in ["/v2/", "/v2"] {
        let response = registry.get(path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["docker-distribution-api-version"], "registry/2.0");
    }
}

#[tokio::test]
async fn shutting_down_lets_a_running_download_finish() {
    let registry = Registry::start().await;
    let content = noise(24 << 20);
    let digest = registry.push_blob("a/b", content.clone()).await;
    let response = registry.get(&format!("/v2/a/b/blobs/{digest}")).send().await.unwrap();
    let mut stream = response.bytes_stream();
    let mut received = stream.next().await.unwrap().unwrap().to_vec();
    registry.stop.send(()).unwrap();
    while let Some(bytes) = stream.next().await {
        received.extend_from_slice(&bytes.unwrap());
    }
    assert!(received == content);
    registry.running.await.unwrap().unwrap();
    assert!(registry.client.get(format!("http://{}/v2/", registry.address)).send().await.is_err());
}

#[tokio::test]
async fn shutting_down_does_not_wait_for_idle_clients() {
    // The idle timeout is longer than the test's timeout, so only the shutdown can end these
    // requests.
    const PATIENCE: Duration = Duration::from_secs(60);
    let registry = Registry::start_with(ServerOptions::default().body_idle(10 * PATIENCE)).await;
    let upload = registry.begin("a/b").await;
    let large = registry.push_blob("a/b", noise(16 << 20)).await;
    let mut sends = registry.connect().await;
    begin_request(&mut sends, "PATCH", &upload, 1000).await;
    let mut reads = registry.connect().await;
    reads.write_all(format!("GET /v2/a/b/blobs/{large} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    reads.read_exact(&mut [0; 15]).await.unwrap();
    let mut begins = registry.connect().await;
    begins.write_all(b"GET /v2/ HTTP/1.1\r\n").await.unwrap();
    registry.stop.send(()).unwrap();
    timeout(PATIENCE, registry.running).await.expect("it ends").unwrap().unwrap();
    let mut answer = String::new();
    sends.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn pushed_content_exists_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Registry::start_in(directory.path(), ServerOptions::default()).await;
    let digest = registry.push_blob("a/b", *b"kept").await;
    registry.stop.send(()).unwrap();
    registry.running.await.unwrap().unwrap();
    let registry = Registry::start_in(directory.path(), ServerOptions::default()).await;
    let pulled = registry.get(&format!("/v2/a/b/blobs/{digest}")).send().await.unwrap();
    assert_eq!(pulled.bytes().await.unwrap(), "kept");
}

#[tokio::test]
async fn an_address_in_use_is_named_in_the_error() {
    let registry = Registry::start().await;
    let again = Server::bind(registry.store.clone(), registry.address, ServerOptions::default()).await;
    let Err(error @ Error::Network { .. }) = again else { panic!("two servers listen at one address") };
    assert!(error.to_string().contains(&registry.address.to_string()), "{error}");
}
