//! Connections without TLS and without a proxy.
//!
//! `reqwest` does not let its user choose how much one connection reads at once. Over TLS these are a few records. Without it, these are up
//! to 408 KiB, for which a connection needs up to twice as much memory. So these connections are opened here. And the kernel sends the parts
//! of files over them that are in memory ([`PartsToSend`]).

use crate::options::Timeouts;
use futures_util::{FutureExt, TryFutureExt, future::BoxFuture};
use http::{
    Extensions, HeaderValue, Uri,
    header::{ACCEPT, USER_AGENT},
};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{CaptureConnection, Connected, Connection, HttpConnector, capture_connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use modelpack_transfer::{Cause, PartsToSend};
use reqwest::{Body, Request, Response, ResponseBuilderExt};
use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tower_service::Service;

/// How many bytes a connection reads at once. It needs memory for up to three times as many.
const MOST_READ: usize = 128 << 10;

/// Connections to any number of servers. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct PlainConnections {
    client: Client<Connector, Body>,
    user_agent: HeaderValue,
}

impl PlainConnections {
    /// Connections that stay open for `idle` after they were used.
    pub(crate) fn new(user_agent: HeaderValue, timeouts: &Timeouts, keepalive: Duration, idle: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_keepalive(Some(keepalive));
        connector.set_connect_timeout(Some(timeouts.connect.min(timeouts.idle)));
        let client = Client::builder(TokioExecutor::new())
            .http1_max_buf_size(MOST_READ)
            // Otherwise hyper would copy the placeholders of files.
            .http1_writev(true)
            .pool_idle_timeout(idle)
            .pool_timer(TokioTimer::new())
            .build(Connector(connector));
        Self { client, user_agent }
    }

    /// Sends a request once, and returns the answer when its head has come. Its body is for `connection`.
    pub(crate) async fn send(&self, mut request: Request, connection: ChosenConnection) -> Result<Response, Cause> {
        let url = request.url().clone();
        request.headers_mut().entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        request.headers_mut().entry(USER_AGENT).or_insert_with(|| self.user_agent.clone());
        let mut request = request.try_into()?;
        connection.is_of(&mut request);
        let (mut head, body) = self.client.request(request).await?.into_parts();
        let named = http::Response::builder().url(url).body(())?;
        head.extensions.extend(named.into_parts().0.extensions);
        Ok(http::Response::from_parts(head, Body::wrap(body)).into())
    }
}

/// The connection of one request. It is chosen when the request is sent, before anything of the body is read. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct ChosenConnection(Arc<OnceLock<CaptureConnection>>);

impl ChosenConnection {
    /// It is the connection that `request` gets.
    fn is_of(&self, request: &mut http::Request<Body>) {
        let is_first = self.0.set(capture_connection(request)).is_ok();
        debug_assert!(is_first, "each request has a connection of its own");
    }

    /// The parts of files that the connection sends.
    ///
    /// # Panics
    ///
    /// Panics before the connection is chosen.
    pub(crate) fn parts(&self) -> Arc<PartsToSend> {
        let mut extras = Extensions::new();
        if let Some(captured) = self.0.get()
            && let Some(connected) = &*captured.connection_metadata()
        {
            connected.get_extras(&mut extras);
        }
        extras.remove().expect("the connection is chosen before the body is read")
    }
}

/// Opens the connections.
#[derive(Clone, Debug)]
struct Connector(HttpConnector);

impl Service<Uri> for Connector {
    type Response = TokioIo<PlainConnection>;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let connected = |stream: TokioIo<_>| TokioIo::new(PlainConnection { stream: stream.into_inner(), parts: Arc::default() });
        self.0.call(server).map_ok(connected).boxed()
    }
}

/// A connection. For a placeholder, it sends the next part of a file.
struct PlainConnection {
    stream: TcpStream,
    parts: Arc<PartsToSend>,
}

impl Connection for PlainConnection {
    fn connected(&self) -> Connected {
        self.stream.connected().extra(self.parts.clone())
    }
}

impl AsyncRead for PlainConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for PlainConnection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.parts.poll_write(&mut this.stream, cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Payload, UploadBody};
    use bytes::Bytes;
    use futures_util::TryStreamExt;
    use http::{Method, header::CONTENT_LENGTH};
    use http_body_util::BodyDataStream;
    use modelpack_testkit::server::{Server, answer};
    use modelpack_transfer::{CHUNK, Error, FileRange};
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use tempfile::NamedTempFile;

    fn content() -> Vec<u8> {
        (0..900_001u32).map(|i| (i % 251) as u8).collect()
    }

    /// A file whose bytes are in memory; `None` if this machine cannot know that.
    fn cached_file() -> Option<(NamedTempFile, FileRange)> {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content()).unwrap();
        let range = FileRange::open(file.path()).unwrap();
        if !range.is_cached() {
            eprintln!("SKIPPED: this system does not say what is in memory");
        }
        range.is_cached().then_some((file, range))
    }

    async fn part(range: &FileRange, start: u64, end: Option<u64>) -> Payload {
        UploadBody::of(modelpack_transfer::Body::from_file(range.clone())).await.unwrap().part(start, end)
    }

    fn connections() -> PlainConnections {
        let minute = Duration::from_secs(60);
        PlainConnections::new(HeaderValue::from_static("tests"), &Timeouts::default(), minute, minute)
    }

    /// Sends a payload, and calls `taken` with each piece that the connection takes.
    async fn put(
        connections: &PlainConnections,
        server: &Server,
        payload: &Payload,
        mut taken: impl FnMut(&Bytes) + Send + 'static,
    ) -> Result<Arc<PartsToSend>, Cause> {
        let connection = ChosenConnection::default();
        let body = payload.for_attempt(Some(connection.clone()), None).unwrap();
        let mut request = Request::new(Method::PUT, format!("http://{}/file", server.address).parse().unwrap());
        request.headers_mut().insert(CONTENT_LENGTH, payload.len().unwrap().into());
        *request.body_mut() = Some(Body::wrap_stream(BodyDataStream::new(body).inspect_ok(move |piece| taken(piece))));
        assert_eq!(connections.send(request, connection.clone()).await?.status(), 201);
        Ok(connection.parts())
    }

    #[tokio::test]
    async fn the_kernel_sends_the_parts_of_a_file_and_the_connection_stays_open() {
        let Some((_file, range)) = cached_file() else { return };
        let (content, server, connections) = (content(), Server::start(|_, _| answer(201, &[], "")).await, connections());
        let mut used = Vec::new();
        for (start, end) in [(0, None), (1, Some(800_000)), (800_000, None), (300_003, Some(300_004))] {
            let by_kernel = Arc::new(AtomicUsize::new(0));
            let counter = by_kernel.clone();
            let count = move |piece: &Bytes| {
                counter.fetch_add(if PartsToSend::is_placeholder(piece) { piece.len() } else { 0 }, SeqCst);
            };
            used.push(put(&connections, &server, &part(&range, start, end).await, count).await.unwrap());
            let expected = &content[start as usize..end.map_or(content.len(), |end| end as usize)];
            assert!(server.asked().last().unwrap().body == expected, "{start}");
            // The end may be too short.
            let by_kernel = by_kernel.load(SeqCst);
            assert!(by_kernel <= expected.len() && by_kernel + (32 << 10) >= expected.len(), "{by_kernel} of {}", expected.len());
        }
        assert!(used.iter().all(|parts| Arc::ptr_eq(parts, &used[0])), "all requests have the same connection");
    }

    #[tokio::test]
    async fn a_part_that_the_kernel_cannot_send_is_why_the_payload_failed() {
        let Some((file, range)) = cached_file() else { return };
        let (server, connections) = (Server::start(|_, _| answer(201, &[], "")).await, connections());
        let shortened = file.reopen().unwrap();
        let mut taken = 0;
        let shorten = move |piece: &Bytes| {
            taken += piece.len();
            if taken == 2 * CHUNK {
                assert!(PartsToSend::is_placeholder(piece));
                shortened.set_len(CHUNK as u64 + 1).unwrap();
            }
        };
        let payload = part(&range, 0, None).await;
        put(&connections, &server, &payload, shorten).await.unwrap_err();
        assert!(matches!(payload.failure(), Some(Error::Changed { path }) if path == file.path()));
        assert_eq!(server.asked().len(), 0, "the server has not got a whole request");
        let next = Payload::from(Bytes::from_static(b"next"));
        put(&connections, &server, &next, |_| ()).await.unwrap();
        assert_eq!(server.asked()[0].body, "next");
    }
}
