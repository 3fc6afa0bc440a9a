//! Responses to requests.

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use modelpack_transfer::{Body, Error, PartsToSend};
use std::{fmt, sync::Arc};

/// A response. An error of its body ends the connection.
pub type Response = http::Response<ResponseBody>;

/// The body of a response: it is in memory, streamed, or what a store has.
pub struct ResponseBody(Content);

enum Content {
    Frames(Frames),
    Stored(Body),
}

/// What hyper sends.
pub(crate) type Frames = UnsyncBoxBody<Bytes, Error>;

impl ResponseBody {
    fn bytes(bytes: Bytes) -> Self {
        Self(Content::Frames(Full::new(bytes).map_err(|never| match never {}).boxed_unsync()))
    }

    fn stream(pieces: impl Stream<Item = Result<Bytes, Error>> + Send + 'static) -> Self {
        Self(Content::Frames(StreamBody::new(pieces.map_ok(Frame::data)).boxed_unsync()))
    }

    /// The frames of this body. Those of a stored one have about `piece` bytes, or are placeholders
    /// of `parts`.
    ///
    /// The connection must have sent all earlier responses.
    pub(crate) fn into_frames(self, piece: usize, parts: Arc<PartsToSend>) -> Frames {
        // An earlier response may have ended before all of its frames were sent.
        parts.clear();
        match self.0 {
            Content::Frames(frames) => frames,
            Content::Stored(body) => {
                let frames = body.into_windows(piece).map_ok(move |window| Frame::data(parts.bytes(window)));
                StreamBody::new(frames).boxed_unsync()
            }
        }
    }
}

/// A builder of responses.
pub struct Answer(Response);

impl Answer {
    /// A response without a body.
    pub fn new(status: StatusCode) -> Self {
        let mut response = Response::new(ResponseBody::bytes(Bytes::new()));
        *response.status_mut() = status;
        Self(response)
    }

    /// Adds a header.
    ///
    /// # Panics
    ///
    /// Panics if `value` is not visible ASCII. Values are made of checked text: routes, digests,
    /// tags, numbers.
    pub fn header(mut self, name: HeaderName, value: impl fmt::Display) -> Self {
        let value = HeaderValue::try_from(value.to_string()).expect("checked text is visible ASCII");
        self.0.headers_mut().append(name, value);
        self
    }

    /// Sets the media type of the body.
    pub fn media_type(mut self, media_type: HeaderValue) -> Self {
        self.0.headers_mut().insert(header::CONTENT_TYPE, media_type);
        self
    }

    /// Adds a body in memory.
    pub fn bytes(self, media_type: HeaderValue, bytes: impl Into<Bytes>) -> Response {
        self.media_type(media_type).0.map(|_| ResponseBody::bytes(bytes.into()))
    }

    /// Adds a JSON document as the body.
    pub fn json(self, document: &serde_json::Value) -> Response {
        self.bytes(HeaderValue::from_static("application/json"), document.to_string())
    }

    /// Adds plain text as the body.
    pub fn text(self, text: impl Into<Bytes>) -> Response {
        self.bytes(HeaderValue::from_static("text/plain; charset=utf-8"), text)
    }

    /// Adds a streamed body of `len` bytes.
    pub fn stream(self, pieces: impl Stream<Item = Result<Bytes, Error>> + Send + 'static, len: u64) -> Response {
        self.header(header::CONTENT_LENGTH, len).0.map(|_| ResponseBody::stream(pieces))
    }

    /// Adds a body of `len` bytes that a store returned. If its bytes are in a file and in memory,
    /// the kernel sends them.
    pub fn stored(self, body: Body, len: u64) -> Response {
        self.header(header::CONTENT_LENGTH, len).0.map(|_| ResponseBody(Content::Stored(body)))
    }

    /// Returns the response unchanged.
    pub fn done(self) -> Response {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use modelpack_transfer::{CHUNK, FileRange, platform};
    use std::fs::File;

    /// The frames of a body, and whether each is a placeholder.
    async fn frames(body: ResponseBody, parts: &Arc<PartsToSend>) -> Vec<(usize, bool)> {
        let (mut frames, mut all) = (body.into_frames(64 << 10, parts.clone()), Vec::new());
        while let Some(frame) = frames.frame().await {
            let bytes = frame.unwrap().into_data().unwrap();
            all.push((bytes.len(), PartsToSend::is_placeholder(&bytes)));
        }
        all
    }

    #[tokio::test]
    async fn the_kernel_sends_what_is_in_a_file_and_in_memory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = |len| {
            std::fs::write(&path, vec![7; len]).unwrap();
            FileRange::open(&path).unwrap()
        };
        let stored = |range| ResponseBody(Content::Stored(Body::from_file(range)));
        let parts = Arc::new(PartsToSend::default());

        let large = file(2 * CHUNK + 40_000);
        if !large.is_cached() {
            eprintln!("SKIPPED: this system does not say what is in memory");
            return;
        }
        let expected = [(CHUNK, true), (CHUNK, true), (40_000, true)];
        assert_eq!(frames(stored(large), &parts).await, expected);
        assert_eq!(frames(stored(file(4096)), &parts).await, [(4096, false)], "a small file is cheaper to read");
        assert_eq!(frames(stored(file(0)), &parts).await, []);

        // The end is in memory, and the beginning is not.
        let half = file(2 * CHUNK);
        let written = File::options().write(true).open(&path).unwrap();
        written.sync_all().unwrap();
        platform::start_writeback(&written, 0..CHUNK as u64);
        if half.is_cached() {
            eprintln!("SKIPPED: the temporary directory is in memory");
            return;
        }
        let frames = frames(stored(half), &parts).await;
        assert!(!frames[0].1 && frames.contains(&(CHUNK, true)), "{frames:?}");
    }
}
