//! Bodies whose bytes are produced while they are consumed.

use crate::{CHUNK, Result, blocking::joined};
use bytes::Bytes;
use futures_util::{stream, stream::BoxStream};
use std::{
    io::{self, ErrorKind, Write},
    sync::Arc,
};
use tokio::{sync::mpsc, task::JoinHandle};

/// Writes the bytes of a body from the beginning to the end. Each call writes the same bytes. It may block. Its writes fail if the
/// consumer has stopped.
pub type Producer = dyn Fn(&mut dyn Write) -> Result<()> + Send + Sync;

/// How many pieces of [`CHUNK`] bytes may wait for the consumer.
const WAITING: usize = 2;

/// The bytes that `producer` writes. It runs on a thread of its own and is ahead of the consumer by the pieces that may wait. If it
/// fails, its error is the last item of the stream.
pub(crate) fn stream_of(producer: Arc<Producer>) -> BoxStream<'static, Result<Bytes>> {
    Box::pin(stream::unfold(State::Idle(producer), async |mut state| {
        loop {
            match state {
                State::Idle(producer) => state = start(producer),
                State::Running(mut pieces, worker) => match pieces.recv().await {
                    Some(piece) => return Some((Ok(piece), State::Running(pieces, worker))),
                    // Either this was the last piece, or the producer failed: only its result tells which.
                    None => return joined(worker).await.err().map(|error| (Err(error), State::Ended)),
                },
                State::Ended => return None,
            }
        }
    }))
}

enum State {
    Idle(Arc<Producer>),
    Running(mpsc::Receiver<Bytes>, JoinHandle<Result<()>>),
    Ended,
}

fn start(producer: Arc<Producer>) -> State {
    let (sender, pieces) = mpsc::channel(WAITING);
    let worker = tokio::task::spawn_blocking(move || {
        let mut writer = PieceWriter::new(sender);
        producer(&mut writer)?;
        // If the consumer has stopped, nobody needs the last piece.
        let _ = writer.flush();
        Ok(())
    });
    State::Running(pieces, worker)
}

/// Sends what is written in pieces of [`CHUNK`] bytes. Writing blocks while nobody receives them, and fails with
/// [`ErrorKind::BrokenPipe`] if nobody will. The last piece is sent by `flush`.
pub struct PieceWriter {
    sender: mpsc::Sender<Bytes>,
    piece: Vec<u8>,
}

impl PieceWriter {
    /// Sends to this channel.
    pub fn new(sender: mpsc::Sender<Bytes>) -> Self {
        Self { sender, piece: Vec::with_capacity(CHUNK) }
    }
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() == CHUNK {
            self.flush()?;
        }
        let n = bytes.len().min(CHUNK - self.piece.len());
        self.piece.extend_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(CHUNK));
        self.sender.blocking_send(piece.into()).map_err(|_| ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use crate::{Body, CHUNK, Error};
    use futures_util::StreamExt;
    use std::{
        io::Write,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
    };

    #[tokio::test]
    async fn what_is_written_comes_and_can_be_asked_for_again() {
        let written: Vec<u8> = (0..CHUNK * 3 + 7).map(|n| n as u8).collect();
        let bytes = written.clone();
        let producer =
            move |out: &mut dyn Write| bytes.chunks(1000).try_for_each(|part| out.write_all(part)).map_err(Error::io("write", "x"));
        let body = Body::from_producer(Arc::new(producer), None);
        let again = body.try_clone().unwrap();
        assert_eq!(body.collect(usize::MAX, "bytes").await.unwrap(), written);
        let pieces: Vec<_> = again.into_stream().map(|piece| piece.unwrap().len()).collect().await;
        assert_eq!(pieces, [CHUNK, CHUNK, CHUNK, 7]);
    }

    #[tokio::test]
    async fn a_producer_that_fails_fails_the_body_after_what_it_wrote() {
        let producer = |out: &mut dyn Write| {
            out.write_all(b"half").unwrap();
            Err(Error::Changed { path: "x".into() })
        };
        let pieces: Vec<_> = Body::from_producer(Arc::new(producer), None).into_stream().collect().await;
        assert!(matches!(&pieces[..], [Err(Error::Changed { .. })]), "{pieces:?}");
        let (taken, result) = Body::from_producer(Arc::new(producer), None).drain(0, |_, _| Ok(())).await;
        assert!(taken == 0 && matches!(result, Err(Error::Changed { .. })));
    }

    #[tokio::test]
    async fn a_producer_is_stopped_when_nobody_wants_the_rest() {
        let written = Arc::new(AtomicUsize::new(0));
        let count = written.clone();
        let producer = move |out: &mut dyn Write| {
            loop {
                out.write_all(&[0; 1000]).map_err(Error::io("write", "x"))?;
                count.fetch_add(1000, Relaxed);
            }
        };
        let producer = Arc::new(producer);
        let mut stream = Body::from_producer(producer.clone(), None).into_stream();
        stream.next().await.unwrap().unwrap();
        drop(stream);
        // The thread lets go of its producer when it ends.
        while Arc::strong_count(&producer) > 1 {
            tokio::task::yield_now().await;
        }
        assert!(written.load(Relaxed) <= CHUNK * 5, "it worked far ahead of who consumed it");
    }
}
