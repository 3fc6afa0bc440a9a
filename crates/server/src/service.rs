//! Dispatches a request to a view or a probe.

use crate::{
    access::Identity,
    clients::Client,
    limits::OpenConnections,
    probe::{Probe, Readiness},
    repositories::Repositories,
    request_body::RequestBody,
    response::{Answer, Response},
    server::ServerOptions,
    view::{Head, Request, View},
};
use http::StatusCode;
use hyper::body::Incoming;
use std::{net::SocketAddr, sync::Arc, time::Duration};

/// State that all connections of a server share.
pub(crate) struct Service {
    views: Vec<Arc<dyn View>>,
    readiness: Readiness,
    options: ServerOptions,
    open: OpenConnections,
}

impl Service {
    pub(crate) fn new(repositories: Repositories, views: Vec<Arc<dyn View>>, options: ServerOptions) -> Arc<Self> {
        Arc::new(Self { views, readiness: Readiness::new(repositories), options, open: OpenConnections::default() })
    }

    /// How long a body may be idle.
    pub(crate) fn body_idle(&self) -> Duration {
        self.options.body_idle
    }

    /// The connections that are open.
    pub(crate) fn open(&self) -> &OpenConnections {
        &self.open
    }

    /// Answers a request of `client` that came from `remote`.
    pub(crate) async fn answer(&self, request: http::Request<Incoming>, client: Client, remote: SocketAddr, is_stopping: bool) -> Response {
        let (head, incoming) = request.into_parts();
        if let Some(probe) = Probe::of(&head) {
            return self.readiness.answer(probe, &head.method, is_stopping).await;
        }
        let body = RequestBody::new(incoming, &head.headers, self.options.body_idle, client);
        match &self.options.access_log {
            Some(log) => {
                let entry = log.entry(&head, remote, body.received());
                entry.answered(self.view_answer(head, body).await)
            }
            None => self.view_answer(head, body).await,
        }
    }

    async fn view_answer(&self, head: Head, body: RequestBody) -> Response {
        let Some(view) = self.views.iter().find(|view| view.claims(&head)) else {
            return Answer::new(StatusCode::NOT_FOUND).text("no resource has this path\n");
        };
        let request = Request { head, who: Identity::Anonymous, body, piece: self.open.buffer() };
        // In a separate task, a panic leads to one response with status 500 and has no other
        // effect.
        match tokio::spawn(view.clone().answer(request)).await {
            Ok(response) => response,
            Err(_panicked) => view.answer_to_panic(),
        }
    }
}
