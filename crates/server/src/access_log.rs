//! The access log: one line of JSON per request. No request waits for the log.

use crate::{response::Frames, view::Head};
use bytes::Bytes;
use http::header;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use modelpack_spec::{json, value::date};
use modelpack_transfer::Error;
use serde::Serialize;
use std::{
    fmt,
    io::{self, Write},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

/// How many lines may wait for the sink. Further lines are dropped, and the log states how many.
const QUEUE: usize = 1024;

/// The maximum number of characters of a path and of a `User-Agent` in the log.
pub(crate) const PATH_LEN: usize = 1024;
const USER_AGENT_LEN: usize = 256;

/// The time limit for writing the last lines when the server ends.
const FLUSH: Duration = Duration::from_secs(2);

/// A log of answered requests. Cloning is cheap.
///
/// Each line is a JSON object in ASCII: control characters and everything else that could affect a
/// terminal are written as `\uXXXX`. A line contains the path of the request, but neither the query
/// nor any header except `User-Agent`, because those may contain credentials. Probes are not
/// logged.
///
/// A separate thread writes the lines, with one `write` each. A sink that is too slow loses lines
/// and delays no request.
#[derive(Clone)]
pub struct AccessLog {
    queue: mpsc::Sender<Message>,
    dropped: Arc<AtomicU64>,
}

enum Message {
    Line(String),
    /// Write all earlier lines now, then notify the sender.
    Flush(oneshot::Sender<()>),
}

impl AccessLog {
    /// Writes to `sink`. Errors of the sink are ignored, because they cannot be reported anywhere.
    ///
    /// Fails if the thread cannot be started.
    pub fn new(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, messages) = mpsc::channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let count = dropped.clone();
        thread::Builder::new().name("access-log".to_owned()).spawn(move || write(messages, &count, sink))?;
        Ok(Self { queue, dropped })
    }

    /// Starts the line of a request. `received` counts the bytes of its body.
    pub(crate) fn entry(&self, head: &Head, remote: SocketAddr, received: Arc<AtomicU64>) -> Entry {
        let user_agent = head.headers.get(header::USER_AGENT).map(|agent| String::from_utf8_lossy(agent.as_bytes()));
        Entry {
            log: self.clone(),
            begun: Instant::now(),
            time: SystemTime::now(),
            remote,
            method: head.method.to_string(),
            path: shortened(head.uri.path(), PATH_LEN),
            user_agent: user_agent.map(|agent| shortened(&agent, USER_AGENT_LEN)),
            status: None,
            received,
            sent: 0,
        }
    }

    fn add(&self, line: String) {
        if self.queue.try_send(Message::Line(line)).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Waits until all earlier lines are written, unless the sink hangs.
    pub(crate) async fn flush(&self) {
        let (written, is_written) = oneshot::channel();
        let flush = async {
            if self.queue.send(Message::Flush(written)).await.is_ok() {
                // An error means that the thread has ended.
                let _ = is_written.await;
            }
        };
        let _ = timeout(FLUSH, flush).await;
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessLog")
    }
}

/// Writes messages until all senders are gone.
fn write(mut messages: mpsc::Receiver<Message>, dropped: &AtomicU64, mut sink: impl Write) {
    while let Some(message) = messages.blocking_recv() {
        match message {
            Message::Line(line) => _ = sink.write_all(line.as_bytes()),
            Message::Flush(written) => {
                let _ = sink.flush();
                let _ = written.send(());
            }
        }
        // Lines are only dropped while the queue is full, so a line is always written after a drop,
        // and this code is reached.
        let dropped = dropped.swap(0, Relaxed);
        if dropped > 0 {
            let line = json_line(&Dropped { time: rfc3339(SystemTime::now()), dropped });
            let _ = sink.write_all(line.as_bytes());
        }
    }
}

/// A line that states how many lines were dropped.
#[derive(Serialize)]
struct Dropped {
    time: String,
    dropped: u64,
}

/// The line of one request. It is added to the log on drop: after the response was sent, or when
/// the client disconnected.
pub(crate) struct Entry {
    log: AccessLog,
    begun: Instant,
    time: SystemTime,
    remote: SocketAddr,
    method: String,
    path: String,
    user_agent: Option<String>,
    status: Option<u16>,
    received: Arc<AtomicU64>,
    sent: u64,
}

impl Entry {
    /// Wraps the response, so that the bytes of its body are counted as they are sent.
    pub(crate) fn answered(mut self, response: http::Response<Frames>) -> http::Response<Frames> {
        self.status = Some(response.status().as_u16());
        response.map(|body| Counted { body, entry: self }.boxed_unsync())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    time: String,
    remote: SocketAddr,
    method: &'a str,
    path: &'a str,
    status: Option<u16>,
    received: u64,
    sent: u64,
    seconds: f64,
    user_agent: Option<&'a str>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let micros = u32::try_from(self.begun.elapsed().as_micros()).map_or(f64::from(u32::MAX), f64::from);
        let line = Line {
            time: rfc3339(self.time),
            remote: self.remote,
            method: &self.method,
            path: &self.path,
            status: self.status,
            received: self.received.load(Relaxed),
            sent: self.sent,
            seconds: micros / 1e6,
            user_agent: self.user_agent.as_deref(),
        };
        self.log.add(json_line(&line));
    }
}

/// A body that counts its bytes.
struct Counted<B> {
    body: B,
    entry: Entry,
}

impl<B: Body<Data = Bytes, Error = Error> + Unpin> Body for Counted<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(bytes) = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref) {
            self.entry.sent += bytes.len() as u64;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The first `limit` characters.
pub(crate) fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A JSON document as one line of visible ASCII.
fn json_line(document: &impl Serialize) -> String {
    json::to_ascii_line(document) + "\n"
}

/// `time` as an RFC 3339 UTC time with milliseconds.
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second, millis) = (since.as_secs() / 86_400, since.as_secs() % 86_400, since.subsec_millis());
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::sync::{Mutex, mpsc as std_mpsc};

    /// A sink that a test can read. It writes a line only when the test allows it.
    struct Gated {
        written: Arc<Mutex<Vec<u8>>>,
        gate: std_mpsc::Receiver<()>,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // After the test has dropped its sender, writes no longer wait.
            let _ = self.gate.recv();
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (AccessLog, std_mpsc::Sender<()>, Arc<Mutex<Vec<u8>>>) {
        let written = Arc::new(Mutex::new(Vec::new()));
        let (open, gate) = std_mpsc::channel();
        (AccessLog::new(Gated { written: written.clone(), gate }).unwrap(), open, written)
    }

    fn lines(written: &Mutex<Vec<u8>>) -> Vec<Value> {
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(text.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')), "{text:?}");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn head(path: &str, user_agent: &[u8]) -> Head {
        http::Request::get(path).header(header::USER_AGENT, user_agent).body(()).unwrap().into_parts().0
    }

    fn entry(log: &AccessLog, path: &str, user_agent: &[u8]) -> Entry {
        log.entry(&head(path, user_agent), "[::1]:9".parse().unwrap(), Arc::new(AtomicU64::new(7)))
    }

    #[tokio::test]
    async fn a_hanging_sink_delays_no_request_and_the_log_counts_dropped_lines() {
        let (log, open, written) = gated();
        let all = QUEUE + 100;
        for _ in 0..all {
            drop(entry(&log, "/v2/", b"test"));
        }
        drop(open);
        log.flush().await;
        let lines = lines(&written);
        let dropped: u64 = lines.iter().filter_map(|line| line["dropped"].as_u64()).sum();
        let kept = lines.iter().filter(|line| line["path"] == "/v2/").count();
        assert!(dropped >= 99, "the queue has {QUEUE} lines, and the thread may have one: {dropped}");
        assert_eq!(kept + usize::try_from(dropped).unwrap(), all);
    }

    #[tokio::test]
    async fn client_text_is_bounded_and_cannot_affect_a_terminal() {
        let (log, open, written) = gated();
        drop(open);
        let long = format!("/{}", "ä".repeat(2 * PATH_LEN));
        drop(entry(&log, "/v2/%0a?token=secret", "\u{202e}gnp\t\u{9b}31m\u{1f4a5}".as_bytes()));
        drop(entry(&log, &long, &[b'x'; 2 * USER_AGENT_LEN]));
        drop(entry(&log, "/", b"\xff"));
        log.flush().await;
        let lines = lines(&written);
        assert_eq!(lines[0]["path"], "/v2/%0a");
        assert_eq!(lines[0]["userAgent"], "\u{202e}gnp\t\u{9b}31m\u{1f4a5}");
        assert_eq!((&lines[0]["status"], &lines[0]["received"], &lines[0]["remote"]), (&Value::Null, &7.into(), &"[::1]:9".into()));
        let characters = |line: &Value, field: &str| line[field].as_str().unwrap().chars().count();
        assert_eq!((characters(&lines[1], "path"), characters(&lines[1], "userAgent")), (PATH_LEN + 1, USER_AGENT_LEN + 1));
        assert_eq!(lines[2]["userAgent"], "\u{fffd}");
    }

    #[test]
    fn times_are_formatted_correctly() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00.250Z"),
            (951_782_399, "2000-02-28T23:59:59.250Z"),
            (951_782_400, "2000-02-29T00:00:00.250Z"),
            (1_735_689_599, "2024-12-31T23:59:59.250Z"),
            (1_772_323_200, "2026-03-01T00:00:00.250Z"),
            (4_107_542_400, "2100-03-01T00:00:00.250Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 250)), expected);
        }
    }
}
