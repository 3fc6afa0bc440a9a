//! One request: what it asks for, and the function that answers it.

use super::{
    ServerOptions,
    leases::{Held, Leases},
    request_body::RequestBody,
    response::{Answer, Failure, Response, Result},
    sessions::Sessions,
};
use crate::protocol::{error::ErrorCode, query::Query, route::Route};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use modelpack_spec::{MAX_MANIFEST_BYTES, RepositoryName};
use modelpack_store::{Body, CHUNK, Repository, Store, blocking};
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// How many bytes of manifests are in memory at once, in units: one of the largest, or as many small ones. While it is parsed, a manifest
/// may cost twenty times its bytes.
const MANIFEST_UNITS: usize = MAX_MANIFEST_BYTES / MANIFEST_UNIT;
const MANIFEST_UNIT: usize = 64 << 10;

/// How many lists of referrers may be in memory at once: a list may have as many bytes as a manifest, and a client read it slowly.
const LISTS: usize = 4;

/// How much is done at once, so that descriptors and threads are always left for what is under way.
pub(super) struct Limits {
    /// How many connections are served. Each may need three descriptors: its socket, the blob that it reads or writes, and for a
    /// moment a file beside it.
    pub(super) connections: usize,
    /// How many requests may wait for a lock of the store, each on a thread and with up to four descriptors.
    storing: usize,
}

impl Limits {
    fn new(descriptors: usize) -> Self {
        let for_the_process_itself = 24;
        let storing = (descriptors / 32).clamp(1, 64);
        let connections = descriptors.saturating_sub(for_the_process_itself + 4 * storing) / 3;
        Self { connections: connections.clamp(1, 10_000), storing }
    }
}

/// How many connections have large buffers. A connection that does not keep up holds one in memory, so with more connections each has
/// a smaller one, which costs a little time.
///
/// Measured: eight pushes at once took 14 MiB with a [`CHUNK`], 23 with twice and 48 with four times as much, and the same time.
const LARGE_BUFFERS: usize = 64;

/// A store, and what the registry remembers between requests.
pub(super) struct Registry {
    store: Store,
    options: ServerOptions,
    pub(super) sessions: Sessions,
    leases: Leases,
    manifest_memory: Semaphore,
    list_memory: Arc<Semaphore>,
    storing: Semaphore,
    limits: Limits,
    /// Each connection that is open has a clone.
    connections: Arc<()>,
}

/// A request, read as far as its head.
pub(super) struct Call {
    pub(super) headers: http::HeaderMap,
    pub(super) query: Query,
    pub(super) body: RequestBody,
}

impl Call {
    /// A header's value, if it is there and is text.
    pub(super) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Registry {
    pub(super) fn new(store: Store, options: ServerOptions) -> Self {
        let sessions = Sessions::new(options.upload_idle);
        let leases = Leases::new(store.clone(), options.lease_idle);
        let limits = Limits::new(options.descriptors);
        let (manifest_memory, storing) = (Semaphore::new(MANIFEST_UNITS), Semaphore::new(limits.storing));
        Self {
            store,
            options,
            sessions,
            leases,
            manifest_memory,
            list_memory: Arc::new(Semaphore::new(LISTS)),
            storing,
            limits,
            connections: Arc::new(()),
        }
    }

    pub(super) fn options(&self) -> &ServerOptions {
        &self.options
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn repository(&self, name: &RepositoryName) -> Repository {
        self.store.repository(name)
    }

    /// How often [`reap`](Self::reap) should run, so that nothing lives much longer than its time.
    pub(super) fn reap_interval(&self) -> Duration {
        (self.options.upload_idle.min(self.options.lease_idle) / 4).max(Duration::from_millis(1))
    }

    /// Lets go of uploads and leases whose time is over, and of what was left in the store by writers that were killed.
    pub(super) async fn reap(self: &Arc<Self>) {
        let this = self.clone();
        blocking(move || {
            this.sessions.reap(Instant::now());
            // What cannot be removed now stays for the next time.
            let _ = this.store.remove_abandoned();
        })
        .await;
        self.leases.reap(SystemTime::now()).await;
    }

    /// Keeps collection away from a repository while the result is used, and some time longer.
    pub(super) async fn hold(&self, name: &RepositoryName) -> modelpack_store::Result<Arc<Held>> {
        self.storing(self.leases.hold(name)).await
    }

    /// Waits until a manifest of `len` bytes may be in memory, which it may be as long as the result lives.
    pub(super) async fn manifest_memory(&self, len: u64) -> SemaphorePermit<'_> {
        let units = usize::try_from(len).unwrap_or(usize::MAX).div_ceil(MANIFEST_UNIT).clamp(1, MANIFEST_UNITS);
        let units = u32::try_from(units).expect("there are not so many");
        self.manifest_memory.acquire_many(units).await.expect("the semaphore is never closed")
    }

    /// Waits until a list may be in memory, which it may be as long as the result lives.
    pub(super) async fn list_memory(&self) -> OwnedSemaphorePermit {
        self.list_memory.clone().acquire_owned().await.expect("the semaphore is never closed")
    }

    /// Answers with a list, which has its memory until it is sent. Small lists are not counted.
    pub(super) fn list(&self, answer: Answer, list: Vec<u8>, memory: OwnedSemaphorePermit) -> Response {
        let (len, piece) = (list.len(), self.buffer());
        let memory = (len > piece).then_some(memory);
        let list = Bytes::from(list);
        let pieces = (0..len).step_by(piece).map(move |at| Ok(list.slice(at..len.min(at + piece))));
        answer.stream(stream::iter(pieces).inspect(move |_| _ = &memory), len as u64)
    }

    /// Does something that may have to wait for a lock of the store. It must not wait for a client, nor be nested.
    pub(super) async fn storing<T>(&self, work: impl Future<Output = T>) -> T {
        let _permit = self.storing.acquire().await.expect("the semaphore is never closed");
        work.await
    }

    /// Counts a connection as open as long as the result lives.
    pub(super) fn connection(&self) -> Arc<()> {
        self.connections.clone()
    }

    /// The most that is buffered of a connection in each direction, in bytes.
    pub(super) fn buffer(&self) -> usize {
        if Arc::strong_count(&self.connections) <= LARGE_BUFFERS { CHUNK } else { CHUNK / 4 }
    }

    /// Answers with the `len` bytes of `body`.
    pub(super) fn stream(&self, answer: Answer, body: Body, len: u64) -> Response {
        answer.stream(body.into_pieces(self.buffer()), len)
    }

    /// Answers a request.
    ///
    /// The work runs in a task of its own. So a panic is one answer 500 and nothing more, and a client that goes away does not stop a
    /// write half way: the upload keeps every byte that came.
    pub(super) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response {
        let mut response: Response = match tokio::spawn(self.dispatch(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(failure)) => failure.into(),
            Err(_panicked) => Failure::internal("the registry failed on this request").into(),
        };
        let version = HeaderName::from_static("docker-distribution-api-version");
        response.headers_mut().insert(version, HeaderValue::from_static("registry/2.0"));
        response
    }

    async fn dispatch(self: Arc<Self>, request: Request<Incoming>) -> Result<Response> {
        let (head, incoming) = request.into_parts();
        let body = RequestBody::new(incoming, &head.headers, self.options.body_idle);
        let route = Route::parse(head.uri.path())?;
        let call = Call { headers: head.headers, query: Query::parse(head.uri.query().unwrap_or_default()), body };
        let allowed = allowed(&route);
        if !allowed.contains(&head.method) {
            return Err(not_allowed("this path takes other methods", allowed));
        }
        if matches!((&head.method, &route), (&Method::DELETE, Route::Blob(..) | Route::Manifest(..))) && !self.options.allow_delete {
            return Err(not_allowed("this registry deletes nothing", &allowed[..allowed.len() - 1]));
        }
        match (head.method, route) {
            (_, Route::Version) => Ok(Answer::new(StatusCode::OK).json(&serde_json::json!({}))),
            (_, Route::Catalog) => self.list_repositories(&call).await,
            (_, Route::Tags(name)) => self.list_tags(&name, &call).await,
            (_, Route::Referrers(name, digest)) => self.list_referrers(&name, &digest, &call).await,
            (Method::DELETE, Route::Blob(name, digest)) => self.delete_blob(&name, &digest).await,
            (Method::HEAD, Route::Blob(name, digest)) => self.head_blob(&name, &digest).await,
            (_, Route::Blob(name, digest)) => self.get_blob(&name, &digest, &call).await,
            (Method::DELETE, Route::Manifest(name, at)) => self.delete_manifest(&name, &at).await,
            (Method::PUT, Route::Manifest(name, at)) => self.put_manifest(&name, &at, call).await,
            (_, Route::Manifest(name, at)) => self.get_manifest(&name, &at).await,
            (_, Route::Uploads(name)) => self.begin_upload(&name, call).await,
            (Method::PATCH, Route::Upload(name, id)) => self.continue_upload(&name, &id, call).await,
            (Method::PUT, Route::Upload(name, id)) => self.finish_upload(&name, &id, call).await,
            (Method::DELETE, Route::Upload(name, id)) => self.cancel_upload(&name, &id).await,
            (_, Route::Upload(name, id)) => self.upload_status(&name, &id).await,
        }
    }
}

/// The methods that a path takes.
fn allowed(route: &Route) -> &'static [Method] {
    match route {
        Route::Version | Route::Catalog | Route::Tags(_) | Route::Referrers(..) => &[Method::GET, Method::HEAD],
        Route::Blob(..) => &[Method::GET, Method::HEAD, Method::DELETE],
        Route::Manifest(..) => &[Method::GET, Method::HEAD, Method::PUT, Method::DELETE],
        Route::Uploads(_) => &[Method::POST],
        Route::Upload(..) => &[Method::GET, Method::PATCH, Method::PUT, Method::DELETE],
    }
}

fn not_allowed(message: &str, allowed: &[Method]) -> Failure {
    let allowed: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, message).header(header::ALLOW, allowed.join(", "))
}
