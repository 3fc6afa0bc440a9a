//! Protocols of a server.

use crate::{access::Identity, request_body::RequestBody, response::Response};
use async_trait::async_trait;
use std::sync::Arc;

/// The head of a request: its method, its path and query, and its headers.
pub type Head = http::request::Parts;

/// A request that a view has claimed.
pub struct Request {
    /// Its head.
    pub head: Head,
    /// The identity of the client. Pass it to [`Repositories`](crate::Repositories) with the name
    /// of each repository.
    pub who: Identity,
    /// Its body, not yet read.
    pub body: RequestBody,
    /// How many bytes of the response should be in memory at the same time. Streams should consist
    /// of pieces of this size.
    pub piece: usize,
}

/// A protocol over a store.
#[async_trait]
pub trait View: Send + Sync + 'static {
    /// Whether a request with this head belongs to this protocol.
    ///
    /// The decision depends on the head alone. The path may not be sufficient: some clients differ
    /// only by `Accept` or `User-Agent`. Views are asked in their order; the first that returns
    /// true answers.
    fn claims(&self, head: &Head) -> bool;

    /// Answers a request. Errors are responses too, in the format of the protocol.
    ///
    /// This runs in a separate task, so a write continues even if the client disconnects.
    async fn answer(self: Arc<Self>, request: Request) -> Response;

    /// The response after [`answer`](Self::answer) panicked: status 500, in the format of the
    /// protocol.
    fn answer_to_panic(&self) -> Response;

    /// Work that does not belong to a request, such as the removal of abandoned uploads. It is
    /// started once, and cancelled when the server shuts down.
    async fn background(self: Arc<Self>) {}
}
