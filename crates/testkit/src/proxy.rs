//! A proxy that stands before a real HTTP server and breaks its traffic as told.

mod http;

use http::{Edit, Framing, Head, body_of_request, body_of_response, forward};
use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Runtime,
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
    upstream: SocketAddr,
    faults: Mutex<Vec<Fault>>,
    seen: Mutex<Vec<SeenRequest>>,
    answers: Mutex<BTreeMap<u16, u64>>,
    befallen: AtomicUsize,
}

impl FaultProxy {
    /// Stands before the server at `upstream`. Of the faults that befall a request, the first is taken.
    pub fn start(upstream: SocketAddr, faults: Vec<Fault>) -> Self {
        let shared = Arc::new(Shared {
            upstream,
            faults: Mutex::new(faults),
            seen: Mutex::default(),
            answers: Mutex::default(),
            befallen: AtomicUsize::new(0),
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port can be had");
        let address = listener.local_addr().expect("a bound socket has an address");
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

    /// How many requests a fault befell.
    pub fn befallen(&self) -> usize {
        self.shared.befallen.load(Ordering::Relaxed)
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
        let shared = shared.clone();
        tokio::spawn(async move {
            let mut client = Connection::new(client);
            // A side that went away is what half of the faults are about: the connection ends, and so does this task.
            while let Ok(true) = shared.answer(&mut client).await {}
        });
    }
}

struct Connection {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    /// How many bytes of request bodies have come.
    received: u64,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        let (reader, writer) = stream.into_split();
        Self { reader: BufReader::with_capacity(BUFFER, reader), writer, received: 0 }
    }
}

impl Shared {
    /// Answers one request of a client. `false` if the connection cannot take another.
    async fn answer(&self, client: &mut Connection) -> io::Result<bool> {
        let Some(request) = Head::read(&mut client.reader).await? else { return Ok(false) };
        let at = self.see(&request);
        let closes = request.closes();
        let reusable = match self.failure(&request) {
            Some(Failure::Stall) => std::future::pending().await,
            Some(Failure::LimitRequest(_)) => self.refuse(at, &request, client, 413, &[], "too large").await,
            Some(Failure::Status { code, headers, body }) => self.refuse(at, &request, client, code, &headers, &body).await,
            Some(Failure::RequireBasic { .. }) => {
                let challenge = [("WWW-Authenticate", "Basic realm=\"proxy\"".to_owned())];
                let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
                self.refuse(at, &request, client, 401, &challenge, body).await
            }
            failure => self.relay(at, request, client, failure).await,
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

    fn failure(&self, request: &Head) -> Option<Failure> {
        let mut faults = lock(&self.faults);
        let fault = faults.iter_mut().find(|fault| fault.befalls(request))?;
        fault.left = fault.left.map(|left| left - 1);
        self.befallen.fetch_add(1, Ordering::Relaxed);
        Some(fault.failure.clone())
    }

    /// Answers in the server's place, once the request's body is out of the way.
    async fn refuse(
        &self,
        at: usize,
        request: &Head,
        client: &mut Connection,
        code: u16,
        headers: &[(&str, String)],
        body: &str,
    ) -> io::Result<bool> {
        let count = |bytes| lock(&self.seen)[at].received += bytes;
        forward(&mut client.reader, &mut tokio::io::sink(), body_of_request(request), Edit::default(), count).await?;
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
    async fn relay(&self, at: usize, mut request: Head, client: &mut Connection, failure: Option<Failure>) -> io::Result<bool> {
        let (mut request_edit, mut response_edit, mut claimed_length) = (Edit::default(), Edit::default(), None);
        let stalls = matches!(failure, Some(Failure::StallRequestAfter(_)));
        match failure {
            Some(Failure::FlipRequestByte(at)) => request_edit.flip = Some(at),
            Some(Failure::IgnoreRange) => request.remove("range"),
            Some(Failure::CutAfter(bytes)) => response_edit.cut_after = Some(bytes),
            Some(Failure::CutRequestAfter(bytes) | Failure::StallRequestAfter(bytes)) => request_edit.cut_after = Some(bytes),
            Some(Failure::CutConnectionAfter(bytes)) => request_edit.cut_after = Some(bytes.saturating_sub(client.received)),
            Some(Failure::FlipByte(at)) => response_edit.flip = Some(at),
            Some(Failure::ContentLength(length)) => claimed_length = Some(length),
            _ => {}
        }
        let mut server = Connection::new(TcpStream::connect(self.upstream).await?);
        server.writer.write_all(&request.to_bytes()).await?;
        let (received, count) = (&mut client.received, |bytes| lock(&self.seen)[at].received += bytes);
        let send = async {
            let count = |bytes| {
                *received += bytes;
                count(bytes);
            };
            match forward(&mut client.reader, &mut server.writer, body_of_request(&request), request_edit, count).await {
                Ok(true) => Ok(true),
                Ok(false) if stalls => std::future::pending().await,
                Ok(false) => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
                // A server that stops listening may have answered; what the client still sends is lost then.
                Err(_) => Ok(false),
            }
        };
        let receive = async {
            loop {
                let mut head = Head::read(&mut server.reader).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
                let (framing, interim) = (body_of_response(&head, request.method()), head.status().starts_with('1'));
                if let Some(length) = claimed_length.filter(|_| !interim) {
                    head.set("Content-Length", length.to_string());
                }
                client.writer.write_all(&head.to_bytes()).await?;
                if !interim {
                    *lock(&self.answers).entry(head.status().parse().unwrap_or_default()).or_default() += 1;
                    let whole = forward(&mut server.reader, &mut client.writer, framing, response_edit, |_| ()).await?;
                    return Ok(whole && framing != Framing::UntilClose && claimed_length.is_none() && !head.closes());
                }
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
