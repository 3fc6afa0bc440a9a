//! The body of a request, and whether it can be sent again.

use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use modelpack_transfer::{Body, CHUNK, Error, Result};
use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};
use tokio::sync::mpsc;

/// The body of a request: bytes in memory, which can be sent any number of times, or a [`Body`], which is sent in pieces.
pub struct Payload(Content);

enum Content {
    Bytes(Bytes),
    Stream(Stream),
}

/// A body that is sent in pieces.
struct Stream {
    /// `None` once it was sent and cannot be sent again.
    body: Option<Body>,
    len: Option<u64>,
    /// Receives the pieces as they are sent, to hash them. A body with a hasher is sent only once, because its bytes must be hashed once.
    hasher: Option<mpsc::Sender<Bytes>>,
    sending: Arc<Sending>,
}

impl Stream {
    fn new(body: Body) -> Self {
        Self { len: body.len(), body: Some(body), hasher: None, sending: Arc::default() }
    }
}

/// How far the sending of a body is.
#[derive(Default)]
struct Sending {
    bytes: AtomicU64,
    has_ended: AtomicBool,
    /// Why the body could not be read. The error of the connection does not contain the reason.
    failure: Mutex<Option<Error>>,
}

impl Sending {
    fn failure(&self) -> MutexGuard<'_, Option<Error>> {
        self.failure.lock().expect("no one panics while holding the reason")
    }
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

    /// A body. A small body that cannot be read again is read into memory, so that it can be sent again. Fails if it cannot be read.
    pub async fn of(body: Body) -> Result<Self> {
        match body.len() {
            Some(len) if len <= CHUNK as u64 && body.try_clone().is_none() => {
                let bytes = body.collect(CHUNK, "what is uploaded").await?;
                check_len(bytes.len() as u64, len)?;
                Ok(Bytes::from(bytes).into())
            }
            _ => Ok(Self(Content::Stream(Stream::new(body)))),
        }
    }

    /// A second payload with the same bytes and without a hasher; `None` if the bytes cannot be sent again.
    pub fn try_clone(&self) -> Option<Self> {
        match &self.0 {
            Content::Bytes(bytes) => Some(bytes.clone().into()),
            Content::Stream(stream) => {
                stream.body.as_ref()?.try_clone().map(|body| Self(Content::Stream(Stream { len: stream.len, ..Stream::new(body) })))
            }
        }
    }

    /// Sends each piece to `hasher` too. After that, the payload can be sent only once.
    pub fn hashed_by(self, hasher: mpsc::Sender<Bytes>) -> Self {
        let stream = match self.0 {
            Content::Bytes(bytes) => Stream::new(Body::from_bytes(bytes)),
            Content::Stream(stream) => stream,
        };
        Self(Content::Stream(Stream { hasher: Some(hasher), ..stream }))
    }

    /// The length in bytes, if it is known.
    pub(crate) fn len(&self) -> Option<u64> {
        match &self.0 {
            Content::Bytes(bytes) => Some(bytes.len() as u64),
            Content::Stream(stream) => stream.len,
        }
    }

    /// Whether the bytes were sent and cannot be sent again.
    pub(crate) fn is_spent(&self) -> bool {
        matches!(self, Self(Content::Stream(Stream { body: None, .. })))
    }

    /// The bytes for one attempt; `None` if they were sent and cannot be sent again.
    pub(crate) fn for_attempt(&mut self) -> Option<reqwest::Body> {
        match &mut self.0 {
            Content::Bytes(bytes) => Some(bytes.clone().into()),
            Content::Stream(stream) => {
                let again = if stream.hasher.is_none() { stream.body.as_ref()?.try_clone() } else { None };
                let body = again.or_else(|| stream.body.take())?;
                stream.sending = Arc::default();
                let (pieces, sending) = (body.into_stream(), stream.sending.clone());
                Some(Outgoing { pieces, len: stream.len, hasher: stream.hasher.take(), sending }.into_body())
            }
        }
    }

    /// How many bytes the connection has taken in this attempt.
    pub(crate) fn sent(&self) -> u64 {
        match &self.0 {
            Content::Bytes(_) => 0,
            Content::Stream(stream) => stream.sending.bytes.load(Relaxed),
        }
    }

    /// Whether the connection has taken all bytes in this attempt. Bytes in memory are few, and count as taken.
    pub(crate) fn is_sent(&self) -> bool {
        match &self.0 {
            Content::Bytes(_) => true,
            Content::Stream(stream) => stream.sending.has_ended.load(Relaxed) || stream.len == Some(self.sent()),
        }
    }

    /// Why the bytes could not be read, if that is what made the attempt fail.
    pub(crate) fn failure(&self) -> Option<Error> {
        match &self.0 {
            Content::Bytes(_) => None,
            Content::Stream(stream) => stream.sending.failure().take(),
        }
    }
}

/// A body that one attempt sends.
struct Outgoing {
    pieces: BoxStream<'static, Result<Bytes>>,
    len: Option<u64>,
    hasher: Option<mpsc::Sender<Bytes>>,
    sending: Arc<Sending>,
}

impl Outgoing {
    /// The next piece; fails if there are more or fewer bytes than there should be.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let piece = self.pieces.next().await.transpose()?;
        let sent = self.sending.bytes.load(Relaxed) + piece.as_ref().map_or(0, Bytes::len) as u64;
        match self.len {
            Some(len) if sent > len || piece.is_none() => check_len(sent, len)?,
            _ => {}
        }
        self.sending.bytes.store(sent, Relaxed);
        self.sending.has_ended.store(piece.is_none(), Relaxed);
        if let (Some(piece), Some(hasher)) = (&piece, &self.hasher) {
            // If the receiver is gone, nobody needs the digest.
            let _ = hasher.send(piece.clone()).await;
        }
        Ok(piece)
    }

    fn into_body(self) -> reqwest::Body {
        reqwest::Body::wrap_stream(stream::unfold(self, |mut outgoing| async move {
            match outgoing.next().await {
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
