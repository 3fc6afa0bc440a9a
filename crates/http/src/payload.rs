//! The body of one request, and bodies that are sent in several requests.

use crate::plain::ChosenConnection;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use modelpack_transfer::{Body, CHUNK, Error, PartsToSend, RateLimit, Result, Window};
use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};
use tokio::sync::mpsc;

/// The body of one request: bytes in memory, or a part of an [`UploadBody`]. It can be sent again as long as its bytes can be read again.
pub struct Payload(Content);

enum Content {
    Bytes(Bytes),
    Part(Part),
}

/// A part of a body, from a position to another one or to the end.
struct Part {
    body: UploadBody,
    start: u64,
    end: Option<u64>,
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self(Content::Bytes(bytes))
    }
}

impl Payload {
    /// An empty body.
    pub fn empty() -> Self {
        Bytes::new().into()
    }

    /// The length in bytes, if it is known.
    pub(crate) fn len(&self) -> Option<u64> {
        match &self.0 {
            Content::Bytes(bytes) => Some(bytes.len() as u64),
            Content::Part(part) => part.end.map(|end| end - part.start),
        }
    }

    /// Whether the bytes were sent and cannot be sent again.
    pub(crate) fn is_spent(&self) -> bool {
        matches!(&self.0, Content::Part(part) if !part.body.can_read_from(part.start))
    }

    /// The bytes for one attempt; `None` if they were sent and cannot be sent again.
    ///
    /// With a `connection`, they may have placeholders for parts of a file, which that connection sends itself.
    pub(crate) fn for_attempt(&self, connection: Option<ChosenConnection>, rate_limit: Option<Arc<RateLimit>>) -> Option<reqwest::Body> {
        match &self.0 {
            Content::Bytes(bytes) => Some(bytes.clone().into()),
            Content::Part(Part { body, start, end }) => {
                // What is hashed here has to be read here. What the rate limit holds back could leave the memory meanwhile.
                let connection = connection.filter(|_| body.hasher.is_none() && rate_limit.is_none());
                let (reader, sending) = body.read_from(*start, connection.is_some())?;
                let outgoing = Outgoing { body: body.clone(), reader: Some(reader), end: *end, sending, connection, rate_limit };
                Some(outgoing.into_body())
            }
        }
    }

    /// How many bytes the connection has taken in this attempt.
    pub(crate) fn sent(&self) -> u64 {
        match &self.0 {
            Content::Bytes(_) => 0,
            Content::Part(part) => part.body.sent(),
        }
    }

    /// Whether the connection has taken all bytes in this attempt. Bytes in memory are few, and count as taken.
    pub(crate) fn is_sent(&self) -> bool {
        match &self.0 {
            Content::Bytes(_) => true,
            Content::Part(Part { body, start, end: Some(end) }) => body.sent() >= end - start,
            Content::Part(Part { body, end: None, .. }) => body.state().end.is_some(),
        }
    }

    /// Whether the connection waits for bytes: they are being read, or held back because of the rate limit.
    pub(crate) fn is_awaited(&self) -> bool {
        matches!(&self.0, Content::Part(part) if part.body.state().sending.is_awaited())
    }

    /// Why the bytes could not be read, if that is what made the attempt fail.
    pub(crate) fn failure(&self) -> Option<Error> {
        match &self.0 {
            Content::Bytes(_) => None,
            Content::Part(part) => part.body.state().sending.take_failure(),
        }
    }
}

/// A [`Body`] that is sent in one request, or in several requests one after the other. Clones share the position.
///
/// A request continues reading where the request before it has ended. If it begins elsewhere, for example because a part of the bytes did
/// not arrive, the bytes are read anew. A stream can be read only once, so after a request that failed it cannot be continued.
#[derive(Clone)]
pub struct UploadBody {
    len: Option<u64>,
    /// Receives the pieces that are sent, with their positions. Pieces that are sent again are received again.
    hasher: Option<mpsc::Sender<(u64, Bytes)>>,
    state: Arc<Mutex<State>>,
}

struct State {
    content: Source,
    /// Where the last request has ended. `None` while a request reads, and after a request that failed.
    idle: Option<Reader>,
    /// The position of the end, once it was reached.
    end: Option<u64>,
    /// The latest attempt.
    sending: Arc<Sending>,
}

/// Where the bytes are read from when a request does not continue the one before it.
enum Source {
    Bytes(Bytes),
    /// A body, which may be one that can be read only once.
    Body(Body),
    /// They were read, and cannot be read again.
    Gone,
}

impl Source {
    fn is_file(&self) -> bool {
        matches!(self, Self::Body(body) if body.file().is_some())
    }

    /// The bytes from `start` on. If `kernel_sends` is set, what the kernel can send is not read.
    fn read_from(&mut self, start: u64, kernel_sends: bool) -> Option<Reader> {
        let body = match std::mem::replace(self, Self::Gone) {
            Self::Bytes(bytes) => {
                let rest = bytes.slice(usize::try_from(start).ok().filter(|start| *start <= bytes.len())?..);
                *self = Self::Bytes(bytes);
                Body::from_bytes(rest)
            }
            Self::Body(body) => {
                // The first reader gets the stream that has begun.
                if let Some(again) = body.try_clone() {
                    *self = Self::Body(again);
                }
                body.without_first(start)
            }
            Self::Gone => return None,
        };
        let windows = if kernel_sends { body.into_windows(CHUNK) } else { body.into_stream().map_ok(Window::Read).boxed() };
        Some(Reader { at: start, windows, rest: None })
    }
}

/// A body that is being read.
struct Reader {
    /// The position of the next byte.
    at: u64,
    windows: BoxStream<'static, Result<Window>>,
    /// The rest of the last window, which comes next.
    rest: Option<Window>,
}

/// How far one attempt is.
#[derive(Default)]
struct Sending {
    bytes: AtomicU64,
    /// Whether the connection waits for the next piece.
    is_awaited: AtomicBool,
    /// Why the body could not be read. The error of the connection does not contain the reason.
    failure: Mutex<Option<Error>>,
    /// The parts of a file that the connection sends.
    parts: OnceLock<Arc<PartsToSend>>,
}

impl Sending {
    fn failure(&self) -> MutexGuard<'_, Option<Error>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parts_of(&self, connection: &ChosenConnection) -> &PartsToSend {
        self.parts.get_or_init(|| {
            let parts = connection.parts();
            parts.clear();
            parts
        })
    }

    fn is_awaited(&self) -> bool {
        self.is_awaited.load(Relaxed) || self.parts.get().is_some_and(|parts| parts.is_reading())
    }

    fn take_failure(&self) -> Option<Error> {
        self.failure().take().or_else(|| self.parts.get()?.take_failure())
    }
}

impl UploadBody {
    /// A body. A small body that cannot be read again is read into memory, so that it can be sent again. Fails if it cannot be read.
    pub async fn of(body: Body) -> Result<Self> {
        let len = body.len();
        let content = match len {
            Some(len) if len <= CHUNK as u64 && body.try_clone().is_none() => {
                let bytes = body.collect(CHUNK, "what is uploaded").await?;
                check_len(bytes.len() as u64, len)?;
                Source::Bytes(bytes.into())
            }
            _ => Source::Body(body),
        };
        let state = State { content, idle: None, end: None, sending: Arc::default() };
        Ok(Self { len, hasher: None, state: Arc::new(Mutex::new(state)) })
    }

    /// A body without bytes.
    pub fn empty() -> Self {
        let state = State { content: Source::Bytes(Bytes::new()), idle: None, end: Some(0), sending: Arc::default() };
        Self { len: Some(0), hasher: None, state: Arc::new(Mutex::new(state)) }
    }

    /// Sends each piece to `hasher` too, with its position.
    pub fn hashed_by(self, hasher: mpsc::Sender<(u64, Bytes)>) -> Self {
        Self { hasher: Some(hasher), ..self }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The length in bytes. If it was not known, it is known once the last byte was sent.
    pub fn len(&self) -> Option<u64> {
        self.len.or_else(|| self.state().end)
    }

    /// Whether the body is known to have no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// The payload of a request with the bytes from `start` to `end`, or to the end if that is `None`.
    pub fn part(&self, start: u64, end: Option<u64>) -> Payload {
        Payload(Content::Part(Part { body: self.clone(), start, end: end.or(self.len) }))
    }

    /// Whether the next request can begin at this position.
    pub fn can_read_from(&self, start: u64) -> bool {
        let state = self.state();
        state.idle.as_ref().is_some_and(|idle| idle.at == start) || !matches!(state.content, Source::Gone)
    }

    /// Whether another request can send any of its bytes, or the end.
    pub fn can_be_continued(&self) -> bool {
        let state = self.state();
        state.idle.is_some() || !matches!(state.content, Source::Gone)
    }

    /// How many bytes the connection has taken in the latest attempt of a request.
    pub fn sent(&self) -> u64 {
        self.state().sending.bytes.load(Relaxed)
    }

    fn read_from(&self, start: u64, kernel_sends: bool) -> Option<(Reader, Arc<Sending>)> {
        let mut state = self.state();
        state.sending = Arc::default();
        let sending = state.sending.clone();
        let reader = match state.idle.take() {
            Some(idle) if idle.at == start => idle,
            _ => state.content.read_from(start, kernel_sends)?,
        };
        Some((reader, sending))
    }
}

/// A part of a body that one attempt sends.
struct Outgoing {
    body: UploadBody,
    /// `None` when the last byte was read.
    reader: Option<Reader>,
    end: Option<u64>,
    sending: Arc<Sending>,
    /// Sends the parts of a file that are not read here.
    connection: Option<ChosenConnection>,
    rate_limit: Option<Arc<RateLimit>>,
}

impl Outgoing {
    /// The next piece; fails if the body has more or fewer bytes than it should have.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let Some(reader) = &mut self.reader else { return Ok(None) };
        let window = match reader.rest.take() {
            None => reader.windows.next().await.transpose()?,
            rest => rest,
        };
        let Some(mut window) = window else {
            self.end.map_or(Ok(()), |end| check_len(reader.at, end))?;
            self.body.state().end = Some(reader.at);
            self.reader = None;
            return Ok(None);
        };
        let (at, past) = (reader.at, reader.at + window.len());
        match self.body.len {
            Some(len) if past > len => check_len(past, len)?,
            _ => {}
        }
        if let Some(beyond) = self.end.map(|end| past.saturating_sub(end)).filter(|beyond| *beyond > 0) {
            reader.rest = Some(window.split_off(window.len() - beyond));
        }
        let len = window.len();
        reader.at += len;
        if Some(reader.at) == self.end {
            // Nobody asks for a piece after the last one. The next request continues here. A file is read anew: its connection may be another
            // one, and the rest of a window may have left the memory.
            let mut state = self.body.state();
            state.idle = self.reader.take().filter(|_| !state.content.is_file());
        }
        if let Some(limit) = &self.rate_limit {
            limit.take(len).await;
        }
        let piece = match window {
            Window::Read(bytes) => bytes,
            cached => {
                let connection = self.connection.as_ref().expect("otherwise all is read");
                self.sending.parts_of(connection).bytes(cached)
            }
        };
        self.sending.bytes.fetch_add(len, Relaxed);
        if let Some(hasher) = &self.body.hasher {
            // If the receiver is gone, nobody needs the digest.
            let _ = hasher.send((at, piece.clone())).await;
        }
        Ok(Some(piece))
    }

    fn into_body(self) -> reqwest::Body {
        reqwest::Body::wrap_stream(stream::unfold(self, |mut outgoing| async move {
            let sending = outgoing.sending.clone();
            sending.is_awaited.store(true, Relaxed);
            let next = outgoing.next().await;
            sending.is_awaited.store(false, Relaxed);
            match next {
                Ok(piece) => piece.map(|piece| (Ok(piece), outgoing)),
                Err(error) => {
                    let why = io::Error::other(error.to_string());
                    *outgoing.sending.failure() = Some(error);
                    Some((Err(why), outgoing))
                }
            }
        }))
    }
}

fn check_len(found: u64, expected: u64) -> Result<()> {
    if found == expected { Ok(()) } else { Err(Error::WrongSize { what: "what is uploaded".to_owned(), expected, found }) }
}
