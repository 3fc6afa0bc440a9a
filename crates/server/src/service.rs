//! Dispatches a request to a view or a probe.

use crate::{
    access::Identity,
    access_log::{PATH_LEN, shortened},
    clients::Client,
    limits::OpenConnections,
    probe::{Probe, Readiness},
    repositories::Repositories,
    request_body::RequestBody,
    response::{Answer, Frames, Response},
    server::ServerOptions,
    view::{Head, Request, View},
};
use http::StatusCode;
use hyper::body::Incoming;
use modelpack_transfer::PartsToSend;
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tracing::{Level, enabled, error, info};

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

    /// The idle limit of a body.
    pub(crate) fn body_idle(&self) -> Duration {
        self.options.body_idle
    }

    /// The connections that are open.
    pub(crate) fn open(&self) -> &OpenConnections {
        &self.open
    }

    /// Answers a request of `client` that came from `remote`. The connection sends `parts`, and has
    /// sent all earlier responses when this is polled.
    pub(crate) async fn answer(
        &self,
        request: http::Request<Incoming>,
        client: Client,
        remote: SocketAddr,
        parts: Arc<PartsToSend>,
        is_stopping: bool,
    ) -> http::Response<Frames> {
        let (head, incoming) = request.into_parts();
        let framed = |response: Response| response.map(|body| body.into_frames(self.open.buffer(), parts));
        if let Some(probe) = Probe::of(&head) {
            return framed(self.readiness.answer(probe, &head.method, is_stopping).await);
        }
        let body = RequestBody::new(incoming, &head.headers, self.options.body_idle, client);
        let begun = Instant::now();
        // Without the query, which may contain credentials.
        let asked = enabled!(Level::INFO).then(|| (head.method.clone(), shortened(head.uri.path(), PATH_LEN)));
        let response = match &self.options.access_log {
            Some(log) => {
                let entry = log.entry(&head, remote, body.received());
                entry.answered(framed(self.view_answer(head, body).await))
            }
            None => framed(self.view_answer(head, body).await),
        };
        if let Some((method, path)) = asked {
            let milliseconds = begun.elapsed().as_millis() as u64;
            info!(%remote, %method, path, status = response.status().as_u16(), milliseconds, "request");
        }
        response
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
            Err(panicked) => {
                error!(%panicked, "a request panicked");
                view.answer_to_panic()
            }
        }
    }
}
