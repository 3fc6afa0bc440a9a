//! The client: one request, and how long it waits for the answer.

use crate::{
    failure::Failure,
    options::{ClientOptions, RetryOptions, Timeouts},
    pools::Pools,
    request::Request,
    retry::Backoff,
    text::{host, shown},
};
use http::{
    HeaderName, HeaderValue, Method,
    header::{AUTHORIZATION, CONTENT_LENGTH, RANGE},
};
use modelpack_transfer::{Cause, Connections, Error, Notice, Notices, RateLimit, Result};
use reqwest::{Response, Url};
use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};
use tracing::{debug, info};

/// After how long the answer to an upload is late, so that the user is told what is waited for.
const LATE: Duration = Duration::from_secs(5);
/// How often to look whether anything has moved.
const GLANCE: Duration = Duration::from_secs(1);

/// A client of any number of servers. Clones share the connections.
#[derive(Clone, Debug)]
pub struct HttpClient {
    pools: Pools,
    /// The server of which any certificate is accepted: its host and port.
    insecure: Option<Arc<str>>,
    retry: RetryOptions,
    timeouts: Timeouts,
    notices: Notices,
    rate_limit: Option<Arc<RateLimit>>,
    connections: Option<Arc<Connections>>,
}

impl HttpClient {
    /// Creates a client. It does not connect yet.
    ///
    /// Fails with [`Error::Setting`] if a proxy or the user agent cannot be understood, or if a file with certificates cannot be used.
    pub fn new(options: &ClientOptions) -> Result<Self> {
        Ok(Self {
            pools: Pools::new(options)?,
            insecure: None,
            retry: options.retry,
            timeouts: options.timeouts,
            notices: options.notices.clone(),
            rate_limit: options.rate_limit.clone(),
            connections: options.connections.clone(),
        })
    }

    /// The same client, which accepts any certificate of the server at `url`.
    pub fn trusting(self, url: &Url) -> Self {
        Self { insecure: Some(host(url).into()), ..self }
    }

    /// The same client, which sends a request this often while no progress is made.
    pub fn attempts(self, attempts: u32) -> Self {
        Self { retry: self.retry.attempts(attempts), ..self }
    }

    /// Counts the attempts of one request.
    pub fn backoff(&self) -> Backoff {
        Backoff::new(self.retry, self.timeouts.patience(), self.notices.clone(), self.connections.clone())
    }

    /// What limits the rate of all transfers together.
    pub(crate) fn rate_limit(&self) -> Option<&Arc<RateLimit>> {
        self.rate_limit.as_ref()
    }

    /// How long it waits for a server.
    pub(crate) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Sends a request to `url` once, and returns the answer when its head has come, whatever its status is. Redirects are not followed. Of
    /// all credentials, only `authorization` is sent.
    ///
    /// Fails if no answer comes, if no byte is sent or received for as long as the time-outs allow, if the payload cannot be read, or if
    /// it was sent before and cannot be sent again.
    pub async fn exchange<S>(
        &self,
        url: &Url,
        request: &mut Request<'_, S>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let begun = Instant::now();
        debug!(
            method = %request.method,
            url = %shown(url),
            range = header(request, RANGE),
            bytes = request.payload.len(),
            shows = authorization.map(scheme),
            proxy = self.pools.routes().proxy(url),
            "request"
        );
        let answer = self.send(url, request, authorization).await;
        let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        match &answer {
            Ok(response) => {
                let (status, bytes) = (response.status().as_u16(), response.content_length());
                info!(method = %request.method, url = %shown(url), status, bytes, milliseconds, "answer");
            }
            Err(failure) => info!(method = %request.method, url = %shown(url), why = failure.why(), milliseconds, "no answer"),
        }
        answer
    }

    async fn send<S>(&self, url: &Url, request: &mut Request<'_, S>, authorization: Option<&HeaderValue>) -> Result<Response, Failure> {
        let is_insecure = self.insecure.as_deref().is_some_and(|server| server == host(url));
        let pool = self.pools.to(url, is_insecure).await?;
        let mut sending = pool.request(request.method.clone(), url.clone()).headers(request.headers.clone());
        if let Some(authorization) = authorization {
            sending = sending.header(AUTHORIZATION, authorization.clone());
        }
        if !matches!(request.method, Method::GET | Method::HEAD | Method::DELETE) {
            if let Some(len) = request.payload.len() {
                sending = sending.header(CONTENT_LENGTH, len);
            }
            let body = request.payload.for_attempt(pool.connection(), self.rate_limit.clone());
            sending = sending.body(body.ok_or_else(|| Error::network(shown(url), "what was sent cannot be sent again"))?);
        }
        let Timeouts { idle, upload, .. } = self.timeouts;
        let mut answer = pin!(pool.send(sending));
        let (mut sent, mut moved, mut is_told) = (0, Instant::now(), false);
        loop {
            let came = tokio::time::timeout(idle.min(GLANCE), &mut answer).await;
            // If the bytes come slowly from here, the server is not to blame.
            if request.payload.sent() > sent || request.payload.is_awaited() {
                (sent, moved) = (request.payload.sent(), Instant::now());
            }
            request.waited = moved.elapsed();
            match came {
                Ok(Ok(response)) => return self.pools.routes().refusal(&response).map_or(Ok(response), |error| Err(error.into())),
                Ok(Err(error)) => {
                    let failure =
                        || self.pools.routes().explain(url, Failure::explained(url, &*error), &*error).caused_by(without_url(error));
                    return Err(request.payload.failure().map_or_else(failure, Failure::from).after(request.waited));
                }
                Err(_) => {}
            }
            let is_uploaded = request.is_uploaded();
            let patience = if is_uploaded { upload } else { idle };
            if request.waited >= patience {
                let is_sent = request.payload.is_sent();
                return Err(if is_sent { Failure::stalled(url, patience) } else { Failure::blocked(url, patience) });
            }
            if is_uploaded && !is_told && request.waited >= idle.min(LATE) {
                is_told = true;
                let (server, what) = (host(url).to_owned(), request.what.to_owned());
                self.notices.give(&Notice::WaitingForAnswer { server, what, patience });
            }
        }
    }
}

/// The URL in an error of the HTTP library may have secrets.
fn without_url(error: Cause) -> Cause {
    match error.downcast::<reqwest::Error>() {
        Ok(error) => error.without_url().into(),
        Err(error) => error,
    }
}

/// A header of a request, for the log.
fn header<'r, S>(request: &'r Request<'_, S>, name: HeaderName) -> Option<&'r str> {
    request.headers.get(name)?.to_str().ok()
}

/// The scheme of an authorization, without the credentials.
fn scheme(authorization: &HeaderValue) -> &str {
    let scheme = authorization.as_bytes().split(|byte| *byte == b' ').next().unwrap_or_default();
    // Without a scheme, the first word would be the secret itself.
    match scheme {
        b"Basic" => "Basic",
        b"Bearer" => "Bearer",
        _ => "something else",
    }
}
