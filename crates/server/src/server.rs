//! A server from its first connection to its last.

use crate::{
    access::{Access, Everybody},
    access_log::AccessLog,
    connections::Connections,
    limits::Limits,
    repositories::Repositories,
    service::Service,
    view::View,
};
use modelpack_store::Store;
use modelpack_transfer::{Error, Result};
use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{net::TcpListener, task::JoinSet, time};

/// How a server behaves, whatever it serves.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// How long a body may stand still before its connection is given up; less while another connection waits for a place. There is no
    /// limit on how long it may take as a whole.
    pub body_idle: Duration,
    /// How many files and sockets the process may have open at once, as `RLIMIT_NOFILE` says. It decides how many connections are
    /// served at once; others wait.
    pub descriptors: usize,
    /// Who may do what.
    pub access: Arc<dyn Access>,
    /// Where a line is written for each request, if anywhere.
    pub access_log: Option<AccessLog>,
}

impl Default for ServerOptions {
    /// A minute; 1,024 descriptors; everybody may do everything; no log.
    fn default() -> Self {
        Self { body_idle: Duration::from_secs(60), descriptors: 1024, access: Arc::new(Everybody), access_log: None }
    }
}

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    repositories: Repositories,
    views: Vec<Arc<dyn View>>,
    limits: Limits,
    options: ServerOptions,
}

impl Server {
    /// Listens at `listen`; port 0 is any that is free. `store` is opened with
    /// [`Untagged::Keep`](modelpack_store::Untagged::Keep), as readers of a registry expect.
    ///
    /// Connections are accepted when it [runs](Self::run).
    pub async fn bind(store: Store, listen: SocketAddr, options: ServerOptions) -> Result<Self> {
        let failed = |e: std::io::Error| Error::Network { url: format!("http://{listen}"), why: format!("cannot listen: {e}") };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let limits = Limits::new(options.descriptors);
        let repositories = Repositories::new(store, options.access.clone(), limits.storing);
        Ok(Self { listener, address, repositories, views: Vec::new(), limits, options })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The store, for the views.
    pub fn repositories(&self) -> Repositories {
        self.repositories.clone()
    }

    /// Serves one more protocol. The views that came before are asked first whether a request is theirs.
    #[must_use]
    pub fn with_view(mut self, view: impl View) -> Self {
        self.views.push(Arc::new(view));
        self
    }

    /// Serves until `shutdown` is ready; then takes no more connections, finishes the requests in flight and returns. Requests whose
    /// clients stand still for five seconds then are ended; the others take the time that they need.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<()> {
        let Self { listener, repositories, views, limits, options, .. } = self;
        let mut background = JoinSet::new();
        for view in &views {
            background.spawn(view.clone().background());
        }
        let log = options.access_log.clone();
        let mut connections = Connections::new(Service::new(repositories, views, options), limits.connections);
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => accepted,
            };
            // Out of descriptors, or a client that was gone at once: other connections go on, and some will end.
            let Ok((stream, remote)) = accepted else {
                time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            tokio::select! {
                () = &mut shutdown => break,
                place = connections.place() => connections.serve(stream, remote, place),
            }
        }
        background.abort_all();
        drop(listener);
        connections.finish().await;
        if let Some(log) = log {
            log.flush().await;
        }
        Ok(())
    }
}
