//! The body of a request: a stream without a total time limit, but with an idle timeout.

use crate::clients::{Client, WaitsFor};
use bytes::Bytes;
use futures_util::{FutureExt, stream};
use http::header;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming};
use modelpack_transfer::{Body, Cause, Error, Result};
use std::{
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::{sleep, timeout};

/// The time limit for reading the rest of a body after the response. See [`RequestBody`].
const LINGER: Duration = Duration::from_secs(30);

/// The idle limit of a body while another request waits for its end.
const MOMENT: Duration = Duration::from_secs(1);

/// A body that can be read once.
///
/// If it is dropped before its end, a separate task reads on for a while. Otherwise a client that
/// is still sending when its connection is closed would see a reset instead of the response with
/// the reason.
pub struct RequestBody {
    rest: Option<Incoming>,
    idle: Duration,
    client: Client,
    received: Arc<AtomicU64>,
    /// The client sends nothing before the first read, so there may be nothing to read on.
    awaits_continue: bool,
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, headers: &http::HeaderMap, idle: Duration, client: Client) -> Self {
        Self { rest: Some(incoming), idle, client, received: Arc::default(), awaits_continue: headers.contains_key(header::EXPECT) }
    }

    /// The number of bytes passed on so far; the counter stays valid after this was dropped.
    pub(crate) fn received(&self) -> Arc<AtomicU64> {
        self.received.clone()
    }

    /// Its length in bytes, if the client declared it.
    #[expect(clippy::len_without_is_empty, reason = "an unknown length is neither empty nor not empty")]
    pub fn len(&self) -> Option<u64> {
        self.rest.as_ref().map_or(Some(0), |body| body.size_hint().exact())
    }

    async fn next(&mut self) -> Option<Result<Bytes>> {
        self.awaits_continue = false;
        loop {
            let frame = match frame_of(self.rest.as_mut()?, self.idle, &self.client).await {
                Ok(frame) => frame,
                Err(why) => {
                    self.rest = None;
                    return Some(Err(ended_early(&why, None)));
                }
            };
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => {
                        self.received.fetch_add(bytes.len() as u64, Relaxed);
                        return Some(Ok(bytes));
                    }
                    Err(_trailers) => continue,
                },
                Some(Err(e)) => {
                    self.rest = None;
                    return Some(Err(ended_early(&e.to_string(), Some(e.into()))));
                }
                None => {
                    self.rest = None;
                    return None;
                }
            }
        }
    }

    /// The bytes, at most `limit`. Bytes after the limit are not passed on and are an
    /// [`Error::WrongSize`]. A body that is idle for too long or ends early is an
    /// [`Error::Network`].
    ///
    /// When `wanted` is ready, another request waits for the end of this body, and the body is
    /// given up as soon as it is idle for a short time.
    pub fn into_body(self, limit: Option<u64>, wanted: impl Future<Output = ()> + Send + 'static) -> Body {
        let len = self.len();
        let wanted = Wanted { by_another: Box::pin(wanted), is: false };
        let bytes = stream::try_unfold((self, 0, wanted), move |(mut body, before, mut wanted)| async move {
            let next = tokio::select! {
                biased;
                bytes = body.next() => bytes.transpose()?,
                () = wanted.for_a_moment() => return Err(ended_early("another request continues the upload", None)),
            };
            let Some(bytes) = next else { return Ok(None) };
            let after = before + bytes.len() as u64;
            match limit {
                Some(expected) if after > expected => {
                    Err(Error::WrongSize { what: "the request's body".to_owned(), expected, found: after })
                }
                _ => Ok(Some((bytes, (body, after, wanted)))),
            }
        });
        Body::from_stream(bytes, len)
    }
}

/// The next frame of a body, or the reason why the server no longer waits for it.
async fn frame_of(body: &mut Incoming, idle: Duration, client: &Client) -> Result<Option<hyper::Result<Frame<Bytes>>>, String> {
    let mut frame = pin!(body.frame());
    if let Some(frame) = frame.as_mut().now_or_never() {
        return Ok(frame);
    }
    let _waiting = client.waits_for(WaitsFor::Body);
    tokio::select! {
        biased;
        frame = frame => Ok(frame),
        () = client.given_up() => Err("no data arrived while other clients needed the connection or the server was shutting down".to_owned()),
        () = sleep(idle) => Err(format!("no data arrived for {idle:?}")),
    }
}

/// Tells whether another request waits for the end of a body.
struct Wanted<F> {
    by_another: Pin<Box<F>>,
    is: bool,
}

impl<F: Future<Output = ()>> Wanted<F> {
    /// Resolves when another request has waited for [`MOMENT`] since the call.
    async fn for_a_moment(&mut self) {
        if !self.is {
            self.by_another.as_mut().await;
            self.is = true;
        }
        sleep(MOMENT).await;
    }
}

fn ended_early(why: &str, source: Option<Cause>) -> Error {
    Error::Network { url: "the request's body".to_owned(), why: format!("it ended early: {why}"), source }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(mut rest) = self.rest.take().filter(|rest| !self.awaits_continue && !rest.is_end_stream()) else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let client = self.client.clone();
            runtime.spawn(timeout(LINGER, async move { while let Ok(Some(Ok(_))) = frame_of(&mut rest, LINGER, &client).await {} }));
        }
    }
}
