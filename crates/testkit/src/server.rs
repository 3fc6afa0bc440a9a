//! A server that answers as a test says, and remembers what it was asked.

use crate::tls::{Acceptor, Tls};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::net::TcpListener;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Asked {
    /// Whether it has this method and target.
    pub fn is(&self, method: &str, target: &str) -> bool {
        self.method == method && self.target == target
    }

    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// What a test answers; `None` cuts the connection without an answer.
pub type Answer = Option<Response<BoxBody<Bytes, io::Error>>>;

/// An answer with a status, headers and a body.
pub fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    pieces(status, headers, vec![Ok(body.into())])
}

/// An answer whose body comes in pieces; an error cuts the connection.
pub fn pieces(status: u16, headers: &[(&str, &str)], pieces: Vec<io::Result<Bytes>>) -> Answer {
    let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    let frames = stream::iter(pieces).then(|piece| async {
        if piece.is_err() {
            // The server sends what came before when it finds that there is nothing to do.
            tokio::task::yield_now().await;
        }
        piece.map(Frame::data)
    });
    Some(response.body(BodyExt::boxed(StreamBody::new(frames))).unwrap())
}

/// An answer whose body begins so, and never goes on.
pub fn stalling(status: u16, headers: &[(&str, &str)], beginning: impl Into<Bytes>) -> Answer {
    let mut answer = pieces(status, headers, Vec::new())?;
    let beginning = beginning.into();
    let frames = stream::iter([Ok(Frame::data(beginning))]).chain(stream::pending());
    *answer.body_mut() = BodyExt::boxed(StreamBody::new(frames));
    Some(answer)
}

/// The end of a connection in the middle of a body.
pub fn cut() -> io::Result<Bytes> {
    Err(io::Error::other("cut"))
}

/// A running server; it stops when it is dropped.
pub struct Server {
    /// Where it listens, on the loopback.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    acceptor: Option<Acceptor>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Starts a server that answers with `handler`, which is told its own address too.
    pub async fn start(handler: impl Fn(&Asked, SocketAddr) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_with(None, handler).await
    }

    /// Starts a server that speaks TLS.
    pub async fn start_tls(tls: impl Into<Tls>, handler: impl Fn(&Asked, SocketAddr) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_with(Some(tls.into().acceptor()), handler).await
    }

    async fn start_with(tls: Option<Acceptor>, handler: impl Fn(&Asked, SocketAddr) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (handler, all, acceptor) = (Arc::new(handler), asked.clone(), tls.clone());
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let (handler, all) = (handler.clone(), all.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (handler, all) = (handler.clone(), all.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
                        let asked = Asked { method: head.method, target: head.uri.to_string(), headers: head.headers, body };
                        all.lock().unwrap().push(asked.clone());
                        handler(&asked, address).ok_or_else(|| io::Error::other("cut"))
                    }
                });
                let tls = tls.clone();
                tokio::spawn(async move {
                    let http = http1::Builder::new();
                    match tls {
                        None => drop(http.serve_connection(TokioIo::new(stream), service).await),
                        Some(tls) => {
                            if let Some(stream) = tls.accept(stream).await {
                                drop(http.serve_connection(TokioIo::new(stream), service).await);
                            }
                        }
                    }
                });
            }
        });
        Self { address, asked, acceptor, task }
    }

    /// Everything asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The heads of the requests that came in plain HTTP to a server that speaks TLS.
    pub fn plain_requests(&self) -> Vec<String> {
        self.acceptor.as_ref().map(Acceptor::plain_requests).unwrap_or_default()
    }

    /// How many requests had this method and a target that begins so.
    pub fn count(&self, method: &str, target: &str) -> usize {
        self.asked().iter().filter(|asked| asked.method == method && asked.target.starts_with(target)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
