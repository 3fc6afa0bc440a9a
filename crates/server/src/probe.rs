//! Probes: how Kubernetes and load balancers ask whether a server is alive and ready.

use crate::{
    repositories::Repositories,
    response::{Answer, Response},
    view::Head,
};
use http::{Method, StatusCode, header};
use modelpack_transfer::{Error, blocking};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::timeout};

/// How long the store may take to be read. Whoever asks has given up long before.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// `/healthz`: whether the process answers at all. If not, restart it.
    Alive,
    /// `/readyz`: whether requests should be sent to it.
    Ready,
}

impl Probe {
    /// The probe that a request is, if it is one.
    pub(crate) fn of(head: &Head) -> Option<Self> {
        match head.uri.path() {
            "/healthz" => Some(Self::Alive),
            "/readyz" => Some(Self::Ready),
            _ => None,
        }
    }
}

/// Answers probes.
pub(crate) struct Readiness {
    repositories: Repositories,
    /// One look at the store at a time: with a file system that hangs, each would keep a thread.
    looking: Arc<Semaphore>,
}

impl Readiness {
    pub(crate) fn new(repositories: Repositories) -> Self {
        Self { repositories, looking: Arc::new(Semaphore::new(1)) }
    }

    pub(crate) async fn answer(&self, probe: Probe, method: &Method, is_stopping: bool) -> Response {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Answer::new(StatusCode::METHOD_NOT_ALLOWED)
                .header(header::ALLOW, "GET, HEAD")
                .text("a probe is a GET or HEAD request\n");
        }
        let unready = match probe {
            Probe::Alive => None,
            Probe::Ready if is_stopping => Some("the server is shutting down".to_owned()),
            Probe::Ready => self.why_unreadable().await,
        };
        match unready {
            None => Answer::new(StatusCode::OK).text("ok\n"),
            Some(why) => Answer::new(StatusCode::SERVICE_UNAVAILABLE).text(format!("{why}\n")),
        }
    }

    /// Why the store cannot be read, if it cannot. Paths of the server's own files are no business of who asks.
    async fn why_unreadable(&self) -> Option<String> {
        let look = async {
            let permit = self.looking.clone().acquire_owned().await.expect("the semaphore is never closed");
            let repositories = self.repositories.clone();
            blocking(move || {
                let _permit = permit;
                repositories.check_readable()
            })
            .await
        };
        match timeout(PATIENCE, look).await {
            Ok(Ok(())) => None,
            Ok(Err(Error::Io { action, source, .. })) => Some(format!("the store cannot be read ({action}): {source}")),
            Ok(Err(_)) => Some("the store cannot be read".to_owned()),
            Err(_elapsed) => Some(format!("the store did not answer within {} seconds", PATIENCE.as_secs())),
        }
    }
}
