use crate::harness::{Echo, Running};
use http::{Method, StatusCode};
use modelpack_server::ServerOptions;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn start() -> Running {
    Running::start(ServerOptions::default(), |server| server.with_view(Echo)).await
}

async fn probe(server: &Running, path: &str) -> (StatusCode, String) {
    let response = server.get(path).send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

#[tokio::test]
async fn a_server_is_alive_and_ready_for_every_client() {
    let server = start().await;
    for path in ["/healthz", "/readyz", "/readyz?verbose"] {
        assert_eq!(probe(&server, path).await, (StatusCode::OK, "ok\n".to_owned()), "{path}");
        let head = server.request(Method::HEAD, path).send().await.unwrap();
        assert_eq!(head.status(), StatusCode::OK);
        let post = server.request(Method::POST, path).send().await.unwrap();
        assert_eq!((post.status(), &post.headers()["allow"]), (StatusCode::METHOD_NOT_ALLOWED, &"GET, HEAD".parse().unwrap()));
    }
    assert_eq!(probe(&server, "/healthz/x").await.0, StatusCode::NOT_FOUND, "a path below belongs to the views");
}

#[tokio::test]
async fn a_server_without_its_store_is_alive_but_not_ready() {
    let server = start().await;
    let (repositories, away) = (server.directory.path().join("repositories"), server.directory.path().join("away"));
    std::fs::rename(&repositories, &away).unwrap();
    let (status, why) = probe(&server, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(why.starts_with("the store cannot be read (list): No such file or directory"), "{why}");
    assert!(!why.contains(server.directory.path().to_str().unwrap()), "{why}");
    assert_eq!(probe(&server, "/healthz").await.0, StatusCode::OK);
    std::fs::rename(&away, &repositories).unwrap();
    assert_eq!(probe(&server, "/readyz").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_server_that_shuts_down_is_not_ready() {
    let server = start().await;
    let mut early = Vec::new();
    for path in ["/readyz", "/healthz"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\n").as_bytes()).await.unwrap();
        early.push((stream, path));
    }
    // Connections are accepted in order, so the requests above have started when a later one is
    // answered.
    assert_eq!(probe(&server, "/readyz").await.0, StatusCode::OK);
    server.stop.send(()).unwrap();
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    for (mut stream, path) in early {
        stream.write_all(b"Host: localhost\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (status, words) = match path {
            "/readyz" => ("HTTP/1.1 503 Service Unavailable\r\n", "the server is shutting down\n"),
            _ => ("HTTP/1.1 200 OK\r\n", "ok\n"),
        };
        assert!(answer.starts_with(status) && answer.ends_with(words), "{path}: {answer}");
    }
    server.running.await.unwrap().unwrap();
}
