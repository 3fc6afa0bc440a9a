//! A server, from start to shutdown.

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
use tracing::{info, warn};

/// Options of a server that do not depend on the protocol.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerOptions {
    /// How long a body may be idle before its connection is closed; shorter while another
    /// connection waits for a place. There is no limit on the total time of a body.
    pub body_idle: Duration,
    /// The maximum number of open files and sockets of the process (`RLIMIT_NOFILE`). It determines
    /// how many connections are served at the same time; further connections wait.
    pub descriptors: usize,
    /// The access policy.
    pub access: Arc<dyn Access>,
    /// The access log, if requests are logged.
    pub access_log: Option<AccessLog>,
}

impl ServerOptions {
    /// Closes a connection whose body is idle for this long.
    pub fn body_idle(self, body_idle: Duration) -> Self {
        Self { body_idle, ..self }
    }

    /// Sets the number of files and sockets that the process may open.
    pub fn descriptors(self, descriptors: usize) -> Self {
        Self { descriptors, ..self }
    }

    /// Sets the access control.
    pub fn access(self, access: impl Access) -> Self {
        Self { access: Arc::new(access), ..self }
    }

    /// Sets the request log; `None` disables it.
    pub fn access_log(self, access_log: impl Into<Option<AccessLog>>) -> Self {
        Self { access_log: access_log.into(), ..self }
    }
}

impl Default for ServerOptions {
    /// Idle time of one minute, 1,024 descriptors, everything allowed to every client, no log.
    fn default() -> Self {
        Self { body_idle: Duration::from_secs(60), descriptors: 1024, access: Arc::new(Everybody), access_log: None }
    }
}

/// A server that is bound to an address.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    repositories: Repositories,
    views: Vec<Arc<dyn View>>,
    limits: Limits,
    options: ServerOptions,
}

impl Server {
    /// Listens at `listen`; port 0 selects a free port. `store` must be opened with
    /// [`Untagged::Keep`](modelpack_store::Untagged::Keep), as clients of a registry expect.
    ///
    /// Connections are accepted after [`run`](Self::run) is called.
    pub async fn bind(store: Store, listen: SocketAddr, options: ServerOptions) -> Result<Self> {
        let failed = |e: std::io::Error| Error::Network {
            url: format!("http://{listen}"),
            why: format!("cannot listen: {e}"),
            source: Some(e.into()),
        };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let limits = Limits::new(options.descriptors);
        let repositories = Repositories::new(store, options.access.clone(), limits.storing);
        Ok(Self { listener, address, repositories, views: Vec::new(), limits, options })
    }

    /// The address on which the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The repositories of the store, for the views.
    pub fn repositories(&self) -> Repositories {
        self.repositories.clone()
    }

    /// Adds a protocol. Views are asked in the order in which they were added whether a request is
    /// theirs.
    #[must_use]
    pub fn with_view(mut self, view: impl View) -> Self {
        self.views.push(Arc::new(view));
        self
    }

    /// Serves until `shutdown` is ready. Then it accepts no more connections, finishes the requests
    /// in progress and returns. Requests whose clients are then idle for five seconds are ended;
    /// the others may take as long as they need.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<()> {
        let Self { listener, address, repositories, views, limits, options } = self;
        info!(%address, connections = limits.connections, "serving");
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
            // Either no descriptor is free, or the client disconnected at once. Other connections
            // continue, and some will end.
            let (stream, remote) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            tokio::select! {
                () = &mut shutdown => break,
                place = connections.place() => connections.serve(stream, remote, place),
            }
        }
        info!("shutting down");
        background.abort_all();
        drop(listener);
        connections.finish().await;
        if let Some(log) = log {
            log.flush().await;
        }
        Ok(())
    }
}
