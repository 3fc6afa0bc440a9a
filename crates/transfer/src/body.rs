//! The bytes of a blob on their way: a range of a file, or a stream.

mod file_range;
mod file_stream;

pub use file_range::FileRange;
pub use file_stream::Window;
pub(crate) use file_stream::file_pieces;

use crate::{
    Cancelled, Error, LARGE_FILE, Progress, Result, blocking,
    blocking::joined,
    blocking_cancellable, copy_hashed, hashing,
    produced::{Producer, stream_of},
};
use bytes::Bytes;
use file_stream::{file_stream, file_windows};
use futures_util::{
    FutureExt, StreamExt, TryStreamExt,
    future::{BoxFuture, ready},
    stream,
    stream::BoxStream,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// How many bytes are read, hashed, written or sent at a time. Smaller pieces reduce the throughput, larger ones need more memory.
pub const CHUNK: usize = 256 << 10;

/// If a task works for longer than this without a pause, other tasks have to wait.
const QUICK: Duration = Duration::from_millis(10);

/// How many bytes a thread takes together while nothing is received. A piece of the network is often longer, so it is only this one.
const BATCH_IN_PLACE: usize = CHUNK / 2;

/// Bytes that a [`Source`](crate::Source) returns and an [`Upload`](crate::Upload) writes. They are read once.
///
/// A file becomes a stream only if a reader needs one, so that a sink on disk can let the kernel copy or clone it.
pub struct Body {
    content: Content,
    progress: Option<Arc<Progress>>,
    /// How many bytes of this body and its clones have been counted.
    counted: Arc<AtomicU64>,
    /// Where it begins in the body whose bytes are counted.
    begins: u64,
}

enum Content {
    File(FileRange),
    Stream { stream: BoxStream<'static, Result<Bytes>>, len: Option<u64>, again: Option<Arc<Reopen>> },
    Produced { producer: Arc<Producer>, len: Option<u64> },
}

/// Opens a stream anew, without this many of its first bytes. Nothing is read before the stream is.
pub type Reopen = dyn Fn(u64) -> BoxStream<'static, Result<Bytes>> + Send + Sync;

/// Some of the bytes of a body.
#[derive(Clone, Copy)]
pub struct Piece<'a> {
    bytes: &'a [u8],
    shared: Option<&'a Bytes>,
}

impl<'a> Piece<'a> {
    /// The bytes as a value that can be kept, if that costs nothing.
    pub(crate) fn shared(&self) -> Option<&'a Bytes> {
        self.shared
    }
}

impl<'a> From<&'a [u8]> for Piece<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self { bytes, shared: None }
    }
}

impl<'a> From<&'a Bytes> for Piece<'a> {
    fn from(bytes: &'a Bytes) -> Self {
        Self { bytes, shared: Some(bytes) }
    }
}

impl std::ops::Deref for Piece<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

impl Body {
    /// A range of an open file.
    pub fn from_file(range: FileRange) -> Self {
        Self { content: Content::File(range), progress: None, counted: Arc::default(), begins: 0 }
    }

    /// A stream. `len` is its length in bytes, if that is known.
    pub fn from_stream(stream: impl futures_util::Stream<Item = Result<Bytes>> + Send + 'static, len: Option<u64>) -> Self {
        Self { content: Content::Stream { stream: stream.boxed(), len, again: None }, progress: None, counted: Arc::default(), begins: 0 }
    }

    /// A stream that can be read again. `len` is its length in bytes, if that is known.
    pub fn from_reopened(
        stream: impl futures_util::Stream<Item = Result<Bytes>> + Send + 'static,
        len: Option<u64>,
        again: Arc<Reopen>,
    ) -> Self {
        let content = Content::Stream { stream: stream.boxed(), len, again: Some(again) };
        Self { content, progress: None, counted: Arc::default(), begins: 0 }
    }

    /// Bytes that `producer` writes while they are consumed. `len` is their number, if that is known.
    pub fn from_producer(producer: Arc<Producer>, len: Option<u64>) -> Self {
        Self { content: Content::Produced { producer, len }, progress: None, counted: Arc::default(), begins: 0 }
    }

    /// Bytes in memory.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let len = bytes.len() as u64;
        Self::from_stream(stream::iter((len > 0).then_some(Ok(bytes))), Some(len))
    }

    /// The length in bytes, if it is known.
    pub fn len(&self) -> Option<u64> {
        match &self.content {
            Content::File(range) => Some(range.len),
            Content::Stream { len, .. } | Content::Produced { len, .. } => *len,
        }
    }

    /// Whether the body is known to have no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Counts the bytes in `progress` as transferred while they are consumed.
    pub fn counted(mut self, progress: Arc<Progress>) -> Self {
        self.progress = Some(progress);
        self
    }

    /// A second body with the same bytes, if they can be read again. `None` for a stream that can be read only once.
    /// Each byte is counted once, even if several clones are read.
    pub fn try_clone(&self) -> Option<Self> {
        let content = match &self.content {
            Content::File(range) => Content::File(range.clone()),
            Content::Produced { producer, len } => Content::Produced { producer: producer.clone(), len: *len },
            Content::Stream { again: Some(again), len, .. } => {
                Content::Stream { stream: again(self.begins), len: *len, again: Some(again.clone()) }
            }
            Content::Stream { again: None, .. } => return None,
        };
        Some(Self { content, progress: self.progress.clone(), counted: self.counted.clone(), begins: self.begins })
    }

    /// The same body without its first `bytes` bytes. They count as resumed, unless they were counted before. They are read and dropped
    /// if they are not in a file, and the stream cannot begin after them.
    pub fn without_first(self, bytes: u64) -> Self {
        let Self { content, progress, counted, begins } = self.started();
        let content = match content {
            Content::File(range) => {
                let dropped = bytes.min(range.len);
                Content::File(FileRange { offset: range.offset + dropped, len: range.len - dropped, ..range })
            }
            Content::Stream { stream, len, again } => {
                let stream = match &again {
                    _ if bytes == 0 => stream,
                    Some(again) => again(begins + bytes),
                    None => drop_first(stream, bytes),
                };
                Content::Stream { stream, len: len.map(|len| len.saturating_sub(bytes)), again }
            }
            produced @ Content::Produced { .. } => produced,
        };
        let begins = begins + bytes;
        if let Some(progress) = &progress {
            progress.resumed(begins.saturating_sub(counted.fetch_max(begins, Relaxed)));
        }
        Self { content, progress, counted, begins }
    }

    /// The file with the bytes, if they are in a file.
    pub fn file(&self) -> Option<&FileRange> {
        match &self.content {
            Content::File(range) => Some(range),
            Content::Stream { .. } | Content::Produced { .. } => None,
        }
    }

    /// The same body, but with produced bytes as a stream.
    fn started(self) -> Self {
        let content = match self.content {
            Content::Produced { producer, len } => Content::Stream { stream: stream_of(producer), len, again: None },
            content => content,
        };
        Self { content, ..self }
    }

    /// Where its bytes are counted, if they are counted.
    pub fn progress(&self) -> Option<&Arc<Progress>> {
        self.progress.as_ref()
    }

    /// The bytes as a stream of pieces of about [`CHUNK`] bytes.
    pub fn into_stream(self) -> BoxStream<'static, Result<Bytes>> {
        self.into_pieces(CHUNK)
    }

    /// The bytes as a stream. Those of a file come in pieces of `size` bytes: small pieces need more time, and large ones need more memory
    /// for each slow reader.
    pub fn into_pieces(self, size: usize) -> BoxStream<'static, Result<Bytes>> {
        let (content, counter) = self.into_parts();
        let pieces = match content {
            Content::File(range) => file_stream(range, size),
            Content::Stream { stream, .. } => stream,
            Content::Produced { producer, .. } => stream_of(producer),
        };
        match counter {
            Some(mut count) => pieces.inspect(move |piece| count(piece.as_ref().map_or(0, |piece| piece.len() as u64))).boxed(),
            None => pieces,
        }
    }

    /// The bytes as a stream of windows, for a sender that can let the kernel send a part of a file ([`PartsToSend`](crate::PartsToSend)).
    /// Such a part has at most [`CHUNK`] bytes; for what is read, see [`into_pieces`](Self::into_pieces). Each window is decided when the
    /// previous one was taken.
    pub fn into_windows(self, size: usize) -> BoxStream<'static, Result<Window>> {
        let (content, counter) = self.into_parts();
        let windows = match content {
            Content::File(range) => file_windows(range, size),
            Content::Stream { stream, .. } => stream.map_ok(Window::Read).boxed(),
            Content::Produced { producer, .. } => stream_of(producer).map_ok(Window::Read).boxed(),
        };
        match counter {
            Some(mut count) => windows.inspect(move |window| count(window.as_ref().map_or(0, Window::len))).boxed(),
            None => windows,
        }
    }

    /// Its content, and what to call with the length of each piece that is consumed.
    fn into_parts(self) -> (Content, Option<impl FnMut(u64) + Send + 'static>) {
        let Self { content, progress, counted, begins: mut at } = self;
        let counter = progress.map(|progress| {
            move |n| {
                at += n;
                progress.moved(at.saturating_sub(counted.fetch_max(at, Relaxed)));
            }
        });
        (content, counter)
    }

    /// Reads all bytes into memory. Fails with [`Error::Invalid`] if there are more than `limit`.
    pub async fn collect(self, limit: usize, what: &str) -> Result<Vec<u8>> {
        let too_large = || Error::Invalid { what: what.to_owned(), why: format!("it has more than {limit} bytes") };
        let mut all = Vec::new();
        let mut stream = self.into_stream();
        while let Some(piece) = stream.next().await {
            let piece = piece?;
            if all.len() + piece.len() > limit {
                return Err(too_large());
            }
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    /// Like [`drain`](Self::drain), but calls `take` in the task that receives the stream, as long as these calls are quick.
    ///
    /// If as many blobs are transferred as there are processors, to wake a thread for each piece only costs time. After the first call that
    /// takes long, because the disk is slow, a thread does the rest. No more is received meanwhile: what arrives waits in the buffers of the
    /// connection, and many connections need no further memory.
    pub async fn drain_in_place<S, F>(self, mut state: S, mut take: F) -> (S, Result<()>)
    where
        S: Send + 'static,
        F: FnMut(&mut S, Piece<'_>) -> Result<()> + Send + 'static,
    {
        let this = self.started();
        let Content::Stream { mut stream, .. } = this.content else {
            return this.drain(state, take).await;
        };
        let count = moved_in(this.progress);
        let mut slow = 0;
        while let Some(piece) = stream.next().await {
            let start = Instant::now();
            match piece.and_then(|piece| take(&mut state, (&piece).into()).map(|()| piece.len())) {
                Ok(n) => count(n),
                Err(error) => return (state, Err(error)),
            }
            slow = if start.elapsed() > QUICK { slow + 1 } else { 0 };
            // A fast sender must not keep those of other blobs from their turn: what waits would all be of one blob. Otherwise it costs time, if
            // the task goes on on another processor.
            if hashing::has_several() {
                tokio::task::yield_now().await;
            }
            if slow == 2 {
                let mut end = None;
                while end.is_none() {
                    let batch;
                    (batch, end) = Batch::receive(&mut stream, BATCH_IN_PLACE).await;
                    let count = count.clone();
                    let result;
                    (state, take, result) = blocking(move || {
                        let (state, result) = batch.take(state, &mut take, count);
                        (state, take, result)
                    })
                    .await;
                    if result.is_err() {
                        return (state, result);
                    }
                }
                return (state, end.unwrap_or(Ok(())));
            }
        }
        (state, Ok(()))
    }

    /// Calls `take` with all bytes in order, on a thread that may block, and returns `state`. A large file is read on a second thread.
    ///
    /// The state is returned after an error too, with what was taken until then.
    pub async fn drain<S, F>(self, mut state: S, mut take: F) -> (S, Result<()>)
    where
        S: Send + 'static,
        F: FnMut(&mut S, Piece<'_>) -> Result<()> + Send + 'static,
    {
        let count = moved_in(self.progress);
        let mut stream = match self.content {
            Content::Stream { stream, .. } => stream,
            Content::Produced { producer, .. } => stream_of(producer),
            Content::File(range) => {
                let read = move |cancelled: &Cancelled| {
                    let mut take = |piece: Piece<'_>| {
                        take(&mut state, piece)?;
                        count(piece.len());
                        Ok(())
                    };
                    let check = |_, _: &[u8]| cancelled.check(&range.path);
                    let result = if range.len < LARGE_FILE {
                        file_pieces(&range, CHUNK).try_for_each(|piece| {
                            let piece = piece?;
                            check(0, &piece)?;
                            take((&piece).into())
                        })
                    } else {
                        copy_hashed(&range, check, |_, piece| take(piece))
                    };
                    (state, result)
                };
                return blocking_cancellable(read).await;
            }
        };
        // The next pieces are received while a thread takes the previous ones. No thread waits for pieces, so a sender that stops sending
        // does not occupy one.
        let mut taking: BoxFuture<'static, (S, F, Result<()>)> = ready((state, take, Ok(()))).boxed();
        loop {
            let (batch, end) = Batch::receive(&mut stream, CHUNK).await;
            let (state, take, result) = taking.await;
            if result.is_err() {
                return (state, result);
            }
            let count = count.clone();
            let take_batch = move || {
                let mut take = take;
                let (state, result) = batch.take(state, &mut take, count);
                (state, take, result)
            };
            if let Some(end) = end {
                let (state, _, result) = blocking(take_batch).await;
                return (state, result.and(end));
            }
            taking = joined(tokio::task::spawn_blocking(take_batch)).boxed();
        }
    }
}

/// What to call with the length of each piece that was taken.
fn moved_in(progress: Option<Arc<Progress>>) -> impl Fn(usize) + Clone + Send + 'static {
    move |n| {
        if let Some(progress) = &progress {
            progress.moved(n as u64);
        }
    }
}

/// Pieces as they came from the network. A thread gets them together, so that it is not woken for each.
#[derive(Default)]
struct Batch {
    pieces: Vec<Bytes>,
    len: usize,
}

impl Batch {
    /// Receives at least `len` bytes. If the stream ended before that, also returns how it ended.
    async fn receive(stream: &mut BoxStream<'static, Result<Bytes>>, len: usize) -> (Self, Option<Result<()>>) {
        let mut batch = Self::default();
        while batch.len < len {
            match stream.next().await {
                Some(Ok(piece)) => {
                    batch.len += piece.len();
                    batch.pieces.push(piece);
                }
                Some(Err(error)) => return (batch, Some(Err(error))),
                None => return (batch, Some(Ok(()))),
            }
        }
        (batch, None)
    }

    /// Calls `take` with each piece, and `count` with its length afterwards. Each piece is freed before the next one is taken.
    fn take<S>(self, mut state: S, mut take: impl FnMut(&mut S, Piece<'_>) -> Result<()>, count: impl Fn(usize)) -> (S, Result<()>) {
        let result = self.pieces.into_iter().try_for_each(|piece| {
            take(&mut state, (&piece).into())?;
            count(piece.len());
            Ok(())
        });
        (state, result)
    }
}

/// A stream without its first bytes.
fn drop_first(stream: BoxStream<'static, Result<Bytes>>, bytes: u64) -> BoxStream<'static, Result<Bytes>> {
    let mut left = bytes;
    let shorten = move |piece: Result<Bytes>| {
        piece.map(|mut piece| {
            let dropped = piece.split_to(usize::try_from(left).unwrap_or(usize::MAX).min(piece.len()));
            left -= dropped.len() as u64;
            piece
        })
    };
    stream.map(shorten).filter(|piece| ready(!piece.as_ref().is_ok_and(Bytes::is_empty))).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use modelpack_spec::Descriptor;
    use std::{fs::File, io, time::Duration};

    #[tokio::test]
    async fn the_rest_of_a_body_has_its_last_bytes_and_the_first_count_as_resumed_once() {
        let content: Bytes = (0..3 * CHUNK).map(|i| (i % 251) as u8).collect();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("x"), &content).unwrap();
        let produced = content.clone();
        let producer = move |out: &mut dyn io::Write| out.write_all(&produced).map_err(Error::io("write", "x"));
        let pieces = content.chunks(100_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect::<Vec<_>>();
        for body in [
            Body::from_file(FileRange::open(&directory.path().join("x")).unwrap()),
            Body::from_producer(Arc::new(producer), Some(content.len() as u64)),
            Body::from_stream(stream::iter(pieces), Some(content.len() as u64)),
        ] {
            let progress = Arc::new(Progress::default());
            let body = body.counted(progress.clone());
            let again = body.try_clone();
            let rest = body.without_first(300_000);
            assert_eq!(rest.len(), Some(content.len() as u64 - 300_000));
            assert!(rest.collect(usize::MAX, "x").await.unwrap() == content[300_000..]);
            let counted = progress.snapshot();
            assert_eq!((counted.resumed, counted.moved), (300_000, content.len() as u64 - 300_000));
            if let Some(again) = again {
                assert!(again.without_first(600_000).collect(usize::MAX, "x").await.unwrap() == content[600_000..]);
                assert_eq!(progress.snapshot(), counted, "bytes are counted once");
            }
        }
    }

    #[tokio::test]
    async fn windows_are_all_bytes_in_order_and_are_counted() {
        let content: Bytes = (0..3 * CHUNK + 1000).map(|i| (i % 251) as u8).collect();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("x"), &content).unwrap();
        let file = FileRange::open(&directory.path().join("x")).unwrap();
        let part = file.clone().slice(1..content.len() as u64, &Descriptor::of("x", &content), "x").unwrap();
        for (body, expected) in [
            (Body::from_file(file), content.clone()),
            (Body::from_file(part), content.slice(1..)),
            (Body::from_bytes(content.clone()), content.clone()),
        ] {
            let progress = Arc::new(Progress::default());
            let mut windows = body.counted(progress.clone()).into_windows(10_000);
            let mut all = Vec::new();
            while let Some(window) = windows.next().await {
                match window.unwrap() {
                    Window::Cached(part) => {
                        assert!(part.len <= CHUNK as u64);
                        all.extend(part.read().unwrap());
                    }
                    Window::Read(bytes) => all.extend(bytes),
                }
            }
            assert!(all == expected);
            assert_eq!(progress.snapshot().moved, expected.len() as u64);
        }
    }

    #[test]
    fn a_stream_that_stands_still_keeps_no_thread() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let stalled = stream::iter([Ok(Bytes::from(vec![7; CHUNK]))]).chain(stream::pending());
            let received = Body::from_stream(stalled, None).drain(0, |len, piece| {
                *len += piece.len();
                Ok(())
            });
            tokio::select! {
                _ = received => unreachable!("the stream never ends"),
                // The only thread is free again.
                () = async { blocking(|| ()).await; blocking(|| ()).await } => {}
                () = tokio::time::sleep(Duration::from_secs(60)) => panic!("the thread waits for the stream"),
            }
        });
    }

    #[tokio::test]
    async fn all_pieces_of_a_stream_are_drained_in_order_and_the_state_comes_back_with_an_error() {
        let pieces: Vec<Bytes> = (0..40u8).map(|i| Bytes::from(vec![i; 10_000 + usize::from(i)])).collect();
        let whole = pieces.concat();
        let take = |all: &mut Vec<u8>, piece: Piece<'_>| {
            all.extend_from_slice(&piece);
            Ok(())
        };
        let (all, result) = Body::from_stream(stream::iter(pieces.clone().into_iter().map(Ok)), None).drain(Vec::new(), take).await;
        assert!(result.is_ok() && all == whole);
        let cut = stream::iter(pieces.into_iter().map(Ok)).chain(stream::iter([Err(Error::not_found("the rest"))]));
        let (all, result) = Body::from_stream(cut, None).drain(Vec::new(), take).await;
        assert!(result.is_err() && all == whole, "what came before the failure was taken");
    }

    #[tokio::test]
    async fn files_of_any_size_are_drained_in_order_and_an_error_ends_that() {
        let directory = tempfile::tempdir().unwrap();
        for len in [0, 1, CHUNK + 1, LARGE_FILE as usize + CHUNK + 1] {
            let content: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let path = directory.path().join("x");
            std::fs::write(&path, &content).unwrap();
            let (range, progress) = (FileRange::open(&path).unwrap(), Arc::new(Progress::default()));
            let take = |all: &mut Vec<u8>, piece: Piece<'_>| {
                all.extend_from_slice(&piece);
                Ok(())
            };
            let (all, result) = Body::from_file(range.clone()).counted(progress.clone()).drain(Vec::new(), take).await;
            assert!(result.is_ok() && all == content && progress.snapshot().moved == len as u64, "{len}");
            let refuse = move |taken: &mut usize, piece: Piece<'_>| {
                *taken += piece.len();
                if *taken >= len / 2 { Err(Error::not_found("room")) } else { Ok(()) }
            };
            let (taken, result) = Body::from_file(range.clone()).drain(0, refuse).await;
            assert!(len == 0 || result.is_err_and(|error| error.is_not_found()) && taken < len / 2 + CHUNK + 1, "{len}");
            File::options().write(true).open(&path).unwrap().set_len(len as u64 / 2).unwrap();
            let (all, result) = Body::from_file(range).drain(Vec::new(), take).await;
            assert!(len == 0 || matches!(result, Err(Error::Changed { .. })) && all == content[..len / 2], "{len}");
        }
    }
}
