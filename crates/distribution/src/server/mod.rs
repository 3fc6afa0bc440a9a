//! A registry: the OCI distribution specification over a [`Store`].
//!
//! A connection hands each request to a task of its own, which reads what its path names and calls the one function for it. Bodies
//! stream both ways: memory is a few buffers for each connection, whatever the size of a blob.

mod blobs;
mod connection;
mod leases;
mod listings;
mod manifests;
mod registry;
mod request_body;
mod response;
mod sessions;
mod uploads;

use connection::WriteTimeout;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use modelpack_store::{CHUNK, Error, Result, Store};
use registry::Registry;
use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{net::TcpListener, time};

/// The most that is buffered of a connection in each direction, in bytes. Measured: eight pushes at once took 14 MiB with this, 23 with
/// twice and 48 with four times as much, and the same time.
const BUFFER: usize = CHUNK;

/// How long a connection may wait between requests, and a request's head may take. Clients keep idle connections for up to 90 s;
/// it is better that they end them.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);

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
}

impl Default for ServerOptions {
    /// Deletes are allowed; an hour, a quarter of an hour, a minute.
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Self { allow_delete: true, upload_idle: minutes(60), lease_idle: minutes(15), body_idle: minutes(1) }
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
        let connections = GracefulShutdown::new();
        let mut reap = time::interval(registry.reap_interval());
        reap.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                _ = reap.tick() => {
                    tokio::spawn(registry.clone().reap());
                }
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        // Without it the last, short piece of a response waits for the client's acknowledgement; slower, not wrong.
                        let _ = stream.set_nodelay(true);
                        let registry = registry.clone();
                        let io = TokioIo::new(WriteTimeout::new(stream, registry.options().body_idle));
                        let service = service_fn(move |request| {
                            let registry = registry.clone();
                            async move { Ok::<_, Infallible>(registry.answer(request).await) }
                        });
                        let connection = http1::Builder::new()
                            .timer(TokioTimer::new())
                            .header_read_timeout(HEAD_TIMEOUT)
                            .max_buf_size(BUFFER)
                            .serve_connection(io, service);
                        // How a connection ended is the client's to know: its requests were answered, or it went away.
                        tokio::spawn(connections.watch(connection));
                    }
                    // Out of descriptors, or a client that was gone at once: other connections go on, and some will end.
                    Err(_) => time::sleep(Duration::from_millis(50)).await,
                },
            }
        }
        drop(listener);
        connections.shutdown().await;
        Ok(())
    }
}
