//! Blobs as servers give them: whole, in ranges, broken off, too long, from elsewhere.

use crate::server::{Answer, AsRegistry, Asked, Server, answer, cut, pieces};
use bytes::Bytes;
use modelpack_spec::Descriptor;
use modelpack_transfer::{Error, Result, Source};
use std::{
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

fn content() -> Bytes {
    (0..100_000u32).map(|i| (i % 251) as u8).collect()
}

fn blob() -> Descriptor {
    Descriptor::of("x/x", &content())
}

async fn read(server: &Server, range: Range<u64>) -> Result<Vec<u8>> {
    server.repository().blob(&blob(), range).await?.collect(usize::MAX, "blob").await
}

/// The range that is asked for.
fn wanted(asked: &Asked) -> Range<usize> {
    match asked.header("range") {
        Some(header) => {
            let (first, last) = header.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            first.parse().unwrap()..last.parse::<usize>().unwrap() + 1
        }
        None => 0..content().len(),
    }
}

/// The right answer, of whose body only `part` comes before the connection is cut.
fn partial(asked: &Asked, part: usize) -> Answer {
    let range = wanted(asked);
    let len = range.len().to_string();
    let content_range = format!("bytes {}-{}/{}", range.start, range.end - 1, content().len());
    let headers = [("content-length", &*len), ("content-range", &*content_range)];
    let status = if asked.header("range").is_some() { 206 } else { 200 };
    let part = part.min(range.len());
    let mut body = vec![Ok(content().slice(range.start..range.start + part))];
    if part < range.len() {
        body.push(cut());
    }
    pieces(status, &headers, body)
}

#[tokio::test]
async fn a_range_is_asked_for_and_the_whole_blob_is_not_one() {
    let server = Server::start(|asked, _| partial(asked, usize::MAX)).await;
    assert_eq!(read(&server, 10..2000).await.unwrap(), content()[10..2000]);
    assert_eq!(read(&server, 0..100_000).await.unwrap(), content());
    assert!(read(&server, 7..7).await.unwrap().is_empty());
    let asked = server.asked();
    assert_eq!(asked[0].header("range"), Some("bytes=10-1999"));
    assert_eq!(asked[0].target, format!("/v2/a/b/blobs/{}", blob().digest));
    assert_eq!(asked[1].header("range"), None);
    assert_eq!(asked.len(), 2, "nothing is asked for an empty range");
}

#[tokio::test]
async fn a_server_that_ignores_ranges_still_gives_the_right_bytes() {
    let server = Server::start(|_, _| answer(200, &[], content())).await;
    assert_eq!(read(&server, 10..2000).await.unwrap(), content()[10..2000]);
    assert_eq!(read(&server, 99_000..100_000).await.unwrap(), content()[99_000..]);
    let in_small_pieces = |_: &Asked, _| pieces(200, &[], content().chunks(777).map(|c| Ok(Bytes::copy_from_slice(c))).collect());
    let server = Server::start(in_small_pieces).await;
    assert_eq!(read(&server, 1000..50_001).await.unwrap(), content()[1000..50_001]);
}

#[tokio::test]
async fn another_range_than_the_one_asked_for_is_refused() {
    for wrong in ["bytes 0-9/100000", "bytes 10-20/99999", "bytes 11-20/100000", "nonsense"] {
        let server = Server::start(move |_, _| answer(206, &[("content-range", wrong)], content().slice(10..21))).await;
        let error = read(&server, 10..21).await.unwrap_err();
        assert!(matches!(error, Error::Protocol { status: 206, .. }), "{wrong}: {error}");
        assert_eq!(server.asked().len(), 2, "{wrong}: the second time for all of the blob");
    }
}

/// A server that cuts the first body after 60,000 bytes, gives all of the blob to whoever asks for that, and answers a range by `ranged`.
async fn ranges(ranged: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Server {
    let tries = AtomicUsize::new(0);
    Server::start(move |asked, _| match (asked.header("range"), tries.fetch_add(1, SeqCst)) {
        (Some(_), _) => ranged(asked),
        (None, 0) => partial(asked, 60_000),
        (None, _) => answer(200, &[], content()),
    })
    .await
}

#[tokio::test]
async fn a_range_that_is_refused_is_taken_from_the_whole_blob() {
    for status in [302, 400, 402, 403, 404, 405, 406, 409, 410, 412, 413, 416, 418, 422, 501, 505] {
        let server = ranges(move |_| answer(status, &[("content-range", "bytes */100000")], "no ranges")).await;
        assert_eq!(read(&server, 0..100_000).await.unwrap(), content(), "{status}: what broke off is continued");
        assert_eq!(read(&server, 10..2000).await.unwrap(), content()[10..2000], "{status}: a part is read");
        // After an answer 400 to the first request, the client asks whether TLS is expected.
        let ranged: Vec<_> = server.asked().iter().filter(|a| a.target != "/").map(|a| a.header("range").is_some()).collect();
        assert_eq!(ranged, [false, true, false, true, false], "{status}");
    }
    let server = Server::start(|asked, _| if asked.header("range").is_some() { answer(416, &[], "") } else { answer(404, &[], "") }).await;
    assert!(read(&server, 10..2000).await.unwrap_err().is_not_found(), "what all of the blob is answered with counts");
    let server = Server::start(|_, _| answer(416, &[], "")).await;
    let error = read(&server, 10..2000).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { status: 416, .. }), "{error}");
    assert_eq!(server.asked().len(), 2);
    for status in [401, 429] {
        let server = ranges(move |_| answer(status, &[("retry-after", "0")], "")).await;
        let error = read(&server, 0..100_000).await.unwrap_err();
        assert!(matches!(error, Error::Unauthorized { .. } | Error::Protocol { status: 429, .. }), "{error}");
    }
}

#[tokio::test]
async fn a_range_that_fails_again_and_again_is_taken_from_the_whole_blob() {
    let at_once = &[("retry-after", "0")];
    // What a part is asked for with: an error, the end of the connection, and a part that calls itself the whole.
    let failing = [500, 502, 503].map(|status| (Some(status), ""));
    for (status, body) in failing.into_iter().chain([(None, ""), (Some(200), "a part")]) {
        let server = ranges(move |_| status.and_then(|status| answer(status, at_once, body))).await;
        assert_eq!(read(&server, 0..100_000).await.unwrap(), content(), "{status:?}: what broke off is continued");
        let ranged: Vec<_> = server.asked().iter().map(|a| a.header("range").is_some()).collect();
        assert!(ranged.len() <= 6 && ranged.ends_with(&[true, false]), "{status:?}: {ranged:?}");
    }
    let broken = |asked: &Asked, _| match asked.header("range") {
        Some(_) => answer(503, &[("retry-after", "0")], "ranges"),
        None => answer(500, &[("retry-after", "0")], "everything"),
    };
    let server = Server::start(broken).await;
    let error = read(&server, 10..2000).await.unwrap_err();
    assert!(matches!(&error, Error::Protocol { status: 500, why, .. } if why == "everything"), "{error}");
    assert!(server.asked().len() < 10);
}

#[tokio::test]
async fn a_part_that_does_not_say_what_it_is_is_not_used() {
    let wrong: [&[(&str, &str)]; 6] = [
        &[],
        &[("content-type", "multipart/byteranges; boundary=x")],
        &[("content-range", "bytes 0-9/100000")],
        &[("content-range", "bytes 70000-99999/100000")],
        &[("content-range", "bytes 60000-99999/99999999")],
        &[("content-range", "bytes 60000-100000/*")],
    ];
    for headers in wrong {
        let server = ranges(move |_| answer(206, headers, vec![b'!'; 40_000])).await;
        assert_eq!(read(&server, 0..100_000).await.unwrap(), content(), "{headers:?}");
        assert_eq!(server.asked().len(), 3, "{headers:?}");
    }
}

/// A part of the blob, as a server says it.
fn part(range: Range<usize>) -> Answer {
    let said = format!("bytes {}-{}/{}", range.start, range.end - 1, content().len());
    answer(206, &[("content-range", &said)], content().slice(range))
}

#[tokio::test]
async fn a_part_that_is_shorter_is_taken_and_the_rest_is_asked_for() {
    let server = ranges(|asked| part(wanted(asked).start..wanted(asked).end.min(wanted(asked).start + 15_000))).await;
    assert_eq!(read(&server, 0..100_000).await.unwrap(), content());
    let asked: Vec<_> = server.asked().iter().skip(1).map(|a| wanted(a).start).collect();
    assert_eq!(asked, [60_000, 75_000, 90_000], "at once, and each from where the one before ended");
    assert_eq!(read(&server, 10..40_000).await.unwrap(), content()[10..40_000]);
}

#[tokio::test]
async fn of_a_part_that_begins_earlier_or_ends_later_the_right_bytes_are_taken() {
    let server = ranges(|asked| part(wanted(asked).start - 5..(wanted(asked).end + 7).min(content().len()))).await;
    assert_eq!(read(&server, 0..100_000).await.unwrap(), content());
    assert_eq!(read(&server, 1000..2000).await.unwrap(), content()[1000..2000]);
    let longer = |asked: &Asked| {
        let said = format!("bytes {}-{}/100000", wanted(asked).start, wanted(asked).start + 9);
        pieces(206, &[("content-range", &said)], vec![Ok(content().slice(wanted(asked)))])
    };
    let server = ranges(longer).await;
    let error = read(&server, 10..2000).await.unwrap_err();
    assert!(matches!(&error, Error::Network { why, .. } if why.contains("more bytes")), "{error}");
}

#[tokio::test]
async fn parts_of_a_byte_are_not_asked_for_without_end() {
    let server = ranges(|asked| part(wanted(asked).start..wanted(asked).start + 1)).await;
    assert_eq!(read(&server, 0..100_000).await.unwrap(), content(), "all of the blob is asked for in the end");
    assert!(server.asked().len() < 110, "{}", server.asked().len());
    // However large the blob is.
    let endless = Descriptor { size: 40 << 30, ..blob() };
    let of_endless = |asked: &Asked, _| match asked.header("range") {
        Some(range) => {
            let first = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap().0;
            answer(206, &[("content-range", &format!("bytes {first}-{first}/{}", 40u64 << 30))], "!")
        }
        None => answer(403, &[], "not all at once"),
    };
    let server = Server::start(of_endless).await;
    let body = server.repository().blob(&endless, 1..endless.size).await.unwrap();
    let error = body.collect(usize::MAX, "blob").await.unwrap_err();
    assert!(matches!(&error, Error::Denied { why, .. } if why == "not all at once"), "{error}");
    assert!(server.asked().len() < 110, "{}", server.asked().len());
    let cut_early = |asked: &Asked, _| match asked.header("range") {
        Some(_) => part(wanted(asked).start..wanted(asked).start + 1),
        None => partial(asked, 10),
    };
    let server = Server::start(cut_early).await;
    let error = read(&server, 0..100_000).await.unwrap_err();
    assert!(matches!(&error, Error::Network { why, .. } if why.contains(" of 100000 bytes had come")), "{error}");
    assert!(server.asked().len() < 120, "{}", server.asked().len());
}

#[tokio::test]
async fn a_body_that_breaks_off_is_continued_where_it_ended() {
    let server = Server::start(|asked, _| partial(asked, 40_000)).await;
    assert_eq!(read(&server, 0..100_000).await.unwrap(), content());
    let ranges: Vec<_> = server.asked().iter().map(|a| a.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges, [None, Some("bytes=40000-99999".into()), Some("bytes=80000-99999".into())]);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_continued_by_a_server_that_ignores_ranges() {
    let tries = AtomicUsize::new(0);
    let server = Server::start(move |_, _| match tries.fetch_add(1, SeqCst) {
        0 => pieces(200, &[("content-length", "100000")], vec![Ok(content().slice(..60_000)), cut()]),
        _ => answer(200, &[], content()),
    })
    .await;
    assert_eq!(read(&server, 0..100_000).await.unwrap(), content());
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_body_that_never_gets_further_fails_and_says_how_far_it_came() {
    let tries = AtomicUsize::new(0);
    let server = Server::start(move |asked, _| match tries.fetch_add(1, SeqCst) {
        0 => partial(asked, 123),
        _ => partial(asked, 0),
    })
    .await;
    let error = read(&server, 0..100_000).await.unwrap_err();
    assert!(matches!(&error, Error::Network { why, .. } if why.contains("123 of 100000 bytes")), "{error}");
    assert!(server.asked().len() < 10, "attempts are bounded");
}

#[tokio::test]
async fn more_bytes_than_there_should_be_are_refused() {
    let longer = || pieces(200, &[], vec![Ok(content()), Ok(Bytes::from_static(b"!"))]);
    let server = Server::start(move |_, _| longer()).await;
    let error = read(&server, 0..100_000).await.unwrap_err();
    assert!(matches!(&error, Error::Network { why, .. } if why.contains("more bytes")), "{error}");
    let server = Server::start(|_, _| answer(200, &[("content-length", "100001")], vec![0; 100_001])).await;
    let error = read(&server, 0..100_000).await.unwrap_err();
    assert!(matches!(error, Error::WrongSize { expected: 100_000, found: 100_001, .. }), "{error}");
}

#[tokio::test]
async fn a_redirected_blob_is_asked_for_at_the_registry_again_when_it_breaks_off() {
    let storage = Server::start(|asked, _| partial(asked, 70_000)).await;
    let elsewhere = format!("http://localhost:{}/signed?key=1", storage.address.port());
    let server = Server::start(move |_, _| answer(307, &[("location", &elsewhere)], "")).await;
    assert_eq!(read(&server, 0..100_000).await.unwrap(), content());
    assert_eq!((server.asked().len(), storage.asked().len()), (2, 2));
    assert_eq!(storage.asked()[1].header("range"), Some("bytes=70000-99999"));
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let server = Server::start(|asked, _| answer(302, &[("location", &asked.target)], "")).await;
    let error = read(&server, 0..100_000).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { status: 302, .. }), "{error}");
    assert!(error.to_string().contains("the redirects lead in a circle, back to http://127.0.0.1:"), "{error}");
    assert_eq!(server.asked().len(), 1);

    let further = AtomicUsize::new(0);
    let server = Server::start(move |_, _| answer(307, &[("location", &format!("/{}", further.fetch_add(1, SeqCst)))], "")).await;
    let error = read(&server, 0..100_000).await.unwrap_err();
    assert!(error.to_string().contains("more than 8 redirects in a row"), "{error}");
    assert_eq!(server.asked().len(), 9);
}

#[tokio::test]
async fn a_range_outside_of_the_blob_is_refused_without_asking() {
    let server = Server::start(|_, _| answer(500, &[], "")).await;
    #[expect(clippy::reversed_empty_ranges, reason = "the range is what is wrong")]
    for range in [0..100_001, 5..2] {
        assert!(matches!(read(&server, range).await, Err(Error::Invalid { .. })));
    }
    assert_eq!(server.asked().len(), 0);
}
