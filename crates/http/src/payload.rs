//! The body of a request, and whether it can be sent twice.

use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use modelpack_transfer::{Body, CHUNK, Error, Result};
use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use tokio::sync::mpsc;

/// What a request sends: bytes that are kept, so that they can be sent as often as it takes, or a [`Body`] in pieces.
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
    /// Who hashes the pieces as they pass. What was hashed cannot be hashed again, so such a body is sent once.
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
    /// The connection only tells that the body failed; the reason is kept here.
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
    /// No bytes.
    pub fn empty() -> Self {
        Bytes::new().into()
    }

    /// A body. A small one that is no file is taken into memory, so that it can be sent again like one; this fails if it cannot be read.
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

    /// The same bytes once more, if they can be sent again. Whoever hashes the one does not hash the other.
    pub fn try_clone(&self) -> Option<Self> {
        match &self.0 {
            Content::Bytes(bytes) => Some(bytes.clone().into()),
            Content::Stream(stream) => {
                stream.body.as_ref()?.try_clone().map(|body| Self(Content::Stream(Stream { len: stream.len, ..Stream::new(body) })))
            }
        }
    }

    /// Hands the pieces to a hasher while they are sent. From then on they can be sent once only.
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
        if let (Some(piece), Some(hasher)) = (&piece, &self.hasher) {
            // A hasher that is gone means that nobody wants the digest any more.
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
