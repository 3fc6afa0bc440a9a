//! Large blobs over raw connections: what the kernel sends must be exactly what was asked for.

use crate::harness::{Registry, noise, open_files};
use modelpack_server::{AccessLog, ServerOptions};
use modelpack_spec::Digest;
use modelpack_transfer::platform;
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// Only reached if the registry is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// A response: its status, the length that it declares, and its body as far as it was received.
struct Received {
    status: u16,
    len: usize,
    body: Vec<u8>,
}

/// A client that sends requests and reads responses on one connection, which it keeps open.
struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(registry: &Registry) -> Self {
        Self(BufReader::new(registry.connect().await))
    }

    /// A client for which the kernel keeps few bytes that it has not read.
    async fn connect_with_small_buffers(registry: &Registry) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Self(BufReader::with_capacity(1000, socket.connect(registry.address).await.unwrap()))
    }

    async fn send(&mut self, method: &str, path: &str, range: Option<&str>) {
        let range = range.map_or(String::new(), |range| format!("Range: bytes={range}\r\n"));
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{range}\r\n");
        self.0.get_mut().write_all(head.as_bytes()).await.unwrap();
    }

    /// Reads the head of a response: its status, and the length of its body.
    async fn head(&mut self) -> (u16, usize) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, self.0.read_u8()).await.unwrap().unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let len = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        (head[9..12].parse().unwrap(), len.parse().unwrap())
    }

    /// Reads a response to a request that has a body.
    async fn receive(&mut self) -> Received {
        let (status, len) = self.head().await;
        let mut body = Vec::new();
        timeout(PATIENCE, (&mut self.0).take(len as u64).read_to_end(&mut body)).await.unwrap().unwrap();
        Received { status, len, body }
    }

    async fn get(&mut self, path: &str, range: Option<&str>) -> Received {
        self.send("GET", path, range).await;
        self.receive().await
    }
}

/// A registry with one blob, the path of the blob, and its file.
async fn registry_with(content: &[u8]) -> (Registry, String, PathBuf) {
    let registry = Registry::start().await;
    let digest = registry.push_blob("a/b", content).await;
    let file = file_of(&registry, &digest);
    (registry, format!("/v2/a/b/blobs/{digest}"), file)
}

fn file_of(registry: &Registry, digest: &Digest) -> PathBuf {
    registry.store.root().join("blobs/sha256").join(digest.hex())
}

fn writable(path: &PathBuf) -> File {
    OpenOptions::new().write(true).open(path).unwrap()
}

/// Lets the kernel forget the bytes of a file, if it is on a disk.
fn evict(path: &PathBuf) {
    let file = writable(path);
    file.sync_all().unwrap();
    platform::start_writeback(&file, 0..file.metadata().unwrap().len());
}

#[tokio::test]
async fn many_responses_on_one_connection_are_exact() {
    let content = noise(3_000_001);
    let (registry, blob, _) = registry_with(&content).await;
    let small = format!("/v2/a/b/blobs/{}", registry.push_blob("a/b", *b"small").await);
    let absent = format!("/v2/a/b/blobs/{}", Digest::of(b"absent"));
    let mut client = Client::connect(&registry).await;
    for _ in 0..10 {
        let whole = client.get(&blob, None).await;
        assert_eq!((whole.status, whole.len), (200, content.len()));
        assert!(whole.body == content);
        assert_eq!(client.get(&absent, None).await.status, 404);
        for (range, expected) in [
            ("0-0", 0..1),
            ("1-2000000", 1..2_000_001),
            ("262143-1048576", 262_143..1_048_577),
            ("2900000-", 2_900_000..content.len()),
            ("-300000", content.len() - 300_000..content.len()),
        ] {
            let part = client.get(&blob, Some(range)).await;
            assert_eq!((part.status, part.len), (206, expected.len()), "{range}");
            assert!(part.body == content[expected], "{range}");
        }
        client.send("HEAD", &blob, None).await;
        assert_eq!(client.head().await, (200, content.len()));
        assert_eq!(client.get(&small, None).await.body, b"small");
    }
}

#[tokio::test]
async fn requests_that_are_sent_together_are_answered_in_order() {
    let content = noise(2_000_000);
    let (registry, blob, _) = registry_with(&content).await;
    let absent = format!("/v2/a/b/blobs/{}", Digest::of(b"absent"));
    let mut client = Client::connect(&registry).await;
    for _ in 0..5 {
        client.send("GET", &blob, None).await;
        client.send("GET", &absent, None).await;
        client.send("HEAD", &blob, None).await;
        client.send("GET", &blob, Some("1000000-1499999")).await;
    }
    for _ in 0..5 {
        assert!(client.receive().await.body == content);
        assert_eq!(client.receive().await.status, 404);
        assert_eq!(client.head().await, (200, content.len()));
        assert!(client.receive().await.body == content[1_000_000..1_500_000]);
    }
}

#[tokio::test]
async fn a_client_with_small_buffers_gets_all_bytes() {
    let content = noise(4_000_000);
    let (registry, blob, _) = registry_with(&content).await;
    let mut client = Client::connect_with_small_buffers(&registry).await;
    for _ in 0..2 {
        assert!(client.get(&blob, None).await.body == content);
    }
}

#[tokio::test]
async fn a_blob_that_is_not_in_memory_is_read_from_the_disk() {
    let content = noise(5_000_000);
    let (registry, blob, file) = registry_with(&content).await;
    let mut client = Client::connect(&registry).await;
    for range in [None, Some("1000001-4000000")] {
        evict(&file);
        let expected = range.map_or(&content[..], |_| &content[1_000_001..4_000_001]);
        assert!(client.get(&blob, range).await.body == expected);
    }
    // It leaves the memory while the client does not read.
    let mut slow = Client::connect_with_small_buffers(&registry).await;
    slow.send("GET", &blob, None).await;
    let (_, len) = slow.head().await;
    evict(&file);
    let mut body = vec![0; len];
    timeout(PATIENCE, slow.0.read_exact(&mut body)).await.unwrap().unwrap();
    assert!(body == content);
}

#[tokio::test]
async fn a_client_that_leaves_keeps_no_file_open() {
    let content = noise(32 << 20);
    let (registry, blob, _) = registry_with(&content).await;
    for _ in 0..5 {
        let mut client = Client::connect_with_small_buffers(&registry).await;
        client.send("GET", &blob, None).await;
        client.head().await;
    }
    let all_are_closed = async {
        while !open_files(registry.store.root()).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, all_are_closed).await.unwrap();
    assert!(Client::connect(&registry).await.get(&blob, None).await.body == content);
}

#[tokio::test]
async fn a_file_that_is_cut_off_ends_the_connection() {
    const KEPT: usize = 16 << 20;
    let content = noise(32 << 20);
    let (registry, blob, file) = registry_with(&content).await;
    let mut client = Client::connect_with_small_buffers(&registry).await;
    client.send("GET", &blob, None).await;
    let (_, len) = client.head().await;
    assert_eq!(len, content.len());
    // Most of it is still to be sent, because the client has not read it.
    writable(&file).set_len(KEPT as u64).unwrap();
    let mut body = Vec::new();
    // The connection may end with a reset.
    let _ = timeout(PATIENCE, client.0.read_to_end(&mut body)).await.unwrap();
    assert!(body.len() <= KEPT && body == content[..body.len()], "{} bytes", body.len());
}

#[tokio::test]
async fn the_access_log_counts_what_was_sent() {
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);
    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let sink = Sink::default();
    let registry = Registry::start_with(ServerOptions::default().access_log(AccessLog::new(sink.clone()).unwrap())).await;
    let digest = registry.push_blob("a/b", noise(1_000_000)).await;
    for range in ["bytes=0-", "bytes=200000-799999"] {
        let part = registry.get(&format!("/v2/a/b/blobs/{digest}")).header("range", range).send().await.unwrap();
        part.bytes().await.unwrap();
    }
    registry.stop.send(()).unwrap();
    registry.running.await.unwrap().unwrap();
    let log = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    let sent: Vec<_> = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["sent"].clone()).collect();
    assert_eq!(sent[1..], [1_000_000, 600_000], "{log}");
}
