//! Probes, with which Kubernetes and load balancers check that a server is alive and ready.

use crate::{
    repositories::Repositories,
    response::{Answer, Response},
    view::Head,
};
use http::{Method, StatusCode, header};
use modelpack_transfer::{Error, blocking};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::timeout};

/// The timeout for reading the store. Probe clients give up much earlier.
const PATIENCE: Duration = Duration::from_secs(5);

/// The kind of probe.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// `/healthz`: whether the process answers at all. If not, it should be restarted.
    Alive,
    /// `/readyz`: whether requests should be sent to this server.
    Ready,
}

impl Probe {
    /// The probe that the request is, if it is one.
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
    /// Only one check of the store runs at a time: if the file system hangs, each check would block
    /// a thread.
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
                .text("probes accept GET and HEAD requests only\n");
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

    /// Why the store cannot be read, if it cannot. The reason contains no paths, because clients
    /// must not see the server's file paths.
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
