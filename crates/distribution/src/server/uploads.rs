//! Pushing blobs: in one request, in chunks, or by a mount from another repository (OCI
//! distribution specification, "Pushing blobs").

use super::{
    failure::{Failure, Result},
    registry::{Call, Registry},
    sessions::Locked,
};
use crate::protocol::{error::ErrorCode, header::CONTENT_DIGEST, range::print_received, route::Route};
use http::{StatusCode, header};
use modelpack_http::range;
use modelpack_server::{Answer, Identity, Permitted, Push, Response};
use modelpack_spec::{Algorithm, Digest, RepositoryName};
use modelpack_transfer::{Upload, blocking};
use std::future::pending;

impl Registry {
    /// `POST`: a mount, a whole blob, or a session.
    pub(super) async fn begin_upload(&self, who: &Identity, repository: &Permitted<Push>, call: Call) -> Result<Response> {
        let name = repository.name();
        let parameter = |name| call.query.get(name).map(str::parse::<Digest>).transpose();
        let (mount, whole) = (parameter("mount")?, parameter("digest")?);
        let named = call.query.get("digest-algorithm").map(str::parse::<Algorithm>).transpose()?;
        let lease = self.hold(repository).await?;
        if let Some(digest) = &mount
            && self.mount(who, repository, digest, call.query.get("from")).await?
        {
            return Ok(created(name, digest));
        }
        let algorithm = named.or(whole.as_ref().or(mount.as_ref()).map(Digest::algorithm)).unwrap_or(Algorithm::Sha256);
        match whole {
            Some(digest) => {
                let mut writer = self.repositories().storing(repository.begin_upload(algorithm)).await?;
                writer.write(call.body.into_body(None, pending())).await?;
                self.repositories().storing(writer.commit_as(&digest)).await?;
                Ok(created(name, &digest))
            }
            None => {
                let id = self.sessions.insert(name.clone(), algorithm, lease).await;
                Ok(status(StatusCode::ACCEPTED, name, &id, 0))
            }
        }
    }

    /// Whether the repository now has the blob. A source repository that cannot be used is not an
    /// error: the client pushes the blob instead.
    async fn mount(&self, who: &Identity, to: &Permitted<Push>, digest: &Digest, from: Option<&str>) -> Result<bool> {
        match from.map(RepositoryName::without_host).transpose() {
            Ok(from) => Ok(self.repositories().mount(who, digest, from.as_ref(), to).await?),
            Err(_) => Ok(false),
        }
    }

    /// `PATCH`: the next chunk, or all chunks in one stream.
    pub(super) async fn continue_upload(&self, repository: &Permitted<Push>, id: &str, call: Call) -> Result<Response> {
        let mut session = self.session(repository, id).await?;
        self.append(repository, id, &mut session, call).await?;
        let received = session.report_len();
        session.unlock().await;
        Ok(status(StatusCode::ACCEPTED, repository.name(), id, received))
    }

    /// `PUT`: the last bytes, if there are any, and the digest of all bytes.
    pub(super) async fn finish_upload(&self, repository: &Permitted<Push>, id: &str, call: Call) -> Result<Response> {
        let name = repository.name();
        let digest: Digest = match call.query.get("digest") {
            Some(digest) => digest.parse()?,
            None => return Err(Failure::bad_request(ErrorCode::DigestInvalid, "the parameter `digest` is missing")),
        };
        let _lease = self.hold(repository).await?;
        let mut session = self.session(repository, id).await?;
        let before = session.mark();
        self.append(repository, id, &mut session, call).await?;
        if !session.may_be(&digest).await? {
            if session.is_cut() {
                return Err(cut(name, id, session.len()));
            }
            // The client may have sent all bytes again, after the bytes that had been received
            // before.
            session.rewind(before).await?;
            let message = format!("with this body the upload does not have the digest {digest}; the upload keeps its earlier bytes");
            return Err(standing(Failure::bad_request(ErrorCode::DigestInvalid, message), name, id, session.len()));
        }
        let bytes = self.sessions.take(session, repository).await?;
        self.repositories().storing(repository.commit_session(bytes, &digest)).await?;
        Ok(created(name, &digest))
    }

    /// `GET`: how many bytes have been received.
    pub(super) async fn upload_status(&self, repository: &Permitted<Push>, id: &str) -> Result<Response> {
        let mut session = self.session(repository, id).await?;
        let received = session.report_len();
        session.unlock().await;
        Ok(status(StatusCode::NO_CONTENT, repository.name(), id, received))
    }

    /// `DELETE`: discards the received bytes.
    pub(super) async fn cancel_upload(&self, repository: &Permitted<Push>, id: &str) -> Result<Response> {
        let session = self.session(repository, id).await?;
        let bytes = self.sessions.take(session, repository).await?;
        blocking(move || bytes.discard()).await;
        Ok(Answer::new(StatusCode::NO_CONTENT).done())
    }

    /// The session `id`, which an earlier process may have begun.
    async fn session(&self, repository: &Permitted<Push>, id: &str) -> Result<Locked> {
        if !self.sessions.has(id)
            && let Some(bytes) = repository.open_session(id).await?
        {
            let (lease, algorithm) = (self.hold(repository).await?, bytes.algorithm());
            blocking(move || drop(bytes)).await;
            self.sessions.adopt(id, repository.name().clone(), algorithm, lease).await;
        }
        let unknown =
            || Failure::not_found(ErrorCode::BlobUploadUnknown, format!("{} has no upload with this identifier", repository.name()));
        self.sessions.lock(repository, id).await?.ok_or_else(unknown)
    }

    /// Appends a body to an upload. The upload keeps the received bytes even if the rest does not
    /// arrive.
    async fn append(&self, repository: &Permitted<Push>, id: &str, session: &mut Locked, call: Call) -> Result<()> {
        let (name, received) = (repository.name(), session.len());
        // After an incomplete body, a client that gives no position for its bytes may send all of
        // them again.
        if session.is_cut() && call.header(header::CONTENT_RANGE).is_none() && call.body.len() != Some(0) {
            return Err(cut(name, id, received));
        }
        let chunk = chunk_len(&call, received).map_err(|failure| standing(failure, name, id, received))?;
        if call.body.len() != Some(0) {
            let body = call.body.into_body(chunk, session.is_wanted());
            session.write(repository, body).await?;
        }
        match chunk {
            Some(expected) if session.len() - received != expected => {
                let message = format!("the chunk should have {expected} bytes, but {} were received", session.len() - received);
                Err(Failure::bad_request(ErrorCode::SizeInvalid, message))
            }
            _ => Ok(()),
        }
    }
}

/// Refuses a request after an incomplete body: either the position of its bytes is not known, or
/// the upload would end without all its bytes.
fn cut(name: &RepositoryName, id: &str, received: u64) -> Failure {
    let message = format!("an earlier request ended after {received} bytes: continue there with a `Content-Range`, or begin a new upload");
    standing(Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::BlobUploadInvalid, message), name, id, received)
}

/// Adds the upload's location and the number of received bytes to a failure.
fn standing(failure: Failure, name: &RepositoryName, id: &str, received: u64) -> Failure {
    let at = Route::Upload(name.clone(), id.to_owned());
    failure.header(header::LOCATION, at).header(header::RANGE, print_received(received))
}

/// The declared length of a chunk, if there is one. Refused if the chunk does not begin after the
/// `received` bytes.
fn chunk_len(call: &Call, received: u64) -> Result<Option<u64>> {
    let Some(header) = call.header(header::CONTENT_RANGE) else { return Ok(None) };
    let Some(chunk) = range::parse(header) else {
        let message = format!("{header:?} is not a range: expected `FIRST-LAST`");
        return Err(Failure::bad_request(ErrorCode::BlobUploadInvalid, message));
    };
    if chunk.start != received {
        let message = format!("the upload has {received} bytes, so the next chunk begins at {received}, not {}", chunk.start);
        return Err(Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::BlobUploadInvalid, message));
    }
    let len = chunk.end - chunk.start;
    match call.body.len() {
        Some(sent) if sent != len => {
            let message = format!("the range has {len} bytes, but the body has {sent}");
            Err(Failure::bad_request(ErrorCode::SizeInvalid, message))
        }
        _ => Ok(Some(len)),
    }
}

/// The location of an upload and its number of received bytes.
fn status(status: StatusCode, name: &RepositoryName, id: &str, received: u64) -> Response {
    let at = Route::Upload(name.clone(), id.to_owned());
    Answer::new(status).header(header::LOCATION, at).header(header::RANGE, print_received(received)).done()
}

fn created(name: &RepositoryName, digest: &Digest) -> Response {
    let at = Route::Blob(name.clone(), digest.clone());
    Answer::new(StatusCode::CREATED).header(header::LOCATION, at).header(CONTENT_DIGEST, digest).done()
}
