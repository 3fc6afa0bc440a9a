//! Uploads of blobs: one streamed request if the digest is known before, two if it is known afterwards. After a failure, the registry is
//! asked how many bytes it has, and only the rest is sent.
//!
//! A registry gets chunks only if one request is too long for it, if it asks for chunks, or if it loses the bytes of a request that breaks:
//! several registries refuse chunks, or answer them with wrong positions.

mod recovery;
mod session;

pub(crate) use recovery::UploadHabits;

use super::{open_uploads::Claim, repository::RemoteRepository};
use async_trait::async_trait;
use bytes::Bytes;
use modelpack_http::{Backoff, Failure, Response, Retry, UploadBody, shown};
use modelpack_spec::{Algorithm, Descriptor};
use modelpack_transfer::{Body, Committed, Error, Result, Upload, Verifier, blocking, verify_blob};
use recovery::{Failed, MIN_PART, Remedy, Sending, Standing, part_after_loss};
use session::{Chunk, Sent, Session};
use std::time::Duration;
use tokio::{runtime::Handle, sync::mpsc, task::JoinHandle, time::timeout};
use tracing::{debug, info};

/// The maximum number of pieces that wait to be hashed.
const HASHING_QUEUE: usize = 2;
/// How long the last pieces may take to be hashed after the registry has answered.
const HASHING_PATIENCE: Duration = Duration::from_secs(60);
/// The session of a blob of at least this many bytes is remembered for a later process. To send a smaller one again costs less.
const WORTH_REMEMBERING: u64 = 1 << 20;
/// The length of a chunk, for a registry that asks for chunks.
const CHUNK: u64 = 16 << 20;
/// How many bytes must have arrived since the last failure, so that failures are counted anew. A connection may break again and again, but
/// not without end.
const PROGRESS: u64 = 64 << 10;

/// An upload to a registry.
pub(super) struct RemoteUpload {
    repository: RemoteRepository,
    /// What the caller says the blob is.
    blob: Option<Descriptor>,
    /// Its name in an error.
    what: String,
    /// `None` when the session has ended: it has become the blob, or it has failed.
    session: Option<Session>,
    /// The right to use the session that is remembered for the blob, and to remember another one.
    claim: Option<Claim>,
    written: Written,
    /// The longest part that this upload sends after it has lost bytes.
    max_part: Option<u64>,
    /// Whether all bytes were sent again, because the registry did not accept a session that was continued.
    has_restarted: bool,
}

/// What has been written so far.
enum Written {
    /// Some bytes of a blob whose digest is known at its end.
    Pieces(Verifier),
    /// The whole blob. The registry has verified it.
    Blob(Descriptor),
}

/// How the failures of one transfer are counted.
struct Attempts {
    backoff: Backoff,
    /// The most bytes that the registry has had.
    reached: u64,
}

impl Attempts {
    fn note(&mut self, received: u64) {
        if received >= self.reached + PROGRESS {
            self.reached = received;
            self.backoff.progressed();
        }
    }
}

impl RemoteUpload {
    /// Begins an upload: in the session that an earlier process has left for the blob, or else in the session that was just `opened`, or in a
    /// new one.
    pub(super) async fn begin(repository: RemoteRepository, blob: Option<Descriptor>, opened: Option<Response>) -> Result<Self> {
        let what = blob.as_ref().map_or_else(|| format!("a blob of {repository}"), |blob| repository.blob_name(&blob.digest));
        let verifier = blob.as_ref().map_or_else(|| Verifier::unknown(Algorithm::Sha256), |blob| Verifier::named(&what, blob));
        let session = opened.map(|answer| Session::opened(&repository, &answer)).transpose()?;
        let claim = match blob.as_ref().filter(|blob| blob.size >= WORTH_REMEMBERING) {
            Some(blob) => repository.claim_session(&blob.digest).await,
            None => None,
        };
        let written = Written::Pieces(verifier);
        let mut upload = Self { repository, blob, what, session, claim, written, max_part: None, has_restarted: false };
        upload.resume().await?;
        upload.open().await?;
        Ok(upload)
    }

    /// Continues the session that an earlier process has left, if the registry has it.
    async fn resume(&mut self) -> Result<()> {
        let Some(url) = self.claim.as_ref().and_then(Claim::session) else { return Ok(()) };
        let session = Session::remembered(&self.repository, url);
        let unused = std::mem::replace(&mut self.session, session);
        let received = self.received(&mut self.repository.registry().origin.client().backoff()).await?;
        let size = self.blob.as_ref().map_or(0, |blob| blob.size);
        match (received.filter(|received| (1..=size).contains(received)), &mut self.session) {
            (Some(received), Some(session)) => {
                info!(blob = self.what, received, "continuing an upload that another process has begun");
                session.received = received;
                if let Some(unused) = unused {
                    unused.cancel(self.repository.clone()).await;
                }
            }
            _ => {
                self.end_session().await;
                self.session = unused;
            }
        }
        Ok(())
    }

    /// How many bytes the registry has. `None` if there is no session that it knows.
    async fn received(&mut self, backoff: &mut Backoff) -> Result<Option<u64>> {
        let Some(session) = &mut self.session else { return Ok(None) };
        loop {
            match session.ask(&self.repository, &self.what).await {
                Ok(received) => return Ok(received),
                Err(failure) => backoff.wait(failure).await.map_err(|failure| failure.error)?,
            }
        }
    }

    /// Opens a session if there is none.
    async fn open(&mut self) -> Result<()> {
        if self.session.is_none() {
            let answer = self.repository.open_session(None).await?;
            self.session = Some(Session::opened(&self.repository, &answer)?);
        }
        Ok(())
    }

    /// Remembers the URL of the session, unless this is done. A failure does not matter: only a later process would need it.
    async fn remember(&mut self) {
        let Some((session, mut claim)) = self.session.as_ref().zip(self.claim.take()) else { return };
        if claim.session() == Some(session.url()) {
            self.claim = Some(claim);
            return;
        }
        let url = session.url().clone();
        let (claim, remembered) = blocking(move || {
            let remembered = claim.remember(&url);
            (claim, remembered)
        })
        .await;
        match remembered {
            Ok(true) => self.claim = Some(claim),
            Ok(false) => debug!(blob = self.what, "another process uploads the same blob"),
            Err(error) => debug!(%error, "the upload session is not remembered"),
        }
    }

    /// Ends the session and forgets it.
    async fn end_session(&mut self) {
        if let Some(session) = self.session.take() {
            session.cancel(self.repository.clone()).await;
        }
        self.forget().await;
    }

    async fn forget(&mut self) {
        if let Some(mut claim) = self.claim.take() {
            let forgotten = blocking(move || {
                claim.forget();
                claim
            });
            self.claim = Some(forgotten.await);
        }
    }

    /// Sends `body`, which begins at the byte `begins` of the blob. If the blob is known, completes the upload with its digest.
    async fn send(&mut self, body: &UploadBody, begins: u64, blob: Option<&Descriptor>) -> Result<()> {
        let backoff = self.repository.registry().origin.client().backoff();
        let mut attempts = Attempts { backoff, reached: begins };
        loop {
            self.open().await?;
            match self.send_next(body, begins, blob).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(failed) => {
                    // Perhaps only the answer was lost.
                    if let (Sending::Blob(_) | Sending::Digest, Some(blob)) = (failed.request, blob)
                        && failed.failure.retry != Retry::Never
                        && self.repository.holds(blob).await.unwrap_or(false)
                    {
                        return Ok(());
                    }
                    self.recover(failed, body, begins, &mut attempts).await?;
                }
            }
            attempts.note(self.session.as_ref().map_or(0, |session| session.received));
        }
    }

    /// Sends one request. Returns whether it was the last one.
    async fn send_next(&mut self, body: &UploadBody, begins: u64, blob: Option<&Descriptor>) -> Result<bool, Failed> {
        self.remember().await;
        let session = self.session.as_mut().expect("it was opened");
        let (repository, what) = (&self.repository, &self.what);
        let habits = &repository.registry().upload_habits;
        let start = session.received - begins;
        let left = body.len().map(|len| len - start);
        let limits = [self.max_part, habits.max_part(), session.min_chunk.map(|min| min.max(CHUNK))];
        let limit = limits.into_iter().flatten().min().map(|limit| limit.max(session.min_chunk.unwrap_or(0)));
        let limit = limit.filter(|_| !habits.refuses_chunks());
        let length = left.map(|left| left.min(limit.unwrap_or(left)));
        let end = length.map(|length| start + length);
        let sent = Sent { payload: body.part(start, end), closes: self.max_part.is_some() };

        if let (Some(0), Some(blob)) = (left, blob) {
            let completed =
                session.complete(repository, what, &blob.digest, Sent { payload: body.part(start, Some(start)), closes: false });
            return completed.await.map(|()| true).map_err(|failure| Failed { failure, request: Sending::Digest });
        }
        if left == Some(0) {
            return Ok(true);
        }
        if let (Some(blob), Some(length)) = (blob, length)
            && length == blob.size
            && session.min_chunk.is_none_or(|min| length <= min)
        {
            let completed = session.complete(repository, what, &blob.digest, sent).await;
            return completed.map(|()| true).map_err(|failure| Failed { failure, request: Sending::Blob(length) });
        }
        let range = end.map(|end| session.received..begins + end);
        // Without a limit, everything follows. A registry that refuses chunks accepts this.
        let is_stream = limit.is_none() && !session.is_resumed;
        let (chunk, request) = match (&range, length) {
            (Some(range), Some(length)) if !is_stream => (Chunk::Range(range), Sending::Chunk(length)),
            _ => (Chunk::Stream, Sending::Stream),
        };
        session.append(repository, what, chunk, sent).await.map_err(|failure| Failed { failure, request })?;
        if let Chunk::Range(_) = chunk {
            habits.note_chunk();
        }
        // A registry may say that it has fewer bytes than it has (ECR), so what it says is not used.
        let Some(received) = end.or_else(|| body.len()).filter(|end| body.sent() >= end - start) else {
            let error = Error::network(shown(session.url()), "the server answered before it had all bytes");
            return Err(Failed { failure: Failure { error, retry: Retry::Soon, waited: Duration::ZERO }, request });
        };
        session.received = begins + received;
        Ok(false)
    }

    /// After a request has failed, prepares the next one: finds out where the registry stands, or ends the session so that a new one is
    /// opened. Fails if there should be no further request.
    async fn recover(&mut self, failed: Failed, body: &UploadBody, begins: u64, attempts: &mut Attempts) -> Result<()> {
        let session = self.session.as_ref().expect("a request was sent");
        let (before, carried) = (session.received, if failed.request == Sending::Digest { 0 } else { body.sent() });
        let at = Standing {
            has_taken: session.has_taken,
            is_resumed: session.is_resumed,
            has_restarted: self.has_restarted,
            min_chunk: session.min_chunk.unwrap_or(0),
        };
        let habits = &self.repository.registry().upload_habits;
        let remedy = failed.remedy(at, habits);
        debug!(blob = self.what, why = %failed.failure.error, ?remedy, "a request of an upload failed");
        let is_broken = matches!(failed.failure.error, Error::Network { .. });
        if remedy == Remedy::GiveUp {
            return Err(self.give_up(refusal(failed), false).await);
        }
        if !body.can_be_continued() {
            return Err(self.give_up(failed.failure.error, true).await);
        }
        let mut error = None;
        if matches!(remedy, Remedy::Ask | Remedy::Reopen) {
            let retry = if remedy == Remedy::Reopen { Retry::Soon } else { failed.failure.retry };
            let waited = attempts.backoff.wait(Failure { error: failed.failure.error, retry, waited: failed.failure.waited }).await;
            if let Err(failure) = waited {
                return Err(self.give_up(failure.error, true).await);
            }
        } else {
            error = Some(failed.failure.error);
        }
        self.has_restarted |= remedy == Remedy::Restart;
        let received = match remedy {
            Remedy::Ask | Remedy::Shorten(_) => match self.received(&mut attempts.backoff).await {
                Ok(received) => received,
                Err(error) => return Err(self.give_up(error, true).await),
            },
            _ => None,
        };
        let end = body.len().map_or(u64::MAX, |len| begins + len);
        // A registry that refuses chunks takes only all bytes at once.
        let may_continue = |received: &u64| begins > 0 || *received > 0 && !self.repository.registry().upload_habits.refuses_chunks();
        let stands = received.filter(|received| (begins..=end).contains(received)).filter(may_continue);
        if is_broken && let Some(max_part) = part_after_loss(carried, stands.unwrap_or(begins).saturating_sub(before)) {
            self.max_part = Some(max_part);
        }
        match (stands, &mut self.session) {
            (Some(received), Some(session)) if body.can_read_from(received - begins) => {
                session.received = received;
                session.is_resumed |= received != before;
                Ok(())
            }
            _ if begins == 0 && body.can_read_from(0) => {
                self.end_session().await;
                Ok(())
            }
            _ => {
                let why = "the registry has lost bytes that cannot be sent again";
                let lost = || Error::network(self.repository.to_string(), why);
                Err(self.give_up(error.unwrap_or_else(lost), false).await)
            }
        }
    }

    /// Ends the upload with an error. If `may_continue` is set and the session is remembered, a later process may continue it.
    async fn give_up(&mut self, error: Error, may_continue: bool) -> Error {
        if may_continue && self.is_remembered() {
            self.session = None;
        } else {
            self.end_session().await;
        }
        error
    }

    fn is_remembered(&self) -> bool {
        self.claim.as_ref().is_some_and(|claim| claim.session().is_some())
    }

    /// Sends all of the blob; the registry verifies it against its digest.
    ///
    /// If wrong bytes were sent, the error says so, whatever the registry has answered. A file is read again to find this out. Other bytes
    /// are hashed while they are sent.
    async fn write_blob(&mut self, body: Body, blob: Descriptor) -> Result<()> {
        let verifier = Verifier::of(&blob);
        let (sent, verified) = if let Some(file) = body.file().cloned() {
            let sent = self.send(&UploadBody::of(body).await?, 0, Some(&blob)).await;
            let verified = match sent {
                Err(Error::Protocol { .. }) => blocking(move || file.verify(verifier)).await.map(drop),
                _ => Ok(()),
            };
            (sent, verified)
        } else {
            let (body, hashing) = hashed(body, verifier).await?;
            let sent = self.send(&body, 0, Some(&blob)).await;
            drop(body);
            let verified = match sent {
                Ok(()) | Err(Error::Protocol { .. }) => self.hashed_to_end(hashing).await.and_then(|verifier| {
                    // Of a session that was continued, the beginning was not read here.
                    let is_whole = verifier.count() == blob.size;
                    if is_whole { verifier.finish().map(drop) } else { Ok(()) }
                }),
                Err(_) => Ok(()),
            };
            (sent, verified)
        };
        if let Err(error) = verified {
            return Err(self.give_up(error, false).await);
        }
        sent?;
        self.session = None;
        self.forget().await;
        self.written = Written::Blob(blob);
        Ok(())
    }

    /// Sends the next bytes of a blob whose digest is not known, or which comes in several pieces.
    async fn write_piece(&mut self, body: Body, verifier: Verifier) -> Result<()> {
        let begins = verifier.count();
        if self.session.as_ref().is_some_and(|session| session.received != begins) {
            // An earlier process has sent more than the bytes that come now.
            self.end_session().await;
        }
        let (body, hashing) = hashed(body, verifier).await?;
        self.send(&body, begins, None).await?;
        let len = body.len().unwrap_or(0);
        drop(body);
        match self.hashed_to_end(hashing).await {
            Ok(verifier) => {
                debug_assert_eq!(verifier.count(), begins + len);
                self.written = Written::Pieces(verifier);
                Ok(())
            }
            Err(error) => Err(self.give_up(error, false).await),
        }
    }

    /// Waits until all pieces that were sent are hashed.
    async fn hashed_to_end(&self, hashing: JoinHandle<Result<Verifier>>) -> Result<Verifier> {
        match timeout(HASHING_PATIENCE, hashing).await {
            Ok(Ok(hashed)) => hashed,
            _ => Err(Error::network(&self.what, "it was not hashed to its end")),
        }
    }
}

/// A body whose pieces are hashed while it is sent.
async fn hashed(body: Body, verifier: Verifier) -> Result<(UploadBody, JoinHandle<Result<Verifier>>)> {
    let body = UploadBody::of(body).await?;
    let (pieces, to_hash) = mpsc::channel(HASHING_QUEUE);
    let hashing = tokio::spawn(blocking(move || hash(verifier, to_hash)));
    Ok((body.hashed_by(pieces), hashing))
}

/// Hashes pieces, each with its position in the body. Those that are sent again are hashed once. A piece is left out if those before it were
/// not sent from here.
fn hash(mut verifier: Verifier, mut pieces: mpsc::Receiver<(u64, Bytes)>) -> Result<Verifier> {
    let begins = verifier.count();
    let mut taken = Ok(());
    // What follows bytes that are refused is taken too: whoever sends it does not wait then.
    while let Some((at, piece)) = pieces.blocking_recv() {
        let Some(known) = (verifier.count() - begins).checked_sub(at) else { continue };
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        taken = taken.and_then(|()| verifier.update(piece.get(known..).unwrap_or_default()));
    }
    taken.map(|()| verifier)
}

/// The error of a request that is not repeated.
fn refusal(failed: Failed) -> Error {
    match failed.failure.error {
        Error::Protocol { url, status: 413, why, source } => {
            let why = format!("{why}; parts of less than {} MiB are not sent", MIN_PART >> 20);
            Error::Protocol { url, status: 413, why, source }
        }
        error => error,
    }
}

#[async_trait]
impl Upload for RemoteUpload {
    async fn write(&mut self, body: Body) -> Result<()> {
        let len = body.len();
        match &self.written {
            Written::Pieces(verifier) => {
                let verifier = verifier.clone();
                match self.blob.clone().filter(|blob| verifier.count() == 0 && len == Some(blob.size)) {
                    Some(blob) => self.write_blob(body, blob).await,
                    None if len == Some(0) => Ok(()),
                    None => self.write_piece(body, verifier).await,
                }
            }
            Written::Blob(_) if len == Some(0) => Ok(()),
            Written::Blob(blob) => {
                let found = blob.size.saturating_add(len.unwrap_or(1));
                Err(Error::WrongSize { what: self.what.clone(), expected: blob.size, found })
            }
        }
    }

    async fn commit(mut self: Box<Self>, expected: Option<&Descriptor>) -> Result<Committed> {
        let committed: Committed = match &self.written {
            Written::Pieces(verifier) => verifier.clone().finish_as(expected)?.into(),
            Written::Blob(blob) => {
                expected.map_or(Ok(()), |expected| verify_blob(&self.what, expected, &blob.digest, blob.size))?;
                Committed { digest: blob.digest.clone(), size: blob.size, hash_states: None }
            }
        };
        if let Written::Pieces(_) = self.written {
            let blob = Descriptor::new("", committed.digest.clone(), committed.size);
            self.send(&UploadBody::empty(), committed.size, Some(&blob)).await?;
            self.session = None;
        }
        Ok(committed)
    }
}

impl Drop for RemoteUpload {
    /// Ends the session, unless it is remembered for a later process.
    fn drop(&mut self) {
        if !self.is_remembered()
            && let (Some(session), Ok(runtime)) = (self.session.take(), Handle::try_current())
        {
            runtime.spawn(session.cancel(self.repository.clone()));
        }
    }
}
