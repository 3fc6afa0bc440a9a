//! Parts of files that the kernel sends to a client, so that no thread of the server copies them.
//!
//! hyper knows only bytes in memory. So a body has a placeholder for such a part: a slice of one
//! region of memory, as long as the part. hyper passes the slices of a body on to the connection
//! without looking into them. The connection recognises a placeholder by its address, and sends the
//! next part of its queue instead. It never sends the placeholder itself.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use modelpack_transfer::{CHUNK, FileRange, blocking, platform};
use std::{
    collections::VecDeque,
    io,
    os::fd::AsFd,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

/// The length of the longest part, in bytes. A connection sends this much at once, like a piece that
/// was read, so others have their turn as often.
pub(crate) const LONGEST_PART: usize = CHUNK;

/// The memory of all placeholders. Its bytes are never read or written.
static PLACEHOLDER: LazyLock<Box<[u8]>> = LazyLock::new(|| vec![0; LONGEST_PART].into());

/// Whether `bytes` are a placeholder, or the rest of one.
pub(crate) fn is_placeholder(bytes: &[u8]) -> bool {
    !bytes.is_empty() && PLACEHOLDER.as_ptr_range().contains(&bytes.as_ptr())
}

/// The parts of files that a connection has to send, in the order of their placeholders.
#[derive(Default)]
pub(crate) struct PartsToSend(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    parts: VecDeque<FileRange>,
    /// Reads the first part into memory.
    reading: Option<BoxFuture<'static, ()>>,
}

impl PartsToSend {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a part of at most [`LONGEST_PART`] bytes, and returns its placeholder.
    pub(crate) fn add(&self, part: FileRange) -> Bytes {
        let len = usize::try_from(part.len).expect("a part is not long");
        self.queue().parts.push_back(part);
        Bytes::from_static(&PLACEHOLDER[..len])
    }

    /// Removes what a response left that was not sent to its end.
    pub(crate) fn clear(&self) {
        *self.queue() = Queue::default();
    }

    /// Ready when the first part is in memory. If it is not, it is read on a thread that may block.
    pub(crate) fn poll_cached(&self, cx: &mut Context<'_>) -> Poll<()> {
        let queue = &mut *self.queue();
        if queue.reading.is_none()
            && let Some(part) = queue.parts.front().filter(|part| !part.is_cached()).cloned()
        {
            // An error is ignored here: sending the part fails too.
            queue.reading = Some(Box::pin(blocking(move || _ = part.read_all(|_| Ok(())))));
        }
        if let Some(reading) = &mut queue.reading {
            ready!(reading.as_mut().poll(cx));
            queue.reading = None;
        }
        Poll::Ready(())
    }

    /// Sends the next bytes to a socket that does not block, at most `len` of them and no more than
    /// the rest of one part. Returns how many were sent.
    ///
    /// Fails if the file has become shorter, and if there is no part.
    pub(crate) fn send(&self, socket: impl AsFd, len: usize) -> io::Result<usize> {
        let parts = &mut self.queue().parts;
        let Some(part) = parts.front_mut() else {
            return Err(io::Error::other("a placeholder has no part of a file"));
        };
        let len = len.min(usize::try_from(part.len).unwrap_or(usize::MAX));
        let sent = platform::send_file(socket.as_fd(), &part.file, part.offset, len)?;
        if sent == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        part.offset += sent as u64;
        part.len -= sent as u64;
        if part.len == 0 {
            parts.pop_front();
        }
        Ok(sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::{self, File},
        future::poll_fn,
        io::Read,
        net::{TcpListener, TcpStream},
        path::Path,
    };

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

    fn sockets() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        (server, client)
    }

    #[test]
    fn parts_are_sent_in_order_and_no_byte_of_a_placeholder() {
        let directory = tempfile::tempdir().unwrap();
        let Some(file) = cached_file(&directory.path().join("file"), &content(30_000)) else { return };
        let parts = PartsToSend::default();
        let placeholders: Vec<_> = [20_000..25_000, 0..10_000]
            .map(|part| parts.add(FileRange { offset: part.start, len: part.end - part.start, ..file.clone() }))
            .into();
        assert!(placeholders.iter().all(|bytes| is_placeholder(bytes) && is_placeholder(&bytes[bytes.len() - 1..])));
        assert_eq!(placeholders.iter().map(Bytes::len).collect::<Vec<_>>(), [5_000, 10_000]);
        assert!(!is_placeholder(b"") && !is_placeholder(&content(1)));
        let (server, mut client) = sockets();
        let sent = [1_000, 10_000, 4_000, 10_000].map(|len| parts.send(&server, len).unwrap());
        assert_eq!(sent, [1_000, 4_000, 4_000, 6_000], "no more than asked for, and than the rest of a part");
        parts.send(&server, 1).expect_err("there is no part any more");
        drop(server);
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        let expected = content(30_000);
        assert!(received == [&expected[20_000..25_000], &expected[..10_000]].concat());
    }

    #[test]
    fn a_file_that_has_become_shorter_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let Some(file) = cached_file(&path, &content(10_000)) else { return };
        let parts = PartsToSend::default();
        parts.add(file);
        File::options().write(true).open(&path).unwrap().set_len(4096).unwrap();
        let (server, mut client) = sockets();
        assert_eq!(parts.send(&server, 10_000).unwrap(), 4096);
        assert_eq!(parts.send(&server, 5_904).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        drop(server);
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert!(received == content(4096));
    }

    #[test]
    fn nothing_is_left_for_the_next_response() {
        let directory = tempfile::tempdir().unwrap();
        let Some(file) = cached_file(&directory.path().join("file"), &content(10_000)) else { return };
        let parts = PartsToSend::default();
        parts.add(file);
        parts.clear();
        parts.send(sockets().0, 1).expect_err("there is no part");
    }

    #[tokio::test]
    async fn a_part_that_is_not_in_memory_any_more_is_read_before_it_is_sent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let Some(file) = cached_file(&path, &content(LONGEST_PART)) else { return };
        let parts = PartsToSend::default();
        parts.add(file.clone());
        let poll = || poll_fn(|cx| Poll::Ready(parts.poll_cached(cx)));
        assert!(poll().await.is_ready());
        let written = File::options().write(true).open(&path).unwrap();
        written.sync_all().unwrap();
        platform::start_writeback(&written, 0..file.len);
        if file.is_cached() {
            eprintln!("SKIPPED: the temporary directory is in memory");
            return;
        }
        assert!(poll().await.is_pending(), "it is not read in this thread");
        poll_fn(|cx| parts.poll_cached(cx)).await;
        assert!(file.is_cached());
    }
}
