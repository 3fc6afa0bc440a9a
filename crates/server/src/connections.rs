//! The connections of a server: as many as the descriptors allow. Idle connections end when others
//! need their places.

use crate::{
    clients::{Client, Clients, Waiting, WaitsFor},
    connection::WriteTimeout,
    service::Service,
};
use http::{HeaderValue, header};
use http_body_util::BodyExt;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use modelpack_transfer::PartsToSend;
use std::{
    convert::Infallible,
    future::pending,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::timeout,
};
use tracing::debug;

/// The time limit for an idle connection between requests, and for the head of a request.
/// Clients keep idle connections for up to 90 s, and it is better if the client closes them.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);

/// The idle limit of a client while the server shuts down.
const PATIENCE_AT_THE_END: Duration = Duration::from_secs(5);

/// The interval of the search for idle clients while a connection waits for a place.
const LOOK: Duration = Duration::from_millis(50);

/// The requested state of the connections.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Stay open for further requests.
    Serving,
    /// End after the current request, because another connection waits for a place.
    Crowded,
    /// End after the current request, because the server shuts down.
    Stopping,
}

/// The open connections.
pub(crate) struct Connections {
    service: Arc<Service>,
    clients: Arc<Clients>,
    limit: usize,
    places: Arc<Semaphore>,
    state: watch::Sender<State>,
    running: JoinSet<()>,
}

impl Connections {
    /// At most `limit` connections at the same time.
    pub(crate) fn new(service: Arc<Service>, limit: usize) -> Self {
        let (places, state) = (Arc::new(Semaphore::new(limit)), watch::Sender::new(State::Serving));
        Self { service, clients: Arc::default(), limit, places, state, running: JoinSet::new() }
    }

    /// Waits for a place for another connection. If all places are in use, idle connections are
    /// ended one by one until there is a place.
    pub(crate) async fn place(&mut self) -> OwnedSemaphorePermit {
        // Removes the tasks of connections that have ended.
        while self.running.try_join_next().is_some() {}
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return place;
        }
        debug!(limit = self.limit, "all connections are in use, and another one waits");
        self.state.send_replace(State::Crowded);
        let mut place = pin!(self.places.clone().acquire_owned());
        let place = loop {
            self.clients.give_up_one(self.limit, Instant::now());
            if let Ok(place) = timeout(LOOK, place.as_mut()).await {
                break place.expect("the semaphore is never closed");
            }
        };
        self.state.send_replace(State::Serving);
        place
    }

    /// Serves a connection in the background.
    pub(crate) fn serve(&mut self, stream: TcpStream, remote: SocketAddr, place: OwnedSemaphorePermit) {
        let (service, client, state) = (self.service.clone(), self.clients.connected(), self.state.subscribe());
        self.running.spawn(async move {
            let _place = place;
            debug!(%remote, "connection accepted");
            serve(service, client, stream, remote, state).await;
            debug!(%remote, "connection closed");
        });
    }

    /// Finishes the requests in progress, as long as their clients are not idle.
    pub(crate) async fn finish(mut self) {
        self.state.send_replace(State::Stopping);
        while !self.running.is_empty() {
            let _ = timeout(LOOK, self.running.join_next()).await;
            self.clients.give_up_all(PATIENCE_AT_THE_END, Instant::now());
        }
    }
}

async fn serve(service: Arc<Service>, client: Client, stream: TcpStream, remote: SocketAddr, mut state: watch::Receiver<State>) {
    // Without `TCP_NODELAY`, the last, short piece of a response waits for the client's
    // acknowledgement. A failure makes it slower, not wrong.
    let _ = stream.set_nodelay(true);
    let parts = Arc::new(PartsToSend::default());
    let io = TokioIo::new(WriteTimeout::new(stream, parts.clone(), service.body_idle(), client.clone()));
    let open = service.open().clone();
    let buffer = open.buffer();
    let idles = Arc::new(Mutex::new(Some(client.waits_for(WaitsFor::FirstRequest))));
    let answering = {
        let (state, client, idles) = (state.clone(), client.clone(), idles.clone());
        service_fn(move |request| {
            let answered = Answered { client: client.clone(), idles: idles.clone() };
            drop(lock(&answered.idles).take());
            let (service, client, state, parts) = (service.clone(), client.clone(), state.clone(), parts.clone());
            async move {
                let is_stopping = *state.borrow() == State::Stopping;
                let mut response = service.answer(request, client, remote, parts, is_stopping).await;
                if *state.borrow() != State::Serving {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response.map(|body| {
                    body.map_err(move |error| {
                        let _until_it_was_sent = &answered;
                        error
                    })
                }))
            }
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(buffer)
        // Otherwise hyper would copy the placeholders of files.
        .writev(true)
        .serve_connection(io, answering);
    let mut connection = pin!(connection);
    // Errors of the connection are ignored: its requests were answered, or the client disconnected.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = state.wait_for(|state| *state == State::Stopping) => {}
        () = client.given_up() => {}
    }
    connection.as_mut().graceful_shutdown();
    let has_no_request = async {
        client.given_up().await;
        if lock(&idles).is_none() {
            pending().await
        }
    };
    tokio::select! {
        biased;
        _ = connection => {}
        // Part of a head may have arrived; the rest will not come.
        () = has_no_request => {}
    }
}

fn lock(idles: &Mutex<Option<Waiting>>) -> MutexGuard<'_, Option<Waiting>> {
    idles.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request in progress. It is dropped when its response was sent, which starts the wait for the
/// next request.
struct Answered {
    client: Client,
    /// `Some` while there is no request.
    idles: Arc<Mutex<Option<Waiting>>>,
}

impl Drop for Answered {
    fn drop(&mut self) {
        *lock(&self.idles) = Some(self.client.waits_for(WaitsFor::NextRequest));
    }
}
