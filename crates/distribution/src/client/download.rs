//! A blob as it comes from a registry: a range of it, asked for again from where it broke off until all of it is there.

use super::{
    failure::{Failure, shown, unexpected},
    registry::{PATIENCE, Registry, Request},
    retry::Backoff,
    scope::Scope,
};
use crate::protocol::range;
use bytes::Bytes;
use futures_util::stream;
use http::{
    HeaderValue, Method, StatusCode,
    header::{CONTENT_RANGE, RANGE},
};
use modelpack_store::{Body, Error, Result};
use reqwest::{Response, Url};
use std::{ops::Range, sync::Arc};

/// What is downloaded.
pub(super) struct Blob {
    pub(super) registry: Arc<Registry>,
    pub(super) scope: Scope,
    /// Where the registry itself has it. Each attempt begins here, because addresses that it redirects to expire.
    pub(super) url: Url,
    /// What it is called in an error.
    pub(super) what: String,
    /// Its size in bytes, of all of it.
    pub(super) size: u64,
}

/// The bytes `range` of a blob. The registry has answered when this returns.
pub(super) async fn download(blob: Blob, range: Range<u64>) -> Result<Body> {
    let len = range.end - range.start;
    let mut download = Download { blob, wanted: range.clone(), at: range.start, answer: None, backoff: Backoff::default() };
    download.answer = Some(download.ask().await?);
    let pieces = stream::try_unfold(download, |mut download| async move { Ok(download.next().await?.map(|piece| (piece, download))) });
    Ok(Body::from_stream(pieces, Some(len)))
}

struct Download {
    blob: Blob,
    wanted: Range<u64>,
    /// The next byte to hand on.
    at: u64,
    answer: Option<Answer>,
    backoff: Backoff,
}

/// A response whose body begins at or before what is wanted.
struct Answer {
    response: Response,
    /// How many bytes come before those that are wanted, from a server that ignores ranges.
    skip: u64,
    /// Whether the body should end where the range does.
    ends_with_range: bool,
}

impl Download {
    /// Asks for what has not come yet.
    async fn ask(&self) -> Result<Answer> {
        let Blob { registry, scope, url, what, size } = &self.blob;
        let missing = self.at..self.wanted.end;
        let mut request = Request::new(Method::GET, url.clone(), scope, what);
        if missing != (0..*size) {
            let value = HeaderValue::try_from(range::print_request(&missing)).expect("a range is digits and a dash");
            request = request.header(RANGE, value);
        }
        let response = registry.send(request).await?;
        if response.status() == StatusCode::PARTIAL_CONTENT {
            let came = response.headers().get(CONTENT_RANGE).and_then(|value| range::parse_response(value.to_str().ok()?));
            return match came {
                Some((came, total)) if came == missing && total.is_none_or(|total| total == *size) => {
                    Ok(Answer { response, skip: 0, ends_with_range: true })
                }
                _ => {
                    Err(unexpected(&response, format!("it gave another range than bytes {}-{} of {size}", missing.start, missing.end - 1)))
                }
            };
        }
        if let Some(found) = response.content_length().filter(|len| len != size) {
            return Err(Error::WrongSize { what: what.clone(), expected: *size, found });
        }
        Ok(Answer { response, skip: missing.start, ends_with_range: missing.end == *size })
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let mut answer = match self.answer.take() {
                Some(answer) => answer,
                None if self.at == self.wanted.end => return Ok(None),
                None => self.ask().await.map_err(|error| self.told(error))?,
            };
            let missing = self.wanted.end - self.at;
            let failure = match tokio::time::timeout(PATIENCE, answer.response.chunk()).await {
                Ok(Ok(Some(mut piece))) => {
                    let skipped = piece.split_to(answer.skip.min(piece.len() as u64) as usize);
                    answer.skip -= skipped.len() as u64;
                    if piece.len() as u64 > missing && answer.ends_with_range {
                        return Err(self.broken(&answer.response, "more bytes came than there should be"));
                    }
                    piece.truncate(missing.min(piece.len() as u64) as usize);
                    self.at += piece.len() as u64;
                    // A body that ends with the range is read to its end, so that its connection can be used again.
                    self.answer = (answer.ends_with_range || self.at < self.wanted.end).then_some(answer);
                    if !piece.is_empty() {
                        self.backoff.progressed();
                        return Ok(Some(piece));
                    }
                    continue;
                }
                // All that matters is here, however the connection ended.
                _ if missing == 0 => return Ok(None),
                Ok(Ok(None)) => Failure::cut_off(answer.response.url()),
                Ok(Err(error)) => Failure::network(answer.response.url(), &error),
                Err(_) => Failure::stalled(answer.response.url(), PATIENCE),
            };
            match self.backoff.pause(failure.retry) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(self.told(failure.error)),
            }
        }
    }

    /// The error with how far the download had come.
    fn told(&self, error: Error) -> Error {
        match error {
            Error::Network { url, why } => {
                let (came, of) = (self.at - self.wanted.start, self.wanted.end - self.wanted.start);
                Error::Network { url, why: format!("{why}; {came} of {of} bytes had come") }
            }
            other => other,
        }
    }

    fn broken(&self, response: &Response, why: &str) -> Error {
        self.told(Error::Network { url: shown(response.url()), why: why.to_owned() })
    }
}
