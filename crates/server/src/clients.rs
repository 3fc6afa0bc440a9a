//! The clients that the server waits for, and which of them is disconnected first when a new
//! connection needs the place.

use std::{
    collections::HashMap,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;
use tracing::debug;

/// The action of the client for which a connection waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// To send the first request.
    FirstRequest,
    /// To send the next request after a response.
    NextRequest,
    /// To send the rest of a body.
    Body,
    /// To read the data that was sent.
    Reader,
}

impl WaitsFor {
    /// How long a client may be idle before another client gets its place. The time is shorter if
    /// the clients of all connections are idle.
    ///
    /// A slow client is not idle: while it sends, some data arrives regularly. A client that reads
    /// slowly reads in large pieces. An idle connection gets a minimum time in any case, so that it
    /// does not end while the next request is on its way.
    fn patience(self, all_idle: bool) -> Duration {
        let (patience, short) = match self {
            Self::FirstRequest | Self::Reader => (5000, 1000),
            Self::NextRequest => (1000, 1000),
            Self::Body => (1000, 250),
        };
        Duration::from_millis(if all_idle { short } else { patience })
    }
}

/// The clients of a server.
#[derive(Default)]
pub(crate) struct Clients {
    waits: Mutex<Waits>,
}

#[derive(Default)]
struct Waits {
    next: u64,
    begun: HashMap<u64, Wait>,
}

struct Wait {
    since: Instant,
    what: WaitsFor,
    given_up: watch::Sender<bool>,
}

impl Clients {
    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the client of a new connection.
    pub(crate) fn connected(self: &Arc<Self>) -> Client {
        Client { all: self.clone(), given_up: watch::Sender::new(false) }
    }

    /// Disconnects the client that has been idle for longest, if it has been idle for long enough.
    /// `connections` is the number of open connections.
    pub(crate) fn give_up_one(&self, connections: usize, now: Instant) {
        let mut waits = self.waits();
        let all_idle = waits.begun.len() >= connections;
        let overdue = |wait: &Wait| now.saturating_duration_since(wait.since).checked_sub(wait.what.patience(all_idle));
        let first = waits.begun.iter().filter_map(|(id, wait)| Some((overdue(wait)?, *id))).max();
        if let Some(wait) = first.and_then(|(_, id)| waits.begun.remove(&id)) {
            debug!(waits_for = ?wait.what, "an idle client is disconnected, because another one waits");
            wait.given_up.send_replace(true);
        }
    }

    /// Disconnects all clients that have been idle for `patience`.
    pub(crate) fn give_up_all(&self, patience: Duration, now: Instant) {
        for (_, wait) in self.waits().begun.extract_if(|_, wait| now.saturating_duration_since(wait.since) >= patience) {
            wait.given_up.send_replace(true);
        }
    }
}

/// The client of a connection.
#[derive(Clone)]
pub(crate) struct Client {
    all: Arc<Clients>,
    given_up: watch::Sender<bool>,
}

impl Client {
    /// Marks the client as waited for, until the result is dropped.
    pub(crate) fn waits_for(&self, what: WaitsFor) -> Waiting {
        let mut waits = self.all.waits();
        waits.next += 1;
        let id = waits.next;
        waits.begun.insert(id, Wait { since: Instant::now(), what, given_up: self.given_up.clone() });
        Waiting { all: self.all.clone(), id }
    }

    /// Resolves when the client is given up. Its connection should then end.
    pub(crate) fn given_up(&self) -> impl Future<Output = ()> + Send + Sync + 'static {
        let mut given_up = self.given_up.subscribe();
        async move {
            // If the sender is gone, nothing can give the client up.
            if given_up.wait_for(|given_up| *given_up).await.is_err() {
                pending().await
            }
        }
    }
}

/// The client is waited for until this value is dropped.
pub(crate) struct Waiting {
    all: Arc<Clients>,
    id: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.all.waits().begun.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn is_given_up(client: &Client) -> bool {
        client.given_up().now_or_never().is_some()
    }

    #[test]
    fn the_longest_idle_client_is_disconnected_first_and_no_active_one() {
        let clients = Arc::<Clients>::default();
        let [first, second, moving] = std::array::from_fn(|_| clients.connected());
        let _waiting = [&first, &second].map(|client| client.waits_for(WaitsFor::Body));
        drop(moving.waits_for(WaitsFor::Body));
        let now = Instant::now();
        clients.give_up_one(3, now + Duration::from_millis(900));
        assert!(!is_given_up(&first), "it has a minimum time");
        for given_up in [[true, false, false], [true, true, false], [true, true, false]] {
            clients.give_up_one(3, now + Duration::from_secs(2));
            assert_eq!([&first, &second, &moving].map(is_given_up), given_up);
        }
    }

    #[test]
    fn patience_is_shorter_if_all_clients_are_idle() {
        let clients = Arc::<Clients>::default();
        let [uploads, idles] = std::array::from_fn(|_| clients.connected());
        let _waiting = [uploads.waits_for(WaitsFor::Body), idles.waits_for(WaitsFor::NextRequest)];
        let soon = Instant::now() + Duration::from_millis(500);
        for (connections, given_up) in [(3, [false, false]), (2, [true, false]), (1, [true, false])] {
            clients.give_up_one(connections, soon);
            assert_eq!([&uploads, &idles].map(is_given_up), given_up);
        }
    }
}
