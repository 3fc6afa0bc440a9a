//! A blob as it comes from a registry: a range of it, asked for again from where it broke off until all of it is there.

use super::{
    failure::{Failure, shown},
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
use modelpack_store::{Body, CHUNK, Error, Result};
use reqwest::{Response, Url};
use std::{ops::Range, sync::Arc};

/// A server may give less than was asked for, but not so little that a blob takes more answers than these, and one a piece besides.
const FEW_ANSWERS: u64 = 1000;

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
    let answers_left = FEW_ANSWERS + len / CHUNK as u64;
    let mut download =
        Download { blob, at: range.start, wanted: range, answer: None, by_range: true, answers_left, backoff: Backoff::default() };
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
    /// Whether parts are asked for. It ends with the first answer that shows that the server cannot give them; then all of the blob is
    /// asked for, and what is not wanted is skipped.
    by_range: bool,
    /// How many more answers are waited for.
    answers_left: u64,
    backoff: Backoff,
}

/// A response whose body begins at or before what is wanted.
struct Answer {
    response: Response,
    /// How many bytes come before those that are wanted.
    skip: u64,
    /// Where the body ends, as an offset in the blob.
    end: u64,
}

impl Download {
    /// Asks for what has not come yet.
    async fn ask(&mut self) -> Result<Answer> {
        loop {
            if self.answers_left == 0 && !self.by_range {
                let why = "it broke off too often, each time after a few bytes".to_owned();
                return Err(Error::Network { url: shown(&self.blob.url), why });
            }
            if self.answers_left == 0 {
                (self.by_range, self.answers_left) = (false, FEW_ANSWERS);
            }
            self.answers_left -= 1;
            let missing = self.at..self.wanted.end;
            let by_range = self.by_range && missing != (0..self.blob.size);
            match self.ask_for(by_range.then_some(&missing)).await {
                Ok(Some(answer)) => return Ok(answer),
                // The part that was asked for did not come, so all of the blob is asked for, which every server can give.
                Ok(None) if by_range => self.by_range = false,
                Err(Error::Protocol { status, .. }) if by_range && refuses_range(status) => self.by_range = false,
                Ok(None) => {
                    let why = "all of the blob was asked for, and another part of it came".to_owned();
                    let status = StatusCode::PARTIAL_CONTENT.as_u16();
                    return Err(Error::Protocol { url: shown(&self.blob.url), status, why });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks for a part, or for all of the blob. `None` if the answer is a part that is of no use.
    async fn ask_for(&self, part: Option<&Range<u64>>) -> Result<Option<Answer>> {
        let Blob { registry, scope, url, what, size } = &self.blob;
        let mut request = Request::new(Method::GET, url.clone(), scope, what);
        if let Some(part) = part {
            let value = HeaderValue::try_from(range::print_request(part)).expect("a range is digits and a dash");
            request = request.header(RANGE, value);
        }
        let response = registry.send(request).await?;
        let came = if response.status() == StatusCode::PARTIAL_CONTENT {
            let came = response.headers().get(CONTENT_RANGE).and_then(|value| range::parse_response(value.to_str().ok()?));
            let fits = |(came, total): &(Range<u64>, Option<u64>)| {
                came.end <= *size && came.contains(&self.at) && total.is_none_or(|total| total == *size)
            };
            let Some((came, _)) = came.filter(fits) else { return Ok(None) };
            came
        } else {
            0..*size
        };
        if let Some(found) = response.content_length().filter(|len| *len != came.end - came.start) {
            return match response.status() {
                StatusCode::PARTIAL_CONTENT => Ok(None),
                _ => Err(Error::WrongSize { what: what.clone(), expected: *size, found }),
            };
        }
        Ok(Some(Answer { response, skip: self.at - came.start, end: came.end }))
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
                    let is_last = answer.end <= self.wanted.end;
                    if is_last && piece.len() as u64 > answer.end - self.at {
                        return Err(self.broken(&answer.response, "more bytes came than there should be"));
                    }
                    piece.truncate(missing.min(piece.len() as u64) as usize);
                    self.at += piece.len() as u64;
                    // A body that ends where what is wanted does, or before, is read to its end, so that its connection can be used again.
                    self.answer = (is_last || self.at < self.wanted.end).then_some(answer);
                    if !piece.is_empty() {
                        self.backoff.progressed();
                        return Ok(Some(piece));
                    }
                    continue;
                }
                // All that matters is here, however the connection ended.
                _ if missing == 0 => return Ok(None),
                // All of a part is here, and more is wanted.
                Ok(Ok(None)) if self.at == answer.end && answer.skip == 0 => continue,
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

/// Whether an answer may mean that the server does not give parts of blobs. What it means of the blob, all of it will show.
fn refuses_range(status: u16) -> bool {
    matches!(status, 400..=499 | 501) && !matches!(status, 408 | 429)
}
