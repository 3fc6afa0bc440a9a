//! Work that blocks, on threads that may block.

use crate::{CHUNK, Error, FileRange, Result};
use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};
use tokio::task::{JoinError, JoinHandle};

/// Reads a range of a file piece by piece; blocks. This thread calls `write` with each piece and its position in the range, and a second
/// thread calls `hash` with the same. So a single file uses two processors.
///
/// Stops at the first error and returns it.
pub fn copy_hashed(
    range: &FileRange,
    mut write: impl FnMut(u64, &[u8]) -> Result<()>,
    mut hash: impl FnMut(u64, &[u8]) -> Result<()> + Send,
) -> Result<()> {
    std::thread::scope(|scope| {
        let (to_hash, pieces) = std::sync::mpsc::sync_channel::<(u64, Vec<u8>, usize)>(2);
        let (give_back, spare) = std::sync::mpsc::channel::<Vec<u8>>();
        (0..4).try_for_each(|_| give_back.send(vec![0; CHUNK])).expect("the receiver is alive");
        let hashing = scope.spawn(move || {
            for (at, buffer, n) in pieces {
                hash(at, &buffer[..n])?;
                // At the end the copying thread needs no buffers any more, but some pieces are not hashed yet.
                let _ = give_back.send(buffer);
            }
            Ok(())
        });
        let mut copy = move || {
            let mut at = 0;
            while at < range.len {
                // If the hashing thread refused a piece, it has ended.
                let Ok(mut buffer) = spare.recv() else { break };
                let n = range.read_at(&mut buffer, at)?;
                write(at, &buffer[..n])?;
                if to_hash.send((at, buffer, n)).is_err() {
                    break;
                }
                at += n as u64;
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
