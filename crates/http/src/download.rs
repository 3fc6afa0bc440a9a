//! Downloads a range of a file. If the connection breaks, the rest is requested, until the range is complete.

use crate::{
    failure::{Failure, unexpected},
    origin::Origin,
    protocol::Protocol,
    range,
    request::Request,
    retry::Backoff,
    text::shown,
};
use bytes::Bytes;
use futures_util::stream;
use http::{
    HeaderValue, Method, StatusCode,
    header::{CONTENT_RANGE, RANGE},
};
use modelpack_transfer::{Body, Error, Result};
use reqwest::{Response, Url};
use std::{ops::Range, sync::Arc, time::Instant};
use tracing::info;

/// The maximum number of answers that one download may need, in addition to one for each [`ENOUGH`] bytes that came. A server may send less
/// than was requested, or close the connection, but not without end.
const FEW_ANSWERS: u64 = 100;
const ENOUGH: u64 = 64 << 10;

/// A file on a server.
pub struct Resource<P: Protocol> {
    /// The server.
    pub origin: Arc<Origin<P>>,
    /// The scope of a request for it.
    pub scope: P::Scope,
    /// Its URL at the origin. Each attempt begins here, because the URLs that it redirects to expire.
    pub url: Url,
    /// Its name in an error.
    pub what: String,
    /// The size of the whole file in bytes.
    pub size: u64,
}

/// Downloads the bytes `range` of a resource. The range must not be empty, and must lie within the resource. When this returns, the server
/// has begun to answer.
///
/// If the connection breaks, the missing bytes are requested again. If the server does not support ranges, the whole file is requested, and
/// the other bytes are skipped. The bytes are not verified.
pub async fn download<P: Protocol>(resource: Resource<P>, range: Range<u64>) -> Result<Body> {
    let (len, backoff) = (range.end - range.start, resource.origin.client().backoff());
    let mut download =
        Download { resource, at: range.start, wanted: range, answer: None, by_range: true, answers: Answers::default(), backoff };
    download.answer = Some(download.ask().await?);
    let pieces = stream::try_unfold(download, |mut download| async move { Ok(download.next().await?.map(|piece| (piece, download))) });
    Ok(Body::from_stream(pieces, Some(len)))
}

struct Download<P: Protocol> {
    resource: Resource<P>,
    wanted: Range<u64>,
    /// The position of the next byte to return.
    at: u64,
    answer: Option<Answer>,
    /// Whether ranges are requested. If the server does not support them, the whole file is requested instead, and the other bytes are
    /// skipped.
    by_range: bool,
    answers: Answers,
    backoff: Backoff,
}

/// How many answers there were, and how many bytes they had.
#[derive(Default)]
struct Answers {
    count: u64,
    bytes: u64,
}

impl Answers {
    fn are_too_many(&self) -> bool {
        self.count > FEW_ANSWERS + self.bytes / ENOUGH
    }
}

/// A response whose body begins at the next byte or before it.
struct Answer {
    response: Response,
    /// How many bytes to skip before the next byte.
    skip: u64,
    /// Where the body ends, as an offset in the resource.
    end: u64,
}

impl<P: Protocol> Download<P> {
    /// Whether the next request has a range. The whole file is requested without one.
    fn asks_for_part(&self) -> bool {
        self.by_range && (self.at..self.wanted.end) != (0..self.resource.size)
    }

    /// Requests the missing bytes.
    async fn ask(&mut self) -> Result<Answer> {
        loop {
            self.answers.count += 1;
            let asked = if self.answers.are_too_many() {
                Err(Error::network(shown(&self.resource.url), "it broke off too often, each time after a few bytes").into())
            } else {
                self.ask_once().await
            };
            match asked {
                Ok(answer) => return Ok(answer),
                Err(failure) => self.recover(failure).await?,
            }
        }
    }

    /// Requests the missing bytes, or the whole file, once.
    async fn ask_once(&self) -> Result<Answer, Failure> {
        let Resource { origin, scope, url, what, size } = &self.resource;
        let mut request = Request::new(Method::GET, url.clone(), scope, what);
        if self.asks_for_part() {
            let value = HeaderValue::try_from(range::print_request(&(self.at..self.wanted.end))).expect("a range is digits and a dash");
            request = request.header(RANGE, value);
        }
        let response = origin.attempt(&mut request).await?;
        let came = if response.status() == StatusCode::PARTIAL_CONTENT {
            let came = response.headers().get(CONTENT_RANGE).and_then(|value| range::parse_response(value.to_str().ok()?));
            let fits = |(came, total): &(Range<u64>, Option<u64>)| {
                came.end <= *size && came.contains(&self.at) && total.is_none_or(|total| total == *size)
            };
            let Some((came, _)) = came.filter(fits) else {
                return Err(unexpected(&response, "another part came than the one that was asked for").into());
            };
            came
        } else {
            if self.asks_for_part() {
                origin.ignores_ranges();
            }
            0..*size
        };
        match response.content_length() {
            Some(found) if found != came.end - came.start => {
                Err(Error::WrongSize { what: what.clone(), expected: came.end - came.start, found }.into())
            }
            _ => Ok(Answer { response, skip: self.at - came.start, end: came.end }),
        }
    }

    /// After a failure, waits until the next attempt. If no attempt should follow and a range was requested, the server may not support
    /// ranges, so the whole file is requested next; if that fails too, its error is returned.
    async fn recover(&mut self, failure: Failure) -> Result<()> {
        match self.backoff.wait(failure).await {
            Ok(()) => {}
            Err(failure) if self.asks_for_part() && self.may_be_about_the_part(&failure) => {
                info!(what = self.resource.what, why = %failure.error, "asking for everything, since a part is not given");
                (self.by_range, self.answers) = (false, Answers::default());
                self.resource.origin.ignores_ranges();
            }
            Err(failure) => return Err(failure.error),
        }
        Ok(())
    }

    /// Whether the cause of a failure may be that the server does not support ranges. It is not if the server wants credentials, is busy, or
    /// is silent.
    fn may_be_about_the_part(&self, failure: &Failure) -> bool {
        let is_stall = failure.waited >= self.resource.origin.client().timeouts().idle;
        !is_stall && !matches!(failure.error, Error::Unauthorized { .. } | Error::Protocol { status: 429, .. })
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let mut answer = match self.answer.take() {
                Some(answer) => answer,
                None if self.at == self.wanted.end => return Ok(None),
                None => self.ask().await.map_err(|error| self.told(error))?,
            };
            let (missing, idle) = (self.wanted.end - self.at, self.resource.origin.client().timeouts().idle);
            let asked = Instant::now();
            let failure = match tokio::time::timeout(idle, answer.response.chunk()).await {
                Ok(Ok(Some(mut piece))) => {
                    let skipped = piece.split_to(answer.skip.min(piece.len() as u64) as usize);
                    answer.skip -= skipped.len() as u64;
                    let is_last = answer.end <= self.wanted.end;
                    if is_last && piece.len() as u64 > answer.end - self.at {
                        return Err(self.broken(&answer.response, "more bytes came than there should be"));
                    }
                    piece.truncate(missing.min(piece.len() as u64) as usize);
                    self.at += piece.len() as u64;
                    self.answers.bytes += piece.len() as u64;
                    // A body that does not go beyond the range is read to its end, so that its connection can be used again.
                    self.answer = (is_last || self.at < self.wanted.end).then_some(answer);
                    if !piece.is_empty() {
                        self.backoff.progressed();
                        if let Some(limit) = self.resource.origin.client().rate_limit() {
                            limit.take(piece.len() as u64).await;
                        }
                        return Ok(Some(piece));
                    }
                    continue;
                }
                // The range is complete, so it does not matter how the connection ended.
                _ if missing == 0 => return Ok(None),
                // A part is complete, and more is needed.
                Ok(Ok(None)) if self.at == answer.end && answer.skip == 0 => continue,
                Ok(Ok(None)) => Failure::cut_off(answer.response.url()).after(asked.elapsed()),
                Ok(Err(error)) => Failure::network(answer.response.url(), error).after(asked.elapsed()),
                Err(_) => Failure::stalled(answer.response.url(), idle),
            };
            info!(
                what = self.resource.what,
                came = self.at - self.wanted.start,
                of = self.wanted.end - self.wanted.start,
                "a body broke off"
            );
            self.recover(failure).await.map_err(|error| self.told(error))?;
        }
    }

    /// The error, with how many bytes had come.
    fn told(&self, error: Error) -> Error {
        match error {
            Error::Network { url, why, source } => {
                let (came, of) = (self.at - self.wanted.start, self.wanted.end - self.wanted.start);
                Error::Network { url, why: format!("{why}; {came} of {of} bytes had come"), source }
            }
            other => other,
        }
    }

    fn broken(&self, response: &Response, why: &str) -> Error {
        self.told(Error::network(shown(response.url()), why))
    }
}
