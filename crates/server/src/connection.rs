//! Connections: a timeout for clients that stop reading, and parts of files that the kernel sends.

use crate::clients::{Client, Waiting, WaitsFor};
use modelpack_transfer::PartsToSend;
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
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

    /// Writes, or fails if the client has not read for too long.
    fn poll_send(&mut self, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = self.parts.poll_write(&mut self.stream, cx, slices);
        if written.is_ready() || self.parts.is_reading() {
            // The client reads, and its time begins again.
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
        self.poll_send(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll_send(cx, bytes)
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
