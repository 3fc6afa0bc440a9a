//! Sequential reading of a pickle's bytes.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

/// An input that is read and seeked forwards only.
pub(super) trait Forward: Read + Seek {}

impl<T: Read + Seek + ?Sized> Forward for T {}

pub(super) struct Reader<R> {
    file: BufReader<R>,
    at: u64,
}

impl<R: Read + Seek> Reader<R> {
    pub(super) fn new(file: R) -> Self {
        Self { file: BufReader::with_capacity(64 << 10, file), at: 0 }
    }

    /// Reads a part that is mostly short. Positions start at `at`.
    fn short(file: R, at: u64) -> Self {
        Self { file: BufReader::with_capacity(1 << 10, file), at }
    }

    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn is_at_end(&mut self) -> io::Result<bool> {
        Ok(self.file.fill_buf()?.is_empty())
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    /// The bytes up to the next line feed, which is consumed and not returned. A line longer than
    /// `limit` is skipped and gives `None`.
    pub(super) fn line(&mut self, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let mut line = Some(Vec::new());
        loop {
            let buffer = self.file.fill_buf()?;
            if buffer.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let end = buffer.iter().position(|b| *b == b'\n');
            let piece = &buffer[..end.unwrap_or(buffer.len())];
            match &mut line {
                Some(line) if line.len() + piece.len() <= limit => line.extend_from_slice(piece),
                line => *line = None,
            }
            let taken = piece.len() + usize::from(end.is_some());
            self.file.consume(taken);
            self.at += taken as u64;
            if end.is_some() {
                return Ok(line);
            }
        }
    }

    /// The next `length` bytes. More than `limit` bytes are skipped and give `None`.
    pub(super) fn text(&mut self, length: u64, limit: usize) -> io::Result<Option<Vec<u8>>> {
        match usize::try_from(length).ok().filter(|length| *length <= limit) {
            Some(length) => {
                let mut bytes = vec![0; length];
                self.file.read_exact(&mut bytes)?;
                self.at += length as u64;
                Ok(Some(bytes))
            }
            None => self.skip(length).map(|()| None),
        }
    }

    pub(super) fn skip(&mut self, length: u64) -> io::Result<()> {
        let too_long = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let by = i64::try_from(length).map_err(|_| too_long())?;
        self.at = self.at.checked_add(length).filter(|at| i64::try_from(*at).is_ok()).ok_or_else(too_long)?;
        self.file.seek_relative(by)
    }

    /// Whether the next bytes begin a pickle.
    pub(super) fn is_at_pickle(&mut self) -> io::Result<bool> {
        Ok(matches!(self.file.fill_buf()?, [0x80, 0..=5, ..]))
    }

    /// The next bytes that are buffered: at least one, unless the input is at its end.
    pub(super) fn ahead(&mut self) -> io::Result<&[u8]> {
        self.file.fill_buf()
    }

    /// Passes the next `length` bytes to `read`, preceded by `head`, which was just read, and skips
    /// the bytes that `read` leaves.
    pub(super) fn part<T>(&mut self, head: &[u8], length: u64, read: impl FnOnce(&mut Reader<Part<'_>>) -> T) -> io::Result<T> {
        let begin = self.at - head.len() as u64;
        let mut part = Reader::short(Part { head, file: &mut self.file, left: length }, begin);
        let value = read(&mut part);
        let left = part.file.into_inner().left;
        let read = length - left;
        self.at = self.at.checked_add(read).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.skip(left).map(|()| value)
    }
}

/// A part of an input that is read forwards.
pub(super) struct Part<'a> {
    head: &'a [u8],
    file: &'a mut dyn Forward,
    left: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.head.is_empty() {
            return self.head.read(buffer);
        }
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read(&mut buffer[..want])?;
        self.left -= read as u64;
        Ok(read)
    }
}

impl Seek for Part<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Current(by) = to else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        let by = u64::try_from(by).map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        let of_head = usize::try_from(by).map_or(self.head.len(), |by| by.min(self.head.len()));
        let by = by - of_head as u64;
        if by > self.left {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.head = &self.head[of_head..];
        self.left -= by;
        // The position is never used.
        if by == 0 { Ok(0) } else { self.file.seek(SeekFrom::Current(i64::try_from(by).map_err(|_| io::ErrorKind::UnexpectedEof)?)) }
    }
}
