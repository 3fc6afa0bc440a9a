//! Uploads that go on where their session stands: after a failure, in another process, and in registries with limits.

use crate::{
    ours::Served,
    server::{Answer, AsRegistry, Asked, Server, answer},
};
use bytes::Bytes;
use futures_util::stream;
use modelpack_distribution::client::{Client, ClientOptions, OpenUploads, RemoteRepository, RetryOptions};
use modelpack_spec::Descriptor;
use modelpack_testkit::{Failure, Fault, FaultProxy, SeenRequest};
use modelpack_transfer::{Begin, Body, Error, FileRange, Progress, Result, Sink, Snapshot, Source};
use std::{
    io::Write,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
const LARGE: u64 = 20 * MIB;

/// A file whose bytes do not repeat at the distances of chunks.
struct Model {
    directory: TempDir,
    content: Bytes,
    blob: Descriptor,
}

impl Model {
    fn new(size: u64) -> Self {
        let blocks = (0..size / 4096).map(|block| [(block ^ block >> 8) as u8; 4096]);
        let content = Bytes::from(blocks.collect::<Vec<_>>().concat());
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("model"), &content).unwrap();
        let blob = Descriptor::of("x/x", &content);
        Self { directory, content, blob }
    }

    fn file(&self) -> Body {
        Body::from_file(FileRange::open(&self.directory.path().join("model")).unwrap())
    }

    fn produced(&self) -> Body {
        let content = self.content.clone();
        let producer = move |out: &mut dyn Write| out.write_all(&content).map_err(Error::io("write", "model"));
        Body::from_producer(Arc::new(producer), Some(self.blob.size))
    }

    fn of_unknown_length(&self) -> Body {
        let content = self.content.clone();
        Body::from_producer(Arc::new(move |out: &mut dyn Write| out.write_all(&content).map_err(Error::io("write", "model"))), None)
    }

    fn stream(&self) -> Body {
        let pieces: Vec<_> = self.content.chunks(100_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Body::from_stream(stream::iter(pieces), Some(self.blob.size))
    }
}

/// A client that does not wait long between attempts.
fn client(attempts: u32, uploads: Option<&Path>) -> Client {
    let retry = RetryOptions::default().attempts(attempts).first_pause(Duration::from_millis(1));
    let client = Client::new(ClientOptions::default().retry(retry)).unwrap();
    match uploads {
        Some(directory) => client.remembering_uploads(OpenUploads::new(directory)),
        None => client,
    }
}

/// The repository `a/b` behind a proxy.
fn repository(client: &Client, proxy: &FaultProxy) -> RemoteRepository {
    client.repository(&format!("{}/a/b", proxy.address()).parse().unwrap()).unwrap()
}

/// Pushes a blob. Returns what the progress has counted.
async fn push(repository: &RemoteRepository, blob: Option<&Descriptor>, body: Body) -> Result<Snapshot> {
    let progress = Arc::new(Progress::default());
    let Begin::Upload(mut upload) = repository.begin(blob).await? else { panic!("it is not there") };
    upload.write(body.counted(progress.clone())).await?;
    upload.commit(blob).await?;
    Ok(progress.snapshot())
}

async fn exists(served: &Served, blob: &Descriptor) -> bool {
    matches!(served.repository("a/b").begin(Some(blob)).await, Ok(Begin::Exists))
}

/// The requests to an upload session that have a body.
fn sent(proxy: &FaultProxy) -> Vec<SeenRequest> {
    proxy.requests().into_iter().filter(|request| request.received > 0).collect()
}

/// The bytes of all requests that came over the wire.
fn bytes_on_the_wire(proxy: &FaultProxy) -> u64 {
    sent(proxy).iter().map(|request| request.received).sum()
}

fn sessions(proxy: &FaultProxy) -> usize {
    proxy.requests().iter().filter(|request| request.method == "POST").count()
}

#[tokio::test]
async fn after_each_cut_only_the_rest_is_sent() {
    let model = Model::new(LARGE);
    for (body, blob) in [
        (model.file(), Some(&model.blob)),
        (model.produced(), Some(&model.blob)),
        (model.file(), None),
        (model.produced(), None),
        (model.of_unknown_length(), None),
    ] {
        let served = Served::start().await;
        let proxy = served.behind(vec![Fault::on("", "/uploads/", Failure::CutRequestAfter(3 * MIB + 7))]);
        let counted = push(&repository(&client(5, None), &proxy), blob, body).await.unwrap();
        assert!(exists(&served, &model.blob).await);
        let (bytes, cuts) = (bytes_on_the_wire(&proxy), sent(&proxy).len() as u64 - 1);
        assert!(cuts >= LARGE / (3 * MIB + 7) && bytes <= LARGE + cuts * MIB, "{bytes} bytes, {:#?}", sent(&proxy));
        assert_eq!(sessions(&proxy), 1);
        assert_eq!((counted.moved, counted.present()), (LARGE, 0), "bytes are counted once");
    }
}

#[tokio::test]
async fn from_another_registry_the_rest_is_fetched_and_sent() {
    let (from, to, model) = (Served::start().await, Served::start().await, Model::new(LARGE));
    push(&from.repository("a/b"), Some(&model.blob), model.file()).await.unwrap();
    let source = from.behind(Vec::new());
    let sink = to.behind(vec![Fault::on("", "/uploads/", Failure::CutRequestAfter(6 * MIB))]);
    let client = client(5, None);
    let body = repository(&client, &source).blob(&model.blob, 0..LARGE).await.unwrap();
    let counted = push(&repository(&client, &sink), Some(&model.blob), body).await.unwrap();
    assert!(exists(&to, &model.blob).await);
    assert_eq!((counted.moved, counted.present()), (LARGE, 0));
    let first =
        |range: Option<String>| range.map_or("0".to_owned(), |range| range.replace("bytes=", "").split('-').next().unwrap().to_owned());
    let fetched: Vec<_> = source.requests().into_iter().map(|request| first(request.range)).collect();
    let stored: Vec<_> = sent(&sink).into_iter().map(|request| first(request.content_range)).collect();
    assert_eq!(fetched, stored);
    assert!(bytes_on_the_wire(&sink) <= LARGE + (stored.len() as u64 - 1) * MIB && stored.len() >= 4, "{stored:?}");
}

#[tokio::test]
async fn a_registry_that_loses_an_upload_with_its_connection_gets_short_requests_on_new_connections() {
    let (served, model) = (Served::start().await, Model::new(LARGE));
    let gone = Failure::Status { code: 404, headers: Vec::new(), body: String::new() };
    let proxy = served.behind(vec![Fault::on("GET", "/uploads/", gone), Fault::on("", "/uploads/", Failure::CutConnectionAfter(10 * MIB))]);
    push(&repository(&client(5, None), &proxy), Some(&model.blob), model.file()).await.unwrap();
    assert!(exists(&served, &model.blob).await);
    let lengths: Vec<_> = sent(&proxy).iter().map(|request| request.received).collect();
    assert_eq!(lengths[0], 10 * MIB);
    // What the connection has carried is known only roughly.
    assert!(lengths[1..].iter().all(|length| *length < 10 * MIB), "{lengths:?}");
    assert_eq!(lengths[1..].iter().sum::<u64>(), LARGE, "all bytes once more");
    assert_eq!(sessions(&proxy), 2);
}

#[tokio::test]
async fn a_registry_that_loses_every_upload_is_not_asked_without_end() {
    let (served, model) = (Served::start().await, Model::new(LARGE));
    let gone = Failure::Status { code: 404, headers: Vec::new(), body: String::new() };
    let cut = Failure::CutRequestAfter(2 * MIB);
    let proxy = served.behind(vec![Fault::on("GET", "/uploads/", gone), Fault::on("", "/uploads/", cut)]);
    let error = push(&repository(&client(4, None), &proxy), Some(&model.blob), model.file()).await.unwrap_err();
    assert!(matches!(error, Error::Network { .. }), "{error}");
    assert_eq!(sent(&proxy).len(), 4);
}

#[tokio::test]
async fn a_request_that_is_too_long_is_halved_and_the_next_blob_begins_with_that_length() {
    let served = Served::start().await;
    let proxy = served.behind(vec![Fault::on("", "/uploads/", Failure::LimitRequest(6 * MIB))]);
    let client = client(5, None);
    let ranges = |proxy: &FaultProxy| sent(proxy).into_iter().map(|request| (request.method, request.content_range)).collect::<Vec<_>>();
    let patch = |range: &str| ("PATCH".to_owned(), Some(range.to_owned()));
    let model = Model::new(LARGE);
    push(&repository(&client, &proxy), Some(&model.blob), model.file()).await.unwrap();
    assert!(exists(&served, &model.blob).await);
    let chunks = ["0-5242879", "5242880-10485759", "10485760-15728639", "15728640-20971519"].map(patch);
    assert_eq!(ranges(&proxy), [&[("PUT".to_owned(), None), patch("0-10485759")], &chunks[..]].concat());

    let (before, model) = (sent(&proxy).len(), Model::new(7 * MIB));
    push(&repository(&client, &proxy), Some(&model.blob), model.stream()).await.unwrap();
    assert!(exists(&served, &model.blob).await);
    assert_eq!(ranges(&proxy)[before..], [patch("0-5242879"), patch("5242880-7340031")]);
}

#[tokio::test]
async fn a_limit_below_4_mib_is_an_error_that_says_so() {
    let served = Served::start().await;
    let proxy = served.behind(vec![Fault::on("", "/uploads/", Failure::LimitRequest(MIB))]);
    let model = Model::new(LARGE);
    let error = push(&repository(&client(5, None), &proxy), Some(&model.blob), model.file()).await.unwrap_err();
    assert!(
        matches!(&error, Error::Protocol { status: 413, why, .. } if why.ends_with("parts of less than 4 MiB are not sent")),
        "{error}"
    );
    assert_eq!(sent(&proxy).iter().map(|request| request.received / MIB).collect::<Vec<_>>(), [20, 10, 5, 4]);
    assert!(proxy.requests().iter().any(|request| request.method == "DELETE"), "the session is ended");
}

#[tokio::test]
async fn an_upload_that_failed_is_continued_by_another_process() {
    for blob in [LARGE, 2 * MIB] {
        let (served, model, uploads) = (Served::start().await, Model::new(blob), TempDir::new().unwrap());
        let directory = uploads.path().join("uploads");
        let cut = blob - MIB;
        let proxy = served.behind(vec![Fault::on("", "/uploads/", Failure::CutRequestAfter(cut))]);
        push(&repository(&client(1, Some(&directory)), &proxy), Some(&model.blob), model.file()).await.unwrap_err();
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
        proxy.set_faults(Vec::new());
        // A source that can be read only once continues as well.
        let counted = push(&repository(&client(1, Some(&directory)), &proxy), Some(&model.blob), model.stream()).await.unwrap();
        assert!(exists(&served, &model.blob).await);
        let bytes = bytes_on_the_wire(&proxy);
        assert!(bytes <= blob + MIB, "{bytes} bytes, {:#?}", proxy.requests());
        assert_eq!(counted.moved + counted.resumed, blob);
        assert_eq!(counted.moved, bytes - cut, "what the registry has counts as resumed");
        assert_eq!((sessions(&proxy), std::fs::read_dir(&directory).unwrap().count()), (1, 0));
        assert!(proxy.requests().iter().all(|request| request.method != "DELETE"));
    }
}

#[tokio::test]
async fn without_a_directory_an_upload_that_failed_ends_its_session() {
    let (served, model) = (Served::start().await, Model::new(LARGE));
    let proxy = served.behind(vec![Fault::on("PUT", "/uploads/", Failure::CutRequestAfter(MIB))]);
    push(&repository(&client(1, None), &proxy), Some(&model.blob), model.file()).await.unwrap_err();
    assert_eq!(proxy.requests().last().unwrap().method, "DELETE");
}

#[tokio::test]
async fn a_session_that_is_remembered_and_gone_is_opened_anew() {
    for code in [404, 400, 403, 405, 416] {
        let (served, model, uploads) = (Served::start().await, Model::new(2 * MIB), TempDir::new().unwrap());
        let proxy = served.behind(vec![Fault::on("", "/uploads/", Failure::CutRequestAfter(MIB))]);
        push(&repository(&client(1, Some(uploads.path())), &proxy), Some(&model.blob), model.file()).await.unwrap_err();
        let gone = Failure::Status { code, headers: Vec::new(), body: String::new() };
        proxy.set_faults(vec![Fault::on("GET", "/uploads/", gone)]);
        push(&repository(&client(1, Some(uploads.path())), &proxy), Some(&model.blob), model.file()).await.unwrap();
        assert!(exists(&served, &model.blob).await);
        assert_eq!((sessions(&proxy), std::fs::read_dir(uploads.path()).unwrap().count()), (2, 0), "{code}");
    }
}

#[tokio::test]
async fn a_session_with_the_bytes_of_another_process_is_restarted_once() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (served, model, uploads) = (Served::start().await, Model::new(3 * MIB), TempDir::new().unwrap());
    let client = |attempts| client(attempts, Some(uploads.path()));
    let proxy = served.behind(vec![Fault::on("", "/uploads/", Failure::CutRequestAfter(2 * MIB))]);
    let interrupt = async || {
        push(&repository(&client(1), &proxy), Some(&model.blob), model.file()).await.unwrap_err();
        let entry = std::fs::read_dir(uploads.path()).unwrap().next().unwrap().unwrap().path();
        let entry: serde_json::Value = serde_json::from_slice(&std::fs::read(entry).unwrap()).unwrap();
        proxy.set_faults(Vec::new());
        let (url, http) = (entry["session"].as_str().unwrap().to_owned(), reqwest::Client::new());
        assert_eq!(http.get(&url).send().await.unwrap().status(), 204);
        assert_eq!(http.patch(&url).body("bytes of another process").send().await.unwrap().status(), 202);
        proxy.requests().len()
    };
    let count = |from: usize, method: &str| proxy.requests()[from..].iter().filter(|request| request.method == method).count();

    let from = interrupt().await;
    // The bytes are hashed while they are sent: first without their beginning, and then from the beginning.
    push(&repository(&client(3), &proxy), Some(&model.blob), model.produced()).await.unwrap();
    assert!(exists(&served, &model.blob).await);
    assert_eq!((count(from, "PUT"), count(from, "POST")), (2, 1), "the second PUT has all bytes");

    // If the digest is wrong again, the bytes are not those of the blob.
    let other = Descriptor { digest: Descriptor::of("x/x", b"other").digest, ..model.blob.clone() };
    let fails = async |attempts| push(&repository(&client(attempts), &proxy), Some(&other), model.file()).await.unwrap_err();
    proxy.set_faults(vec![Fault::on("", "/uploads/", Failure::CutRequestAfter(2 * MIB))]);
    fails(1).await;
    proxy.set_faults(Vec::new());
    let from = proxy.requests().len();
    let error = fails(3).await;
    assert!(matches!(&error, Error::WrongDigest { .. }), "{error}");
    assert_eq!((count(from, "PUT"), count(from, "POST")), (2, 1));
    assert_eq!(std::fs::read_dir(uploads.path()).unwrap().count(), 0, "it is not continued a third time");
}

/// A registry in memory for one blob, whose answers a test can change. Each answer of a session has a new URL, and only that one is valid.
struct Stateful {
    received: Vec<u8>,
    /// How many answers there were.
    state: usize,
    committed: bool,
}

impl Stateful {
    fn location(&mut self) -> String {
        self.state += 1;
        format!("/s?state={}&x=%2F", self.state)
    }

    fn range(&self) -> String {
        format!("0-{}", self.received.len().saturating_sub(1))
    }

    fn answer(&mut self, asked: &Asked) -> Answer {
        if asked.method != "HEAD" && asked.method != "POST" && !asked.target.starts_with(&format!("/s?state={}&x=%2F", self.state)) {
            return answer(400, &[], "not the URL of the last answer");
        }
        match asked.method.as_str() {
            "HEAD" => answer(if self.committed { 200 } else { 404 }, &[], ""),
            "POST" => {
                self.received.clear();
                answer(202, &[("location", &self.location())], "")
            }
            "GET" => {
                let (location, range) = (self.location(), self.range());
                answer(204, &[("location", &location), ("range", &range)], "")
            }
            "PATCH" => {
                let begins = asked.header("content-range").map(|range| range.split('-').next().unwrap().parse::<usize>().unwrap());
                if begins.is_some_and(|begins| begins != self.received.len()) {
                    return answer(416, &[], "");
                }
                self.received.extend_from_slice(&asked.body);
                answer(202, &[("location", &self.location())], "")
            }
            "PUT" => {
                self.received.extend_from_slice(&asked.body);
                self.committed = true;
                answer(201, &[], "")
            }
            _ => answer(204, &[], ""),
        }
    }
}

/// A stateful registry; `first` may answer a request in its place.
async fn stateful(first: impl Fn(&mut Stateful, &Asked) -> Option<Answer> + Send + Sync + 'static) -> (Server, Arc<Mutex<Stateful>>) {
    let state = Arc::new(Mutex::new(Stateful { received: Vec::new(), state: 0, committed: false }));
    let shared = state.clone();
    let server = Server::start(move |asked, _| {
        let mut state = shared.lock().unwrap();
        first(&mut state, asked).unwrap_or_else(|| state.answer(asked))
    });
    (server.await, state)
}

/// The methods of the requests after the first `HEAD`, with the lengths of their bodies in MiB.
fn asked(server: &Server) -> Vec<String> {
    let requests = server.asked();
    requests[1..].iter().map(|asked| format!("{} {}", asked.method, asked.body.len() as u64 / MIB)).collect()
}

#[tokio::test]
async fn the_location_of_every_answer_is_followed() {
    let model = Model::new(LARGE);
    let failures = Mutex::new(2);
    let (server, state) = stateful(move |state, asked| {
        let mut failures = failures.lock().unwrap();
        if asked.body.is_empty() || *failures == 0 {
            return None;
        }
        *failures -= 1;
        state.received.extend_from_slice(&asked.body[..asked.body.len() / 2]);
        Some(answer(503, &[("retry-after", "0")], ""))
    })
    .await;
    push(&server.repository(), Some(&model.blob), model.file()).await.unwrap();
    assert_eq!(asked(&server), ["POST 0", "PUT 20", "HEAD 0", "GET 0", "PATCH 10", "GET 0", "PATCH 5", "PUT 0"]);
    assert!(state.lock().unwrap().received == model.content);
}

#[tokio::test]
async fn a_registry_that_asks_for_chunks_gets_them_with_the_length_it_asks_for() {
    for (min, expected) in [
        (MIB, &["POST 0", "PATCH 16", "PATCH 4", "PUT 0"][..]),
        (17 * MIB, &["POST 0", "PATCH 17", "PATCH 3", "PUT 0"]),
        (LARGE, &["POST 0", "PUT 20"]),
        (30 * MIB, &["POST 0", "PUT 20"]),
    ] {
        let model = Model::new(LARGE);
        let (server, state) = stateful(move |state, asked| {
            let location = (asked.method == "POST").then(|| state.location())?;
            Some(answer(202, &[("location", &location), ("oci-chunk-min-length", &min.to_string())], ""))
        })
        .await;
        push(&server.repository(), Some(&model.blob), model.file()).await.unwrap();
        assert_eq!(asked(&server), expected, "{min}");
        assert!(state.lock().unwrap().received == model.content);
    }
}

#[tokio::test]
async fn a_registry_that_refuses_chunks_gets_whole_blobs_from_then_on() {
    for status in [400, 404, 405, 416, 501] {
        let model = Model::new(LARGE);
        let failed = Mutex::new(false);
        let (server, state) = stateful(move |state, asked| match asked.method.as_str() {
            "PUT" if !std::mem::replace(&mut failed.lock().unwrap(), true) => {
                state.received = vec![0; asked.body.len() / 2];
                Some(answer(503, &[("retry-after", "0")], ""))
            }
            "PATCH" => Some(answer(status, &[], "")),
            _ => None,
        })
        .await;
        let repository = server.repository();
        push(&repository, Some(&model.blob), model.file()).await.unwrap();
        let first = ["POST 0", "PUT 20", "HEAD 0", "GET 0", "PATCH 10", "DELETE 0", "POST 0", "PUT 20"];
        assert_eq!(asked(&server), first, "{status}");
        assert!(state.lock().unwrap().received == model.content);
    }
}

#[tokio::test]
async fn a_registry_that_calls_a_long_chunk_out_of_range_gets_short_ones() {
    let model = Model::new(LARGE);
    let (server, state) = stateful(move |_, asked| match asked.method.as_str() {
        "PUT" if !asked.body.is_empty() => Some(answer(413, &[], "")),
        "PATCH" if asked.body.len() as u64 > 4 * MIB => Some(answer(416, &[], "the request body is too large")),
        _ => None,
    })
    .await;
    push(&server.repository(), Some(&model.blob), model.file()).await.unwrap();
    let patches: Vec<_> = asked(&server).into_iter().filter(|asked| asked.starts_with('P') && !asked.starts_with("POST")).collect();
    assert_eq!(patches, ["PUT 20", "PATCH 10", "PATCH 4", "PATCH 4", "PATCH 4", "PATCH 4", "PATCH 4", "PUT 0"]);
    assert!(state.lock().unwrap().received == model.content);
}

#[tokio::test]
async fn a_token_that_expires_between_two_requests_is_renewed_and_the_upload_goes_on() {
    let model = Model::new(LARGE);
    let tokens = Mutex::new(0);
    let (server, state) = stateful(move |state, asked| {
        let mut tokens = tokens.lock().unwrap();
        if asked.target.starts_with("/token") {
            *tokens += 1;
            return Some(answer(200, &[], format!(r#"{{"token":"t{tokens}"}}"#)));
        }
        // The first token is not valid any more once there are bytes.
        let wanted = if state.received.is_empty() { 1 } else { 2 };
        if asked.header("authorization") != Some(&format!("Bearer t{wanted}")) {
            let realm = format!("Bearer realm=\"/token\",service=\"s{tokens}\"");
            return Some(answer(401, &[("www-authenticate", &realm)], ""));
        }
        let location = (asked.method == "POST").then(|| state.location())?;
        Some(answer(202, &[("location", &location), ("oci-chunk-min-length", "1048576")], ""))
    })
    .await;
    push(&server.repository(), Some(&model.blob), model.file()).await.unwrap();
    let patches: Vec<_> =
        server.asked().into_iter().filter(|asked| asked.method == "PATCH").map(|asked| asked.body.len() as u64 / MIB).collect();
    assert_eq!(patches, [16, 4, 4], "the chunk that was refused is sent again, and nothing else");
    assert!(state.lock().unwrap().received == model.content);
}

#[tokio::test]
async fn what_is_not_allowed_is_asked_for_once() {
    for status in [400, 403, 404, 409] {
        let model = Model::new(2 * MIB);
        let (server, _) = stateful(move |_, asked| (asked.method == "PUT").then(|| answer(status, &[], ""))).await;
        push(&server.repository(), Some(&model.blob), model.file()).await.unwrap_err();
        assert_eq!(asked(&server), ["POST 0", "PUT 2", "DELETE 0"], "{status}");
    }
}
