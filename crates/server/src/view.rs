//! The protocols of a server.

use crate::{access::Identity, request_body::RequestBody, response::Response};
use async_trait::async_trait;
use std::sync::Arc;

/// The head of a request: its method, its path and query, and its headers.
pub type Head = http::request::Parts;

/// A request that a view has claimed.
pub struct Request {
    /// Its head.
    pub head: Head,
    /// Who asks. Pass it to [`Repositories`](crate::Repositories) with the name of each repository.
    pub who: Identity,
    /// Its body, of which nothing was read yet.
    pub body: RequestBody,
    /// The most that should be in memory of an answer at once, in bytes: a stream is best made of pieces of this size.
    pub piece: usize,
}

/// A protocol over a store: what its clients want to see of the artifacts.
#[async_trait]
pub trait View: Send + Sync + 'static {
    /// Whether a request with this head is one of this protocol.
    ///
    /// It decides by the head alone. The path may not be enough: some clients differ only by `Accept` or `User-Agent`. The views are
    /// asked in their order, and the first to say yes answers.
    fn claims(&self, head: &Head) -> bool;

    /// Answers a request. Errors are answers as well, in the format of the protocol.
    ///
    /// This runs in a task of its own. So a client that goes away does not stop a write half way.
    async fn answer(self: Arc<Self>, request: Request) -> Response;

    /// What the client is told where [`answer`](Self::answer) panicked: status 500, in the format of the protocol.
    fn answer_to_panic(&self) -> Response;

    /// What has to be done without a request, such as letting go of uploads that nobody continues. It is called once, and stopped when
    /// the server shuts down.
    async fn background(self: Arc<Self>) {}
}
