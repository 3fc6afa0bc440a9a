//! A server on a free port, and small views.

use async_trait::async_trait;
use http::{Method, StatusCode, header};
use modelpack_server::{Answer, Head, Repositories, Request, Response, Server, ServerOptions, View};
use modelpack_store::{Store, Untagged};
use modelpack_transfer::Body;
use reqwest::Client;
use std::{future::pending, net::SocketAddr, sync::Arc};
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) running: JoinHandle<modelpack_transfer::Result<()>>,
    pub(crate) directory: TempDir,
}

impl Running {
    /// A server over an empty store, with the views that `with_views` adds.
    pub(crate) async fn start(options: ServerOptions, with_views: impl FnOnce(Server) -> Server) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), Untagged::Keep).unwrap();
        let server = with_views(Server::bind(store, "127.0.0.1:0".parse().unwrap(), options).await.unwrap());
        let address = server.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Self { address, client: http_client(), stop, running, directory }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    pub(crate) fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.request(Method::GET, path)
    }
}

/// A client with its own connections. It uses plain HTTP, but `reqwest` needs a TLS provider in a
/// build of the whole workspace.
fn http_client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().build().unwrap()
}

/// A text protocol for clients with the user agent `tiny`. It lists the names of the repositories.
pub(crate) struct Tiny(pub(crate) Repositories);

#[async_trait]
impl View for Tiny {
    fn claims(&self, head: &Head) -> bool {
        let agent = head.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
        agent.is_some_and(|agent| agent.starts_with("tiny/"))
    }

    async fn answer(self: Arc<Self>, request: Request) -> Response {
        match (request.head.method.as_str(), request.head.uri.path()) {
            ("GET", "/names") => {
                let names = self.0.names(&request.who).await.unwrap();
                Answer::new(StatusCode::OK).text(names.iter().map(|name| format!("{name}\n")).collect::<String>())
            }
            ("GET", "/panic") => panic!("as asked"),
            ("GET", "/never") => pending().await,
            (_, path) => Answer::new(StatusCode::NOT_FOUND).text(format!("tiny: nothing at {path}\n")),
        }
    }

    fn answer_to_panic(&self) -> Response {
        Answer::new(StatusCode::INTERNAL_SERVER_ERROR).text("tiny: failed\n")
    }
}

/// A protocol that echoes the body to clients that accept it.
pub(crate) struct Echo;

pub(crate) const ECHO: &str = "application/x-echo";

#[async_trait]
impl View for Echo {
    fn claims(&self, head: &Head) -> bool {
        head.headers.get(header::ACCEPT).is_some_and(|accept| accept == ECHO)
    }

    async fn answer(self: Arc<Self>, request: Request) -> Response {
        let Some(len) = request.body.len() else { return Answer::new(StatusCode::LENGTH_REQUIRED).done() };
        let body: Body = request.body.into_body(None, pending());
        Answer::new(StatusCode::OK).stream(body.into_pieces(request.piece), len)
    }

    fn answer_to_panic(&self) -> Response {
        Answer::new(StatusCode::INTERNAL_SERVER_ERROR).done()
    }
}
