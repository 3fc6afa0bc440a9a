//! The bytes of blobs on their way through the proxy: how many passed, how fast they may, and where they have to wait.

use super::lock;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Mutex,
    time::Duration,
};
use tokio::sync::Notify;

/// The most bytes that pass at once if there is a limit on the rate.
const PACED: usize = 16 << 10;

/// Bytes of bodies, without heads and without the framing of chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Bytes of requests.
    pub to_server: u64,
    /// Bytes of successful responses.
    pub to_client: u64,
}

impl Bytes {
    /// Both directions together.
    pub fn total(self) -> u64 {
        self.to_server + self.to_client
    }

    fn add(&mut self, direction: Direction, len: u64) {
        match direction {
            Direction::ToServer => self.to_server += len,
            Direction::ToClient => self.to_client += len,
        }
    }
}

/// The bytes of blobs that passed, by the method of the request and by blob.
///
/// A blob is its digest. The bytes of an upload session whose digest no request has named yet are under the path of the session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic(BTreeMap<(String, String), Bytes>);

impl Traffic {
    /// All bytes of blobs.
    pub fn total(&self) -> Bytes {
        self.sum(|_, _| true)
    }

    /// Those of requests with this method.
    pub fn of_method(&self, method: &str) -> Bytes {
        self.sum(|other, _| other == method)
    }

    /// What has passed since an earlier moment.
    pub fn since(&self, earlier: &Self) -> Self {
        let less = |blob: &(String, String), now: &Bytes| {
            let before = earlier.0.get(blob).copied().unwrap_or_default();
            Bytes { to_server: now.to_server.saturating_sub(before.to_server), to_client: now.to_client.saturating_sub(before.to_client) }
        };
        let passed = self.0.iter().map(|(blob, now)| (blob.clone(), less(blob, now)));
        Self(passed.filter(|(_, bytes)| bytes.total() > 0).collect())
    }

    /// The digests of the blobs, and the paths of upload sessions without a digest.
    pub fn blobs(&self) -> BTreeSet<&str> {
        self.0.keys().map(|(_, blob)| blob.as_str()).collect()
    }

    /// Those of one blob.
    pub fn of_blob(&self, digest: &str) -> Bytes {
        self.sum(|_, blob| blob == digest)
    }

    fn sum(&self, counts: impl Fn(&str, &str) -> bool) -> Bytes {
        let counted = self.0.iter().filter(|((method, blob), _)| counts(method, blob));
        counted.fold(Bytes::default(), |sum, (_, bytes)| Bytes {
            to_server: sum.to_server + bytes.to_server,
            to_client: sum.to_client + bytes.to_client,
        })
    }
}

#[derive(Clone, Copy)]
pub(super) enum Direction {
    ToServer,
    ToClient,
}

/// What all connections of a proxy share.
#[derive(Default)]
pub(super) struct Link {
    state: Mutex<State>,
    /// Wakes bodies that wait, when the state has changed.
    changed: Notify,
}

#[derive(Default)]
struct State {
    traffic: Traffic,
    /// How many bytes may still pass; `None` is any number.
    left: Option<u64>,
    /// How many bytes a second each body may have.
    rate: Option<u64>,
    /// Bodies that are on their way, and the most that were at once.
    bodies: usize,
    most_bodies: usize,
}

impl Link {
    pub(super) fn traffic(&self) -> Traffic {
        lock(&self.state).traffic.clone()
    }

    pub(super) fn most_bodies(&self) -> usize {
        lock(&self.state).most_bodies
    }

    pub(super) fn set_rate(&self, rate: Option<u64>) {
        lock(&self.state).rate = rate;
    }

    pub(super) fn set_left(&self, left: Option<u64>) {
        lock(&self.state).left = left;
        self.changed.notify_waiters();
    }

    pub(super) fn is_holding(&self) -> bool {
        let state = lock(&self.state);
        state.left == Some(0) && state.bodies > 0
    }

    /// A body of a blob, in one direction.
    pub(super) fn body(&self, method: &str, target: &str, direction: Direction) -> Passage<'_> {
        let mut state = lock(&self.state);
        let (blob, session) = blob_of(target);
        if let Some(session) = session {
            // From this request on, the digest of the session is known.
            let earlier = state.traffic.0.keys().filter(|(_, blob)| *blob == session).cloned().collect::<Vec<_>>();
            for (method, session) in earlier {
                let bytes = state.traffic.0.remove(&(method.clone(), session)).unwrap_or_default();
                let sum = state.traffic.0.entry((method, blob.clone())).or_default();
                sum.add(Direction::ToServer, bytes.to_server);
                sum.add(Direction::ToClient, bytes.to_client);
            }
        }
        state.bodies += 1;
        state.most_bodies = state.most_bodies.max(state.bodies);
        Passage { link: self, blob: (method.to_owned(), blob), direction }
    }
}

/// The blob of a request: its digest, or the path of the upload session. For a session whose digest the request names, both.
fn blob_of(target: &str) -> (String, Option<String>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let named = query.split('&').find_map(|pair| pair.strip_prefix("digest=")).map(|digest| digest.replace("%3A", ":").replace("%3a", ":"));
    match (named, path.rsplit_once("/blobs/")) {
        (Some(digest), _) => (digest, Some(path.to_owned())),
        (None, Some((_, digest))) if digest.contains(':') => (digest.to_owned(), None),
        _ => (path.to_owned(), None),
    }
}

/// One body of a blob on its way. While it exists, the body counts as one that is on its way.
pub(super) struct Passage<'a> {
    link: &'a Link,
    blob: (String, String),
    direction: Direction,
}

impl Passage<'_> {
    /// Waits until bytes may pass, and counts them as passed. Returns how many: at least one, and at most `wanted`, which is not zero.
    pub(super) async fn admit(&self, wanted: usize) -> usize {
        loop {
            let changed = self.link.changed.notified();
            let (admitted, pause) = self.take(wanted);
            if admitted > 0 {
                if let Some(pause) = pause {
                    tokio::time::sleep(pause).await;
                }
                return admitted;
            }
            changed.await;
        }
    }

    fn take(&self, wanted: usize) -> (usize, Option<Duration>) {
        let mut state = lock(&self.link.state);
        let most = if state.rate.is_some() { wanted.min(PACED) } else { wanted };
        let admitted = state.left.map_or(most, |left| most.min(usize::try_from(left).unwrap_or(usize::MAX)));
        state.left = state.left.map(|left| left - admitted as u64);
        state.traffic.0.entry(self.blob.clone()).or_default().add(self.direction, admitted as u64);
        let pause = state.rate.map(|rate| Duration::from_secs_f64(admitted as f64 / rate as f64));
        (admitted, pause)
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        lock(&self.link.state).bodies -= 1;
    }
}

/// The bytes that have left the proxy and have not been read by the client or by the server: they lie in buffers of the kernel.
///
/// Linux lists the sockets with their queues. The proxy must be the only client of the server.
pub(super) fn unread(proxy: SocketAddr, server: SocketAddr) -> u64 {
    let sockets = std::fs::read_to_string("/proc/net/tcp").expect("Linux lists its sockets");
    let queues = sockets.lines().skip(1).filter_map(Socket::parse).map(|socket| match socket {
        Socket { local, sent, .. } if local == proxy.port() => sent,
        Socket { remote, received, .. } if remote == proxy.port() => received,
        Socket { local, received, .. } if local == server.port() => received,
        Socket { remote, sent, .. } if remote == server.port() => sent,
        _ => 0,
    });
    queues.sum()
}

/// A line of `/proc/net/tcp`.
struct Socket {
    local: u16,
    remote: u16,
    /// Bytes that the other side has not acknowledged.
    sent: u64,
    /// Bytes that the program has not read.
    received: u64,
}

impl Socket {
    /// `None` for a socket that only listens: its queue counts connections.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace().skip(1);
        let mut port = || u16::from_str_radix(words.next()?.rsplit_once(':')?.1, 16).ok();
        let (local, remote) = (port()?, port()?);
        let (sent, received) = words.nth(1)?.split_once(':')?;
        let number = |digits| u64::from_str_radix(digits, 16).ok();
        (remote != 0).then_some(Self { local, remote, sent: number(sent)?, received: number(received)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blob_of_a_request_is_its_digest_if_the_request_names_one() {
        let blob = |target| blob_of(target).0;
        assert_eq!(blob("/v2/a/blobs/sha256:12"), "sha256:12");
        assert_eq!(blob("/v2/a/blobs/uploads/7?x=1&digest=sha256%3A12"), "sha256:12");
        assert_eq!(blob("/v2/a/blobs/uploads/7?x=1"), "/v2/a/blobs/uploads/7");
    }

    #[test]
    fn a_line_of_the_list_of_sockets_is_parsed() {
        let line =
            "   3: 0100007F:1F90 0100007F:D431 01 0000001A:00010000 00:00000000 00000000     0        0 1 1 0000000000000000 20 4 0 10 -1";
        let socket = Socket::parse(line).unwrap();
        assert_eq!((socket.local, socket.remote, socket.sent, socket.received), (8080, 54321, 26, 65536));
        assert!(Socket::parse(&line.replace("D431", "0000")).is_none());
    }
}
