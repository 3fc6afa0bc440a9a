//! The body of a request: a stream that may take any time, but may not stand still.

use super::response::{Failure, Result};
use crate::protocol::error::ErrorCode;
use bytes::Bytes;
use futures_util::stream;
use http::{StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use modelpack_store::{Body, Error};
use std::time::Duration;
use tokio::time::timeout;

/// How long the rest of a body is read after its request was answered. See [`RequestBody`].
const LINGER: Duration = Duration::from_secs(30);

/// A body that is read once.
///
/// Dropped before its end, it lets a task of its own read on for a while: a client that is still sending when its connection is closed
/// sees a reset, and never the answer that says why.
pub(super) struct RequestBody {
    rest: Option<Incoming>,
    idle: Duration,
    /// The client sends nothing before the first read, so there may be nothing to linger for.
    awaits_continue: bool,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, headers: &http::HeaderMap, idle: Duration) -> Self {
        Self { rest: Some(incoming), idle, awaits_continue: headers.contains_key(header::EXPECT) }
    }

    /// Its length in bytes, if the client said it.
    pub(super) fn len(&self) -> Option<u64> {
        self.rest.as_ref().map_or(Some(0), |body| body.size_hint().exact())
    }

    async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        let failed = |why: String| Error::Network { url: "the request's body".to_owned(), why };
        self.awaits_continue = false;
        loop {
            let Ok(frame) = timeout(self.idle, self.rest.as_mut()?.frame()).await else {
                self.rest = None;
                return Some(Err(failed(format!("nothing came for {:?}", self.idle))));
            };
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => return Some(Ok(bytes)),
                    Err(_trailers) => continue,
                },
                Some(Err(e)) => {
                    self.rest = None;
                    return Some(Err(failed(format!("it ended early: {e}"))));
                }
                None => {
                    self.rest = None;
                    return None;
                }
            }
        }
    }

    /// The bytes, of which there may be at most `limit`: what goes beyond is not passed on.
    pub(super) fn into_body(self, limit: Option<u64>) -> Body {
        let len = self.len();
        let bytes = stream::try_unfold((self, 0), move |(mut body, before)| async move {
            let Some(bytes) = body.next().await.transpose()? else { return Ok(None) };
            let after = before + bytes.len() as u64;
            match limit {
                Some(expected) if after > expected => {
                    Err(Error::WrongSize { what: "the request's body".to_owned(), expected, found: after })
                }
                _ => Ok(Some((bytes, (body, after)))),
            }
        });
        Body::from_stream(bytes, len)
    }

    /// All bytes in memory; `413` if there are more than `limit`, whatever the client said before.
    pub(super) async fn collect(mut self, limit: usize) -> Result<Vec<u8>> {
        let too_large = || {
            let message = format!("a manifest may have {limit} bytes, and this one has more");
            Failure::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::ManifestInvalid, message)
        };
        if self.len().is_some_and(|len| len > limit as u64) {
            return Err(too_large());
        }
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await.transpose()? {
            if all.len() + bytes.len() > limit {
                return Err(too_large());
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(mut rest) = self.rest.take().filter(|rest| !self.awaits_continue && !rest.is_end_stream()) else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(timeout(LINGER, async move { while let Some(Ok(_)) = rest.frame().await {} }));
        }
    }
}
