//! Uploads of blobs: one streamed request if the digest is known before, two if it is known afterwards.

use super::repository::RemoteRepository;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Method, header::CONTENT_TYPE};
use modelpack_http::{Backoff, Failure, Payload, Request, Response, Retry, Url, unexpected};
use modelpack_spec::{Algorithm, Descriptor, Digest};
use modelpack_transfer::{Body, Error, Result, Upload, Verifier, blocking, verify_blob};
use std::time::Duration;
use tokio::{runtime::Handle, sync::mpsc, time::timeout};

/// The maximum number of pieces that wait to be hashed.
const HASHING_QUEUE: usize = 2;
/// How long the last pieces may take to be hashed after the registry has answered.
const HASHING_PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait for the end of a session that is not needed any more.
const CANCEL_PATIENCE: Duration = Duration::from_secs(10);
const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// An upload session of a registry.
pub(super) struct RemoteUpload {
    repository: RemoteRepository,
    /// What the caller says the blob is.
    blob: Option<Descriptor>,
    /// Its name in an error.
    what: String,
    /// The URL of the next request. `None` when the session has ended: it has become the blob, or it has failed.
    session: Option<Url>,
    written: Written,
}

/// What has been written so far.
enum Written {
    /// Some bytes of a blob whose digest is known at its end.
    Pieces(Verifier),
    /// The whole blob. The registry has verified it.
    Blob(Descriptor),
}

impl RemoteUpload {
    /// Begins an upload in an open session, or in a new one.
    pub(super) async fn begin(repository: RemoteRepository, blob: Option<Descriptor>, session: Option<Url>) -> Result<Self> {
        let what = blob.as_ref().map_or_else(|| format!("a blob of {repository}"), |blob| repository.blob_name(&blob.digest));
        let verifier = blob.as_ref().map_or_else(|| Verifier::unknown(Algorithm::Sha256), |blob| Verifier::named(&what, blob));
        let mut upload = Self { repository, blob, what, session, written: Written::Pieces(verifier) };
        upload.session().await?;
        Ok(upload)
    }

    /// The URL of the session. It is opened if there is none.
    async fn session(&mut self) -> Result<Url> {
        if let Some(session) = &self.session {
            return Ok(session.clone());
        }
        let response = self.repository.open_session(None).await?;
        Ok(self.session.insert(self.repository.registry().origin.location(&response)?).clone())
    }

    /// Sends all of the blob in one request; the registry verifies it against its digest.
    async fn write_blob(&mut self, payload: Payload, blob: Descriptor) -> Result<()> {
        let mut next = Some(payload);
        let mut backoff = self.repository.registry().origin.client().backoff();
        while let Some(payload) = next {
            next = payload.try_clone();
            let url = with_digest(self.session().await?, &blob.digest);
            let Err(failure) = self.request(Method::PUT, url, payload).await else { break };
            // Perhaps only the answer was lost.
            if failure.retry != Retry::Never && self.repository.holds(&blob).await.unwrap_or(false) {
                break;
            }
            self.pause_or_fail(&mut backoff, failure, next.is_some()).await?;
        }
        self.session = None;
        self.written = Written::Blob(blob);
        Ok(())
    }

    /// Sends the next bytes of a blob whose digest is not known, or which comes in several pieces.
    async fn write_piece(&mut self, payload: Payload, verifier: Verifier) -> Result<()> {
        let mut next = Some(payload);
        let mut backoff = self.repository.registry().origin.client().backoff();
        while let Some(payload) = next {
            // Earlier pieces cannot be sent again.
            next = payload.try_clone().filter(|_| verifier.count() == 0);
            let url = self.session().await?;
            match self.write_hashed(url, payload, verifier.clone()).await {
                Ok(()) => return Ok(()),
                Err(failure) => self.pause_or_fail(&mut backoff, failure, next.is_some()).await?,
            }
        }
        Ok(())
    }

    async fn write_hashed(&mut self, url: Url, payload: Payload, mut verifier: Verifier) -> Result<(), Failure> {
        let (pieces, mut to_hash) = mpsc::channel::<Bytes>(HASHING_QUEUE);
        let hashing = tokio::spawn(blocking(move || {
            let mut taken = Ok(());
            // What follows bytes that are refused is taken too: whoever sends it does not wait then.
            while let Some(piece) = to_hash.blocking_recv() {
                taken = taken.and_then(|()| verifier.update(&piece));
            }
            taken.map(|()| verifier)
        }));
        let response = self.request(Method::PATCH, url, payload.hashed_by(pieces)).await?;
        let Ok(Ok(hashed)) = timeout(HASHING_PATIENCE, hashing).await else {
            return Err(unexpected(&response, "it answered before it had all bytes").into());
        };
        self.session = Some(self.repository.registry().origin.location(&response)?);
        self.written = Written::Pieces(hashed?);
        Ok(())
    }

    /// After a failure, ends the session. If the bytes can be sent again, waits until a new session should be opened.
    async fn pause_or_fail(&mut self, backoff: &mut Backoff, failure: Failure, can_be_sent_again: bool) -> Result<()> {
        if let Some(session) = self.session.take() {
            cancel(self.repository.clone(), session).await;
        }
        if !can_be_sent_again {
            return Err(failure.error);
        }
        backoff.wait(failure).await.map_err(|failure| failure.error)
    }

    async fn request(&self, method: Method, url: Url, payload: Payload) -> Result<Response, Failure> {
        let scope = self.repository.scope_to_write();
        let mut request = Request::new(method, url, &scope, &self.what).header(CONTENT_TYPE, OCTETS).payload(payload);
        self.repository.registry().origin.attempt(&mut request).await
    }
}

#[async_trait]
impl Upload for RemoteUpload {
    async fn write(&mut self, body: Body) -> Result<()> {
        let len = body.len();
        match &self.written {
            Written::Pieces(verifier) => {
                let verifier = verifier.clone();
                let payload = Payload::of(body).await?;
                match self.blob.clone().filter(|blob| verifier.count() == 0 && len == Some(blob.size)) {
                    Some(blob) => self.write_blob(payload, blob).await,
                    None if len == Some(0) => Ok(()),
                    None => self.write_piece(payload, verifier).await,
                }
            }
            Written::Blob(_) if len == Some(0) => Ok(()),
            Written::Blob(blob) => {
                let found = blob.size.saturating_add(len.unwrap_or(1));
                Err(Error::WrongSize { what: self.what.clone(), expected: blob.size, found })
            }
        }
    }

    async fn commit(mut self: Box<Self>, expected: Option<&Descriptor>) -> Result<(Digest, u64)> {
        let (digest, size) = match &self.written {
            Written::Pieces(verifier) => verifier.clone().finish_as(expected)?.into_parts(),
            Written::Blob(blob) => {
                expected.map_or(Ok(()), |expected| verify_blob(&self.what, expected, &blob.digest, blob.size))?;
                (blob.digest.clone(), blob.size)
            }
        };
        if let Written::Pieces(_) = self.written {
            let url = with_digest(self.session().await?, &digest);
            let blob = Descriptor::new("", digest.clone(), size);
            let mut backoff = self.repository.registry().origin.client().backoff();
            while let Err(failure) = self.request(Method::PUT, url.clone(), Payload::empty()).await {
                if failure.retry != Retry::Never && self.repository.holds(&blob).await.unwrap_or(false) {
                    break;
                }
                backoff.wait(failure).await.map_err(|failure| failure.error)?;
            }
            self.session = None;
        }
        Ok((digest, size))
    }
}

impl Drop for RemoteUpload {
    fn drop(&mut self) {
        if let (Some(session), Ok(runtime)) = (self.session.take(), Handle::try_current()) {
            runtime.spawn(cancel(self.repository.clone(), session));
        }
    }
}

/// Ends a session, so that the registry does not keep it until it expires. Failures are ignored.
async fn cancel(repository: RemoteRepository, session: Url) {
    let scope = repository.scope_to_write();
    let mut request = Request::new(Method::DELETE, session, &scope, "the upload");
    let _ = timeout(CANCEL_PATIENCE, repository.registry().origin.attempt(&mut request)).await;
}

/// The URL of a session with the digest that completes the upload. The session's own query is kept.
fn with_digest(mut session: Url, digest: &Digest) -> Url {
    session.query_pairs_mut().append_pair("digest", &digest.to_string());
    session
}
