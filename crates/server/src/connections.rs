//! The connections of a server: as many as there are descriptors for, and none whose client stands still while another one waits.

use crate::{
    clients::{Client, Clients, Waiting, WaitsFor},
    connection::WriteTimeout,
    service::Service,
};
use http::{HeaderValue, header};
use http_body_util::BodyExt;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
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

/// How long a connection may wait between requests, and a request's head may take. Clients keep idle connections for up to 90 s;
/// it is better that they end them.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a client may stand still while the server ends.
const PATIENCE_AT_THE_END: Duration = Duration::from_secs(5);

/// How often it is looked which clients stand still, while somebody waits for that.
const LOOK: Duration = Duration::from_millis(50);

/// What the connections should do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// Stay open for further requests.
    Serving,
    /// End after the request that is being answered: another connection waits for a place.
    Crowded,
    /// End after the request that is being answered: the server shuts down.
    Stopping,
}

/// The connections that are open.
pub(crate) struct Connections {
    service: Arc<Service>,
    clients: Arc<Clients>,
    limit: usize,
    places: Arc<Semaphore>,
    mood: watch::Sender<Mood>,
    running: JoinSet<()>,
}

impl Connections {
    /// At most `limit` at once.
    pub(crate) fn new(service: Arc<Service>, limit: usize) -> Self {
        let (places, mood) = (Arc::new(Semaphore::new(limit)), watch::Sender::new(Mood::Serving));
        Self { service, clients: Arc::default(), limit, places, mood, running: JoinSet::new() }
    }

    /// Waits until there is a place for another connection. If all are taken, those whose clients stand still are ended, one after the
    /// other, until there is a place.
    pub(crate) async fn place(&mut self) -> OwnedSemaphorePermit {
        // The tasks of connections that have ended.
        while self.running.try_join_next().is_some() {}
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return place;
        }
        self.mood.send_replace(Mood::Crowded);
        let mut place = pin!(self.places.clone().acquire_owned());
        let place = loop {
            self.clients.give_up_one(self.limit, Instant::now());
            if let Ok(place) = timeout(LOOK, place.as_mut()).await {
                break place.expect("the semaphore is never closed");
            }
        };
        self.mood.send_replace(Mood::Serving);
        place
    }

    /// Serves a connection in the background.
    pub(crate) fn serve(&mut self, stream: TcpStream, remote: SocketAddr, place: OwnedSemaphorePermit) {
        let (service, client, mood) = (self.service.clone(), self.clients.connected(), self.mood.subscribe());
        self.running.spawn(async move {
            let _place = place;
            serve(service, client, stream, remote, mood).await;
        });
    }

    /// Finishes the requests that are being answered, as long as their clients do their part.
    pub(crate) async fn finish(mut self) {
        self.mood.send_replace(Mood::Stopping);
        while !self.running.is_empty() {
            let _ = timeout(LOOK, self.running.join_next()).await;
            self.clients.give_up_all(PATIENCE_AT_THE_END, Instant::now());
        }
    }
}

async fn serve(service: Arc<Service>, client: Client, stream: TcpStream, remote: SocketAddr, mut mood: watch::Receiver<Mood>) {
    // Without it the last, short piece of a response waits for the client's acknowledgement; slower, not wrong.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(WriteTimeout::new(stream, service.body_idle(), client.clone()));
    let open = service.open().clone();
    let buffer = open.buffer();
    let idles = Arc::new(Mutex::new(Some(client.waits_for(WaitsFor::FirstRequest))));
    let answering = {
        let (mood, client, idles) = (mood.clone(), client.clone(), idles.clone());
        service_fn(move |request| {
            let answered = Answered { client: client.clone(), idles: idles.clone() };
            drop(lock(&answered.idles).take());
            let (service, client, mood) = (service.clone(), client.clone(), mood.clone());
            async move {
                let is_stopping = *mood.borrow() == Mood::Stopping;
                let mut response = service.answer(request, client, remote, is_stopping).await;
                if *mood.borrow() != Mood::Serving {
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
        .serve_connection(io, answering);
    let mut connection = pin!(connection);
    // How a connection ended is the client's to know: its requests were answered, or it went away.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = mood.wait_for(|mood| *mood == Mood::Stopping) => {}
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
        // There may be a part of a head, of which the rest will not come.
        () = has_no_request => {}
    }
}

fn lock(idles: &Mutex<Option<Waiting>>) -> MutexGuard<'_, Option<Waiting>> {
    idles.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request that is being answered. Dropped when its answer was sent, it begins the time until the next one.
struct Answered {
    client: Client,
    /// While there is no request.
    idles: Arc<Mutex<Option<Waiting>>>,
}

impl Drop for Answered {
    fn drop(&mut self) {
        *lock(&self.idles) = Some(self.client.waits_for(WaitsFor::NextRequest));
    }
}
