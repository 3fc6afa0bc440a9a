//! Blobs on their way into a registry, and what is left behind when that fails.

use crate::server::{Answer, AsRegistry, Asked, Server, answer};
use bytes::Bytes;
use futures_util::stream;
use modelpack_spec::Descriptor;
use modelpack_transfer::{Begin, Body, Error, FileRange, Progress, Result, Sink, Upload};
use std::{
    fs::File,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};
use tempfile::TempDir;

const LARGE: usize = (600 << 10) + 1;

fn content() -> Bytes {
    (0..LARGE).map(|i| (i % 251) as u8).collect()
}

fn blob() -> Descriptor {
    Descriptor::of("x/x", &content())
}

fn closing(session: &str) -> String {
    format!("{session}digest={}", blob().digest.to_string().replace(':', "%3A"))
}

fn file() -> (TempDir, Body) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("blob");
    std::fs::write(&path, content()).unwrap();
    let range = FileRange { file: Arc::new(File::open(&path).unwrap()), path, offset: 0, len: LARGE as u64 };
    (directory, Body::from_file(range))
}

fn in_pieces(size: usize) -> Body {
    let content = content();
    let pieces: Vec<_> = content.chunks(size).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    Body::from_stream(stream::iter(pieces), Some(LARGE as u64))
}

/// A registry that holds nothing, opens the sessions `/s?n=1`, `/s?n=2` and so on, and lets `handler` answer the rest.
async fn registry(handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Server {
    let sessions = AtomicUsize::new(0);
    Server::start(move |asked, _| match asked.method.as_str() {
        "HEAD" => answer(404, &[], ""),
        "POST" => answer(202, &[("location", &format!("/s?n={}", sessions.fetch_add(1, SeqCst) + 1))], ""),
        "DELETE" => answer(204, &[], ""),
        _ => handler(asked),
    })
    .await
}

async fn begin(server: &Server, blob: Option<&Descriptor>) -> Box<dyn Upload> {
    match server.repository().begin(blob).await.unwrap() {
        Begin::Upload(upload) => upload,
        Begin::Exists => panic!("nothing exists"),
    }
}

async fn push(server: &Server, body: Body) -> Result<()> {
    let Begin::Upload(mut upload) = server.repository().begin(Some(&blob())).await? else { panic!("nothing exists") };
    upload.write(body).await?;
    upload.commit(Some(&blob())).await.map(drop)
}

fn asked(server: &Server) -> Vec<String> {
    server.asked().iter().map(|a| format!("{} {}", a.method, a.target)).collect()
}

#[tokio::test]
async fn a_blob_with_a_known_digest_is_one_request_with_its_length() {
    let server = registry(|_| answer(201, &[], "")).await;
    push(&server, in_pieces(1000)).await.unwrap();
    let head = format!("HEAD /v2/a/b/blobs/{}", blob().digest);
    assert_eq!(asked(&server), [head, "POST /v2/a/b/blobs/uploads/".into(), format!("PUT {}", closing("/s?n=1&"))]);
    let requests = server.asked();
    assert_eq!(requests[1].header("content-length"), Some("0"));
    assert_eq!(requests[2].header("content-length"), Some(&*LARGE.to_string()));
    assert_eq!(requests[2].body, content());
}

#[tokio::test]
async fn a_blob_that_is_there_is_not_moved_and_one_of_another_size_is_not_there() {
    let server = Server::start(|_, _| answer(200, &[("content-length", "614401")], "")).await;
    assert!(matches!(server.repository().begin(Some(&blob())).await, Ok(Begin::Exists)));
    for size in ["614400", "0", "99999999999"] {
        let server = Server::start(move |asked, _| match asked.method.as_str() {
            "HEAD" => answer(200, &[("content-length", size)], ""),
            "POST" => answer(202, &[("location", "/s")], ""),
            _ => answer(201, &[], ""),
        })
        .await;
        push(&server, in_pieces(1000)).await.unwrap();
        assert_eq!(server.asked().last().unwrap().body, content(), "HEAD said {size}");
    }
}

#[tokio::test]
async fn a_blob_that_the_registry_does_not_tell_about_is_pushed() {
    let answers = move |status: u16, of_post: u16| {
        Server::start(move |asked, _| match asked.method.as_str() {
            "HEAD" => answer(status, &[("retry-after", "0")], ""),
            "POST" => answer(of_post, &[("location", "/s"), ("retry-after", "0")], "no writing"),
            _ => answer(201, &[], ""),
        })
    };
    for status in [302, 400, 401, 403, 405, 406, 410, 500, 501] {
        let server = answers(status, 202).await;
        push(&server, in_pieces(1000)).await.unwrap_or_else(|e| panic!("{status}: {e}"));
        assert_eq!(server.asked().last().unwrap().body, content(), "{status}");
        // Whether it may be pushed, the push shows.
        let server = answers(status, 403).await;
        let error = push(&server, in_pieces(1000)).await.unwrap_err();
        assert!(matches!(&error, Error::Denied { what, why } if what.starts_with("writing ") && why == "no writing"), "{status}: {error}");
    }
    let busy = answers(503, 202).await;
    let error = push(&busy, in_pieces(1000)).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { status: 503, .. }), "{error}");
    assert_eq!(busy.count("POST", "/"), 0, "one that has no time is not asked for more");
}

#[tokio::test]
async fn a_blob_of_unknown_digest_is_streamed_and_named_afterwards() {
    let server = registry(|asked| match asked.method.as_str() {
        "PATCH" => answer(202, &[("location", "/s?after=patch")], ""),
        _ => answer(201, &[], ""),
    })
    .await;
    let mut upload = begin(&server, None).await;
    upload.write(in_pieces(100_000)).await.unwrap();
    let committed = upload.commit(None).await.unwrap();
    assert_eq!((committed.digest, committed.size), (blob().digest, LARGE as u64));
    assert_eq!(
        asked(&server),
        ["POST /v2/a/b/blobs/uploads/".into(), "PATCH /s?n=1".into(), format!("PUT {}", closing("/s?after=patch&"))]
    );
    let requests = server.asked();
    assert_eq!((requests[1].header("content-type"), &requests[1].body), (Some("application/octet-stream"), &content()));
    assert_eq!(requests[2].header("content-length"), Some("0"));
}

#[tokio::test]
async fn pieces_of_a_blob_are_appended() {
    let server = registry(|asked| match asked.method.as_str() {
        "PATCH" => answer(202, &[("location", &asked.target)], ""),
        _ => answer(201, &[], ""),
    })
    .await;
    let mut upload = begin(&server, Some(&blob())).await;
    upload.write(Body::from_bytes(content().slice(..10))).await.unwrap();
    upload.write(Body::from_stream(stream::iter([Ok(content().slice(10..))]), None)).await.unwrap();
    upload.commit(Some(&blob())).await.unwrap();
    let sent: Vec<u8> = server.asked().iter().filter(|a| a.method == "PATCH").flat_map(|a| a.body.clone()).collect();
    assert_eq!(sent, content());
}

#[tokio::test]
async fn bytes_that_are_not_the_blob_are_not_committed() {
    let server = registry(|asked| match asked.method.as_str() {
        "PATCH" => answer(202, &[("location", &asked.target)], ""),
        _ => answer(201, &[], ""),
    })
    .await;
    let mut upload = begin(&server, None).await;
    upload.write(in_pieces(100_000)).await.unwrap();
    let other = Descriptor { size: LARGE as u64, ..Descriptor::of("x/x", b"other") };
    assert!(matches!(upload.commit(Some(&other)).await, Err(Error::WrongDigest { .. })));
    let mut upload = begin(&server, Some(&blob())).await;
    upload.write(Body::from_bytes(&b"short"[..])).await.unwrap();
    assert!(matches!(upload.commit(Some(&blob())).await, Err(Error::WrongSize { found: 5, .. })));
    assert_eq!(server.count("PUT", "/"), 0);
}

#[tokio::test]
async fn a_stream_of_another_length_than_it_said_fails_with_the_lengths() {
    let server = registry(|_| answer(201, &[], "")).await;
    for (sent, wrong) in [(content().slice(..LARGE - 1), LARGE - 1), ([&content()[..], b"!"].concat().into(), LARGE + 1)] {
        let error = push(&server, Body::from_stream(stream::iter([Ok(sent)]), Some(LARGE as u64))).await.unwrap_err();
        assert!(matches!(error, Error::WrongSize { found, .. } if found == wrong as u64), "{error}");
    }
}

#[tokio::test]
async fn why_a_stream_failed_is_what_the_caller_is_told() {
    let server = registry(|_| answer(201, &[], "")).await;
    let pieces = [Ok(content().slice(..1000)), Err(Error::Changed { path: "model.bin".into() })];
    let error = push(&server, Body::from_stream(stream::iter(pieces), Some(LARGE as u64))).await.unwrap_err();
    assert!(matches!(error, Error::Changed { .. }), "{error}");
    assert_eq!(server.count("DELETE", "/s?n=1"), 1, "the session is ended");
}

#[tokio::test]
async fn a_file_is_sent_again_in_a_new_session_after_a_failure_that_may_pass() {
    for failure in [503, 0] {
        let tries = AtomicUsize::new(0);
        let server = registry(move |_| match (tries.fetch_add(1, SeqCst), failure) {
            (0, 0) => None,
            (0, status) => answer(status, &[("retry-after", "0")], ""),
            _ => answer(201, &[], ""),
        })
        .await;
        let (_directory, body) = file();
        let progress = Arc::new(Progress::default());
        push(&server, body.counted(progress.clone())).await.unwrap();
        let puts: Vec<_> = server.asked().into_iter().filter(|a| a.method == "PUT").collect();
        assert_eq!(puts.iter().map(|a| a.target.clone()).collect::<Vec<_>>(), [closing("/s?n=1&"), closing("/s?n=2&")]);
        assert_eq!(puts[1].body, content());
        assert_eq!(progress.snapshot().moved, LARGE as u64, "bytes that are sent twice are counted once");
    }
}

#[tokio::test]
async fn a_stream_is_not_sent_again_but_a_small_one_is() {
    let unavailable = || answer(503, &[("retry-after", "0")], "");
    let server = registry(move |_| unavailable()).await;
    let error = push(&server, in_pieces(1000)).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { status: 503, .. }), "{error}");
    assert_eq!(server.count("PUT", "/"), 1);

    let tries = AtomicUsize::new(0);
    let server = registry(move |_| if tries.fetch_add(1, SeqCst) == 0 { unavailable() } else { answer(201, &[], "") }).await;
    let small = Descriptor::of("x/x", b"small");
    let mut upload = begin(&server, Some(&small)).await;
    upload.write(Body::from_bytes(&b"small"[..])).await.unwrap();
    upload.commit(Some(&small)).await.unwrap();
    assert_eq!(server.count("PUT", "/"), 2);
}

#[tokio::test]
async fn an_answer_that_was_lost_is_not_a_failure_if_the_blob_is_there() {
    let arrived = Arc::new(AtomicUsize::new(0));
    let server = Server::start(move |asked, _| match asked.method.as_str() {
        "HEAD" if arrived.load(SeqCst) > 0 => answer(200, &[("content-length", "614401")], ""),
        "HEAD" => answer(404, &[], ""),
        "POST" => answer(202, &[("location", "/s")], ""),
        _ => {
            arrived.fetch_add(1, SeqCst);
            None
        }
    })
    .await;
    push(&server, in_pieces(1000)).await.unwrap();
    assert_eq!(server.count("PUT", "/"), 1);
}

#[tokio::test]
async fn a_refusal_is_not_tried_again_and_ends_the_session() {
    let server = registry(|_| answer(400, &[], r#"{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}"#)).await;
    let (_directory, body) = file();
    let error = push(&server, body).await.unwrap_err();
    assert!(matches!(&error, Error::Protocol { status: 400, why, .. } if why == "DIGEST_INVALID: no"), "{error}");
    assert_eq!((server.count("PUT", "/"), server.count("DELETE", "/s?n=1")), (1, 1));
}

#[tokio::test]
async fn wrong_bytes_are_the_error_whatever_the_registry_answers() {
    let wrong: Bytes = [&content()[1..], b"!"].concat().into();
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("wrong"), &wrong).unwrap();
    let file = || Body::from_file(FileRange::open(&directory.path().join("wrong")).unwrap());
    let stream = || {
        let pieces: Vec<_> = wrong.chunks(1000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Body::from_stream(stream::iter(pieces), Some(LARGE as u64))
    };
    // A file is read again only if the registry refuses it.
    for (status, body) in [(400, file()), (400, stream()), (201, stream())] {
        let server = registry(move |_| answer(status, &[], "")).await;
        let error = push(&server, body).await.unwrap_err();
        let expected = blob().digest;
        assert!(matches!(&error, Error::WrongDigest { expected: found, .. } if *found == expected), "{error}");
        assert_eq!((server.count("PUT", "/"), server.count("DELETE", "/s?n=1")), (1, 1), "the session is ended");
    }
}

#[tokio::test]
async fn a_blob_of_another_repository_is_mounted_if_the_registry_agrees() {
    let server = Server::start(|asked, _| match asked.method.as_str() {
        "HEAD" => answer(404, &[], ""),
        "POST" if asked.target.contains("from=c/d") => answer(201, &[], ""),
        "POST" if asked.target.contains("from=declined") => answer(202, &[("location", "/declined")], ""),
        "POST" if asked.target.contains("mount=") => answer(405, &[], ""),
        "POST" => answer(202, &[("location", "/opened")], ""),
        _ => answer(201, &[], ""),
    })
    .await;
    let mounting = |from: &str| server.repository().mounting_from(&format!("{}/{from}", server.address).parse().unwrap());
    assert!(matches!(mounting("c/d").begin(Some(&blob())).await, Ok(Begin::Exists)));
    let mount = format!("/v2/a/b/blobs/uploads/?mount={}&from=c/d", blob().digest);
    assert_eq!(server.count("POST", &mount), 1);
    for (from, session) in [("declined", "/declined?"), ("refused", "/opened?"), ("a/b", "/opened?")] {
        let Ok(Begin::Upload(mut upload)) = mounting(from).begin(Some(&blob())).await else { panic!("it is not there") };
        upload.write(in_pieces(1000)).await.unwrap();
        upload.commit(Some(&blob())).await.unwrap();
        assert_eq!(server.asked().last().unwrap().target, closing(session), "{from}");
    }
}

#[tokio::test]
async fn a_mount_that_is_refused_is_not_tried_for_the_next_blob() {
    let server = Server::start(|asked, _| match asked.method.as_str() {
        "HEAD" => answer(404, &[], ""),
        "POST" if asked.target.contains("mount=") => answer(403, &[], ""),
        "POST" => answer(202, &[("location", "/s")], ""),
        _ => answer(201, &[], ""),
    })
    .await;
    let repository = server.repository().mounting_from(&format!("{}/c/d", server.address).parse().unwrap());
    for content in [b"one", b"two"] {
        let begun = repository.begin(Some(&Descriptor::of("x/x", content))).await.unwrap();
        assert!(matches!(begun, Begin::Upload(_)));
    }
    assert_eq!(server.count("POST", "/v2/a/b/blobs/uploads/?mount="), 1);
}

#[tokio::test]
async fn an_upload_that_is_dropped_ends_its_session() {
    let (told, mut ended) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |asked, _| match asked.method.as_str() {
        "POST" => answer(202, &[("location", "/s")], ""),
        _ => {
            told.send(asked.target.clone()).unwrap();
            answer(204, &[], "")
        }
    })
    .await;
    drop(begin(&server, None).await);
    assert_eq!(ended.recv().await.unwrap(), "/s");
}
