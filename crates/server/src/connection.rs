//! Connections with a timeout for clients that stop reading.

use crate::{
    clients::{Client, Waiting, WaitsFor},
    send_file::{PartsToSend, is_placeholder},
};
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep},
};

/// A connection on which a write fails if no byte can be sent for some time, or if the client is
/// given up meanwhile. Reading has no limit here: the code that reads knows whether it expects
/// data.
///
/// For a placeholder, the next part of a file is sent.
pub(crate) struct WriteTimeout {
    stream: TcpStream,
    parts: Arc<PartsToSend>,
    idle: Duration,
    client: Client,
    deadline: Pin<Box<Sleep>>,
    waiting: Option<Wait>,
}

/// A pending write, because the client does not read.
struct Wait {
    _waiting: Waiting,
    given_up: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
}

impl WriteTimeout {
    pub(crate) fn new(stream: TcpStream, parts: Arc<PartsToSend>, idle: Duration, client: Client) -> Self {
        Self { stream, parts, idle, client, deadline: Box::pin(sleep(idle)), waiting: None }
    }

    /// Writes the slices before the first placeholder or, if it is the first slice, sends a part of a
    /// file.
    fn poll_send(&mut self, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match slices.iter().position(|slice| is_placeholder(slice)) {
            None => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
            Some(0) => self.poll_send_part(cx, slices[0].len()),
            Some(first) => Pin::new(&mut self.stream).poll_write_vectored(cx, &slices[..first]),
        }
    }

    fn poll_send_part(&mut self, cx: &mut Context<'_>, len: usize) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            // The part was in memory when it was added, but the kernel may have needed that memory
            // while the client did not read.
            if self.waiting.is_some() && self.parts.poll_cached(cx).is_pending() {
                // The client reads now, and its time begins again.
                self.waiting = None;
                return Poll::Pending;
            }
            match self.stream.try_io(Interest::WRITABLE, || self.parts.send(&self.stream, len)) {
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    /// Returns the result of a write, or an error if the write has been pending for too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        if self.waiting.is_none() {
            self.deadline.as_mut().reset(Instant::now() + self.idle);
        }
        let client = &self.client;
        let begin = || Wait { _waiting: client.waits_for(WaitsFor::Reader), given_up: Box::pin(client.given_up()) };
        if self.waiting.get_or_insert_with(begin).given_up.as_mut().poll(cx).is_pending() {
            ready!(self.deadline.as_mut().poll(cx));
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for WriteTimeout {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for WriteTimeout {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.poll_send(cx, &[io::IoSlice::new(bytes)]);
        self.watch(cx, written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = self.poll_send(cx, bytes);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
