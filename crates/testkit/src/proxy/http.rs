//! As much of HTTP/1.1 as it takes to find where messages end.

use super::link::Passage;
use std::{io, time::Duration};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt};

/// The first line of a message and its headers.
pub(super) struct Head {
    first: String,
    headers: Vec<(String, String)>,
}

impl Head {
    pub(super) fn new(first: String) -> Self {
        Self { first, headers: Vec::new() }
    }

    /// Reads a head; `None` if the connection ended before it.
    pub(super) async fn read(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Self>> {
        let mut head: Option<Self> = None;
        loop {
            let mut line = Vec::new();
            if reader.read_until(b'\n', &mut line).await? == 0 {
                return if head.is_none() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end();
            match &mut head {
                None => head = Some(Self::new(line.to_owned())),
                Some(_) if line.is_empty() => return Ok(head),
                Some(head) => {
                    let (name, value) = line.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
                    head.headers.push((name.to_owned(), value.trim().to_owned()));
                }
            }
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let headers = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        format!("{}\r\n{}\r\n", self.first, headers.collect::<String>()).into_bytes()
    }

    pub(super) fn method(&self) -> &str {
        self.word(0)
    }

    pub(super) fn path(&self) -> &str {
        self.word(1)
    }

    /// Replaces the path and query of a request.
    pub(super) fn set_path(&mut self, path: &str) {
        let words: Vec<_> = self.first.split(' ').enumerate().map(|(n, word)| if n == 1 { path } else { word }).collect();
        self.first = words.join(" ");
    }

    pub(super) fn status(&self) -> &str {
        self.word(1)
    }

    pub(super) fn is_success(&self) -> bool {
        self.status().starts_with('2')
    }

    /// Whether the connection ends with this message.
    pub(super) fn closes(&self) -> bool {
        self.get("connection").is_some_and(|options| options.eq_ignore_ascii_case("close"))
    }

    fn word(&self, n: usize) -> &str {
        self.first.split(' ').nth(n).unwrap_or_default()
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
    }

    pub(super) fn set(&mut self, name: &str, value: String) {
        self.remove(name);
        self.headers.push((name.to_owned(), value));
    }
}

/// How the end of a body is known (RFC 9112, section 6).
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

impl Framing {
    fn of(head: &Head) -> Option<Self> {
        if head.get("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return Some(Self::Chunked);
        }
        head.get("content-length")?.parse().ok().map(Self::Length)
    }
}

pub(super) fn body_of_request(head: &Head) -> Framing {
    Framing::of(head).unwrap_or(Framing::Length(0))
}

pub(super) fn body_of_response(head: &Head, request_method: &str) -> Framing {
    let status = head.status();
    if request_method == "HEAD" || status == "204" || status == "304" || status.starts_with('1') {
        return Framing::Length(0);
    }
    Framing::of(head).unwrap_or(Framing::UntilClose)
}

/// What is done to a body on its way.
#[derive(Clone, Copy, Default)]
pub(super) struct Edit {
    /// The connection ends after so many bytes.
    pub(super) cut_after: Option<u64>,
    /// The byte whose lowest bit is flipped.
    pub(super) flip: Option<u64>,
    /// After so many bytes comes a pause of this length.
    pub(super) pause: Option<(u64, Duration)>,
    /// From this byte on, so many bytes come twice, and as many at the end of what is forwarded at once are lost.
    pub(super) repeat: Option<(u64, u64)>,
    /// From this byte on, so many bytes are lost, so the connection ends before the whole length came.
    pub(super) omit: Option<(u64, u64)>,
}

/// Forwards a body as it is framed, and tells `count` how many bytes have come. Its bytes count as those of a blob if there is a passage.
/// `false` if the edit made it shorter.
pub(super) async fn forward<R, W>(
    from: &mut R,
    to: &mut W,
    framing: Framing,
    edit: Edit,
    passage: Option<&Passage<'_>>,
    count: impl FnMut(u64),
) -> io::Result<bool>
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut body = Body { from, to, edit, passage, at: 0, is_shorter: false, count };
    match framing {
        Framing::Length(length) => body.bytes(length).await,
        Framing::UntilClose => body.bytes(u64::MAX).await,
        Framing::Chunked => loop {
            let size = body.line().await?;
            let size = size.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
            if size == 0 {
                while !body.line().await?.trim().is_empty() {}
                return Ok(true);
            }
            if !body.bytes(size).await? {
                return Ok(false);
            }
            body.line().await?;
        },
    }
}

struct Body<'a, R, W, C> {
    from: &'a mut R,
    to: &'a mut W,
    edit: Edit,
    passage: Option<&'a Passage<'a>>,
    /// How many bytes were taken from the sender.
    at: u64,
    is_shorter: bool,
    count: C,
}

impl<R: AsyncBufRead + Unpin, W: AsyncWrite + Unpin, C: FnMut(u64)> Body<'_, R, W, C> {
    /// Forwards a line of framing: it does not count.
    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.from.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.to.write_all(line.as_bytes()).await?;
        Ok(line)
    }

    /// Forwards `length` bytes; with `u64::MAX`, all until the end.
    async fn bytes(&mut self, length: u64) -> io::Result<bool> {
        let mut left = length;
        while left > 0 {
            if let Some((_, pause)) = self.edit.pause.take_if(|(at, _)| *at <= self.at) {
                tokio::time::sleep(pause).await;
            }
            let stop = [self.edit.cut_after, self.edit.pause.map(|(at, _)| at)].into_iter().flatten().min();
            let allowed = stop.map_or(left, |stop| left.min(stop.saturating_sub(self.at)));
            if allowed == 0 {
                return Ok(false);
            }
            let buffer = self.from.fill_buf().await?;
            if buffer.is_empty() {
                return if length == u64::MAX { Ok(true) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            let wanted = buffer.len().min(usize::try_from(allowed).unwrap_or(usize::MAX));
            let len = match self.passage {
                Some(passage) => passage.admit(wanted).await,
                None => wanted,
            };
            let mut piece = self.from.fill_buf().await?[..len].to_vec();
            self.from.consume(len);
            (self.count)(len as u64);
            self.change(&mut piece);
            self.to.write_all(&piece).await?;
            (self.at, left) = (self.at + len as u64, left - len as u64);
        }
        Ok(!self.is_shorter)
    }

    /// Changes the bytes that are to be forwarded next.
    fn change(&mut self, piece: &mut Vec<u8>) {
        let (start, len) = (self.at, piece.len());
        let inside = |at: u64| usize::try_from(at.checked_sub(start)?).ok().filter(|at| *at < len);
        if let Some(at) = self.edit.flip.and_then(inside) {
            piece[at] ^= 1;
        }
        let part = |(at, count): (u64, u64)| {
            let at = inside(at)?;
            Some(at..len.min(at + usize::try_from(count).unwrap_or(len)))
        };
        if let Some(part) = self.edit.repeat.and_then(part) {
            piece.copy_within(part.start..len - part.len(), part.end);
        }
        if let Some(part) = self.edit.omit.and_then(part) {
            self.is_shorter = true;
            piece.drain(part);
        }
    }
}
