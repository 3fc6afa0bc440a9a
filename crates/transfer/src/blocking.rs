//! Work that blocks, on threads that may block.

use crate::{CHUNK, Error, FileRange, Piece, Result, body::file_pieces, hashing::has_idle_processors};
use bytes::Bytes;
use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};
use tokio::{
    runtime::Handle,
    task::{JoinError, JoinHandle},
};

/// A file of at least this many bytes is hashed on a thread of its own while another thread reads or copies it.
pub const LARGE_FILE: u64 = 8 << 20;

/// Reads a range of a file piece by piece; blocks. This thread calls `write` with each piece and its position in the range, and a second
/// thread calls `hash` with the same. So a single file uses two processors. If there are not so many for all files that are hashed, `hash`
/// can keep its pieces, and hash those of two files [together](crate::Hashing).
///
/// Stops at the first error and returns it.
pub fn copy_hashed(
    range: &FileRange,
    mut write: impl FnMut(u64, &[u8]) -> Result<()>,
    mut hash: impl FnMut(u64, Piece<'_>) -> Result<()> + Send,
) -> Result<()> {
    std::thread::scope(|scope| {
        let (to_hash, pieces) = std::sync::mpsc::sync_channel::<(u64, Bytes)>(2);
        let hashing = scope.spawn(move || {
            pieces.into_iter().try_for_each(|(at, piece)| {
                // A thread that hashes for two files takes longer for each than two threads would.
                hash(at, if has_idle_processors() { piece[..].into() } else { (&piece).into() })
            })
        });
        let mut copy = move || {
            let mut at = 0;
            for piece in file_pieces(range, CHUNK) {
                let piece = piece?;
                write(at, &piece)?;
                let len = piece.len() as u64;
                // If the hashing thread refused a piece, it has ended.
                if to_hash.send((at, piece)).is_err() {
                    break;
                }
                at += len;
            }
            Ok(())
        };
        let copied = copy();
        // The hashing thread ends when its sender is dropped.
        drop(copy);
        let hashed = hashing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        copied.and(hashed)
    })
}

/// Tells blocking work whether its result is still needed.
pub struct Cancelled(Arc<AtomicBool>);

impl Cancelled {
    /// Fails if the result is not needed any more, so that the work ends early. Nobody sees this error.
    pub fn check(&self, path: &Path) -> Result<()> {
        if self.0.load(Relaxed) { Err(Error::io("go on with", path)(io::ErrorKind::Interrupted.into())) } else { Ok(()) }
    }
}

/// Like [`blocking`], for work that may be long. The work can ask whether the returned future was dropped.
pub async fn blocking_cancellable<T: Send + 'static>(work: impl FnOnce(&Cancelled) -> T + Send + 'static) -> T {
    struct CancelOnDrop(Arc<AtomicBool>);
    impl Drop for CancelOnDrop {
        fn drop(&mut self) {
            self.0.store(true, Relaxed);
        }
    }
    let cancel = CancelOnDrop(Arc::default());
    let cancelled = Cancelled(cancel.0.clone());
    blocking(move || work(&cancelled)).await
}

/// Runs `work` on a thread that may block. All blocking work of async code goes through here.
///
/// The work runs to its end even if the returned future is dropped.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    joined(tokio::task::spawn_blocking(work)).await
}

/// Whether there are threads for [`in_background`]: only async code has some.
pub(crate) fn has_background() -> bool {
    Handle::try_current().is_ok()
}

/// Runs `work` on a thread that may block, and does not wait for it.
pub(crate) fn in_background(work: impl FnOnce() + Send + 'static) {
    drop(tokio::task::spawn_blocking(work));
}

/// Runs `work` in a task of its own, so that another thread of the runtime can run it at the same time. It is cancelled if the returned
/// future is dropped.
pub(crate) async fn task<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    struct Task<T>(JoinHandle<T>);
    impl<T> Drop for Task<T> {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
    let mut running = Task(tokio::spawn(work));
    joined(&mut running.0).await
}

/// What the task returns. If it panics, this panics.
pub(crate) async fn joined<T>(handle: impl Future<Output = Result<T, JoinError>>) -> T {
    match handle.await {
        Ok(value) => value,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime has ended. The task that waits for this ends with it.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hashing, Verifier};
    use modelpack_spec::{Algorithm, Digest};
    use std::{fs::File, thread};

    /// Hashes a file of `len` bytes while it is read. `write` and `hash` are called before each piece, with its position.
    fn hashed(len: usize, write: fn(&File, u64) -> Result<()>, hash: fn(u64) -> Result<()>) -> (Result<Digest>, Digest) {
        let content: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        std::fs::write(&path, &content).unwrap();
        let (file, range) = (File::options().write(true).open(&path).unwrap(), FileRange::open(&path).unwrap());
        let hashing = Hashing::new(Verifier::unknown(Algorithm::Sha256));
        let take = |at, piece: Piece<'_>| {
            hash(at)?;
            hashing.update(&piece);
            Ok(())
        };
        let copied = copy_hashed(&range, |at, _| write(&file, at), take);
        (copied.map(|()| hashing.finish().digest()), Digest::of(&content))
    }

    #[test]
    fn files_that_fail_end_early_and_do_not_concern_those_that_are_hashed_with_them() {
        const LEN: usize = 40 * CHUNK + 1;
        fn until(at: u64, pieces: usize) -> Result<()> {
            if at < (pieces * CHUNK) as u64 { Ok(()) } else { Err(Error::io("write", "x")(io::ErrorKind::StorageFull.into())) }
        }
        for _ in 0..5 {
            thread::scope(|scope| {
                for len in [LEN, LEN / 3, CHUNK, 0] {
                    scope.spawn(move || {
                        let (found, expected) = hashed(len, |_, _| Ok(()), |_| Ok(()));
                        assert_eq!(found.unwrap(), expected);
                    });
                }
                scope.spawn(move || {
                    let shorten = |file: &File, at| match at == 3 * CHUNK as u64 {
                        true => file.set_len(at).map_err(Error::io("shorten", "x")),
                        false => Ok(()),
                    };
                    assert!(matches!(hashed(LEN, shorten, |_| Ok(())).0, Err(Error::Changed { .. })));
                });
                scope.spawn(move || assert!(matches!(hashed(LEN, |_, at| until(at, 5), |_| Ok(())).0, Err(Error::Io { .. }))));
                scope.spawn(move || {
                    // The file is not read to its end.
                    let write = |_: &File, at| if at < 20 * CHUNK as u64 { Ok(()) } else { Err(Error::not_found("this piece")) };
                    assert!(matches!(hashed(LEN, write, |at| until(at, 5)).0, Err(Error::Io { .. })));
                });
            });
        }
    }

    #[test]
    fn work_that_never_begins_is_no_panic() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let (release, held) = std::sync::mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || held.recv());
            let cancelled = tokio::task::spawn_blocking(|| ());
            cancelled.abort();
            drop(release);
            busy.await.unwrap().unwrap_err();
            while !cancelled.is_finished() {
                tokio::task::yield_now().await;
            }
            tokio::select! {
                biased;
                () = joined(cancelled) => unreachable!("it did not begin"),
                () = std::future::ready(()) => {}
            }
        });
    }
}
