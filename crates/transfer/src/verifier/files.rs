//! Hashing whole files, two on a processor.

use super::{
    Verifier,
    pairs::{Part, hash_in_pairs},
};
use crate::{Error, FileRange, Progress, Result, blocking::in_background, hashing::lock};
use std::{
    collections::VecDeque,
    io,
    num::NonZero,
    sync::{Arc, Mutex},
    thread,
};
use tokio::sync::oneshot;

/// The files that are to be hashed by this process, and how many threads hash some.
struct Files {
    waiting: VecDeque<Job>,
    threads: usize,
}

static FILES: Mutex<Files> = Mutex::new(Files { waiting: VecDeque::new(), threads: 0 });

struct Job {
    file: FileRange,
    verifier: Verifier,
    progress: Arc<Progress>,
    done: oneshot::Sender<Result<Verifier>>,
}

/// Gives all bytes of a file to `verifier`, and returns it. Files for which this is called at the same time are hashed two on a processor, so
/// this is for files of which there are several. The bytes are counted as hashed in `progress`.
///
/// Fails with [`Error::Changed`] if the file becomes shorter. If the future is dropped, the file is not read further.
pub async fn hash_file(file: FileRange, verifier: Verifier, progress: Arc<Progress>) -> Result<Verifier> {
    let (done, hashed) = oneshot::channel();
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    {
        let mut files = lock(&FILES);
        files.waiting.push_back(Job { file, verifier, progress, done });
        if files.threads < processors {
            files.threads += 1;
            in_background(move || hash_files(processors));
        }
    }
    match hashed.await {
        Ok(hashed) => hashed,
        // The runtime has ended. The task that waits for this ends with it.
        Err(_) => std::future::pending().await,
    }
}

/// Hashes files until none waits.
fn hash_files(processors: usize) {
    loop {
        hash_in_pairs(|others| {
            let mut files = lock(&FILES);
            // Two threads are faster than one thread with two files.
            let left_to_others = if others == 0 { 0 } else { processors - files.threads };
            if files.waiting.len() > left_to_others { files.waiting.pop_front() } else { None }
        });
        let mut files = lock(&FILES);
        if files.waiting.is_empty() {
            files.threads -= 1;
            return;
        }
    }
}

impl Part for Job {
    fn source(&self) -> (&FileRange, u64) {
        (&self.file, self.file.len)
    }

    fn verifier(&mut self) -> &mut Verifier {
        &mut self.verifier
    }

    fn read(&mut self, _: u64, piece: &[u8]) -> Result<()> {
        if self.done.is_closed() {
            return Err(Error::io("go on with", &self.file.path)(io::ErrorKind::Interrupted.into()));
        }
        self.progress.hashed(piece.len() as u64);
        Ok(())
    }

    fn finish(self, read: Result<()>) {
        // Nobody may wait for it any more.
        let _ = self.done.send(read.map(|()| self.verifier));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use modelpack_spec::{Algorithm, Digest};
    use std::{fs, path::Path};

    fn file(directory: &Path, len: usize) -> (FileRange, Digest) {
        let content: Vec<u8> = (0..len).map(|i| ((i * len) % 253) as u8).collect();
        let path = directory.join(len.to_string());
        fs::write(&path, &content).unwrap();
        (FileRange::open(&path).unwrap(), Digest::of(&content))
    }

    async fn hashed(file: FileRange) -> Result<Verifier> {
        hash_file(file, Verifier::unknown(Algorithm::Sha256), Arc::default()).await
    }

    #[tokio::test]
    async fn files_of_any_length_that_are_hashed_at_once_have_their_digests() {
        let directory = tempfile::tempdir().unwrap();
        let files = [0, 1, 300_000, 5, 1 << 20, (1 << 20) + 7, 64].map(|len| file(directory.path(), len));
        let all = files.map(|(file, digest)| async move { assert_eq!(hashed(file).await.unwrap().digest(), digest) });
        futures_util::future::join_all(all).await;
        assert_eq!(lock(&FILES).waiting.len(), 0);
    }

    #[tokio::test]
    async fn a_file_that_has_become_shorter_fails_alone() {
        let directory = tempfile::tempdir().unwrap();
        let [(short, _), (other, digest)] = [400_000, 500_000].map(|len| file(directory.path(), len));
        fs::OpenOptions::new().write(true).open(&short.path).unwrap().set_len(300_000).unwrap();
        let (short, other) = tokio::join!(hashed(short), hashed(other));
        assert!(matches!(short, Err(Error::Changed { .. })));
        assert_eq!(other.unwrap().digest(), digest);
    }
}
