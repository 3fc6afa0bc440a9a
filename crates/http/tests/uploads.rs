//! A file that is sent: what arrives, and what happens if the file, the connection or the server does not go along.

mod open;

use http::Method;
use modelpack_http::{ClientOptions, HttpClient, Origin, Payload, Proxies, Request, RetryOptions, UploadBody, Url};
use modelpack_testkit::{
    server::{Server, answer},
    tls::Clients,
};
use modelpack_transfer::{Body, Error, FileRange, Progress, Result};
use open::Open;
use std::{fs::File, sync::Arc};
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// More than what is on its way: the buffers of both ends of a connection.
const LARGE: usize = 24 << 20;

fn content(len: usize) -> Vec<u8> {
    let mut content = (0..251).collect::<Vec<u8>>().repeat(len / 251 + 1);
    content.truncate(len);
    content
}

/// A file that is in memory, because it was written just now.
fn file(len: usize) -> (NamedTempFile, Body) {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content(len)).unwrap();
    let body = Body::from_file(FileRange::open(file.path()).unwrap());
    (file, body)
}

fn origin(url: &str, options: ClientOptions) -> Origin<Open> {
    Origin::new(Url::parse(url).unwrap(), HttpClient::new(&options).unwrap(), Open)
}

async fn put(origin: &Origin<Open>, payload: Payload) -> Result<()> {
    origin.send(Request::new(Method::PUT, origin.url("/file"), &(), "the file").payload(payload)).await.map(drop)
}

/// A server of which a test reads and writes each connection itself.
struct Raw {
    listener: TcpListener,
    client: Arc<Origin<Open>>,
}

impl Raw {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = origin(&format!("http://{}", listener.local_addr().unwrap()), ClientOptions::default());
        Self { listener, client: Arc::new(client) }
    }

    /// The next connection, after the head of its request.
    async fn request(&self) -> TcpStream {
        let mut stream = self.listener.accept().await.unwrap().0;
        read_head(&mut stream, Vec::new()).await;
        stream
    }
}

async fn read_head(stream: &mut TcpStream, mut head: Vec<u8>) {
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
}

async fn read(stream: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

async fn answer_with(stream: &mut TcpStream, status: &str) {
    stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_file_that_becomes_shorter_while_it_is_sent_ends_the_upload_and_its_connection() {
    let raw = Raw::new().await;
    let (file, body) = file(LARGE);
    let upload = UploadBody::of(body).await.unwrap();
    let path = file.path().to_owned();
    let server = async {
        let mut stream = raw.request().await;
        read(&mut stream, 1 << 20).await;
        let left = LARGE - (1 << 20);
        File::options().write(true).open(&path).unwrap().set_len(left as u64).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert!([content(1 << 20), rest].concat() == content(left));
        let mut stream = raw.request().await;
        assert_eq!(read(&mut stream, 4).await, b"next");
        answer_with(&mut stream, "201 Created").await;
    };
    let client = async {
        let error = put(&raw.client, upload.part(0, None)).await.unwrap_err();
        assert!(matches!(&error, Error::Changed { path } if path == file.path()), "{error}");
        let next = UploadBody::of(Body::from_bytes(&b"next"[..])).await.unwrap();
        put(&raw.client, next.part(0, None)).await.unwrap();
    };
    tokio::join!(server, client);
}

#[tokio::test]
async fn a_file_is_sent_again_after_its_connection_was_cut_and_each_byte_is_counted_once() {
    let raw = Raw::new().await;
    let (_file, body) = file(LARGE);
    let progress = Arc::new(Progress::default());
    let upload = UploadBody::of(body.counted(progress.clone())).await.unwrap();
    let server = async {
        let mut stream = raw.request().await;
        assert!(read(&mut stream, 1_000_001).await == content(1_000_001));
        // Bytes that were not read reset the connection.
        drop(stream);
        let mut stream = raw.request().await;
        assert!(read(&mut stream, LARGE).await == content(LARGE));
        answer_with(&mut stream, "201 Created").await;
    };
    let (_, sent) = tokio::join!(server, put(&raw.client, upload.part(0, None)));
    sent.unwrap();
    assert_eq!(progress.snapshot().moved, LARGE as u64);
}

#[tokio::test]
async fn an_answer_before_the_end_of_a_file_counts_and_the_next_request_is_whole() {
    for (status, code) in [("413 Content Too Large", 413), ("401 Unauthorized", 401)] {
        for is_read_to_its_end in [false, true] {
            let raw = Raw::new().await;
            let (_file, body) = file(LARGE);
            let upload = UploadBody::of(body).await.unwrap();
            let server = async {
                let mut stream = raw.request().await;
                read(&mut stream, 100_000).await;
                answer_with(&mut stream, status).await;
                if is_read_to_its_end {
                    assert!(read(&mut stream, LARGE - 100_000).await == content(LARGE)[100_000..]);
                }
                // The next request may have the same connection.
                let mut next = tokio::select! {
                    next = raw.request() => next,
                    first = stream.read_u8(), if is_read_to_its_end => {
                        read_head(&mut stream, vec![first.unwrap()]).await;
                        stream
                    }
                };
                assert!(read(&mut next, 1_000_000).await == content(LARGE)[LARGE - 1_000_000..]);
                answer_with(&mut next, "201 Created").await;
            };
            let client = async {
                let error = put(&raw.client, upload.part(0, None)).await.unwrap_err();
                let is_expected = match &error {
                    Error::Protocol { status, .. } => *status == code,
                    error => code == 401 && matches!(error, Error::Unauthorized { .. }),
                };
                assert!(is_expected, "{error}");
                put(&raw.client, upload.part(LARGE as u64 - 1_000_000, None)).await.unwrap();
            };
            tokio::join!(server, client);
        }
    }
}

#[tokio::test]
async fn one_upload_may_go_to_servers_with_and_without_tls_in_turn() {
    let (plain, tls) =
        (Server::start(|_, _| answer(202, &[], "")).await, Server::start_tls(Clients::Any, |_, _| answer(202, &[], "")).await);
    let options = ClientOptions::default().insecure(true).retry(RetryOptions::default().attempts(1));
    let to_plain = origin(&format!("http://{}", plain.address), options.clone());
    let to_tls = origin(&format!("https://localhost:{}", tls.address.port()), options);
    let (_file, body) = file(1_000_000);
    let upload = UploadBody::of(body).await.unwrap();
    let mut all = Vec::new();
    for (origin, server, start, end) in [
        (&to_plain, &plain, 0, Some(300_001)),
        (&to_tls, &tls, 300_001, Some(600_002)),
        (&to_plain, &plain, 600_002, Some(600_003)),
        (&to_tls, &tls, 600_003, None),
    ] {
        put(origin, upload.part(start, end)).await.unwrap();
        all.extend_from_slice(&server.asked().last().unwrap().body);
    }
    assert!(all == content(1_000_000));
}

#[tokio::test]
async fn a_file_goes_through_a_proxy_as_it_is() {
    let proxy = Server::start(|_, _| answer(201, &[], "")).await;
    let proxies = Proxies { http: Some(format!("http://{}", proxy.address).into()), ..Proxies::default() };
    let origin = origin("http://registry.example.com", ClientOptions::default().proxies(proxies));
    let (_file, body) = file(600_001);
    put(&origin, UploadBody::of(body).await.unwrap().part(0, None)).await.unwrap();
    let asked = proxy.asked();
    assert_eq!(asked[0].target, "http://registry.example.com/file");
    assert!(asked[0].body == content(600_001));
}
