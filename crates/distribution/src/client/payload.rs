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

/// What a request sends.
pub(crate) enum Payload {
    /// Bytes that are kept, so that they can be sent as often as it takes.
    Bytes(Bytes),
    /// A blob on its way.
    Blob(Blob),
}

/// A blob that is sent in pieces.
pub(crate) struct Blob {
    body: Option<Body>,
    len: Option<u64>,
    /// Who hashes the pieces as they pass. What was hashed cannot be hashed again, so such a blob is sent once.
    hasher: Option<mpsc::Sender<Bytes>>,
    sending: Arc<Sending>,
}

/// How far the sending of a blob is.
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

impl Payload {
    /// No bytes.
    pub(crate) fn empty() -> Self {
        Self::Bytes(Bytes::new())
    }

    /// A blob. A small one is taken into memory, so that it can be sent again like a file.
    pub(crate) async fn blob(body: Body) -> Result<Self> {
        match body.len() {
            Some(len) if len <= CHUNK as u64 && body.try_clone().is_none() => {
                let bytes = body.collect(CHUNK, "the blob").await?;
                check_len(bytes.len() as u64, len)?;
                Ok(Self::Bytes(bytes.into()))
            }
            len => Ok(Self::Blob(Blob { body: Some(body), len, hasher: None, sending: Arc::default() })),
        }
    }

    /// The same bytes once more, if they can be sent again.
    pub(crate) fn try_clone(&self) -> Option<Self> {
        match self {
            Self::Bytes(bytes) => Some(Self::Bytes(bytes.clone())),
            Self::Blob(blob) => {
                let body = blob.body.as_ref()?.try_clone()?;
                Some(Self::Blob(Blob { body: Some(body), len: blob.len, hasher: None, sending: Arc::default() }))
            }
        }
    }

    /// Hands the pieces to a hasher while they are sent.
    pub(crate) fn hashed_by(mut self, hasher: mpsc::Sender<Bytes>) -> Self {
        if let Self::Bytes(bytes) = self {
            self = Self::Blob(Blob {
                len: Some(bytes.len() as u64),
                body: Some(Body::from_bytes(bytes)),
                hasher: None,
                sending: Arc::default(),
            });
        }
        if let Self::Blob(blob) = &mut self {
            blob.hasher = Some(hasher);
        }
        self
    }

    /// The length in bytes, if it is known.
    pub(crate) fn len(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::Blob(blob) => blob.len,
        }
    }

    /// Whether the bytes are still there to be sent.
    pub(crate) fn is_spent(&self) -> bool {
        matches!(self, Self::Blob(Blob { body: None, .. }))
    }

    /// The bytes for one attempt; `None` if they were sent and cannot be sent again.
    pub(crate) fn for_attempt(&mut self) -> Option<reqwest::Body> {
        match self {
            Self::Bytes(bytes) => Some(bytes.clone().into()),
            Self::Blob(blob) => {
                let again = if blob.hasher.is_none() { blob.body.as_ref()?.try_clone() } else { None };
                let body = again.or_else(|| blob.body.take())?;
                blob.sending = Arc::default();
                let (pieces, sending) = (body.into_stream(), blob.sending.clone());
                Some(Outgoing { pieces, len: blob.len, hasher: blob.hasher.take(), sending }.into_body())
            }
        }
    }

    /// How many bytes the connection has taken in this attempt.
    pub(crate) fn sent(&self) -> u64 {
        match self {
            Self::Bytes(_) => 0,
            Self::Blob(blob) => blob.sending.bytes.load(Relaxed),
        }
    }

    /// Why the bytes could not be read, if that is what made the attempt fail.
    pub(crate) fn failure(&self) -> Option<Error> {
        match self {
            Self::Bytes(_) => None,
            Self::Blob(blob) => blob.sending.failure().take(),
        }
    }
}

/// A blob that one attempt sends.
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
