//! Writing one blob: bytes go to a file and through the hash once, and become visible in one step when they are verified.

use super::{
    blobs::{Blobs, is_absent},
    repository::Links,
    writeback::Writeback,
};
use async_trait::async_trait;
use modelpack_spec::{Algorithm, Descriptor, Digest, Hasher};
use modelpack_transfer::{Body, CHUNK, Cancelled, Error, FileRange, Progress, Result, Upload, platform::clone_file, verify_blob};
use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{FileExt, MetadataExt},
    path::PathBuf,
    sync::{Arc, mpsc},
    thread,
};

/// From this size on a file is hashed on a thread of its own while another copies it.
const LARGE: u64 = 8 << 20;

/// A blob that is being written to a store on disk.
///
/// This is the one place where bytes enter a store: whatever is committed has been hashed here.
pub struct BlobWriter {
    target: Target,
    /// Absent while a write is under way, and for good if that write was abandoned.
    state: Option<State>,
}

/// Where a blob is written, and what it will be.
struct Target {
    blobs: Blobs,
    links: Option<Links>,
    expected: Option<Descriptor>,
    path: PathBuf,
}

impl Drop for Target {
    fn drop(&mut self) {
        // After a commit the file is elsewhere; a leftover that cannot be removed is collected later.
        let _ = fs::remove_file(&self.path);
    }
}

/// A blob that is written in several requests, between two of them: no file is open. Dropping it discards what was written.
pub struct SuspendedWriter {
    target: Target,
    hasher: Hasher,
    len: u64,
}

/// Where a blob that is being written stood at some time. See [`SuspendedWriter::rewind`].
#[derive(Clone)]
pub struct Mark {
    hasher: Hasher,
    len: u64,
}

struct State {
    file: Arc<File>,
    hasher: Hasher,
    len: u64,
    writeback: Writeback,
}

impl State {
    fn append(&mut self, bytes: &[u8], path: &PathBuf) -> Result<()> {
        self.file.write_all_at(bytes, self.len).map_err(Error::io("write", path))?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        self.writeback.advance(&self.file, self.len);
        Ok(())
    }
}

impl BlobWriter {
    /// Begins a blob; blocks. The file is locked, which tells it from one whose writer is gone.
    pub(super) fn create(blobs: Blobs, links: Option<Links>, algorithm: Algorithm, expected: Option<Descriptor>) -> Result<Self> {
        let (file, path) = loop {
            let path = blobs.ingest.join(blobs.presence.name_file());
            let file = OpenOptions::new().create_new(true).read(true).write(true).open(&path).map_err(Error::io("create", &path))?;
            file.lock().map_err(Error::io("lock", &path))?;
            // Before it was locked, it looked like a dead writer's, and may have been removed.
            if file.metadata().map_err(Error::io("look at", &path))?.nlink() > 0 {
                break (file, path);
            }
        };
        let state = State { file: Arc::new(file), hasher: Hasher::new(algorithm), len: 0, writeback: Writeback::default() };
        Ok(Self { target: Target { blobs, links, expected, path }, state: Some(state) })
    }

    /// Closes the file until the upload goes on; blocks. As long as this process lives, collection keeps what was written.
    ///
    /// Fails if an earlier write was abandoned.
    pub fn suspend(mut self) -> Result<SuspendedWriter> {
        let State { file, hasher, len, .. } = self.state.take().ok_or_else(|| self.abandoned())?;
        self.target.blobs.presence.show(&self.target.blobs.ingest)?;
        drop(file);
        Ok(SuspendedWriter { target: self.target, hasher, len })
    }

    /// All bytes that were written, of a blob that is known to be small; blocks.
    pub fn read_back(&self) -> Result<Vec<u8>> {
        let State { file, len, .. } = self.state.as_ref().ok_or_else(|| self.abandoned())?;
        FileRange { file: file.clone(), path: self.target.path.clone(), offset: 0, len: *len }.read()
    }

    /// How many bytes were written.
    pub fn len(&self) -> u64 {
        self.state.as_ref().map_or(0, |s| s.len)
    }

    /// Whether no byte was written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn abandoned(&self) -> Error {
        Error::Invalid { what: self.target.path.display().to_string(), why: "an earlier write to this upload was abandoned".to_owned() }
    }

    /// Commits the blob as `digest`, of whichever algorithm, and returns its size in bytes.
    ///
    /// Fails with [`Error::WrongDigest`] if the bytes have another digest; the bytes are gone then.
    pub async fn commit_as(self, digest: &Digest) -> Result<u64> {
        let digest = digest.clone();
        modelpack_transfer::blocking(move || self.commit_blocking(Some(&digest)).map(|(_, size)| size)).await
    }

    /// Appends bytes in memory; blocks.
    pub(super) fn append_blocking(&mut self, bytes: &[u8]) -> Result<()> {
        let abandoned = self.abandoned();
        self.state.as_mut().ok_or(abandoned)?.append(bytes, &self.target.path)
    }

    pub(super) fn commit_blocking(mut self, expected: Option<&Digest>) -> Result<(Digest, u64)> {
        let State { file, hasher, len, .. } = self.state.take().ok_or_else(|| self.abandoned())?;
        let expected = expected.or(self.target.expected.as_ref().map(|d| &d.digest));
        let mut found = hasher.finish();
        if let Some(expected) = expected
            && expected.algorithm() != found.algorithm()
        {
            let whole = FileRange { file: file.clone(), path: self.target.path.clone(), offset: 0, len };
            found = whole.digest(expected.algorithm())?;
        }
        let promised = self.target.expected.clone().or_else(|| expected.map(|digest| Descriptor::new("", digest.clone(), len)));
        if let Some(blob) = promised {
            verify_blob(&format!("blob {}", blob.digest), &blob, &found, len)?;
        }
        if len > 0 {
            file.sync_data().map_err(Error::io("sync", &self.target.path))?;
        }
        let _collection_waits = self.target.blobs.guard()?;
        self.target.blobs.adopt(&file, &self.target.path, &found)?;
        if let Some(links) = &self.target.links {
            links.add(&found)?;
        }
        Ok((found, len))
    }
}

impl SuspendedWriter {
    /// How many bytes were written.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether no byte was written yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The digest of the bytes that were written so far.
    pub fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// Where the upload stands.
    pub fn mark(&self) -> Mark {
        Mark { hasher: self.hasher.clone(), len: self.len }
    }

    /// Discards what was written after `mark`, which is of this upload; blocks.
    pub fn rewind(self, mark: Mark) -> Result<Self> {
        let mut writer = self.resume()?;
        let Mark { hasher, len } = mark;
        if let Some(state) = &mut writer.state {
            state.file.set_len(len).map_err(Error::io("shorten", &writer.target.path))?;
            *state = State { file: state.file.clone(), hasher, len, writeback: Writeback::starting_at(len) };
        }
        writer.suspend()
    }

    /// Opens the file again; blocks.
    ///
    /// Fails with [`Error::NotFound`] if somebody has removed it.
    pub fn resume(self) -> Result<BlobWriter> {
        let Self { target, hasher, len } = self;
        let gone = || Error::not_found(format!("the upload {}", target.path.display()));
        let file = OpenOptions::new().read(true).write(true).open(&target.path);
        let file = file.map_err(|e| if is_absent(&e) { gone() } else { Error::io("open", &target.path)(e) })?;
        file.lock().map_err(Error::io("lock", &target.path))?;
        if file.metadata().map_err(Error::io("look at", &target.path))?.nlink() == 0 {
            return Err(gone());
        }
        let state = State { file: Arc::new(file), hasher, len, writeback: Writeback::starting_at(len) };
        Ok(BlobWriter { target, state: Some(state) })
    }
}

#[async_trait]
impl Upload for BlobWriter {
    async fn write(&mut self, body: Body) -> Result<()> {
        let state = self.state.take().ok_or_else(|| self.abandoned())?;
        let path = self.target.path.clone();
        let (state, result) = match body.file().filter(|f| f.len >= LARGE).cloned() {
            Some(range) => {
                let progress = body.progress().cloned();
                modelpack_transfer::blocking_cancellable(move |cancelled| copy_large(state, &range, &path, progress.as_deref(), cancelled))
                    .await
            }
            None => body.drain_in_place(state, move |state, piece| state.append(piece, &path)).await,
        };
        self.state = Some(state);
        result
    }

    async fn commit(self: Box<Self>, expected: Option<&Descriptor>) -> Result<(Digest, u64)> {
        let mut writer = *self;
        if expected.is_some() {
            writer.target.expected = expected.cloned();
        }
        modelpack_transfer::blocking(move || writer.commit_blocking(None)).await
    }
}

/// Appends a large file. This thread reads and writes while a second one hashes what was written, so that one blob alone
/// keeps two processors busy.
fn copy_large(
    mut state: State,
    range: &FileRange,
    path: &PathBuf,
    progress: Option<&Progress>,
    cancelled: &Cancelled,
) -> (State, Result<()>) {
    let cloned = state.len == 0 && reflink(range, &state.file);
    let State { file, hasher, len, writeback } = &mut state;
    let result = thread::scope(|scope| {
        let (to_hash, pieces) = mpsc::sync_channel::<(Vec<u8>, usize)>(2);
        let (give_back, spare) = mpsc::channel::<Vec<u8>>();
        (0..4).try_for_each(|_| give_back.send(vec![0; CHUNK])).expect("the receiver is alive");
        scope.spawn(move || {
            for (buffer, n) in pieces {
                hasher.update(&buffer[..n]);
                // At the end nobody waits for buffers any more, and pieces are still to be hashed.
                let _ = give_back.send(buffer);
            }
        });
        // What was cloned is hashed from the clone: only those bytes are kept, whatever becomes of the original.
        let source = if cloned { FileRange { file: file.clone(), path: path.clone(), offset: 0, len: range.len } } else { range.clone() };
        let mut at = 0;
        while at < range.len {
            cancelled.check(&range.path)?;
            let mut buffer = spare.recv().expect("the hashing thread returns each buffer");
            let n = source.read_at(&mut buffer, at)?;
            if !cloned {
                file.write_all_at(&buffer[..n], *len).map_err(Error::io("write", path))?;
            }
            to_hash.send((buffer, n)).expect("the hashing thread is alive while pieces may come");
            at += n as u64;
            *len += n as u64;
            writeback.advance(file, *len);
            if let Some(progress) = progress {
                progress.moved(n as u64);
            }
        }
        Ok(())
    });
    (state, result)
}

/// Lets `file` share the blocks of a whole file, where the file system can.
fn reflink(range: &FileRange, file: &File) -> bool {
    let is_whole = range.offset == 0 && range.file.metadata().is_ok_and(|m| m.len() == range.len);
    is_whole && clone_file(&range.file, file) && file.metadata().is_ok_and(|m| m.len() == range.len)
}
