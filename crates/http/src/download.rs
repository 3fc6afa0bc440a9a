//! A file as it comes from a server: a range of it, asked for again from where it broke off until all of it is there.

use crate::{
    failure::{Failure, unexpected},
    origin::Origin,
    protocol::Protocol,
    range,
    request::{PATIENCE, Request},
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
use std::{ops::Range, sync::Arc};
use tracing::info;

/// A server may give less than was asked for, or break off, but not so early that a download takes more answers than these, and one besides for
/// each [`ENOUGH`] bytes that came.
const FEW_ANSWERS: u64 = 100;
const ENOUGH: u64 = 64 << 10;

/// What is downloaded.
pub struct Resource<P: Protocol> {
    /// Who has it.
    pub origin: Arc<Origin<P>>,
    /// What a request for it is about.
    pub scope: P::Scope,
    /// Where the origin has it. Each attempt begins here, because addresses that it redirects to expire.
    pub url: Url,
    /// What it is called in an error.
    pub what: String,
    /// Its size in bytes, of all of it.
    pub size: u64,
}

/// The bytes `range` of a resource, which must have them and at least one. The server has answered when this returns.
///
/// Where the connection breaks, what is missing is asked for again. A server that does not give ranges is asked for everything, and what
/// is not wanted is skipped. What comes is not verified.
pub async fn download<P: Protocol>(resource: Resource<P>, range: Range<u64>) -> Result<Body> {
    let len = range.end - range.start;
    let mut download = Download {
        resource,
        at: range.start,
        wanted: range,
        answer: None,
        by_range: true,
        answers: Answers::default(),
        backoff: Backoff::default(),
    };
    download.answer = Some(download.ask().await?);
    let pieces = stream::try_unfold(download, |mut download| async move { Ok(download.next().await?.map(|piece| (piece, download))) });
    Ok(Body::from_stream(pieces, Some(len)))
}

struct Download<P: Protocol> {
    resource: Resource<P>,
    wanted: Range<u64>,
    /// The next byte to hand on.
    at: u64,
    answer: Option<Answer>,
    /// Whether parts are asked for. It ends when the server does not give them; then all of it is asked for, which every server can
    /// give, and what is not wanted is skipped.
    by_range: bool,
    answers: Answers,
    backoff: Backoff,
}

/// How many answers there were, and what they brought.
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

/// A response whose body begins at or before what is wanted.
struct Answer {
    response: Response,
    /// How many bytes come before those that are wanted.
    skip: u64,
    /// Where the body ends, as an offset in the resource.
    end: u64,
}

impl<P: Protocol> Download<P> {
    /// Whether the next request names a range. What is all of it is asked for without one.
    fn asks_for_part(&self) -> bool {
        self.by_range && (self.at..self.wanted.end) != (0..self.resource.size)
    }

    /// Asks for what has not come yet.
    async fn ask(&mut self) -> Result<Answer> {
        loop {
            self.answers.count += 1;
            let asked = if self.answers.are_too_many() {
                let why = "it broke off too often, each time after a few bytes".to_owned();
                Err(Error::Network { url: shown(&self.resource.url), why }.into())
            } else {
                self.ask_once().await
            };
            match asked {
                Ok(answer) => return Ok(answer),
                Err(failure) => self.recover(failure).await?,
            }
        }
    }

    /// Asks for a part, or for all of it.
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
            0..*size
        };
        match response.content_length() {
            Some(found) if found != came.end - came.start => {
                Err(Error::WrongSize { what: what.clone(), expected: came.end - came.start, found }.into())
            }
            _ => Ok(Answer { response, skip: self.at - came.start, end: came.end }),
        }
    }

    /// After a failure: waits until it is time to ask again. Where that is of no use, and a part was asked for, it may be the server that does
    /// not give parts, and all of it is asked for next; what is wrong with that is then what is told.
    async fn recover(&mut self, failure: Failure) -> Result<()> {
        match self.backoff.wait(failure).await {
            Ok(()) => {}
            Err(failure) if self.asks_for_part() && may_be_about_the_part(&failure.error) => {
                info!(what = self.resource.what, why = %failure.error, "asking for everything, since a part is not given");
                (self.by_range, self.answers) = (false, Answers::default());
            }
            Err(failure) => return Err(failure.error),
        }
        Ok(())
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
                    self.answers.bytes += piece.len() as u64;
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
            info!(
                what = self.resource.what,
                came = self.at - self.wanted.start,
                of = self.wanted.end - self.wanted.start,
                "a body broke off"
            );
            self.recover(failure).await.map_err(|error| self.told(error))?;
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

/// Whether an error may come of the server's not giving parts: not if it wants to know who asks, or has no time.
fn may_be_about_the_part(error: &Error) -> bool {
    !matches!(error, Error::Unauthorized { .. } | Error::Protocol { status: 429, .. })
}
