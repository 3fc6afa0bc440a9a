//! One upload session of a registry, and what the registry says of it (OCI distribution specification, "Pushing a blob in chunks").

use crate::{
    client::repository::RemoteRepository,
    protocol::{header::CHUNK_MIN_LENGTH, route::Route},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use modelpack_http::{Failure, Payload, Request, Response, Url, range};
use modelpack_spec::Digest;
use modelpack_transfer::{Error, Result};
use std::{ops::Range, time::Duration};
use tokio::time::timeout;

/// How long to wait for the end of a session that is not needed any more.
const CANCEL_PATIENCE: Duration = Duration::from_secs(10);
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// An upload session.
pub(super) struct Session {
    /// The URL of the next request. Every answer may change it.
    url: Url,
    /// How many bytes of the blob the registry has.
    pub(super) received: u64,
    /// Whether some of these bytes are from a request that failed or from an earlier process. Then what is sent next may not fit to them.
    pub(super) is_resumed: bool,
    /// Whether the registry has taken a chunk.
    pub(super) has_taken: bool,
    /// The minimum length of every chunk but the last one, if the registry asks for one. It asks for chunks then.
    pub(super) min_chunk: Option<u64>,
}

/// How the bytes of a blob are sent.
#[derive(Clone, Copy)]
pub(super) enum Chunk<'a> {
    /// All bytes that are missing, in one stream.
    Stream,
    /// These bytes.
    Range(&'a Range<u64>),
}

impl Session {
    /// The session that the registry has opened with this answer.
    pub(super) fn opened(repository: &RemoteRepository, answer: &Response) -> Result<Self> {
        let url = repository.registry().origin.location(answer)?;
        let min_chunk = text(answer.headers(), CHUNK_MIN_LENGTH).and_then(|length| length.parse().ok()).filter(|length| *length > 0);
        Ok(Self { url, received: 0, is_resumed: false, has_taken: false, min_chunk })
    }

    /// A session that an earlier process has opened. `None` if its URL is less secure than that of the registry.
    pub(super) fn remembered(repository: &RemoteRepository, url: &Url) -> Option<Self> {
        let scheme = repository.registry().url(&Route::Version).scheme().to_owned();
        let is_safe = url.scheme() == "https" || scheme == "http" && url.scheme() == "http";
        is_safe.then(|| Self { url: url.clone(), received: 0, is_resumed: true, has_taken: false, min_chunk: None })
    }

    /// The URL of the next request.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Asks the registry how many bytes it has. `None` if it does not know the session, or cannot tell.
    ///
    /// The specification writes both no bytes and one byte as `0-0`. The result is 0 in both cases.
    pub(super) async fn ask(&mut self, repository: &RemoteRepository, what: &str) -> Result<Option<u64>, Failure> {
        let scope = repository.scope_to_write();
        let mut request = Request::new(Method::GET, self.url.clone(), &scope, what);
        let answer = match repository.registry().origin.attempt(&mut request).await {
            Ok(answer) => answer,
            Err(Failure { error: Error::NotFound { .. } | Error::Unauthorized { .. } | Error::Denied { .. }, .. }) => return Ok(None),
            Err(Failure { error: Error::Protocol { .. }, retry: modelpack_http::Retry::Never, .. }) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        self.follow(repository, &answer)?;
        let received = text(answer.headers(), header::RANGE).and_then(|range| range::parse(range.trim_start_matches("bytes=")));
        Ok(received.filter(|range| range.start == 0).map(|range| if range.end == 1 { 0 } else { range.end }))
    }

    /// Sends the next bytes.
    pub(super) async fn append(&mut self, repository: &RemoteRepository, what: &str, chunk: Chunk<'_>, sent: Sent) -> Result<(), Failure> {
        let scope = repository.scope_to_write();
        let mut request = sent.request(Method::PATCH, self.url.clone(), &scope, what);
        if let Chunk::Range(bytes) = chunk {
            let value = HeaderValue::try_from(range::print(bytes)).expect("a range is digits and a dash");
            request = request.header(header::CONTENT_RANGE, value);
        }
        let answer = repository.registry().origin.attempt(&mut request).await?;
        self.follow(repository, &answer)?;
        self.has_taken = true;
        Ok(())
    }

    /// Completes the upload, with all bytes of the blob or, if they were sent before, with none.
    pub(super) async fn complete(&self, repository: &RemoteRepository, what: &str, digest: &Digest, sent: Sent) -> Result<(), Failure> {
        let scope = repository.scope_to_write();
        let mut url = self.url.clone();
        // The session's own query is kept.
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        repository.registry().origin.attempt(&mut sent.request(Method::PUT, url, &scope, what)).await.map(drop)
    }

    /// Ends the session, so that the registry does not keep it until it expires. Failures are ignored.
    pub(super) async fn cancel(self, repository: RemoteRepository) {
        let scope = repository.scope_to_write();
        let mut request = Request::new(Method::DELETE, self.url, &scope, "the upload");
        let _ = timeout(CANCEL_PATIENCE, repository.registry().origin.attempt(&mut request)).await;
    }

    fn follow(&mut self, repository: &RemoteRepository, answer: &Response) -> Result<()> {
        if answer.headers().contains_key(header::LOCATION) {
            self.url = repository.registry().origin.location(answer)?;
        }
        Ok(())
    }
}

/// The bytes of one request, and the connection for them.
pub(super) struct Sent {
    pub(super) payload: Payload,
    /// Whether the connection is not used again.
    pub(super) closes: bool,
}

impl Sent {
    fn request<'a, S>(self, method: Method, url: Url, scope: &'a S, what: &'a str) -> Request<'a, S> {
        let request = Request::new(method, url, scope, what).header(header::CONTENT_TYPE, OCTETS).payload(self.payload);
        if self.closes { request.header(header::CONNECTION, CLOSE) } else { request }
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}
