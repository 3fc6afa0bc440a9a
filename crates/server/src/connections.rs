//! The connections of a server: as many as there are descriptors for, and none that idles while another one waits.

use crate::{connection::WriteTimeout, service::Service};
use http::{HeaderValue, header};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::timeout,
};

/// How long a connection may wait between requests, and a request's head may take. Clients keep idle connections for up to 90 s;
/// it is better that they end them.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a connection may take to begin its first request while others wait.
const FIRST_REQUEST: Duration = Duration::from_secs(5);

/// How long a connection may idle while others wait.
const QUIET: Duration = Duration::from_secs(1);

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
    places: Arc<Semaphore>,
    mood: watch::Sender<Mood>,
    running: JoinSet<()>,
}

impl Connections {
    /// At most `limit` at once.
    pub(crate) fn new(service: Arc<Service>, limit: usize) -> Self {
        Self { service, places: Arc::new(Semaphore::new(limit)), mood: watch::Sender::new(Mood::Serving), running: JoinSet::new() }
    }

    /// Waits until there is a place for another connection. If all are taken, those that idle are closed.
    pub(crate) async fn place(&mut self) -> OwnedSemaphorePermit {
        // The tasks of connections that have ended.
        while self.running.try_join_next().is_some() {}
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return place;
        }
        self.mood.send_replace(Mood::Crowded);
        let place = self.places.clone().acquire_owned().await.expect("the semaphore is never closed");
        self.mood.send_replace(Mood::Serving);
        place
    }

    /// Serves a connection in the background.
    pub(crate) fn serve(&mut self, stream: TcpStream, remote: SocketAddr, place: OwnedSemaphorePermit) {
        let (service, mood) = (self.service.clone(), self.mood.subscribe());
        self.running.spawn(async move {
            let _place = place;
            serve(service, stream, remote, mood).await;
        });
    }

    /// Finishes the requests that are being answered.
    pub(crate) async fn finish(mut self) {
        self.mood.send_replace(Mood::Stopping);
        while self.running.join_next().await.is_some() {}
    }
}

async fn serve(service: Arc<Service>, stream: TcpStream, remote: SocketAddr, mut mood: watch::Receiver<Mood>) {
    // Without it the last, short piece of a response waits for the client's acknowledgement; slower, not wrong.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(WriteTimeout::new(stream, service.body_idle()));
    let open = service.open().clone();
    let buffer = open.buffer();
    let begun = watch::Sender::new(0u64);
    let mut requests = begun.subscribe();
    let answering = {
        let mood = mood.clone();
        service_fn(move |request| {
            begun.send_modify(|begun| *begun += 1);
            let (service, mood) = (service.clone(), mood.clone());
            async move {
                let is_stopping = *mood.borrow() == Mood::Stopping;
                let mut response = service.answer(request, remote, is_stopping).await;
                if *mood.borrow() != Mood::Serving {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            }
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(buffer)
        .serve_connection(io, answering);
    let mut connection = pin!(connection);
    let is_to_end = async {
        let mood = mood.wait_for(|mood| *mood != Mood::Serving).await.map_or(Mood::Stopping, |mood| *mood);
        if mood == Mood::Crowded {
            // An answer tells the client that its connection ends. To end it without a word while the next request may be on its way
            // would make that request fail.
            loop {
                let patience = if *requests.borrow_and_update() == 0 { FIRST_REQUEST } else { QUIET };
                if timeout(patience, requests.changed()).await.is_err() {
                    break;
                }
            }
        }
        mood == Mood::Stopping || *requests.borrow() > 0
    };
    // How a connection ended is the client's to know: its requests were answered, or it went away.
    let may_finish = tokio::select! {
        _ = connection.as_mut() => return,
        may_finish = is_to_end => may_finish,
    };
    if may_finish {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}
