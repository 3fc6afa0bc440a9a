//! A repository of a registry.

use super::{
    KeepHashStates,
    open_uploads::{Claim, OpenUploads},
    refusal::is_unsupported,
    registry::Registry,
    scope::Scope,
    upload::RemoteUpload,
};
use crate::protocol::{header, query::Query, route::Route};
use async_trait::async_trait;
use bytes::Bytes;
use http::{
    HeaderValue, Method, StatusCode,
    header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE},
};
use modelpack_http::{Failure, Payload, Request, Resource, Response, Url, download};
use modelpack_spec::{
    Descriptor, Digest, Document, HashStates, ImageIndex, MAX_MANIFEST_BYTES, Manifest, RepositoryName, Selector, Tag, media_type,
};
use modelpack_transfer::{Begin, Body, Error, Result, Sink, Source, blocking, verify_bytes, verify_manifest};
use std::{
    fmt,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};
use tracing::{debug, info};

const MANIFEST_TYPES: [&str; 4] =
    [media_type::IMAGE_MANIFEST, media_type::IMAGE_INDEX, media_type::DOCKER_MANIFEST, media_type::DOCKER_LIST];

/// A repository of a registry. Clones are cheap.
#[derive(Clone)]
pub struct RemoteRepository {
    registry: Arc<Registry>,
    /// Without the host.
    pub(super) path: RepositoryName,
    mounts: Option<Mounts>,
    /// Where open upload sessions are remembered.
    uploads: Option<Arc<OpenUploads>>,
    pub(super) hash_states: KeepHashStates,
}

/// Where blobs are mounted from.
#[derive(Clone)]
struct Mounts {
    from: RepositoryName,
    /// Set when the registry has refused to mount a blob; then no more mounts are requested.
    are_refused: Arc<AtomicBool>,
}

impl RemoteRepository {
    pub(super) fn new(registry: Arc<Registry>, name: &RepositoryName, uploads: Option<Arc<OpenUploads>>) -> Self {
        let path = RepositoryName::without_host(with_namespace(name).path()).expect("the path of a valid name is valid");
        Self { registry, path, mounts: None, uploads, hash_states: KeepHashStates::default() }
    }

    /// Mounts blobs from the repository `from` instead of sending them, if the registry allows it. Has no effect unless `from` is another
    /// repository of the same registry.
    pub fn mounting_from(self, from: &RepositoryName) -> Self {
        let other = Self::new(self.registry.clone(), from, None).path;
        let is_other = from.host() == Some(&self.registry.name) && other != self.path;
        let mounts = is_other.then(|| Mounts { from: other, are_refused: Arc::default() });
        Self { mounts, ..self }
    }

    /// Sets when lists of hash states are kept beside an artifact that is written.
    pub fn keeping_hash_states(self, hash_states: KeepHashStates) -> Self {
        Self { hash_states, ..self }
    }

    /// Deletes a tag, or the manifest with this digest and all tags that point to it. If both are given, the tag is deleted if it points to
    /// that digest.
    pub async fn delete(&self, at: &Selector) -> Result<()> {
        let what = format!("{self}{at}");
        if let Selector::Both(tag, digest) = at {
            let tagged = self.manifest(&Selector::Tag(tag.clone())).await?;
            if digest.algorithm().digest(tagged.bytes()) != *digest {
                return Err(Error::not_found(format!("{what} (the tag {tag} points to {})", tagged.digest())));
            }
        }
        let url = self.tagged_url(at);
        self.registry.origin.send(Request::new(Method::DELETE, url, &self.scope(&["delete"]), &what)).await?;
        Ok(())
    }

    /// The scope of a token that allows these actions.
    pub(super) fn scope(&self, actions: &[&str]) -> Scope {
        Scope::repository(self.path.as_str(), actions)
    }

    /// The scope of a request that reads for a push. One token is used for the whole push, if the token service grants it.
    fn scope_to_look(&self) -> Scope {
        self.of_push(self.scope(&["pull"]))
    }

    /// The scope of a request that writes.
    pub(super) fn scope_to_write(&self) -> Scope {
        self.of_push(self.scope(&["push"]))
    }

    /// Adds what else a push does, and the permission to read the repository that blobs are mounted from.
    fn of_push(&self, needed: Scope) -> Scope {
        let from = self.mounts_from().map(|mounts| Scope::repository(mounts.from.as_str(), &["pull"]));
        needed.and_optional(self.scope(&["pull", "push"])).and_optional(from.unwrap_or_default())
    }

    /// Where blobs are mounted from, unless the registry has refused it.
    fn mounts_from(&self) -> Option<&Mounts> {
        self.mounts.as_ref().filter(|mounts| !mounts.are_refused.load(Relaxed))
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The name of a blob of this repository in an error.
    pub(super) fn blob_name(&self, digest: &Digest) -> String {
        format!("the blob {digest} of {self}")
    }

    /// The URL to read a manifest: by its digest, if it is given.
    fn manifest_url(&self, at: &Selector) -> Url {
        let at = at.digest().map_or_else(|| at.clone(), |digest| Selector::Digest(digest.clone()));
        self.registry.url(&Route::Manifest(self.path.clone(), at))
    }

    /// The URL to write a manifest or to delete a name: by the tag, if it is given.
    fn tagged_url(&self, at: &Selector) -> Url {
        let at = at.tag().map_or_else(|| at.clone(), |tag| Selector::Tag(tag.clone()));
        self.registry.url(&Route::Manifest(self.path.clone(), at))
    }

    fn blob_url(&self, digest: &Digest) -> Url {
        self.registry.url(&Route::Blob(self.path.clone(), digest.clone()))
    }

    /// Whether the repository is known to have a blob. If the registry reports another size, or does not say whether it has the blob, the
    /// blob is pushed. The push itself shows whether it is allowed.
    pub(super) async fn holds(&self, blob: &Descriptor) -> Result<bool> {
        let (scope, what) = (self.scope_to_look(), self.blob_name(&blob.digest));
        match self.registry.origin.send(Request::new(Method::HEAD, self.blob_url(&blob.digest), &scope, &what)).await {
            Ok(response) => {
                let found: Option<u64> = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
                Ok(found.is_none_or(|found| found == blob.size))
            }
            Err(error) if may_take_blob(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Opens an upload session, with these parameters.
    pub(super) async fn open_session(&self, query: Option<Query>) -> Result<Response> {
        let (scope, what) = (self.scope_to_write(), self.to_string());
        let mut url = self.registry.url(&Route::Uploads(self.path.clone()));
        url.set_query(query.map(|query| query.to_string()).as_deref());
        self.registry.origin.send(Request::new(Method::POST, url, &scope, &what)).await
    }

    /// The upload session of a blob that is remembered, or the right to remember one. `None` if sessions are not remembered, or if another
    /// upload uses that of the blob.
    pub(super) async fn claim_session(&self, digest: &Digest) -> Option<Claim> {
        let (uploads, name, digest) = (self.uploads.clone()?, self.to_string(), digest.clone());
        match blocking(move || uploads.claim(&name, &digest)).await {
            Ok(claim) => claim,
            Err(error) => {
                debug!(%error, "upload sessions are not remembered");
                None
            }
        }
    }

    /// Forgets the upload session of a blob that is not uploaded any more.
    async fn forget_session(&self, digest: &Digest) {
        if let Some(mut claim) = self.claim_session(digest).await {
            blocking(move || claim.forget()).await;
        }
    }

    /// Asks the registry to mount a blob. If it does not, it may have opened an upload session.
    async fn mount(&self, blob: &Descriptor, mounts: &Mounts) -> Result<Mounted> {
        let query = Query::default().with("mount", &blob.digest).with("from", &mounts.from);
        match self.open_session(Some(query)).await {
            Ok(response) if response.status() == StatusCode::CREATED => Ok(Mounted::Yes),
            Ok(response) => Ok(Mounted::No(Some(response))),
            // Some registries answer with an error, although they should open a session.
            Err(Error::NotFound { .. }) => Ok(Mounted::No(None)),
            Err(Error::Unauthorized { .. } | Error::Denied { .. } | Error::Protocol { .. }) => {
                info!(from = %mounts.from, "the registry refuses to mount blobs, so they are sent");
                mounts.are_refused.store(true, Relaxed);
                Ok(Mounted::No(None))
            }
            Err(error) => Err(error),
        }
    }

    /// Fetches a manifest once, with its media type and the digest that the registry says it has.
    async fn fetch_manifest(&self, url: Url, what: &str) -> Result<(Vec<u8>, Option<&'static str>, Option<Digest>), Failure> {
        let response = self.ask_for_manifest(Method::GET, url, what).await?;
        let text = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let sent_as = text(CONTENT_TYPE).map_or("", |value| value.split(';').next().unwrap_or_default().trim());
        // Some registries send text/plain; then the document itself says what it is.
        let media_type = MANIFEST_TYPES.into_iter().find(|known| *known == sent_as);
        let digest = text(header::CONTENT_DIGEST).and_then(|digest| digest.parse().ok());
        let bytes = self.registry.origin.client().read_limited(response, MAX_MANIFEST_BYTES, what).await?;
        Ok((bytes, media_type, digest))
    }

    /// Requests a manifest or its head once.
    async fn ask_for_manifest(&self, method: Method, url: Url, what: &str) -> Result<Response, Failure> {
        let scope = self.scope(&["pull"]);
        let mut request = Request::new(method, url, &scope, what);
        for media_type in MANIFEST_TYPES {
            request = request.header(ACCEPT, HeaderValue::from_static(media_type));
        }
        self.registry.origin.attempt(&mut request).await
    }

    /// The digest that a tag points to, if the registry says it. Fails if there is no such tag. The request is not repeated.
    pub(super) async fn resolve(&self, tag: Tag) -> Result<Option<Digest>> {
        let at = Selector::Tag(tag);
        let (url, what) = (self.manifest_url(&at), format!("{self}{at}"));
        let head = self.ask_for_manifest(Method::HEAD, url.clone(), &what).await;
        let response = match head.map_err(|failure| failure.error) {
            // Some registries support only GET.
            Err(Error::Protocol { status, .. }) if is_unsupported(status) => {
                self.ask_for_manifest(Method::GET, url, &what).await.map_err(|failure| failure.error)?
            }
            head => head?,
        };
        Ok(response.headers().get(header::CONTENT_DIGEST).and_then(|value| value.to_str().ok()?.parse().ok()))
    }

    /// Adds a manifest to the index under the tag that replaces the referrers API (OCI distribution specification, "Referrers Tag Schema").
    async fn add_referrer(&self, subject: &Digest, manifest: &Manifest) -> Result<()> {
        let at = Selector::Tag(Tag::of_referrers(subject));
        let mut index = match self.manifest(&at).await {
            Ok(existing) => match existing.document() {
                Document::Index(index) => index.clone(),
                Document::Image(_) => {
                    return Err(Error::Invalid {
                        what: format!("{self}{at}"),
                        why: "it is not the index of referrers that its name says".to_owned(),
                    });
                }
            },
            Err(error) if error.is_not_found() => ImageIndex::new(Vec::new()),
            Err(error) => return Err(error),
        };
        if index.manifests.iter().any(|listed| listed.digest == *manifest.digest()) {
            return Ok(());
        }
        index.manifests.push(manifest.descriptor());
        let what = format!("{self}{at}");
        let index = Manifest::from_index(index).map_err(|source| Error::InvalidManifest { what, source })?;
        self.send_manifest(&at, &index).await.map(drop)
    }

    pub(super) async fn send_manifest(&self, at: &Selector, manifest: &Manifest) -> Result<Response> {
        let what = format!("{self}{at}");
        let media_type = HeaderValue::try_from(manifest.media_type());
        let media_type =
            media_type.map_err(|_| Error::Invalid { what: what.clone(), why: "its media type cannot stand in a header".to_owned() })?;
        let payload = Payload::from(Bytes::copy_from_slice(manifest.bytes()));
        let scope = self.scope_to_write();
        let request = Request::new(Method::PUT, self.tagged_url(at), &scope, &what).header(CONTENT_TYPE, media_type).payload(payload);
        self.registry.origin.send(request).await
    }
}

/// The name with its namespace. On Docker Hub, a name without one is in the namespace `library`.
pub(super) fn with_namespace(name: &RepositoryName) -> RepositoryName {
    if name.host() != Some("docker.io") || name.path().contains('/') {
        return name.clone();
    }
    format!("docker.io/library/{}", name.path()).parse().expect("a valid name with a namespace is valid")
}

/// Whether a registry that did not say whether it has a blob may accept it: it has answered, and is not busy.
fn may_take_blob(error: &Error) -> bool {
    match error {
        Error::NotFound { .. } | Error::Denied { .. } | Error::Unauthorized { .. } => true,
        Error::Protocol { status, .. } => !matches!(status, 408 | 429 | 502..=504),
        _ => false,
    }
}

/// The answer to a mount.
enum Mounted {
    Yes,
    /// The answer that opened a session, if there is one.
    No(Option<Response>),
}

impl fmt::Display for RemoteRepository {
    /// With the host, as a reference names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry.name, self.path)
    }
}

#[async_trait]
impl Source for RemoteRepository {
    async fn manifest(&self, at: &Selector) -> Result<Manifest> {
        let what = format!("{self}{at}");
        let url = self.manifest_url(at);
        let mut backoff = self.registry.origin.client().backoff();
        let (bytes, media_type, said) = loop {
            match self.fetch_manifest(url.clone(), &what).await {
                Ok(fetched) => break fetched,
                Err(failure) => backoff.wait(failure).await.map_err(|failure| failure.error)?,
            }
        };
        let digest = at.digest().cloned().or(said).unwrap_or_else(|| Digest::of(&bytes));
        verify_manifest(&what, bytes, media_type, &digest)
    }

    fn gives_ranges(&self) -> bool {
        self.registry.origin.gives_ranges()
    }

    async fn blob(&self, blob: &Descriptor, range: Range<u64>) -> Result<Body> {
        let what = self.blob_name(&blob.digest);
        if range.start > range.end || range.end > blob.size {
            let why = format!("it has {} bytes, and not those from {} to {}", blob.size, range.start, range.end);
            return Err(Error::Invalid { what, why });
        }
        if range.is_empty() {
            return Ok(Body::from_bytes(Bytes::new()));
        }
        let (origin, scope, url) = (self.registry.origin.clone(), self.scope(&["pull"]), self.blob_url(&blob.digest));
        download(Resource { origin, scope, url, what, size: blob.size }, range).await
    }

    async fn referrers(&self, subjects: &[Digest]) -> Result<Option<Vec<Descriptor>>> {
        self.list_referrers(subjects).await.map(Some)
    }

    async fn tags(&self) -> Result<Option<Vec<Tag>>> {
        self.tags().await.map(Some)
    }
}

#[async_trait]
impl Sink for RemoteRepository {
    fn wants_digest(&self) -> bool {
        true
    }

    async fn begin(&self, blob: Option<&Descriptor>) -> Result<Begin> {
        let mut session = None;
        if let Some(blob) = blob {
            if self.holds(blob).await? {
                debug!(blob = %blob.digest, "the registry has the blob already");
                self.forget_session(&blob.digest).await;
                return Ok(Begin::Exists);
            }
            if let Some(mounts) = self.mounts_from() {
                match self.mount(blob, mounts).await? {
                    Mounted::Yes => {
                        debug!(blob = %blob.digest, from = %mounts.from, "the registry mounted the blob");
                        return Ok(Begin::Exists);
                    }
                    Mounted::No(opened) => session = opened,
                }
            }
        }
        Ok(Begin::Upload(Box::new(RemoteUpload::begin(self.clone(), blob.cloned(), session).await?)))
    }

    fn wants_hash_states(&self) -> bool {
        self.hash_states != KeepHashStates::Never
    }

    async fn put_hash_states(&self, artifact: &Manifest, lists: &[HashStates]) -> Result<()> {
        self.keep_hash_states(artifact, lists).await
    }

    async fn put_manifest(&self, at: &Selector, manifest: &Manifest) -> Result<()> {
        let what = format!("{self}{at}");
        let check = |expected: &Digest| verify_bytes(&what, manifest.bytes(), expected);
        at.digest().map_or(Ok(()), check)?;
        let response = self.send_manifest(at, manifest).await?;
        let stored_as = response.headers().get(header::CONTENT_DIGEST).and_then(|value| value.to_str().ok()?.parse().ok());
        stored_as.as_ref().map_or(Ok(()), check)?;
        match manifest.subject() {
            Some(subject) if !response.headers().contains_key(header::SUBJECT) => self.add_referrer(&subject.digest, manifest).await,
            _ => Ok(()),
        }
    }
}
