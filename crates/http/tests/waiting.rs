//! How long the client waits for a server that is silent, and what the user is told meanwhile.

mod open;

use bytes::Bytes;
use http::Method;
use modelpack_http::{
    ClientOptions, HttpClient, Origin, Payload, Request, Resource, RetryOptions, Timeouts, UploadBody, download, origin_url,
};
use modelpack_testkit::server::{Answer, Asked, Server, answer, pieces, stalling};
use modelpack_transfer::{Body, Error, FileRange, Notice, Notices, Result};
use open::Open;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinHandle};

type Told = Arc<Mutex<Vec<Notice>>>;

/// A client that is patient for 0.2 seconds, and one second for the answer to an upload.
fn origin(address: impl ToString) -> (Arc<Origin<Open>>, Told) {
    let told = Told::default();
    let notices = {
        let told = told.clone();
        Notices::to(move |notice| told.lock().unwrap().push(notice.clone()))
    };
    let timeouts = Timeouts::default().idle(Duration::from_millis(200)).upload(Duration::from_secs(1));
    let retry = RetryOptions::default().attempts(9).first_pause(Duration::ZERO);
    let client = HttpClient::new(&ClientOptions::default().timeouts(timeouts).retry(retry).notices(notices)).unwrap();
    (Arc::new(Origin::new(origin_url(&address.to_string(), &ClientOptions::default()).unwrap(), client, Open)), told)
}

fn put(origin: &Origin<Open>, payload: Payload) -> Request<'static, ()> {
    Request::new(Method::PUT, origin.url("/file"), &(), "the file").payload(payload)
}

const SIZE: usize = 100_000;

fn file() -> Bytes {
    (0..SIZE).map(|n| n as u8).collect::<Vec<_>>().into()
}

/// The rest of the file from the beginning of the requested range on, as far as `len` bytes, and then nothing more unless it is the end.
fn rest(asked: &Asked, len: usize) -> Answer {
    let first: usize = asked.header("range").map_or(0, |range| range[6..].split_once('-').unwrap().0.parse().unwrap());
    let status = if first > 0 { 206 } else { 200 };
    let (range, left) = (format!("bytes {first}-{}/{SIZE}", SIZE - 1), (SIZE - first).to_string());
    let headers = [("content-range", range.as_str()), ("content-length", left.as_str())];
    let end = SIZE.min(first + len);
    let bytes = file().slice(first..end);
    if end == SIZE { pieces(status, &headers, vec![Ok(bytes)]) } else { stalling(status, &headers, bytes) }
}

async fn downloaded(origin: Arc<Origin<Open>>) -> Result<Vec<u8>> {
    let url = origin.url("/file");
    let resource = Resource { origin, scope: (), url, what: "the file".to_owned(), size: SIZE as u64 };
    download(resource, 0..SIZE as u64).await?.collect(SIZE, "the file").await
}

fn ranges(server: &Server) -> Vec<Option<String>> {
    server.asked().iter().map(|asked| asked.header("range").map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_download_that_stalls_is_cut_and_goes_on_with_the_next_byte() {
    let server = Server::start(|asked, _| rest(asked, 40_000)).await;
    let (origin, _) = origin(server.address);
    assert_eq!(downloaded(origin).await.unwrap(), file());
    assert_eq!(ranges(&server), [None, Some("bytes=40000-99999".to_owned()), Some("bytes=80000-99999".to_owned())]);
}

#[tokio::test]
async fn a_download_that_stalls_for_ever_fails_after_four_times_the_patience() {
    let server = Server::start(|asked, _| rest(asked, if asked.header("range").is_some() { 0 } else { 40_000 })).await;
    let (origin, _) = origin(server.address);
    let error = downloaded(origin).await.unwrap_err().to_string();
    assert!(error.ends_with("nothing came for 0.2 s; 40000 of 100000 bytes had come"), "{error}");
    let again = Some("bytes=40000-99999".to_owned());
    assert_eq!(ranges(&server), [None, again.clone(), again.clone(), again], "and all of it is not requested again");
}

#[tokio::test]
async fn each_byte_that_comes_renews_the_patience() {
    let server = Server::start(|asked, _| rest(asked, 10_000)).await;
    let (origin, _) = origin(server.address);
    assert_eq!(downloaded(origin).await.unwrap(), file());
    assert_eq!(server.asked().len(), 10);
}

/// A server that never answers. It reads what it is sent, or nothing.
async fn silent(reads: bool) -> (std::net::SocketAddr, Arc<AtomicUsize>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, connections) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
    let counter = connections.clone();
    let task = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, SeqCst);
            if reads {
                tokio::spawn(async move { tokio::io::copy(&mut stream, &mut tokio::io::sink()).await });
            } else {
                open.push(stream);
            }
        }
    });
    (address, connections, task)
}

#[tokio::test]
async fn an_upload_that_is_not_answered_is_sent_once_and_the_user_knows_what_is_waited_for() {
    let (address, connections, task) = silent(true).await;
    for payload in [UploadBody::of(Body::from_bytes(file())).await.unwrap().part(0, None), Payload::from(file())] {
        let (origin, told) = origin(address);
        connections.store(0, SeqCst);
        let error = origin.send(put(&origin, payload)).await.unwrap_err().to_string();
        assert!(error.contains("nothing came for 1 s"), "{error}");
        assert_eq!(connections.load(SeqCst), 1);
        let patience = Duration::from_secs(1);
        assert_eq!(
            *told.lock().unwrap(),
            [Notice::WaitingForAnswer { server: address.to_string(), what: "the file".to_owned(), patience }]
        );
    }
    task.abort();
}

#[tokio::test]
async fn an_upload_that_is_not_taken_does_not_wait_as_long_as_for_an_answer() {
    // The kernel sends what is in memory, because it was written just now. A hole is read.
    for is_written in [false, true] {
        let (address, connections, task) = silent(false).await;
        let (origin, told) = origin(address);
        let file = tempfile::NamedTempFile::new().unwrap();
        if is_written {
            std::fs::write(file.path(), vec![7; 24 << 20]).unwrap();
        } else {
            file.as_file().set_len(64 << 20).unwrap();
        }
        let large = Body::from_file(FileRange::open(file.path()).unwrap());
        let error = origin.send(put(&origin, UploadBody::of(large).await.unwrap().part(0, None))).await.unwrap_err();
        assert!(matches!(&error, Error::Network { why, .. } if why == "the server took no byte for 0.2 s"), "{error}");
        assert_eq!((connections.load(SeqCst), told.lock().unwrap().len()), (4, 0));
        task.abort();
    }
}

#[tokio::test]
async fn a_pause_that_the_server_asks_for_ends_the_request_if_it_is_too_long() {
    let server = Server::start(|_, _| answer(429, &[("retry-after", "241")], "busy")).await;
    let (origin, told) = origin(server.address);
    let error = origin.send(Request::new(Method::GET, origin.url("/file"), &(), "the file")).await.unwrap_err();
    assert!(matches!(&error, Error::Protocol { status: 429, why, .. } if why == "busy; the server asks to wait 241 s"), "{error}");
    assert_eq!((server.asked().len(), told.lock().unwrap().len()), (1, 0));
}
