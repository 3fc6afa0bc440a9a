//! What a user is told, and what is tried again first.

use crate::server::{AsRegistry, Server, answer, cut, pieces};
use modelpack_distribution::client::{Client, ClientOptions};
use modelpack_spec::{Selector, Tag};
use modelpack_transfer::{Error, Result, Source};
use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

const MANIFEST: &str =
    r#"{"schemaVersion":2,"config":{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}}"#;

async fn latest(server: &Server) -> Result<()> {
    server.repository().manifest(&Selector::Tag(Tag::latest())).await.map(drop)
}

/// What is said when the server always answers so, and how often it was asked.
async fn said(status: u16, headers: &'static [(&str, &str)], body: &'static str) -> (Error, usize) {
    let server = Server::start(move |_, _| answer(status, headers, body)).await;
    let error = latest(&server).await.unwrap_err();
    (error, server.asked().len())
}

#[tokio::test]
async fn a_registry_that_asks_for_patience_gets_it() {
    for status in [429, 503] {
        let tries = AtomicUsize::new(0);
        let server = Server::start(move |_, _| match tries.fetch_add(1, SeqCst) {
            0 | 1 => answer(status, &[("retry-after", "0")], ""),
            _ => answer(200, &[], MANIFEST),
        })
        .await;
        latest(&server).await.unwrap();
        assert_eq!(server.asked().len(), 3);
    }
}

#[tokio::test]
async fn a_registry_may_say_by_a_date_when_it_has_time_again() {
    let by_its_own_clock: &[_] = &[("date", "Wed, 21 Oct 2026 07:28:00 GMT"), ("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")];
    for headers in [by_its_own_clock, &[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")]] {
        let tries = AtomicUsize::new(0);
        let server = Server::start(move |_, _| match tries.fetch_add(1, SeqCst) {
            0..=2 => answer(429, headers, ""),
            _ => answer(200, &[], MANIFEST),
        })
        .await;
        latest(&server).await.unwrap();
        assert_eq!(server.asked().len(), 4);
    }
}

#[tokio::test]
async fn patience_ends_with_what_the_registry_said() {
    let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"come back tomorrow"}]}"#;
    let (error, asked) = said(429, &[("retry-after", "0")], body).await;
    assert!(matches!(&error, Error::Protocol { status: 429, why, .. } if why == "TOOMANYREQUESTS: come back tomorrow"), "{error}");
    assert_eq!(asked, 5);
}

#[tokio::test]
async fn a_registry_that_asks_for_more_patience_than_there_is_is_not_asked_again() {
    for status in [429, 503] {
        let (error, asked) = said(status, &[("retry-after", "3600")], "not now").await;
        assert!(matches!(&error, Error::Protocol { why, .. } if why == "not now; the server asks to wait 3600 s"), "{error}");
        assert_eq!(asked, 1);
    }
    let by_date = &[("date", "Wed, 21 Oct 2026 07:28:00 GMT"), ("retry-after", "Wed, 21 Oct 2026 08:28:00 GMT")];
    let (error, _) = said(429, by_date, "").await;
    assert!(error.to_string().ends_with("Too Many Requests; the server asks to wait 3600 s"), "{error}");
    let (error, _) = said(403, &[("retry-after", "60")], "slower").await;
    assert!(matches!(&error, Error::Denied { why, .. } if why == "slower; the server asks to wait 60 s"), "{error}");
}

#[tokio::test]
async fn a_connection_that_is_cut_before_the_answer_is_tried_again() {
    let tries = AtomicUsize::new(0);
    let server = Server::start(move |_, _| match tries.fetch_add(1, SeqCst) {
        0 => None,
        1 => pieces(200, &[("content-length", "500")], vec![cut()]),
        _ => answer(200, &[], MANIFEST),
    })
    .await;
    latest(&server).await.unwrap();
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn what_cannot_pass_is_not_tried_again_and_is_told() {
    let (error, asked) = said(404, &[], r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#).await;
    assert!(error.to_string().ends_with("/a/b:latest was not found"), "{error}");
    assert_eq!(asked, 1);
    let (error, asked) = said(403, &[], r#"{"errors":[{"code":"DENIED","message":"not yours"}]}"#).await;
    assert!(
        matches!(&error, Error::Denied { what, why } if what.starts_with("reading 127.0.0.1:") && why == "DENIED: not yours"),
        "{error}"
    );
    assert_eq!(asked, 1);
    let (error, _) = said(400, &[("content-type", "text/html")], "<html>a page\x1b[31m</html>").await;
    assert!(matches!(&error, Error::Protocol { status: 400, why, .. } if why == "Bad Request"), "{error}");
    let (error, _) = said(400, &[], "use the \x1b[31mother door\nplease").await;
    assert!(matches!(&error, Error::Protocol { why, .. } if why == "use the  [31mother door"), "{error}");
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_told_in_plain_words() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = Client::new(ClientOptions::default()).unwrap();
    let error = client.ping(&address.to_string(), None).await.unwrap_err();
    let expected = format!("http://{address}/v2/: the connection was refused: no server listens there");
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn tls_that_meets_plain_http_is_told_in_plain_words() {
    let server = Server::start(|_, _| answer(200, &[], "{}")).await;
    let redirect = format!("https://localhost:{}/", server.address.port());
    let first = Server::start(move |_, _| answer(307, &[("location", &redirect)], "")).await;
    let error = latest(&first).await.unwrap_err();
    assert!(matches!(&error, Error::Network { why, .. } if why.contains("plain http")), "{error}");
    assert_eq!(first.asked().len(), 1, "it is not tried again");
}

/// What is said of a server that answers every connection with these bytes.
async fn said_of_bytes(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(bytes).await.unwrap();
        }
    });
    let client = Client::new(ClientOptions::default()).unwrap();
    let repository = client.repository(&format!("{address}/a/b").parse().unwrap()).unwrap();
    let error = repository.manifest(&Selector::Tag(Tag::latest())).await.unwrap_err();
    server.abort();
    error.to_string()
}

/// A server that closes every connection, after it has read from it or at once.
async fn closing(reads: bool) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            if reads {
                let _ = stream.read(&mut [0; 4096]).await;
            }
        }
    });
    (address, task)
}

#[tokio::test]
async fn a_server_that_never_answers_may_expect_another_protocol() {
    let told = [true, false].map(async |reads| {
        let (address, task) = closing(reads).await;
        let redirect = format!("https://localhost:{}/", address.port());
        let server = Server::start(move |_, _| answer(307, &[("location", &redirect)], "")).await;
        let (client, host) = (Client::new(ClientOptions::default()).unwrap(), address.to_string());
        let (plain, tls) = tokio::join!(client.ping(&host, None), latest(&server));
        task.abort();
        (plain.unwrap_err().to_string(), tls.unwrap_err().to_string())
    });
    for (plain, tls) in futures_util::future::join_all(told).await {
        assert!(plain.ends_with("the server closed the connection instead of answering; the server there may speak TLS"), "{plain}");
        let expected = "the server closed the connection during the TLS handshake; the server there may speak plain http";
        assert!(tls.ends_with(expected), "{tls}");
    }
    // One that has answered speaks it.
    let tries = AtomicUsize::new(0);
    let server = Server::start(move |_, _| if tries.fetch_add(1, SeqCst) == 0 { answer(503, &[], "") } else { None }).await;
    let error = latest(&server).await.unwrap_err().to_string();
    assert!(error.ends_with("the server closed the connection instead of answering"), "{error}");
}

#[tokio::test]
async fn servers_that_say_in_plain_http_that_they_expect_tls_are_understood() {
    for body in [
        "Client sent an HTTP request to an HTTPS server.\n",
        "<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n</html>",
        "<html><title>400 Bad Request</title>Reason: You're speaking plain HTTP to an SSL-enabled server port.</html>",
    ] {
        let server = Server::start(move |_, _| answer(400, &[], body)).await;
        let client = Client::new(ClientOptions::default().plain_http(true)).unwrap();
        let error = client.ping(&server.address.to_string(), None).await.unwrap_err();
        assert!(error.to_string().ends_with("; the server there may speak TLS"), "{error}");
        assert_eq!(server.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_body_or_answer_that_is_malformed_is_no_failure_of_tls() {
    let chunk = said_of_bytes(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nno number\r\n").await;
    assert!(chunk.contains("the body of the answer is malformed: ") && !chunk.contains("TLS"), "{chunk}");
    let head = said_of_bytes(b"\x15\x03\x01\x00\x02\x02\x46").await;
    assert!(head.contains("the answer is not HTTP: ") && head.contains("may speak TLS"), "{head}");
}

#[tokio::test]
async fn a_long_answer_is_told_in_short() {
    let long: &'static str = "x".repeat(100_000).leak();
    for body in [long, format!(r#"{{"errors":[{{"code":"DENIED","message":"{}"}}]}}"#, &long[..15_000]).leak()] {
        let (error, _) = said(400, &[], body).await;
        let told = error.to_string();
        assert!(told.len() < 700 && told.ends_with(" more characters)"), "{told}");
    }
    let server = Server::start(move |asked, _| answer(302, &[("location", &format!("{}/{}", asked.target, &long[..5000]))], "")).await;
    let told = latest(&server).await.unwrap_err().to_string();
    assert!(told.len() < 2000, "{told}");
}

#[tokio::test]
async fn a_proxy_that_is_no_url_is_an_error() {
    let mut options = ClientOptions::default();
    options.proxies.https = Some("http://[".into());
    assert!(matches!(Client::new(options), Err(Error::Setting { setting, .. }) if setting == "the proxy"));
}

#[tokio::test]
async fn a_proxy_is_asked_for_other_hosts_and_never_for_the_loopback() {
    let proxy = Server::start(|_, _| answer(200, &[], "{}")).await;
    let server = Server::start(|_, _| answer(200, &[], "{}")).await;
    let mut options = ClientOptions::default().plain_http(true);
    options.proxies.http = Some(format!("http://{}", proxy.address).into());
    options.proxies.no_proxy = Some("other.example.com".into());
    let client = Client::new(options).unwrap();
    client.ping("registry.example.com", None).await.unwrap();
    client.ping(&server.address.to_string(), None).await.unwrap();
    assert_eq!(proxy.asked()[0].target, "http://registry.example.com/v2/");
    assert_eq!((proxy.asked().len(), server.asked().len()), (1, 1));
}
