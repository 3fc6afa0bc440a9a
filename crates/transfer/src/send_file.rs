//! Parts of files that the kernel sends over a connection without TLS, so that no thread copies them.
//!
//! hyper knows only bytes in memory. So a body has a placeholder for such a part: a slice of one region of memory, as long as the part. hyper
//! passes the slices of a body on to the connection without looking into them, if it is set to `writev`. The connection recognises a
//! placeholder by its address, and sends the next part of its queue instead. It never sends the placeholder itself.

use crate::{CHUNK, Error, FileRange, Result, Window, blocking, platform};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::{
    collections::VecDeque,
    fmt, io,
    os::fd::AsFd,
    pin::Pin,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncWrite, Interest},
    net::TcpStream,
};

/// The memory of all placeholders. Its bytes are never read or written.
static PLACEHOLDER: LazyLock<Box<[u8]>> = LazyLock::new(|| vec![0; CHUNK].into());

/// The parts of files that a connection has to send, in the order of their placeholders.
#[derive(Default)]
pub struct PartsToSend(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    parts: VecDeque<FileRange>,
    /// Whether the first part has waited for the peer since it was known to be in memory. The kernel may have needed that memory meanwhile.
    has_waited: bool,
    /// Reads the first part into memory.
    reading: Option<BoxFuture<'static, Result<()>>>,
    failure: Option<Error>,
}

impl fmt::Debug for PartsToSend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartsToSend").finish_non_exhaustive()
    }
}

impl PartsToSend {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `bytes` are a placeholder, or the rest of one.
    pub fn is_placeholder(bytes: &[u8]) -> bool {
        !bytes.is_empty() && PLACEHOLDER.as_ptr_range().contains(&bytes.as_ptr())
    }

    /// What a body has for a window: its bytes, or the placeholder of a part that is sent next. The part has at most [`CHUNK`] bytes, so
    /// others have their turn as often as with pieces that are read.
    pub fn bytes(&self, window: Window) -> Bytes {
        match window {
            Window::Read(bytes) => bytes,
            Window::Cached(part) => {
                let len = usize::try_from(part.len).expect("a part is not long");
                self.queue().parts.push_back(part);
                Bytes::from_static(&PLACEHOLDER[..len])
            }
        }
    }

    /// Removes what an earlier body has left that was not sent to its end. The connection must have sent all other bodies.
    pub fn clear(&self) {
        *self.queue() = Queue::default();
    }

    /// Whether the connection waits for the disk, and not for its peer.
    pub fn is_reading(&self) -> bool {
        self.queue().reading.is_some()
    }

    /// Why a part could not be read, if that is what ended the connection.
    pub fn take_failure(&self) -> Option<Error> {
        self.queue().failure.take()
    }

    /// Writes the slices before the first placeholder or, if it is the first slice, sends a part of a file. Otherwise like
    /// [`AsyncWrite::poll_write_vectored`].
    ///
    /// Fails if the file has become shorter, or cannot be read; [`take_failure`](Self::take_failure) gives the reason then.
    pub fn poll_write(&self, stream: &mut TcpStream, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match slices.iter().position(|slice| Self::is_placeholder(slice)) {
            None => Pin::new(stream).poll_write_vectored(cx, slices),
            Some(0) => self.poll_send(stream, cx, slices[0].len()),
            Some(first) => Pin::new(stream).poll_write_vectored(cx, &slices[..first]),
        }
    }

    fn poll_send(&self, stream: &TcpStream, cx: &mut Context<'_>, len: usize) -> Poll<io::Result<usize>> {
        let queue = &mut *self.queue();
        loop {
            if stream.poll_write_ready(cx)?.is_pending() {
                queue.has_waited = true;
                return Poll::Pending;
            }
            ready!(queue.poll_cached(cx))?;
            match stream.try_io(Interest::WRITABLE, || queue.send(stream, len)) {
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                sent => return Poll::Ready(sent),
            }
        }
    }
}

impl Queue {
    /// Ready when the first part is in memory. If it is not, it is read on a thread that may block.
    fn poll_cached(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reading.is_none()
            && self.has_waited
            && let Some(part) = self.parts.front().filter(|part| !part.is_cached()).cloned()
        {
            self.reading = Some(Box::pin(blocking(move || part.read_all(|_| Ok(())))));
        }
        self.has_waited = false;
        let Some(reading) = &mut self.reading else { return Poll::Ready(Ok(())) };
        let read = ready!(reading.as_mut().poll(cx));
        self.reading = None;
        Poll::Ready(read.map_err(|error| self.fail(error)))
    }

    /// Sends the next bytes to a socket that does not block, at most `len` of them and no more than the rest of one part. Returns how many
    /// were sent.
    fn send(&mut self, socket: impl AsFd, len: usize) -> io::Result<usize> {
        let Some(part) = self.parts.front_mut() else {
            return Err(io::Error::other("a placeholder has no part of a file"));
        };
        let len = len.min(usize::try_from(part.len).unwrap_or(usize::MAX));
        let sent = platform::send_file(socket.as_fd(), &part.file, part.offset, len)?;
        if sent == 0 {
            let changed = Error::Changed { path: part.path.clone() };
            return Err(self.fail(changed));
        }
        part.offset += sent as u64;
        part.len -= sent as u64;
        if part.len == 0 {
            self.parts.pop_front();
        }
        Ok(sent)
    }

    fn fail(&mut self, error: Error) -> io::Error {
        let why = io::Error::other(error.to_string());
        self.failure = Some(error);
        why
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::{self, File},
        future::poll_fn,
        path::Path,
    };
    use tokio::{io::AsyncReadExt, net::TcpSocket};

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i % 251) as u8).collect()
    }

    /// All of a new file, whose bytes are in memory; `None` if this machine cannot know that.
    fn cached_file(path: &Path, content: &[u8]) -> Option<FileRange> {
        fs::write(path, content).unwrap();
        let range = FileRange::open(path).unwrap();
        if !range.is_cached() {
            eprintln!("SKIPPED: this system does not say what is in memory");
        }
        range.is_cached().then_some(range)
    }

    fn slice(file: &FileRange, range: std::ops::Range<u64>) -> Window {
        Window::Cached(FileRange { offset: range.start, len: range.end - range.start, ..file.clone() })
    }

    /// A connection with small buffers, and its other end.
    async fn sockets() -> (TcpStream, TcpStream) {
        let [one, other] = [(); 2].map(|()| TcpSocket::new_v4().unwrap());
        one.set_send_buffer_size(32 << 10).unwrap();
        other.set_recv_buffer_size(32 << 10).unwrap();
        other.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = other.listen(1).unwrap();
        let stream = one.connect(listener.local_addr().unwrap()).await.unwrap();
        (stream, listener.accept().await.unwrap().0)
    }

    /// Writes as much as one call does.
    async fn write(parts: &PartsToSend, stream: &mut TcpStream, slices: &[&[u8]]) -> io::Result<usize> {
        let slices: Vec<_> = slices.iter().map(|bytes| io::IoSlice::new(bytes)).collect();
        poll_fn(|cx| parts.poll_write(stream, cx, &slices)).await
    }

    async fn received(mut peer: TcpStream) -> Vec<u8> {
        let mut received = Vec::new();
        peer.read_to_end(&mut received).await.unwrap();
        received
    }

    #[tokio::test]
    async fn parts_are_sent_in_order_between_other_bytes_and_no_byte_of_a_placeholder() {
        let directory = tempfile::tempdir().unwrap();
        let Some(file) = cached_file(&directory.path().join("file"), &content(30_000)) else { return };
        let parts = PartsToSend::default();
        let [first, second] = [20_001..25_000, 0..10_000].map(|part| parts.bytes(slice(&file, part)));
        assert_eq!([first.len(), second.len()], [4_999, 10_000]);
        for placeholder in [&first, &second] {
            assert!(PartsToSend::is_placeholder(placeholder) && PartsToSend::is_placeholder(&placeholder[placeholder.len() - 1..]));
        }
        assert!(!PartsToSend::is_placeholder(b"") && !PartsToSend::is_placeholder(&content(1)));
        assert_eq!(parts.bytes(Window::Read(Bytes::from_static(b"read"))), "read");

        let (mut stream, peer) = sockets().await;
        assert_eq!(write(&parts, &mut stream, &[b"head", b":", &first, b"end"]).await.unwrap(), 5, "what is before a placeholder");
        assert_eq!(write(&parts, &mut stream, &[&first[..1_000], b"end"]).await.unwrap(), 1_000, "no more than asked for");
        assert_eq!(write(&parts, &mut stream, &[&first[1_000..], &second]).await.unwrap(), 3_999, "no more than one part");
        assert_eq!(write(&parts, &mut stream, &[b"-"]).await.unwrap(), 1);
        assert_eq!(write(&parts, &mut stream, &[&second]).await.unwrap(), 10_000);
        write(&parts, &mut stream, &[&second]).await.expect_err("there is no part any more");
        drop(stream);
        let expected = content(30_000);
        assert!(received(peer).await == [b"head:", &expected[20_001..25_000], b"-", &expected[..10_000]].concat());
    }

    #[tokio::test]
    async fn a_file_that_has_become_shorter_is_an_error_with_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let Some(file) = cached_file(&path, &content(10_000)) else { return };
        let parts = PartsToSend::default();
        let placeholder = parts.bytes(Window::Cached(file));
        File::options().write(true).open(&path).unwrap().set_len(4096).unwrap();
        let (mut stream, peer) = sockets().await;
        assert_eq!(write(&parts, &mut stream, &[&placeholder]).await.unwrap(), 4096);
        assert!(parts.take_failure().is_none());
        write(&parts, &mut stream, &[&placeholder[4096..]]).await.unwrap_err();
        assert!(matches!(parts.take_failure(), Some(Error::Changed { path: found }) if found == path));
        drop(stream);
        assert!(received(peer).await == content(4096));
    }

    #[tokio::test]
    async fn nothing_is_left_for_the_next_body() {
        let directory = tempfile::tempdir().unwrap();
        let Some(file) = cached_file(&directory.path().join("file"), &content(10_000)) else { return };
        let parts = PartsToSend::default();
        let placeholder = parts.bytes(Window::Cached(file));
        parts.clear();
        write(&parts, &mut sockets().await.0, &[&placeholder]).await.expect_err("there is no part");
    }

    /// What one call returns.
    async fn polled(parts: &PartsToSend, stream: &mut TcpStream, bytes: &[u8]) -> Poll<io::Result<usize>> {
        poll_fn(|cx| Poll::Ready(parts.poll_write(stream, cx, &[io::IoSlice::new(bytes)]))).await
    }

    /// Fills the buffers of a connection, and returns with how many bytes.
    async fn fill(parts: &PartsToSend, stream: &mut TcpStream) -> usize {
        let (mut filled, mut is_full) = (0, false);
        loop {
            match polled(parts, stream, &[7; 4096]).await {
                Poll::Ready(n) => (filled, is_full) = (filled + n.unwrap(), false),
                Poll::Pending if is_full => return filled,
                // The peer's system may make room a little later, when it acknowledges what it has received.
                Poll::Pending => {
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    is_full = true;
                }
            }
        }
    }

    #[test]
    fn a_part_that_has_left_the_memory_while_the_peer_did_not_read_is_read_before_it_is_sent() {
        // The only thread that may block is kept busy, so that what is handed to it is still pending when the test looks.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
        for is_cut in [false, true] {
            runtime.block_on(a_part_that_has_left_the_memory(is_cut));
        }
    }

    async fn a_part_that_has_left_the_memory(is_cut: bool) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let Some(file) = cached_file(&path, &content(CHUNK)) else { return };
        let (mut stream, mut peer) = sockets().await;
        let parts = PartsToSend::default();
        let placeholder = parts.bytes(Window::Cached(file.clone()));
        let before = fill(&parts, &mut stream).await;
        assert!(polled(&parts, &mut stream, &placeholder).await.is_pending() && !parts.is_reading());
        let written = File::options().write(true).open(&path).unwrap();
        written.sync_all().unwrap();
        platform::start_writeback(&written, 0..file.len);
        if file.is_cached() {
            eprintln!("SKIPPED: the temporary directory is in memory");
            return;
        }
        if is_cut {
            written.set_len(0).unwrap();
        }
        peer.read_exact(&mut vec![0; before]).await.unwrap();
        stream.writable().await.unwrap();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || released.recv());
        assert!(polled(&parts, &mut stream, &placeholder).await.is_pending() && parts.is_reading(), "it is not read in this thread");
        drop(release);
        busy.await.unwrap().unwrap_err();
        let next = write(&parts, &mut stream, &[&placeholder]).await;
        assert!(!parts.is_reading());
        if is_cut {
            next.unwrap_err();
            assert!(matches!(parts.take_failure(), Some(Error::Changed { .. })));
        } else {
            let sent = next.unwrap();
            assert!(file.is_cached() && sent > 0);
            drop(stream);
            assert!(received(peer).await == content(CHUNK)[..sent]);
        }
    }
}
