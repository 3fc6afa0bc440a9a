use crate::harness::{ECHO, Echo, Running, Tiny};
use http::{Method, StatusCode};
use modelpack_server::{AccessLog, Server, ServerOptions};
use serde_json::Value;
use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The logged lines, in memory.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        assert!(bytes.ends_with(b"\n"), "a line is written at once");
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn start() -> (Running, Lines) {
    let lines = Lines::default();
    let options = ServerOptions::default().access_log(AccessLog::new(lines.clone()).unwrap());
    let with_views = |server: Server| {
        let repositories = server.repositories();
        server.with_view(Tiny(repositories)).with_view(Echo)
    };
    (Running::start(options, with_views).await, lines)
}

/// Shuts the server down. All lines are written after that.
async fn finish(server: Running, lines: &Lines) -> (String, Vec<Value>) {
    server.stop.send(()).unwrap();
    server.running.await.unwrap().unwrap();
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let parsed = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (text, parsed)
}

#[tokio::test]
async fn a_request_is_one_line_with_request_response_and_byte_counts() {
    let (server, lines) = start().await;
    let echo = server.request(Method::PUT, "/a?b=c").header("accept", ECHO).header("user-agent", "test/1").body(vec![b'x'; 600_000]);
    assert_eq!(echo.send().await.unwrap().bytes().await.unwrap().len(), 600_000);
    for (method, status) in [(Method::HEAD, StatusCode::NOT_FOUND), (Method::GET, StatusCode::NOT_FOUND)] {
        let response = server.request(method, "/none").send().await.unwrap();
        assert_eq!(response.status(), status);
        response.bytes().await.unwrap();
    }
    for probe in ["/healthz", "/readyz"] {
        server.get(probe).send().await.unwrap();
    }
    let (_, lines) = finish(server, &lines).await;
    let fields = ["method", "path", "status", "received", "sent", "userAgent"];
    let logged: Vec<Value> = lines.iter().map(|line| fields.iter().map(|field| line[field].clone()).collect()).collect();
    let expected = serde_json::json!([
        ["PUT", "/a", 200, 600_000, 600_000, "test/1"],
        ["HEAD", "/none", 404, 0, 0, null],
        ["GET", "/none", 404, 0, "no resource has this path\n".len(), null],
    ]);
    assert_eq!(Value::from(logged), expected);
    for line in &lines {
        assert!(line["remote"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
        assert!(line["seconds"].as_f64().unwrap() > 0.0, "{line}");
        assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
    }
}

#[tokio::test]
async fn no_line_contains_credentials() {
    let (server, lines) = start().await;
    let request = server.get("/a?token=hunter2&password=hunter2").basic_auth("user", Some("hunter2"));
    let request = request.header("cookie", "session=hunter2").header("referer", "http://hunter2/");
    request.send().await.unwrap();
    let mut proxied = TcpStream::connect(server.address).await.unwrap();
    proxied.write_all(b"GET http://user:hunter2@example.com/b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    proxied.read_to_end(&mut Vec::new()).await.unwrap();
    let (text, lines) = finish(server, &lines).await;
    let paths: Vec<_> = lines.iter().map(|line| &line["path"]).collect();
    assert_eq!(paths, ["/a", "/b"]);
    // In every encoding that a header may use.
    for secret in ["hunter2", "dXNlcjpodW50ZXIy"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn a_request_is_logged_even_if_its_client_disconnects_early() {
    let (server, lines) = start().await;
    let mut in_answer = TcpStream::connect(server.address).await.unwrap();
    let head = format!("PUT /answered HTTP/1.1\r\nHost: localhost\r\nAccept: {ECHO}\r\nContent-Length: 9\r\n\r\n");
    in_answer.write_all(format!("{head}1234").as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    in_answer.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    drop(in_answer);
    let mut before = TcpStream::connect(server.address).await.unwrap();
    before.write_all(b"GET /never HTTP/1.1\r\nHost: localhost\r\nUser-Agent: tiny/1\r\n\r\n").await.unwrap();
    drop(before);
    // Connections are accepted in order, so all earlier ones are served once a later one was
    // answered.
    server.get("/healthz").send().await.unwrap();

    let (_, mut lines) = finish(server, &lines).await;
    lines.sort_by_key(|line| line["path"].to_string());
    let logged: Vec<_> = lines.iter().map(|line| (&line["path"], &line["status"], &line["received"])).collect();
    assert_eq!(logged, [(&"/answered".into(), &200.into(), &4.into()), (&"/never".into(), &Value::Null, &0.into())]);
}
