//! Upload sessions of a registry: blobs of which neither length nor digest are known, and that come in several requests.
//!
//! They lie in the directory of the partial blobs. Between two requests no process has them open, and they stay if the registry ends.

use super::{Repository, Store};
use modelpack_spec::{Algorithm, Digest};
use modelpack_transfer::{Leftover, Result, UploadSession, blocking};
use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

impl Repository {
    /// Begins the upload session `id`, whose bytes are hashed with `algorithm`. Creates the repository if there is none.
    ///
    /// `id` consists of at most 64 lower-case letters, digits and `-`, and nobody can guess it.
    pub async fn begin_session(&self, id: &str, algorithm: Algorithm) -> Result<UploadSession> {
        let this = self.clone();
        let partials = blocking(move || this.layout().create().and_then(|()| this.pool().partials()));
        partials.await?.create_session(id, self.name().as_str(), algorithm).await
    }

    /// The upload session `id` of this repository, with the bytes that it has. `None` if it has none.
    ///
    /// Waits while another request uses the session.
    pub async fn open_session(&self, id: &str) -> Result<Option<UploadSession>> {
        let this = self.clone();
        let partials = blocking(move || this.pool().existing_partials()).await?;
        match partials {
            Some(partials) => partials.open_session(id, self.name().as_str()).await,
            None => Ok(None),
        }
    }

    /// Makes the bytes of a session a blob of this repository, and returns its size in bytes. `digest` may be of any algorithm.
    ///
    /// Fails with [`Error::WrongDigest`](modelpack_transfer::Error::WrongDigest) if the bytes have another digest. They are discarded then.
    pub async fn commit_session(&self, session: UploadSession, digest: &Digest) -> Result<u64> {
        let (this, digest) = (self.clone(), digest.clone());
        let committed = blocking(move || {
            session.commit(&digest, |file, path, blob| {
                let _collection_waits = this.pool().guard()?;
                this.pool().adopt(file, path, blob)?;
                this.links().add(blob.digest())
            })
        });
        committed.await.map(|blob| blob.size())
    }
}

impl Store {
    /// Removes the bytes of an upload session, unless a request uses it; blocks.
    pub fn remove_session(&self, id: &str) {
        if let Ok(Some(partials)) = self.pool().existing_partials() {
            partials.remove_session(id);
        }
    }

    /// Removes the upload sessions that were not written to for `idle`, except those that are in use and those that `keep` says; blocks.
    /// Returns their files with the bytes that they had on the disk.
    pub fn expire_sessions(&self, idle: Duration, keep: impl Fn(&str) -> bool) -> Result<Vec<(PathBuf, u64)>> {
        let Some(partials) = self.pool().existing_partials()? else { return Ok(Vec::new()) };
        let now = SystemTime::now();
        let is_over = |session: &Leftover| now.duration_since(session.modified).is_ok_and(|elapsed| elapsed >= idle);
        let removed = partials.clear_sessions(|id, session| is_over(session) && !keep(id))?;
        Ok(removed.into_iter().map(|session| (session.path, session.bytes)).collect())
    }
}
