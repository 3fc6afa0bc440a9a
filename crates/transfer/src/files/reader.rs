//! Files for code that blocks: the readers of file formats.

use super::{Files, OpenFile};
use crate::{Error, Result, for_each_concurrent};
use bytes::Bytes;
use modelpack_spec::FilePath;
use std::{
    collections::HashMap,
    io::{self, Read, Seek, SeekFrom},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::runtime::Handle;

/// How many bytes are requested first, and after each seek.
const MIN_PIECE: u64 = 64 << 10;
/// How many bytes are requested at most, after a long run of reads in order.
const MAX_PIECE: u64 = 4 << 20;
/// How many bytes the beginnings of files may take in memory, all together.
const MAX_BEGINNINGS: u64 = 64 << 20;

/// A tree of files, for code that runs on a thread that may block. Clones share what was fetched.
#[derive(Clone)]
pub struct FilesReader {
    shared: Arc<Shared>,
}

struct Shared {
    files: Arc<dyn Files>,
    /// Waits for files that are not on this machine.
    runtime: Option<Handle>,
    beginnings: Mutex<HashMap<FilePath, Bytes>>,
    failed: Mutex<Option<Error>>,
}

impl FilesReader {
    /// A reader of `files`. Where these are not on this machine, it must be made within a runtime, whose tasks fetch the bytes.
    pub fn new(files: Arc<dyn Files>) -> Self {
        let runtime = Handle::try_current().ok();
        Self { shared: Arc::new(Shared { files, runtime, beginnings: Mutex::default(), failed: Mutex::default() }) }
    }

    /// The tree.
    pub fn files(&self) -> &Arc<dyn Files> {
        &self.shared.files
    }

    /// Fetches the beginnings of files that are not on this machine, `concurrency` of them at once, so that their headers are in
    /// memory when they are read. Keeps at most 64 MiB. What cannot be fetched is tried again when it is read.
    pub async fn fetch_beginnings<'a>(&self, files: impl IntoIterator<Item = (&'a FilePath, u64)>, concurrency: usize) {
        let mut left = MAX_BEGINNINGS;
        let mut wanted = Vec::new();
        for (path, size) in files {
            let len = size.min(MIN_PIECE);
            if len == 0 || len > left || self.beginning(path).is_some() {
                continue;
            }
            left -= len;
            wanted.push((path, len));
        }
        if wanted.first().is_none_or(|(path, _)| self.shared.files.open_here(path).is_some()) {
            return;
        }
        let fetched = for_each_concurrent(concurrency, &wanted, |(path, len)| async move {
            let fetch = async { self.shared.files.open(path).await?.read(0..*len).await?.collect(MIN_PIECE as usize, path.as_str()).await };
            if let Ok(bytes) = fetch.await
                && bytes.len() as u64 == *len
            {
                lock(&self.shared.beginnings).insert((*path).clone(), bytes.into());
            }
            Ok::<_, Error>(())
        });
        let _ = fetched.await;
    }

    /// Opens a file. Blocks.
    pub fn open(&self, path: &FilePath, size: u64) -> Result<FileReader> {
        let file = match self.shared.files.open_here(path) {
            Some(opened) => Some(opened?),
            None => None,
        };
        let piece = self.beginning(path).unwrap_or_default();
        Ok(FileReader { shared: self.shared.clone(), file, path: path.clone(), size, at: 0, piece, piece_at: 0, next: MIN_PIECE })
    }

    /// The first failure to read a file that is not on this machine. Code that reads formats takes it for the end of the file, so
    /// whoever believes what it says asks this first.
    pub fn failure(&self) -> Result<()> {
        lock(&self.shared.failed).take().map_or(Ok(()), Err)
    }

    fn beginning(&self, path: &FilePath) -> Option<Bytes> {
        lock(&self.shared.beginnings).get(path).cloned()
    }
}

/// A file of a tree as bytes that are read from any position. Blocks.
///
/// A file that is not on this machine is fetched in ranges, which become larger while they are read in order.
pub struct FileReader {
    shared: Arc<Shared>,
    file: Option<Arc<dyn OpenFile>>,
    path: FilePath,
    size: u64,
    at: u64,
    piece: Bytes,
    piece_at: u64,
    next: u64,
}

impl FileReader {
    /// What the file is called in an error: the path on this machine if it is here, else the path in its tree.
    pub fn name(&self) -> String {
        match self.file.as_ref().and_then(|file| file.here()) {
            Some(range) => range.path.display().to_string(),
            None => self.path.to_string(),
        }
    }

    /// Fails with [`Error::Changed`] if the file changed since it was opened.
    pub fn unchanged(&self) -> Result<()> {
        self.file.as_ref().map_or(Ok(()), |file| file.unchanged())
    }

    /// As [`Read::read`], with an error that says what happened.
    pub fn read_piece(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.at >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        if let Some(range) = self.file.as_ref().and_then(|file| file.here()) {
            let n = range.read_at(buffer, self.at)?;
            self.at += n as u64;
            return Ok(n);
        }
        let is_fetched = self.at >= self.piece_at && self.at < self.piece_at + self.piece.len() as u64;
        if !is_fetched {
            self.fetch()?;
        }
        let from = usize::try_from(self.at - self.piece_at).expect("a piece fits into memory");
        let n = buffer.len().min(self.piece.len() - from);
        buffer[..n].copy_from_slice(&self.piece[from..from + n]);
        self.at += n as u64;
        Ok(n)
    }

    fn fetch(&mut self) -> Result<()> {
        let follows = self.at == self.piece_at + self.piece.len() as u64;
        self.next = if follows { (self.next * 2).min(MAX_PIECE) } else { MIN_PIECE };
        let range = self.at..self.at.saturating_add(self.next).min(self.size);
        let (len, what) = (range.end - range.start, self.path.as_str());
        let runtime = self.shared.runtime.as_ref().expect("files that are elsewhere are read within a runtime");
        let (files, known, path) = (&self.shared.files, &self.file, &self.path);
        let (file, piece) = runtime.block_on(async {
            let file = match known {
                Some(file) => file.clone(),
                None => files.open(path).await?,
            };
            let piece = file.read(range).await?.collect(usize::try_from(len).unwrap_or(usize::MAX), what).await?;
            Ok::<_, Error>((file, piece))
        })?;
        if piece.len() as u64 != len {
            return Err(Error::WrongSize { what: what.to_owned(), expected: self.size, found: self.at + piece.len() as u64 });
        }
        (self.file, self.piece, self.piece_at) = (Some(file), piece.into(), self.at);
        Ok(())
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_piece(buffer).map_err(|error| {
            if self.file.as_ref().is_some_and(|file| file.here().is_some()) {
                return match error {
                    Error::Io { source, .. } => source,
                    error => io::Error::other(error),
                };
            }
            let message = error.to_string();
            lock(&self.shared.failed).get_or_insert(error);
            io::Error::other(message)
        })
    }
}

impl Seek for FileReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
