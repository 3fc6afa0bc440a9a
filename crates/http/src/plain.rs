//! Connections without TLS and without a proxy.
//!
//! `reqwest` does not let its user choose how much one connection reads at once. Over TLS these are a few records. Without it, these are up
//! to 408 KiB, for which a connection needs up to twice as much memory. So these connections are opened here.

use crate::options::Timeouts;
use http::{
    HeaderValue,
    header::{ACCEPT, USER_AGENT},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use modelpack_transfer::Cause;
use reqwest::{Body, Request, Response, ResponseBuilderExt};
use std::time::Duration;

/// How many bytes a connection reads at once. It needs memory for up to three times as many.
const MOST_READ: usize = 128 << 10;

/// Connections to any number of servers. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct PlainConnections {
    client: Client<HttpConnector, Body>,
    user_agent: HeaderValue,
}

impl PlainConnections {
    /// Connections that stay open for `idle` after they were used.
    pub(crate) fn new(user_agent: HeaderValue, timeouts: &Timeouts, keepalive: Duration, idle: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_keepalive(Some(keepalive));
        connector.set_connect_timeout(Some(timeouts.connect.min(timeouts.idle)));
        let client = Client::builder(TokioExecutor::new())
            .http1_max_buf_size(MOST_READ)
            .pool_idle_timeout(idle)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Self { client, user_agent }
    }

    /// Sends a request once, and returns the answer when its head has come.
    pub(crate) async fn send(&self, mut request: Request) -> Result<Response, Cause> {
        let url = request.url().clone();
        request.headers_mut().entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        request.headers_mut().entry(USER_AGENT).or_insert_with(|| self.user_agent.clone());
        let (mut head, body) = self.client.request(request.try_into()?).await?.into_parts();
        let named = http::Response::builder().url(url).body(())?;
        head.extensions.extend(named.into_parts().0.extensions);
        Ok(http::Response::from_parts(head, Body::wrap(body)).into())
    }
}
