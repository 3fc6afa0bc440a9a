//! How servers are reached.

use crate::{Certificates, Credentials, Proxies};
use modelpack_transfer::{Connections, Notices, Rate, RateLimit};
use std::{sync::Arc, time::Duration};

/// How servers are reached.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ClientOptions {
    /// Use plain HTTP for every server.
    pub plain_http: bool,
    /// Accept any TLS certificate.
    pub insecure: bool,
    /// Whose certificates are trusted, and which ones are shown.
    pub certificates: Certificates,
    /// The proxies to go through.
    pub proxies: Proxies,
    /// The logins for registries.
    pub credentials: Credentials,
    /// The `User-Agent`; empty for the default.
    pub user_agent: String,
    /// How often a request that failed is repeated.
    pub retry: RetryOptions,
    /// How long the client waits for a server.
    pub timeouts: Timeouts,
    /// How many bytes per second all requests and answers together may have; `None` for no limit.
    pub rate_limit: Option<Arc<RateLimit>>,
    /// The connections of transfers. There will be fewer of them if a server is busy or does not answer.
    pub connections: Option<Arc<Connections>>,
    /// Receives the notices.
    pub notices: Notices,
}

impl ClientOptions {
    /// Whether plain HTTP is spoken to every server.
    pub fn plain_http(self, plain_http: bool) -> Self {
        Self { plain_http, ..self }
    }

    /// Whether any TLS certificate is accepted.
    pub fn insecure(self, insecure: bool) -> Self {
        Self { insecure, ..self }
    }

    /// Uses these certificates.
    pub fn certificates(self, certificates: Certificates) -> Self {
        Self { certificates, ..self }
    }

    /// Goes through these proxies.
    pub fn proxies(self, proxies: Proxies) -> Self {
        Self { proxies, ..self }
    }

    /// Uses these logins.
    pub fn credentials(self, credentials: Credentials) -> Self {
        Self { credentials, ..self }
    }

    /// Sends this `User-Agent`.
    pub fn user_agent(self, user_agent: impl Into<String>) -> Self {
        Self { user_agent: user_agent.into(), ..self }
    }

    /// Repeats requests that failed like this.
    pub fn retry(self, retry: RetryOptions) -> Self {
        Self { retry, ..self }
    }

    /// Waits for servers no longer than this.
    pub fn timeouts(self, timeouts: Timeouts) -> Self {
        Self { timeouts, ..self }
    }

    /// Moves the bytes of blobs no faster than this.
    pub fn rate_limit(self, rate: Option<Rate>) -> Self {
        Self { rate_limit: rate.map(|rate| Arc::new(RateLimit::new(rate))), ..self }
    }

    /// Tells these connections if a server is busy or does not answer.
    pub fn connections(self, connections: Arc<Connections>) -> Self {
        Self { connections: Some(connections), ..self }
    }

    /// Gives notices to `notices`.
    pub fn notices(self, notices: Notices) -> Self {
        Self { notices, ..self }
    }
}

/// How often a request that failed is repeated, and after which pauses. Only failures that may pass are repeated: time-outs, connections
/// that broke, and the statuses 408, 425, 429 and most of 5xx.
///
/// Each pause is twice as long as the one before, less up to a half at random. If the server asks for a pause, that pause is made. All
/// limits count from the last progress, such as the last byte of a download. See [`Timeouts::patience`] for the limit on the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryOptions {
    /// How often a request is sent while no progress is made; 1 repeats nothing.
    pub attempts: u32,
    /// The first pause.
    pub first_pause: Duration,
    /// The longest pause that the client chooses.
    pub longest_pause: Duration,
    /// All pauses together that a server asks for (`Retry-After`). If it asks for more, the request is not repeated.
    pub server_pauses: Duration,
}

impl Default for RetryOptions {
    /// 5 attempts, with pauses from 200 ms to one minute, and four minutes for the pauses that a server asks for.
    fn default() -> Self {
        Self {
            attempts: 5,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(60),
            server_pauses: Duration::from_secs(4 * 60),
        }
    }
}

impl RetryOptions {
    /// Sends a request this often while no progress is made.
    pub fn attempts(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }

    /// Pauses for this long at first.
    pub fn first_pause(self, first_pause: Duration) -> Self {
        Self { first_pause, ..self }
    }

    /// Pauses for no longer than this, unless the server asks for more.
    pub fn longest_pause(self, longest_pause: Duration) -> Self {
        Self { longest_pause, ..self }
    }

    /// Pauses for this long in all if the server asks for it.
    pub fn server_pauses(self, server_pauses: Duration) -> Self {
        Self { server_pauses, ..self }
    }
}

/// How many times as long as a single attempt may be idle, all attempts of a request may be idle.
const IDLE_ATTEMPTS: u32 = 4;

/// How long the client waits for a server. There is no limit on the total time of a transfer that makes progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// Until a connection is established; at most `idle`.
    pub connect: Duration,
    /// Until an answer begins, or the next bytes of a body come or go. Then the connection is cut, and the request is repeated; a download
    /// continues with the next byte.
    pub idle: Duration,
    /// Until the answer to a request with a body begins, after the last byte was sent: the server may read all of it once more. If it takes
    /// longer than `idle`, or than 5 seconds, a notice says what is waited for.
    pub upload: Duration,
}

impl Default for Timeouts {
    /// 15 seconds to connect, 30 seconds without progress, ten minutes for the answer to an upload.
    fn default() -> Self {
        Self { connect: Duration::from_secs(15), idle: Duration::from_secs(30), upload: Duration::from_secs(10 * 60) }
    }
}

impl Timeouts {
    /// Waits this long for a connection.
    pub fn connect(self, connect: Duration) -> Self {
        Self { connect, ..self }
    }

    /// Waits this long for the next progress.
    pub fn idle(self, idle: Duration) -> Self {
        Self { idle, ..self }
    }

    /// How long nothing may move in all attempts of a request together, until it is not repeated any more: four times `idle`. Pauses between
    /// the attempts do not count.
    pub fn patience(&self) -> Duration {
        self.idle.saturating_mul(IDLE_ATTEMPTS)
    }

    /// Waits this long for the answer to an upload.
    pub fn upload(self, upload: Duration) -> Self {
        Self { upload, ..self }
    }
}
