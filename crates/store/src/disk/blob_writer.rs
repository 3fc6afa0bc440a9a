//! Writing one blob. Each byte is written to a file and hashed once. When the blob is verified, it becomes visible in one step.

use super::{
    abandoned::PREFIX,
    blobs::{Blobs, random_name},
    links::Links,
    writeback::Writeback,
};
use async_trait::async_trait;
use modelpack_spec::{Descriptor, Digest};
use modelpack_transfer::{
    Body, Cancelled, Committed, Error, FileRange, Hashing, LARGE_FILE, Piece, Progress, Result, Upload, VerifiedBlob, Verifier,
    copy_hashed, platform::clone_file,
};
use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{FileExt, MetadataExt},
    path::PathBuf,
    sync::Arc,
};

/// A blob that is being written to a store on disk.
///
/// Bytes enter a store only here: whatever is committed was verified here.
pub struct BlobWriter {
    target: Target,
    /// `None` during a write, and for ever if the future of a write was dropped.
    state: Option<State>,
}

/// Where a blob is written.
struct Target {
    blobs: Blobs,
    links: Option<Links>,
    path: PathBuf,
}

impl Target {
    /// All bytes that were written.
    fn written(&self, state: &State) -> FileRange {
        FileRange { file: state.file.clone(), path: self.path.clone(), offset: 0, len: state.hashing.given() }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // After a commit the file has another name. If the file cannot be removed, collection removes it later.
        let _ = fs::remove_file(&self.path);
    }
}

struct State {
    file: Arc<File>,
    /// Was given all bytes that are in the file.
    hashing: Hashing,
    writeback: Writeback,
}

impl State {
    fn append(&mut self, piece: &Piece<'_>, path: &PathBuf) -> Result<()> {
        self.file.write_all_at(piece, self.hashing.given()).map_err(Error::io("write", path))?;
        self.hashing.update(piece);
        self.writeback.advance(&self.file, self.hashing.given());
        Ok(())
    }
}

impl BlobWriter {
    /// Begins a blob; blocks. The file is locked, which distinguishes it from a file whose writer is dead.
    pub(super) fn create(blobs: Blobs, links: Option<Links>, verifier: Verifier) -> Result<Self> {
        let (file, path) = loop {
            let path = blobs.ingest.join(format!("{PREFIX}{}", random_name()));
            let file = OpenOptions::new().create_new(true).read(true).write(true).open(&path).map_err(Error::io("create", &path))?;
            file.lock().map_err(Error::io("lock", &path))?;
            // Before it was locked, it looked like the file of a dead writer, and may have been removed.
            if file.metadata().map_err(Error::io("look at", &path))?.nlink() > 0 {
                break (file, path);
            }
        };
        let state = State { file: Arc::new(file), hashing: Hashing::new(verifier), writeback: Writeback::default() };
        Ok(Self { target: Target { blobs, links, path }, state: Some(state) })
    }

    /// Reads all bytes that were written, of a blob that the caller knows to be small; blocks.
    pub fn read_back(&self) -> Result<Vec<u8>> {
        self.target.written(self.state.as_ref().ok_or_else(|| self.abandoned())?).read()
    }

    /// How many bytes were written.
    pub fn len(&self) -> u64 {
        self.state.as_ref().map_or(0, |state| state.hashing.given())
    }

    /// Whether no byte was written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn abandoned(&self) -> Error {
        Error::Invalid { what: self.target.path.display().to_string(), why: "an earlier write to this upload was abandoned".to_owned() }
    }

    /// Commits the blob with the digest `digest`, of any algorithm, and returns its size in bytes.
    ///
    /// Fails with [`Error::WrongDigest`] if the bytes have another digest. The bytes are discarded then.
    pub async fn commit_as(self, digest: &Digest) -> Result<u64> {
        let blob = Descriptor::new("", digest.clone(), self.len());
        modelpack_transfer::blocking(move || self.commit_blocking(Some(&blob))).await.map(|committed| committed.size())
    }

    /// Appends bytes in memory; blocks.
    pub(super) fn append_blocking(&mut self, bytes: &[u8]) -> Result<()> {
        let abandoned = self.abandoned();
        self.state.as_mut().ok_or(abandoned)?.append(&bytes.into(), &self.target.path)
    }

    /// Commits the blob. If `expected` is given, fails unless the blob is that one; blocks.
    pub(super) fn commit_blocking(mut self, expected: Option<&Descriptor>) -> Result<VerifiedBlob> {
        let state = self.state.take().ok_or_else(|| self.abandoned())?;
        let (written, State { file, hashing, .. }) = (self.target.written(&state), state);
        let verifier = hashing.finish();
        let blob = match expected.filter(|expected| expected.digest.algorithm() != verifier.algorithm()) {
            // While it was written it was hashed with another algorithm.
            Some(expected) => verifier.finish().and_then(|_| written.verify(Verifier::of(expected)))?,
            None => verifier.finish_as(expected)?,
        };
        if blob.size() > 0 {
            file.sync_data().map_err(Error::io("sync", &self.target.path))?;
        }
        let _collection_waits = self.target.blobs.guard()?;
        self.target.blobs.adopt(&file, &self.target.path, &blob)?;
        if let Some(links) = &self.target.links {
            links.add(blob.digest())?;
        }
        Ok(blob)
    }
}

#[async_trait]
impl Upload for BlobWriter {
    async fn write(&mut self, body: Body) -> Result<()> {
        let state = self.state.take().ok_or_else(|| self.abandoned())?;
        let path = self.target.path.clone();
        let (state, result) = match body.file().filter(|f| f.len >= LARGE_FILE).cloned() {
            Some(range) => {
                let progress = body.progress().cloned();
                modelpack_transfer::blocking_cancellable(move |cancelled| copy_large(state, &range, &path, progress.as_deref(), cancelled))
                    .await
            }
            None => body.drain_in_place(state, move |state, piece| state.append(&piece, &path)).await,
        };
        self.state = Some(state);
        result
    }

    async fn commit(self: Box<Self>, expected: Option<&Descriptor>) -> Result<Committed> {
        let expected = expected.cloned();
        let committed = modelpack_transfer::blocking(move || self.commit_blocking(expected.as_ref())).await?;
        Ok(committed.into())
    }
}

/// Appends a large file. This thread reads and writes, and a second one hashes what was written.
fn copy_large(
    mut state: State,
    range: &FileRange,
    path: &PathBuf,
    progress: Option<&Progress>,
    cancelled: &Cancelled,
) -> (State, Result<()>) {
    let begin = state.hashing.given();
    let cloned = begin == 0 && reflink(range, &state.file);
    let State { file, hashing, writeback } = &mut state;
    // A clone is hashed, and not its original: the clone is what is kept, and the original may change.
    let source = if cloned { FileRange { file: file.clone(), path: path.clone(), offset: 0, len: range.len } } else { range.clone() };
    let write = |at: u64, piece: &[u8]| {
        cancelled.check(&range.path)?;
        if !cloned {
            file.write_all_at(piece, begin + at).map_err(Error::io("write", path))?;
        }
        writeback.advance(file, begin + at + piece.len() as u64);
        if let Some(progress) = progress {
            progress.moved(piece.len() as u64);
        }
        Ok(())
    };
    let result = copy_hashed(&source, write, |_, piece| {
        hashing.update(&piece);
        Ok(())
    });
    (state, result)
}

/// Lets `file` share the blocks of a whole file, if the file system supports that.
fn reflink(range: &FileRange, file: &File) -> bool {
    range.is_whole() && clone_file(&range.file, file) && file.metadata().is_ok_and(|m| m.len() == range.len)
}
