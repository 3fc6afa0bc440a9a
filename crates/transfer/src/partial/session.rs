//! The bytes of an upload whose length and digest nobody knows yet, as the requests of its sender bring them.
//!
//! They are written in order to a file in the directory of the partial blobs, with a journal beside it that is like that of a partial blob.
//! Between two requests no process has the file open, so a session also continues in another process, after this one was killed.

#[cfg(test)]
mod tests;

use super::{
    CATCH_UP, Leftover, PartialDirectory, RECORD, SYNC, WRITEBACK,
    journal::{self, Journal, Subject},
    until_owned,
};
use crate::{Body, Error, FileRange, Piece, Ranges, Result, VerifiedBlob, Verifier, blocking, hashing::Hashing, platform::start_writeback};
use modelpack_spec::{Algorithm, Descriptor, Digest};
use rustix::fs::OFlags;
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// How the name of the file of a session begins, before its identifier.
const PREFIX: &str = "upload-";
/// A longer journal is shortened when the session is suspended. Each request adds some lines, even if it brings one byte.
const LONG_JOURNAL: u64 = 64 << 10;

/// An upload session with at least one byte, which this process owns.
///
/// If it is dropped, its bytes stay for the next request that [opens](PartialDirectory::open_session) it.
pub struct UploadSession {
    /// `None` during a write, and for ever if the future of a write was dropped. Then the bytes that were written stay too.
    state: Option<State>,
    algorithm: Algorithm,
}

/// A position of a session, to which it can go back. See [`UploadSession::rewind`].
pub struct Mark {
    len: u64,
    verifier: Verifier,
}

struct State {
    place: PartialDirectory,
    name: String,
    subject: Subject,
    file: Arc<File>,
    len: u64,
    /// Was given the first bytes, and after a crash not yet all of them.
    hashing: Hashing,
    /// Created with the first record, so that a blob that arrives in one request needs none.
    journal: Option<Journal>,
    /// How many bytes the journal has recorded.
    recorded: u64,
    /// How many bytes are known to be on the disk.
    synced: u64,
    /// How many bytes the kernel was asked to write to the disk.
    started: u64,
    /// For how many bytes the journal has the state of the hash function.
    hashed: u64,
    /// How many bytes the sender knows to have arrived, and whether the journal says so.
    acknowledged: (u64, bool),
    /// Whether it has become the blob, or was discarded.
    is_over: bool,
}

impl PartialDirectory {
    /// Begins the session `id`, whose bytes are hashed with `algorithm`. `of` is what it belongs to, in one line.
    ///
    /// Fails with [`Error::Invalid`] if `id` is not made of lower-case letters, digits and `-`.
    pub async fn create_session(&self, id: &str, of: &str, algorithm: Algorithm) -> Result<UploadSession> {
        let invalid = || Error::Invalid { what: format!("the upload {id:?}"), why: "this is no identifier of an upload".to_owned() };
        let name = self.session_name(id).ok_or_else(invalid)?;
        let own = || {
            let (this, name) = (self.clone(), name.clone());
            blocking(move || this.own(&name))
        };
        // The identifier is new, so another owner is somebody who looks for sessions that nobody owns.
        let file = until_owned(own, || ()).await?;
        file.set_len(0).map_err(Error::io("shorten", self.0.path.join(&name)))?;
        let state = State::new(self, name, Subject::session(algorithm, of), file, Verifier::unknown(algorithm));
        Ok(UploadSession { state: Some(state), algorithm })
    }

    /// Opens the session `id` of `of` with the bytes that it has, and waits while another process or task owns it. `None` if there is none.
    pub async fn open_session(&self, id: &str, of: &str) -> Result<Option<UploadSession>> {
        let Some(name) = self.session_name(id) else { return Ok(None) };
        let open = || {
            let (this, of, name) = (self.clone(), of.to_owned(), name.clone());
            blocking(move || match this.try_own(&name, OFlags::RDWR)? {
                Some(file) => Ok(Some(this.open_owned(name, &of, file)?)),
                None => Ok((!this.is_owned(&name)?).then_some(None)),
            })
        };
        until_owned(open, || ()).await
    }

    fn open_owned(&self, name: String, of: &str, file: File) -> Result<Option<UploadSession>> {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let subject = Subject::session(algorithm, of);
            let Some((journal, found)) = Journal::open(&self.0, &name, subject.clone(), &file)? else { continue };
            let verifier = Verifier::unknown(algorithm).resumed(found.hashed);
            let len = found.present.end_of_prefix();
            let mut state = State::new(self, name, subject, file, verifier);
            state.journal = Some(journal);
            (state.len, state.recorded, state.started) = (len, len, len);
            (state.synced, state.hashed) = (found.synced.end_of_prefix(), state.hashing.given());
            state.acknowledged = (found.acknowledged.unwrap_or_default(), true);
            let path = state.path();
            if state.file.metadata().map_err(Error::io("look at", &path))?.len() != len {
                // What was written after the last record may be incomplete.
                state.file.set_len(len).map_err(Error::io("shorten", &path))?;
                state.hashed = 0;
            }
            return Ok(Some(UploadSession { state: Some(state), algorithm }));
        }
        Ok(None)
    }

    /// Removes the session `id`, unless another process or task uses it; blocks.
    pub fn remove_session(&self, id: &str) {
        let Some(name) = self.session_name(id) else { return };
        if let Ok(Some(_owned)) = self.try_own(&name, OFlags::RDWR) {
            self.remove(&name);
        }
    }

    /// Removes the sessions that nobody uses now: those that `is_over` says by their identifiers, and those of which nothing was recorded;
    /// blocks. Returns them.
    pub fn clear_sessions(&self, mut is_over: impl FnMut(&str, &Leftover) -> bool) -> Result<Vec<Leftover>> {
        self.clear(|leftover| {
            let name = leftover.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_recorded = || self.0.path.join(journal::name(name)).exists();
            self.session_id(name).is_some_and(|id| is_over(id, leftover) || !is_recorded())
        })
    }

    fn session_name(&self, id: &str) -> Option<String> {
        is_id(id).then(|| format!("{}{PREFIX}{id}", self.0.prefix))
    }

    /// The identifier of the session whose file has this name.
    pub(super) fn session_id<'a>(&self, name: &'a str) -> Option<&'a str> {
        name.strip_prefix(&self.0.prefix)?.strip_prefix(PREFIX).filter(|id| is_id(id))
    }
}

fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

impl UploadSession {
    fn state(&mut self) -> Result<&mut State> {
        self.state.as_mut().ok_or_else(abandoned)
    }

    /// How many bytes have arrived.
    pub fn len(&self) -> u64 {
        self.state.as_ref().map_or(0, |state| state.len)
    }

    /// Whether no byte has arrived yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The hash function of its bytes.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether bytes have arrived that the sender may not know of.
    pub fn is_cut(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.len != state.acknowledged.0)
    }

    /// Notes that the sender knows of all bytes that have arrived.
    pub fn acknowledge(&mut self) {
        if let Some(state) = &mut self.state
            && state.acknowledged.0 != state.len
        {
            state.acknowledged = (state.len, false);
        }
    }

    /// The digest of the bytes that have arrived; blocks. After a crash, they are read for it.
    pub fn digest(&mut self) -> Result<Digest> {
        let state = self.state()?;
        Ok(state.hash_all()?.digest())
    }

    /// Appends the bytes of `body`. If it breaks off, the bytes that have arrived stay.
    pub async fn write(&mut self, body: Body) -> Result<()> {
        let state = self.state.take().ok_or_else(abandoned)?;
        let (state, written) = body.drain_in_place(state, |state, piece| state.append(&piece)).await;
        self.state = Some(state);
        written
    }

    /// Its present position.
    pub fn mark(&self) -> Option<Mark> {
        self.state.as_ref().map(|state| Mark { len: state.len, verifier: state.hashing.settle().verifier().clone() })
    }

    /// Discards the bytes that have arrived after `mark`, which must be of this session; blocks.
    pub fn rewind(&mut self, mark: Mark) -> Result<()> {
        self.state()?.rewind(mark)
    }

    /// Checks that the bytes have the digest `expected`, of any algorithm, syncs them, and lets `adopt` give the file its final name; blocks.
    ///
    /// Fails with [`Error::WrongDigest`] if they have another one. Then they are discarded.
    pub fn commit(mut self, expected: &Digest, adopt: impl FnOnce(&File, &Path, &VerifiedBlob) -> Result<()>) -> Result<VerifiedBlob> {
        let algorithm = self.algorithm;
        let state = self.state()?;
        let blob = Descriptor::new("", expected.clone(), state.len);
        let verified = if expected.algorithm() == algorithm {
            state.hash_all()?.finish_as(Some(&blob))
        } else {
            state.written().verify(Verifier::of(&blob))
        };
        let verified = verified.inspect_err(|error| {
            if matches!(error, Error::WrongDigest { .. }) {
                state.discard();
            }
        })?;
        if state.len > 0 {
            state.file.sync_data().map_err(Error::io("sync", state.path()))?;
        }
        adopt(&state.file, &state.path(), &verified)?;
        // Only the journal is left.
        state.discard();
        Ok(verified)
    }

    /// Removes it with all its bytes; blocks.
    pub fn discard(mut self) {
        if let Some(state) = &mut self.state {
            state.discard();
        }
    }
}

fn abandoned() -> Error {
    Error::Invalid { what: "the upload".to_owned(), why: "an earlier write to it was abandoned".to_owned() }
}

impl State {
    fn new(place: &PartialDirectory, name: String, subject: Subject, file: File, verifier: Verifier) -> Self {
        Self {
            place: place.clone(),
            name,
            subject,
            file: Arc::new(file),
            len: 0,
            hashing: Hashing::new(verifier),
            journal: None,
            recorded: 0,
            synced: 0,
            started: 0,
            hashed: 0,
            acknowledged: (0, true),
            is_over: false,
        }
    }

    fn path(&self) -> PathBuf {
        self.place.0.path.join(&self.name)
    }

    fn written(&self) -> FileRange {
        FileRange { file: self.file.clone(), path: self.path(), offset: 0, len: self.len }
    }

    fn append(&mut self, piece: &Piece<'_>) -> Result<()> {
        self.file.write_all_at(piece, self.len).map_err(|e| Error::io("write", self.path())(e))?;
        self.hashing.offer(self.len, piece);
        self.len += piece.len() as u64;
        self.catch_up(CATCH_UP)?;
        if self.len - self.recorded >= RECORD {
            self.record().map_err(|e| Error::io("write the journal of", self.path())(e))?;
        }
        if self.len - self.started >= WRITEBACK {
            start_writeback(&self.file, self.started..self.len);
            self.started = self.len;
        }
        if self.len - self.synced >= SYNC {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::io("sync", self.path())(e))?;
        self.begin_journal(self.len).map_err(|e| Error::io("write the journal of", self.path())(e))
    }

    /// Hashes at most `limit` of the bytes that were written before this process opened the session.
    fn catch_up(&self, limit: u64) -> Result<()> {
        if self.hashing.given() == self.len {
            return Ok(());
        }
        self.hashing.catch_up(&mut self.hashing.settle(), &self.written(), limit)
    }

    /// What has taken all bytes.
    fn hash_all(&self) -> Result<Verifier> {
        self.catch_up(u64::MAX)?;
        Ok(self.hashing.settle().verifier().clone())
    }

    fn rewind(&mut self, Mark { len, verifier }: Mark) -> Result<()> {
        self.file.set_len(len).map_err(|e| Error::io("shorten", self.path())(e))?;
        (self.len, self.hashing, self.started) = (len, Hashing::new(verifier), self.started.min(len));
        // The journal has it for another state of the file.
        self.hashed = 0;
        if self.recorded > len {
            self.begin_journal(self.synced.min(len)).map_err(|e| Error::io("write the journal of", self.path())(e))?;
        }
        Ok(())
    }

    /// Records all bytes.
    fn record(&mut self) -> io::Result<()> {
        if self.journal.is_none() {
            self.begin_journal(self.synced)?;
        }
        if let Some(journal) = self.journal.as_mut().filter(|_| self.recorded < self.len) {
            journal.have(&Ranges::from(self.recorded..self.len))?;
            self.recorded = self.len;
        }
        Ok(())
    }

    /// Begins the journal anew. It records all bytes, of which the first `synced` are on the disk.
    fn begin_journal(&mut self, synced: u64) -> io::Result<()> {
        let on_disk = if synced > 0 { Ranges::from(0..synced) } else { Ranges::new() };
        let mut journal = Journal::create(&self.place.0, &self.name, self.subject.clone(), &on_disk).map_err(io::Error::other)?;
        if synced < self.len {
            journal.have(&Ranges::from(synced..self.len))?;
        }
        (self.journal, self.synced, self.recorded) = (Some(journal), synced, self.len);
        (self.hashed, self.acknowledged.1) = (0, self.acknowledged.0 == 0);
        Ok(())
    }

    /// Writes to the journal what the next owner needs.
    fn suspend(&mut self) -> io::Result<()> {
        self.record()?;
        if self.journal.as_ref().is_some_and(|journal| journal.len().is_ok_and(|len| len > LONG_JOURNAL)) {
            self.begin_journal(self.synced)?;
        }
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let hashed = self.hashing.settle();
        if self.hashed != hashed.verifier().count() {
            journal.hashed(hashed.verifier().count(), hashed.verifier().hasher(), &self.file)?;
        }
        drop(hashed);
        if !self.acknowledged.1 {
            journal.acknowledged(self.acknowledged.0)?;
        }
        Ok(())
    }

    fn discard(&mut self) {
        self.is_over = true;
        self.place.remove(&self.name);
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if self.len == 0 {
            return self.discard();
        }
        // Without it, the next owner knows of fewer bytes, and the sender sends the others again.
        let _ = self.suspend();
    }
}
