//! A registry: the OCI distribution specification over a [`Store`].
//!
//! A connection hands each request to a task of its own, which reads what its path names and calls the one function for it. Bodies
//! stream both ways: memory is a few buffers for each connection, whatever the size of a blob.

mod blobs;
mod connection;
mod connections;
mod leases;
mod listings;
mod manifests;
mod registry;
mod request_body;
mod response;
mod sessions;
mod uploads;

use connections::Connections;
use modelpack_store::{Error, Result, Store};
use registry::Registry;
use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{net::TcpListener, time};

/// How a registry behaves.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Whether clients may delete tags, manifests and blobs.
    pub allow_delete: bool,
    /// How long an upload that nobody continues is kept.
    pub upload_idle: Duration,
    /// How long after a push collection stays away from its repository, so that the next request of that push finds what the last one
    /// left.
    pub lease_idle: Duration,
    /// How long a body may stand still before its connection is given up. There is no limit on how long it may take as a whole.
    pub body_idle: Duration,
    /// How many files and sockets the process may have open at once, as `RLIMIT_NOFILE` says. It decides how many connections are
    /// served at once; others wait.
    pub descriptors: usize,
}

impl Default for ServerOptions {
    /// Deletes are allowed; an hour, a quarter of an hour, a minute; 1,024 descriptors.
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self { allow_delete: true, upload_idle: minutes(60), lease_idle: minutes(15), body_idle: minutes(1), descriptors: 1024 }
    }
}

/// A registry that listens.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    registry: Arc<Registry>,
}

impl Server {
    /// Listens at `listen`; port 0 is any that is free. `store` is opened with
    /// [`Untagged::Keep`](modelpack_store::Untagged::Keep), as readers of a registry expect.
    pub async fn bind(store: Store, listen: SocketAddr, options: ServerOptions) -> Result<Self> {
        let failed = |e: std::io::Error| Error::Network { url: format!("http://{listen}"), why: format!("cannot listen: {e}") };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, registry: Arc::new(Registry::new(store, options)) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is ready; then takes no more connections, finishes the requests in flight and returns.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<()> {
        let Self { listener, registry, .. } = self;
        let mut connections = Connections::new(registry.clone(), registry.limits().connections);
        let mut reap = time::interval(registry.reap_interval());
        reap.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let reaping = tokio::spawn(async move {
            loop {
                reap.tick().await;
                registry.reap().await;
            }
        });
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => accepted,
            };
            // Out of descriptors, or a client that was gone at once: other connections go on, and some will end.
            let Ok((stream, _)) = accepted else {
                time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            tokio::select! {
                () = &mut shutdown => break,
                place = connections.place() => connections.serve(stream, place),
            }
        }
        reaping.abort();
        drop(listener);
        connections.finish().await;
        Ok(())
    }
}
