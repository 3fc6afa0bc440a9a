//! Dispatches a request to the function that answers it.

use super::{
    RegistryOptions,
    failure::{Failure, Result},
    leases::{Held, Leases},
    sessions::Sessions,
};
use crate::protocol::{error::ErrorCode, query::Query, route::Route};
use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use modelpack_server::{Answer, Head, Permission, Permitted, Repositories, Request, RequestBody, Response, View};
use modelpack_spec::MAX_MANIFEST_BYTES;
use modelpack_transfer::blocking;
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    time,
};

/// The memory for manifests that are being parsed, in units: one manifest of the largest size, or
/// many small ones. Parsing a manifest may need twenty times its bytes.
const MANIFEST_UNITS: usize = MAX_MANIFEST_BYTES / MANIFEST_UNIT;
const MANIFEST_UNIT: usize = 64 << 10;

/// How many lists of referrers may be in memory at the same time. A list may be as large as a
/// manifest, and a client may read it slowly.
const LISTS: usize = 4;

/// How many of them may be built at the same time. Building a list needs four times its bytes,
/// because each manifest is read completely.
const LISTS_IN_MAKING: usize = 2;

/// The view for OCI clients: the artifacts unchanged.
pub struct Registry {
    repositories: Repositories,
    options: RegistryOptions,
    pub(super) sessions: Sessions,
    leases: Leases,
    manifest_memory: Semaphore,
    list_memory: Arc<Semaphore>,
    list_making: Semaphore,
}

/// The parts of a request that the functions need besides its path.
pub(super) struct Call {
    pub(super) headers: HeaderMap,
    pub(super) query: Query,
    pub(super) body: RequestBody,
    /// The size of the pieces of a response, in bytes.
    pub(super) piece: usize,
}

impl Call {
    /// The value of a header, if the header exists and is text.
    pub(super) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Registry {
    /// A registry over `repositories`.
    pub fn new(repositories: Repositories, options: RegistryOptions) -> Self {
        let sessions = Sessions::new(repositories.clone(), options.upload_idle);
        let leases = Leases::new(options.lease_idle);
        let (manifest_memory, list_making) = (Semaphore::new(MANIFEST_UNITS), Semaphore::new(LISTS_IN_MAKING));
        let list_memory = Arc::new(Semaphore::new(LISTS));
        Self { repositories, options, sessions, leases, manifest_memory, list_memory, list_making }
    }

    pub(super) fn repositories(&self) -> &Repositories {
        &self.repositories
    }

    /// How often [`reap`](Self::reap) should run, so that nothing stays much longer than its idle
    /// time.
    fn reap_interval(&self) -> Duration {
        (self.options.upload_idle.min(self.options.lease_idle) / 4).max(Duration::from_millis(1))
    }

    /// Removes expired uploads and leases, and files that killed writers left in the store.
    async fn reap(self: &Arc<Self>) {
        let this = self.clone();
        blocking(move || {
            this.sessions.reap(Instant::now());
            // Errors are ignored: the next run tries again.
            let _ = this.repositories.remove_abandoned();
        })
        .await;
        self.leases.reap(SystemTime::now()).await;
    }

    /// Protects a repository from garbage collection while the result is in use, and for some time
    /// after that.
    pub(super) async fn hold(&self, repository: &Permitted<impl Permission>) -> modelpack_transfer::Result<Arc<Held>> {
        self.repositories.storing(self.leases.hold(repository.leasable())).await
    }

    /// Waits until a manifest of `len` bytes may be in memory. The permit lasts until the result is
    /// dropped.
    pub(super) async fn manifest_memory(&self, len: u64) -> SemaphorePermit<'_> {
        let units = usize::try_from(len).unwrap_or(usize::MAX).div_ceil(MANIFEST_UNIT).clamp(1, MANIFEST_UNITS);
        let units = u32::try_from(units).expect("there are few units");
        self.manifest_memory.acquire_many(units).await.expect("the semaphore is never closed")
    }

    /// Waits until a list may be in memory. The permit lasts until the result is dropped.
    pub(super) async fn list_memory(&self) -> OwnedSemaphorePermit {
        self.list_memory.clone().acquire_owned().await.expect("the semaphore is never closed")
    }

    /// Waits until a list may be built. The permit lasts until the result is dropped.
    pub(super) async fn list_making(&self) -> SemaphorePermit<'_> {
        self.list_making.acquire().await.expect("the semaphore is never closed")
    }

    async fn dispatch(&self, request: Request) -> Result<Response> {
        let Request { head, who, body, piece } = request;
        let route = Route::parse(head.uri.path())?;
        let call = Call { headers: head.headers, query: Query::parse(head.uri.query().unwrap_or_default()), body, piece };
        let allowed = allowed(&route);
        if !allowed.contains(&head.method) {
            return Err(not_allowed("this path does not support the method", allowed));
        }
        if matches!((&head.method, &route), (&Method::DELETE, Route::Blob(..) | Route::Manifest(..))) && !self.options.allow_delete {
            return Err(not_allowed("deletes are disabled in this registry", &allowed[..allowed.len() - 1]));
        }
        // The type of the function's argument determines the permission.
        let all = &self.repositories;
        match (head.method, route) {
            (_, Route::Version) => Ok(Answer::new(StatusCode::OK).json(&serde_json::json!({}))),
            (_, Route::Catalog) => self.list_repositories(&who, &call).await,
            (_, Route::Tags(name)) => self.list_tags(&all.permit(&who, &name)?, &call).await,
            (_, Route::Referrers(name, digest)) => self.list_referrers(&all.permit(&who, &name)?, &digest, &call).await,
            (Method::DELETE, Route::Blob(name, digest)) => self.delete_blob(&all.permit(&who, &name)?, &digest).await,
            (Method::HEAD, Route::Blob(name, digest)) => self.head_blob(&all.permit(&who, &name)?, &digest).await,
            (_, Route::Blob(name, digest)) => self.get_blob(&all.permit(&who, &name)?, &digest, &call).await,
            (Method::DELETE, Route::Manifest(name, at)) => self.delete_manifest(&all.permit(&who, &name)?, &at).await,
            (Method::PUT, Route::Manifest(name, at)) => self.put_manifest(&all.permit(&who, &name)?, &at, call).await,
            (Method::HEAD, Route::Manifest(name, at)) => self.head_manifest(&all.permit(&who, &name)?, &at).await,
            (_, Route::Manifest(name, at)) => self.get_manifest(&all.permit(&who, &name)?, &at).await,
            (_, Route::Uploads(name)) => self.begin_upload(&who, &all.permit(&who, &name)?, call).await,
            (Method::PATCH, Route::Upload(name, id)) => self.continue_upload(&all.permit(&who, &name)?, &id, call).await,
            (Method::PUT, Route::Upload(name, id)) => self.finish_upload(&all.permit(&who, &name)?, &id, call).await,
            (Method::DELETE, Route::Upload(name, id)) => self.cancel_upload(&all.permit(&who, &name)?, &id).await,
            (_, Route::Upload(name, id)) => self.upload_status(&all.permit(&who, &name)?, &id).await,
        }
    }
}

#[async_trait]
impl View for Registry {
    /// Claims every request, so this must be the last view. A path outside the specification gets
    /// an error in the registry's format, because a registry client may understand no other.
    fn claims(&self, _: &Head) -> bool {
        true
    }

    async fn answer(self: Arc<Self>, request: Request) -> Response {
        with_version(self.dispatch(request).await.unwrap_or_else(Response::from))
    }

    fn answer_to_panic(&self) -> Response {
        with_version(Failure::internal("an internal error occurred in the registry").into())
    }

    async fn background(self: Arc<Self>) {
        let mut interval = time::interval(self.reap_interval());
        interval.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.reap().await;
        }
    }
}

/// Adds the header with the API version, which clients older than the specification expect.
fn with_version(mut response: Response) -> Response {
    let version = HeaderName::from_static("docker-distribution-api-version");
    response.headers_mut().insert(version, HeaderValue::from_static("registry/2.0"));
    response
}

/// The methods that a path supports.
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
