//! The client with a protocol of its own, which knows nothing of registries: a token opens the door, and errors are lines of text.

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use modelpack_http::{
    ClientOptions, ErrorAnswer, HttpClient, Meaning, Origin, Payload, Protocol, Request, Resource, RetryOptions, Timeouts, UploadBody, Url,
    download, origin_url,
};
use modelpack_testkit::{
    server::{Answer, Asked, Server, answer, cut, pieces},
    tls::Clients,
};
use modelpack_transfer::{Body, Error, Result};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::net::TcpListener;

/// Shows the token of the drawer that a request is about, once it was asked for one. Each refusal makes the next token.
#[derive(Default)]
struct Tokens {
    newest: AtomicUsize,
}

struct Drawer(&'static str);

#[async_trait]
impl Protocol for Tokens {
    type Scope = Drawer;

    async fn authorization(&self, Drawer(drawer): &Drawer) -> Result<Option<HeaderValue>> {
        let newest = self.newest.load(SeqCst);
        Ok((newest > 0).then(|| HeaderValue::try_from(format!("Bearer {drawer}-{newest}")).unwrap()))
    }

    async fn refused(&self, _: &Drawer, _: &Url, headers: &HeaderMap, refused: Option<&HeaderValue>, again: bool) -> Result<bool> {
        assert_eq!(refused.is_some(), again);
        self.newest.fetch_add(1, SeqCst);
        Ok(headers.contains_key("x-token"))
    }

    fn meaning(&self, answer: &ErrorAnswer<'_>) -> Meaning {
        let why = answer.headers.get("x-why").map(|why| why.to_str().unwrap().to_owned());
        let error = answer.text.strip_prefix("moved to ").map(|place| Error::not_found(format!("what is now in {place}")));
        Meaning { why, error }
    }
}

fn origin(server: &Server) -> Arc<Origin<Tokens>> {
    let client = HttpClient::new(&ClientOptions::default()).unwrap();
    let url = origin_url(&server.address.to_string(), &ClientOptions::default()).unwrap();
    Arc::new(Origin::new(url, client, Tokens::default()))
}

const TOP: Drawer = Drawer("top");

fn get(origin: &Origin<Tokens>, path: &str) -> Request<'static, Drawer> {
    Request::new(Method::GET, origin.url(path), &TOP, "the letter")
}

/// What came with a request, or that nothing did.
fn shown(asked: &Asked) -> &str {
    asked.header("authorization").unwrap_or("nothing")
}

/// Lets in who shows `token`.
fn guarded(asked: &Asked, token: &str, letter: impl FnOnce() -> Answer) -> Answer {
    if shown(asked) == token { letter() } else { answer(401, &[("x-token", "please")], "") }
}

#[tokio::test]
async fn what_is_asked_for_is_shown_and_only_then() {
    let server = Server::start(|asked, _| guarded(asked, "Bearer top-2", || answer(200, &[], "dear"))).await;
    let origin = origin(&server);
    for _ in 0..2 {
        let response = origin.send(get(&origin, "/letter")).await.unwrap();
        assert_eq!(response.bytes().await.unwrap(), "dear");
    }
    let all: Vec<_> = server.asked().iter().map(|asked| shown(asked).to_owned()).collect();
    assert_eq!(all, ["nothing", "Bearer top-1", "Bearer top-2", "Bearer top-2"]);

    let closed = Server::start(|_, _| answer(401, &[], "never")).await;
    let error = self::origin(&closed).send(get(&origin, "/letter")).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
}

#[tokio::test]
async fn a_redirect_to_another_host_does_not_show_the_token_there() {
    let elsewhere = Server::start(|_, _| answer(200, &[], "dear")).await;
    let signed = format!("http://localhost:{}/signed?key=1", elsewhere.address.port());
    let server = Server::start(move |asked, _| guarded(asked, "Bearer top-1", || answer(307, &[("location", &signed)], ""))).await;
    let origin = origin(&server);
    assert_eq!(origin.send(get(&origin, "/letter")).await.unwrap().bytes().await.unwrap(), "dear");
    assert_eq!(elsewhere.asked().iter().map(shown).collect::<Vec<_>>(), ["nothing"]);
    // A 401 of somebody else is no question to this protocol.
    let elsewhere = Server::start(|_, _| answer(401, &[("x-token", "please")], "")).await;
    let there = format!("http://localhost:{}/", elsewhere.address.port());
    let server = Server::start(move |_, _| answer(307, &[("location", &there)], "")).await;
    let origin = self::origin(&server);
    assert!(matches!(origin.send(get(&origin, "/letter")).await, Err(Error::Unauthorized { .. })));
    assert_eq!((elsewhere.asked().len(), elsewhere.asked().iter().map(shown).collect::<Vec<_>>()), (1, vec!["nothing"]));
}

#[tokio::test]
async fn a_download_that_is_cut_goes_on_where_it_was_and_shows_the_token_again() {
    let letter = Bytes::from((0..100_000u32).map(|n| n as u8).collect::<Vec<_>>());
    let whole = letter.clone();
    let server = Server::start(move |asked, _| {
        guarded(asked, "Bearer low-1", || {
            let first: usize = asked.header("range").map_or(0, |range| range[6..].split_once('-').unwrap().0.parse().unwrap());
            let said = format!("bytes {first}-{}/{}", whole.len() - 1, whole.len());
            let status = if first > 0 { 206 } else { 200 };
            let left = whole.len() - first;
            let headers = [("content-range", said.as_str()), ("content-length", &left.to_string())];
            pieces(status, &headers, vec![Ok(whole.slice(first..first + left.min(40_000))), cut()])
        })
    })
    .await;
    let origin = origin(&server);
    let url = origin.url("/letter");
    let resource = Resource { origin, scope: Drawer("low"), url, what: "the letter".to_owned(), size: letter.len() as u64 };
    let body = download(resource, 0..letter.len() as u64).await.unwrap();
    assert_eq!(body.collect(1 << 20, "the letter").await.unwrap(), letter);
    let ranges: Vec<_> = server.asked().iter().map(|asked| (shown(asked).to_owned(), asked.header("range").map(str::to_owned))).collect();
    let shown = |range: Option<&str>| ("Bearer low-1".to_owned(), range.map(str::to_owned));
    assert_eq!(ranges[1..], [shown(None), shown(Some("bytes=40000-99999")), shown(Some("bytes=80000-99999"))]);
}

#[tokio::test]
async fn what_failed_is_sent_again_and_a_refusal_reads_as_its_protocol_says() {
    let tries = AtomicUsize::new(0);
    let server = Server::start(move |_, _| match tries.fetch_add(1, SeqCst) {
        0 => answer(503, &[("retry-after", "0")], ""),
        1 => None,
        _ => answer(201, &[], ""),
    })
    .await;
    let origin = origin(&server);
    let payload = UploadBody::of(Body::from_bytes(&b"dear"[..])).await.unwrap().part(0, None);
    origin.send(Request::new(Method::PUT, origin.url("/letter"), &TOP, "the letter").payload(payload)).await.unwrap();
    assert_eq!(server.asked().iter().map(|asked| &asked.body[..]).collect::<Vec<_>>(), [b"dear"; 3]);

    for (status, headers, text, expected) in [
        (404, &[][..], "moved to the cellar", "what is now in the cellar was not found"),
        (404, &[], "what letter?", "the letter was not found"),
        (403, &[("x-why", "not yours")], "moved to the cellar", "reading the letter is not allowed: not yours"),
        (409, &[("x-why", "torn")], "", "answered 409: torn"),
        (409, &[], "a line\nand more", "answered 409: a line"),
        (409, &[], "<html>", "answered 409: Conflict"),
    ] {
        let server = Server::start(move |_, _| answer(status, headers, text)).await;
        let origin = self::origin(&server);
        let error = origin.send(get(&origin, "/letter")).await.unwrap_err().to_string();
        assert!(error.ends_with(expected), "{error}");
    }
}

#[tokio::test]
async fn a_redirect_from_tls_to_plain_http_is_refused() {
    let plain = Server::start(|_, _| answer(200, &[], "dear")).await;
    let to = format!("http://localhost:{}/letter", plain.address.port());
    let server = Server::start_tls(Clients::Any, move |_, _| answer(307, &[("location", &to)], "")).await;
    let url = Url::parse(&format!("https://localhost:{}", server.address.port())).unwrap();
    let origin = Origin::new(url, HttpClient::new(&ClientOptions::default().insecure(true)).unwrap(), Tokens::default());
    let error = origin.send(get(&origin, "/letter")).await.unwrap_err().to_string();
    assert!(error.contains("less secure"), "{error}");
    assert_eq!((server.asked().len(), plain.asked().len()), (1, 0));
}

#[tokio::test]
async fn a_failure_keeps_its_source_without_the_secrets_of_the_url() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let signed = format!("http://localhost:{}/blob?signature=hidden", closed.port());
    let server = Server::start(move |asked, _| match asked.target.as_str() {
        "/signed" => answer(307, &[("location", &signed)], ""),
        _ => answer(307, &[("location", "http://[")], ""),
    })
    .await;
    let options = ClientOptions::default().retry(RetryOptions::default().attempts(1));
    let origin = Origin::new(
        origin_url(&server.address.to_string(), &ClientOptions::default()).unwrap(),
        HttpClient::new(&options).unwrap(),
        Tokens::default(),
    );
    let sources = |error: &Error| -> Vec<String> {
        std::iter::successors(std::error::Error::source(error), |error| error.source()).map(ToString::to_string).collect()
    };
    let refused = origin.send(get(&origin, "/signed")).await.unwrap_err();
    assert!(matches!(refused, Error::Network { .. }), "{refused}");
    let causes = sources(&refused);
    assert!(causes.last().is_some_and(|root| root.contains("onnection refused")), "{causes:?}");
    assert!(!causes.concat().contains("hidden") && !refused.to_string().contains(causes.last().unwrap()), "{refused}: {causes:?}");
    let malformed = origin.send(get(&origin, "/malformed")).await.unwrap_err();
    assert!(matches!(malformed, Error::Protocol { status: 307, .. }) && sources(&malformed) == ["invalid IPv6 address"], "{malformed}");
}

#[tokio::test]
async fn options_say_how_often_a_server_is_asked_and_how_long_it_is_waited_for() {
    let busy = Server::start(|_, _| answer(503, &[], "busy")).await;
    let retry = RetryOptions::default().attempts(3).first_pause(Duration::ZERO);
    let origin_of = |name: &str, options| {
        Arc::new(Origin::new(origin_url(name, &ClientOptions::default()).unwrap(), HttpClient::new(&options).unwrap(), Tokens::default()))
    };
    let origin = origin_of(&busy.address.to_string(), ClientOptions::default().retry(retry));
    let error = origin.send(get(&origin, "/letter")).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { status: 503, .. }), "{error}");
    assert_eq!(busy.asked().len(), 3);

    // It takes connections, and answers nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let timeouts = Timeouts::default().idle(Duration::from_millis(10)).upload(Duration::from_millis(20));
    let options = ClientOptions::default().retry(retry.attempts(1)).timeouts(timeouts);
    let origin = origin_of(&silent.local_addr().unwrap().to_string(), options);
    let upload = Request::new(Method::PUT, origin.url("/letter"), &TOP, "the letter").payload(Payload::from(Bytes::from("dear")));
    for (request, waited) in [(get(&origin, "/letter"), "0.01"), (upload, "0.02")] {
        let error = origin.send(request).await.unwrap_err().to_string();
        assert!(error.contains(&format!("nothing came for {waited} s")), "{error}");
    }
}
