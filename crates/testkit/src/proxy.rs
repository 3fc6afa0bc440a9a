//! A proxy that stands before a real HTTP server and breaks its traffic as told.

mod detours;
mod http;
mod link;
mod random_faults;

pub use link::{Bytes, Traffic};
pub use random_faults::RandomFaults;

use detours::{Detours, Way};
use http::{Edit, Framing, Head, body_of_request, body_of_response, forward};
use link::{Direction, Link};
use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Runtime,
    sync::watch,
};

/// Bytes that are read at once.
const BUFFER: usize = 64 << 10;

/// A [`Failure`] and the requests that it befalls.
#[derive(Clone, Debug)]
pub struct Fault {
    method: &'static str,
    path: String,
    /// Whether only requests for a part of a body count.
    ranged: bool,
    /// How many requests are left; `None` is all there will ever be.
    left: Option<usize>,
    failure: Failure,
}

impl Fault {
    /// Befalls every request with this method (`""` is any) and this fragment in its path and query.
    pub fn on(method: &'static str, path: impl Into<String>, failure: Failure) -> Self {
        Self { method, path: path.into(), ranged: false, left: None, failure }
    }

    /// Befalls only the first `count` of them.
    pub fn times(self, count: usize) -> Self {
        Self { left: Some(count), ..self }
    }

    /// Befalls only those with a `Range` header.
    pub fn ranged(self) -> Self {
        Self { ranged: true, ..self }
    }

    fn befalls(&self, request: &Head) -> bool {
        let satisfied = match &self.failure {
            Failure::RequireBasic { user, password } => {
                let wanted = format!("Basic {}", base64(format!("{user}:{password}").as_bytes()));
                request.get("authorization") == Some(&wanted)
            }
            Failure::LimitRequest(limit) => !matches!(body_of_request(request), Framing::Length(length) if length > *limit),
            _ => false,
        };
        let method = self.method.is_empty() || self.method == request.method();
        let range = !self.ranged || request.get("range").is_some();
        method && range && request.path().contains(&self.path) && self.left != Some(0) && !satisfied
    }
}

/// What goes wrong. Bytes of a body are counted from zero, without the framing of chunks.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The connection ends after so many bytes of the response body.
    CutAfter(u64),
    /// The connections to both sides end after so many bytes of the request body.
    CutRequestAfter(u64),
    /// The connections to both sides end after so many bytes of all request bodies that the client has sent over its connection.
    CutConnectionAfter(u64),
    /// After so many bytes of the request body, nothing is forwarded any more, and no answer comes.
    StallRequestAfter(u64),
    /// A request body of more than so many bytes is answered with 413.
    LimitRequest(u64),
    /// The lowest bit of this byte of the response body is flipped.
    FlipByte(u64),
    /// The lowest bit of this byte of the request body is flipped.
    FlipRequestByte(u64),
    /// The server does not see the `Range` header, so it sends all of the body.
    IgnoreRange,
    /// The server is not asked: this is the answer.
    Status {
        /// The status code.
        code: u16,
        /// Headers besides `Content-Length`.
        headers: Vec<(&'static str, String)>,
        /// The body.
        body: String,
    },
    /// Without these credentials the answer is 401 and a challenge. Requests that have them do not count.
    RequireBasic {
        /// The user name.
        user: String,
        /// The password.
        password: String,
    },
    /// No answer comes, ever.
    Stall,
    /// The response claims this `Content-Length` instead of its own, and the connection ends after the body.
    ContentLength(u64),
    /// The connection is reset (TCP RST) after so many bytes of the response body.
    ResetAfter(u64),
    /// After so many bytes of the response body, nothing comes for this time.
    PauseAfter(u64, Duration),
    /// After so many bytes of the response body, nothing comes, ever.
    StallAfter(u64),
    /// The response has at most so many bytes, and its `Content-Length` agrees with that.
    ShortBody(u64),
    /// A response with a part of the body claims this `Content-Range` instead of its own.
    ContentRange(String),
    /// From byte `at` of the response body on, `count` bytes come twice. The length stays as it is, because other bytes are lost.
    Repeat {
        /// The first byte.
        at: u64,
        /// How many bytes.
        count: u64,
    },
    /// From byte `at` of the response body on, `count` bytes are lost. The connection ends with the body, whose `Content-Length` is too large.
    Omit {
        /// The first byte.
        at: u64,
        /// How many bytes.
        count: u64,
    },
    /// The server does what the request asks for, but the connection ends before the answer comes.
    LoseAnswer,
    /// The answer is 401: from now on the proxy requires a token of its own token service, and all tokens that it gave have expired.
    ExpireTokens,
    /// The answer is a redirect to another URL, which is valid for one request, and refused with 403 from then on.
    Redirect,
    /// The `Location` of the response is another URL. From now on the upload session is found only there.
    MoveSession,
}

/// A request that came to the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenRequest {
    /// The method.
    pub method: String,
    /// The path and query, as they were sent.
    pub path: String,
    /// Whether there was an `Authorization` header.
    pub authorization: bool,
    /// The `Range` header.
    pub range: Option<String>,
    /// The `Content-Range` header.
    pub content_range: Option<String>,
    /// How many bytes of the body have come so far.
    pub received: u64,
}

/// A proxy on a loopback port, with threads of its own, so that it serves blocking and asynchronous tests alike.
///
/// It speaks HTTP/1.1 with persistent connections. Dropping it ends all of them.
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

struct Shared {
    address: SocketAddr,
    upstream: SocketAddr,
    faults: Mutex<Vec<Fault>>,
    random: Mutex<Option<RandomFaults>>,
    seen: Mutex<Vec<SeenRequest>>,
    answers: Mutex<BTreeMap<u16, u64>>,
    injected: Mutex<Vec<Failure>>,
    link: Link,
    detours: Detours,
    /// Changes when all connections are to end.
    cut: watch::Sender<()>,
}

impl FaultProxy {
    /// Stands before the server at `upstream`. Of the faults that befall a request, the first is taken.
    pub fn start(upstream: SocketAddr, faults: Vec<Fault>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port can be had");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            address,
            upstream,
            faults: Mutex::new(faults),
            random: Mutex::default(),
            seen: Mutex::default(),
            answers: Mutex::default(),
            injected: Mutex::default(),
            link: Link::default(),
            detours: Detours::default(),
            cut: watch::channel(()).0,
        });
        listener.set_nonblocking(true).expect("a socket can be made non-blocking");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a thread can be started");
        runtime.spawn(accept(listener, shared.clone()));
        Self { address, shared, runtime: Some(runtime) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on these are the faults; with none, traffic passes as it is.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        *lock(&self.shared.faults) = faults;
    }

    /// From now on, requests that none of the other faults befalls get these; `None` ends them.
    pub fn set_random_faults(&self, faults: Option<RandomFaults>) {
        *lock(&self.shared.random) = faults;
    }

    /// How many requests a fault befell.
    pub fn befallen(&self) -> usize {
        lock(&self.shared.injected).len()
    }

    /// The faults that befell requests, in order.
    pub fn injected(&self) -> Vec<Failure> {
        lock(&self.shared.injected).clone()
    }

    /// The bytes of blobs that have passed so far.
    pub fn traffic(&self) -> Traffic {
        self.shared.link.traffic()
    }

    /// The most bodies of blobs that were on their way at once.
    pub fn most_bodies(&self) -> usize {
        self.shared.link.most_bodies()
    }

    /// Lets so many bytes a second of each blob pass; `None` is as fast as they come.
    pub fn set_rate(&self, bytes_per_second: Option<u64>) {
        self.shared.link.set_rate(bytes_per_second);
    }

    /// Lets only so many more bytes of blobs pass. Then all bodies of blobs wait, until there is another limit, or none.
    pub fn hold_after(&self, bytes: Option<u64>) {
        self.shared.link.set_left(bytes);
    }

    /// Whether a body waits because of [`hold_after`](Self::hold_after).
    pub fn is_holding(&self) -> bool {
        self.shared.link.is_holding()
    }

    /// Ends all connections to both sides.
    pub fn cut(&self) {
        self.shared.cut.send_replace(());
    }

    /// The bytes that have passed, but have not been read by the client or by the server yet. Requires Linux, and no other client of the server.
    pub fn unread(&self) -> u64 {
        link::unread(self.address, self.shared.upstream)
    }

    /// How often the server answered with which status. What the proxy answered itself does not count.
    pub fn answers(&self) -> BTreeMap<u16, u64> {
        lock(&self.shared.answers).clone()
    }

    /// The requests that came, in order, including those that were not forwarded.
    pub fn requests(&self) -> Vec<SeenRequest> {
        lock(&self.shared.seen).clone()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for its threads is not allowed where an asynchronous test drops it.
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).expect("the socket is non-blocking");
    while let Ok((client, _)) = listener.accept().await {
        let (shared, mut cut) = (shared.clone(), shared.cut.subscribe());
        tokio::spawn(async move {
            let mut client = Connection::new(client);
            // A side that went away is what half of the faults are about: the connection ends, and so does this task.
            let answers = async { while let Ok(true) = shared.answer(&mut client).await {} };
            tokio::select! {
                // First, so that nothing passes after a cut.
                biased;
                _ = cut.changed() => {}
                () = answers => {}
            }
            if client.resets && client.writer.as_ref().set_zero_linger().is_ok() {
                // Otherwise its end is sent first.
                client.writer.forget();
            }
        });
    }
}

struct Connection {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    /// Whether it ends with a reset.
    resets: bool,
    /// The place of its request among those that were seen.
    request: usize,
    /// How many bytes of request bodies have come.
    received: u64,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self { reader: BufReader::with_capacity(BUFFER, reader), writer, resets: false, request: 0, received: 0 }
    }
}

impl Shared {
    /// Answers one request of a client. `false` if the connection cannot take another.
    async fn answer(&self, client: &mut Connection) -> io::Result<bool> {
        let Some(mut request) = Head::read(&mut client.reader).await? else { return Ok(false) };
        client.request = self.see(&request);
        let closes = request.closes();
        let reusable = match self.detours.way(&mut request, self.address) {
            Way::On { redirected } => self.answer_with_fault(request, client, redirected).await,
            Way::Ended(answer) => self.refuse(&request, client, answer.code, &answer.headers, &answer.body).await,
        };
        Ok(reusable? && !closes)
    }

    /// Records a request, and returns its place among those that were seen.
    fn see(&self, request: &Head) -> usize {
        let mut seen = lock(&self.seen);
        seen.push(SeenRequest {
            method: request.method().to_owned(),
            path: request.path().to_owned(),
            authorization: request.get("authorization").is_some(),
            range: request.get("range").map(str::to_owned),
            content_range: request.get("content-range").map(str::to_owned),
            received: 0,
        });
        seen.len() - 1
    }

    async fn answer_with_fault(&self, request: Head, client: &mut Connection, redirected: bool) -> io::Result<bool> {
        match self.failure(&request, redirected) {
            Some(Failure::Stall) => std::future::pending().await,
            Some(Failure::LimitRequest(_)) => self.refuse(&request, client, 413, &[], "too large").await,
            Some(Failure::Status { code, headers, body }) => self.refuse(&request, client, code, &headers, &body).await,
            Some(Failure::RequireBasic { .. }) => {
                let challenge = [("WWW-Authenticate", "Basic realm=\"proxy\"".to_owned())];
                let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
                self.refuse(&request, client, 401, &challenge, body).await
            }
            Some(Failure::ExpireTokens) => {
                let answer = self.detours.expire_tokens(self.address);
                self.refuse(&request, client, answer.code, &answer.headers, &answer.body).await
            }
            Some(Failure::Redirect) => {
                let answer = self.detours.redirect(&request, self.address);
                self.refuse(&request, client, answer.code, &answer.headers, &answer.body).await
            }
            failure => self.relay(request, client, failure).await,
        }
    }

    fn failure(&self, request: &Head, redirected: bool) -> Option<Failure> {
        let mut faults = lock(&self.faults);
        let told = faults.iter_mut().find(|fault| fault.befalls(request)).map(|fault| {
            fault.left = fault.left.map(|left| left - 1);
            fault.failure.clone()
        });
        let failure = told.or_else(|| lock(&self.random).as_mut()?.next(request))?;
        // The URL that a redirect leads to is an end, and no token is required there.
        if redirected && matches!(failure, Failure::Redirect | Failure::ExpireTokens) {
            return None;
        }
        lock(&self.injected).push(failure.clone());
        Some(failure)
    }

    /// Answers in the server's place, once the request's body is out of the way.
    async fn refuse(&self, request: &Head, client: &mut Connection, code: u16, headers: &[(&str, String)], body: &str) -> io::Result<bool> {
        let count = |bytes| lock(&self.seen)[client.request].received += bytes;
        forward(&mut client.reader, &mut tokio::io::sink(), body_of_request(request), Edit::default(), None, count).await?;
        let mut head = Head::new(format!("HTTP/1.1 {code} Fault"));
        headers.iter().for_each(|(name, value)| head.set(name, value.clone()));
        head.set("Content-Length", body.len().to_string());
        client.writer.write_all(&head.to_bytes()).await?;
        if request.method() != "HEAD" {
            client.writer.write_all(body.as_bytes()).await?;
        }
        Ok(true)
    }

    /// Forwards the request on a connection of its own, and the answer, with the failure in one of them.
    async fn relay(&self, mut request: Head, client: &mut Connection, failure: Option<Failure>) -> io::Result<bool> {
        let (mut request_edit, mut response_edit) = (Edit::default(), Edit::default());
        match failure {
            Some(Failure::FlipRequestByte(at)) => request_edit.flip = Some(at),
            Some(Failure::IgnoreRange) => request.remove("range"),
            Some(Failure::CutAfter(bytes) | Failure::ResetAfter(bytes)) => response_edit.cut_after = Some(bytes),
            Some(Failure::CutRequestAfter(bytes)) => request_edit.cut_after = Some(bytes),
            Some(Failure::CutConnectionAfter(bytes)) => request_edit.cut_after = Some(bytes.saturating_sub(client.received)),
            Some(Failure::StallRequestAfter(bytes)) => request_edit.pause = Some((bytes, Duration::MAX)),
            Some(Failure::FlipByte(at)) => response_edit.flip = Some(at),
            Some(Failure::PauseAfter(bytes, pause)) => response_edit.pause = Some((bytes, pause)),
            Some(Failure::StallAfter(bytes)) => response_edit.pause = Some((bytes, Duration::MAX)),
            Some(Failure::Repeat { at, count }) => response_edit.repeat = Some((at, count)),
            Some(Failure::Omit { at, count }) => response_edit.omit = Some((at, count)),
            _ => {}
        }
        let mut server = Connection::new(TcpStream::connect(self.upstream).await?);
        server.writer.write_all(&request.to_bytes()).await?;
        let of_blob = request.path().contains("/blobs/");
        let (received, at) = (&mut client.received, client.request);
        let send = async {
            let count = |bytes| {
                *received += bytes;
                lock(&self.seen)[at].received += bytes;
            };
            let framing = body_of_request(&request);
            let passage =
                (of_blob && framing != Framing::Length(0)).then(|| self.link.body(request.method(), request.path(), Direction::ToServer));
            match forward(&mut client.reader, &mut server.writer, framing, request_edit, passage.as_ref(), count).await {
                Ok(true) => Ok(true),
                Ok(false) => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
                // A server that stops listening may have answered; what the client still sends is lost then.
                Err(_) => Ok(false),
            }
        };
        let receive = async {
            loop {
                let mut head = Head::read(&mut server.reader).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
                let interim = head.status().starts_with('1');
                if interim {
                    client.writer.write_all(&head.to_bytes()).await?;
                    continue;
                }
                *lock(&self.answers).entry(head.status().parse().unwrap_or_default()).or_default() += 1;
                let mut framing = body_of_response(&head, request.method());
                self.detours.locate(&request, &mut head, matches!(failure, Some(Failure::MoveSession)));
                match &failure {
                    Some(Failure::LoseAnswer) => return Err(io::ErrorKind::ConnectionAborted.into()),
                    Some(Failure::ContentLength(length)) => head.set("Content-Length", length.to_string()),
                    Some(Failure::ContentRange(range)) if head.get("content-range").is_some() => head.set("Content-Range", range.clone()),
                    Some(Failure::ShortBody(most)) if matches!(framing, Framing::Length(length) if length > *most) => {
                        framing = Framing::Length(*most);
                        head.set("Content-Length", most.to_string());
                    }
                    _ => {}
                }
                client.writer.write_all(&head.to_bytes()).await?;
                let has_blob = of_blob && request.method() == "GET" && head.is_success();
                let passage = has_blob.then(|| self.link.body(request.method(), request.path(), Direction::ToClient));
                let whole = forward(&mut server.reader, &mut client.writer, framing, response_edit, passage.as_ref(), |_| ()).await?;
                if !whole && matches!(failure, Some(Failure::ResetAfter(_))) {
                    client.resets = true;
                }
                let misses_its_end = matches!(failure, Some(Failure::ContentLength(_)));
                return Ok(whole && framing != Framing::UntilClose && !misses_its_end && !head.closes());
            }
        };
        let (sent, received) = tokio::try_join!(send, receive)?;
        Ok(sent && received)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds the lock")
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = bytes.chunks(3).flat_map(|group| {
        let bits = group.iter().zip([16, 8, 0]).fold(0, |bits, (byte, shift)| bits | usize::from(*byte) << shift);
        let digit = move |(shift, i): (usize, usize)| if i <= group.len() { char::from(ALPHABET[(bits >> shift) & 63]) } else { '=' };
        [18, 12, 6, 0].into_iter().zip(0..).map(digit)
    });
    groups.collect()
}

#[cfg(test)]
mod tests;
