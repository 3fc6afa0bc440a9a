//! Files in archives, and single compressed files.

use crate::unpack::{Allowance, ArchiveReader, ArchivedFile, decoder};
use async_trait::async_trait;
use bytes::Bytes;
use modelpack_spec::{Algorithm, Content, Descriptor, Digest, Encoding, FilePath, Hasher, Layer};
use modelpack_transfer::{Body, CHUNK, Error, Files, FilesReader, LayerFiles, OpenFile, Progress, Result, Source};
use std::{
    io::{self, BufReader, Read, Write},
    mem,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// How many bytes of each file are kept in memory, from its beginning. This includes headers and
/// all of small files.
const BEGINNING: u64 = 1 << 20;
/// The limit for the beginnings of all files of an artifact together, in bytes.
const ALL_BEGINNINGS: u64 = 64 << 20;

/// The number of bytes that may still be kept. Clones share the number.
#[derive(Clone)]
pub(super) struct Beginnings(Arc<AtomicU64>);

impl Default for Beginnings {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(ALL_BEGINNINGS)))
    }
}

impl Beginnings {
    /// Whether `len` more bytes may be kept.
    fn take(&self, len: u64) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(len)).is_ok()
    }
}

/// A file in an archive, or a single compressed file.
pub(super) struct Archived {
    pub(super) path: FilePath,
    /// Its size in bytes.
    pub(super) size: u64,
    pub(super) executable: bool,
    /// The offset of the file in the uncompressed bytes of the layer.
    offset: u64,
    digest: Digest,
    beginning: Bytes,
    source: Arc<dyn Source>,
    layer: Descriptor,
    encoding: Encoding,
}

/// Reads a layer to its end. Returns the files in it and, if it is an archive, the digest of its
/// uncompressed bytes.
pub(super) async fn list(
    source: Arc<dyn Source>,
    reader: ArchiveReader,
    layer: &Layer,
    beginnings: Beginnings,
    progress: Arc<Progress>,
) -> Result<(Vec<Archived>, Option<Digest>)> {
    let descriptor = layer.descriptor.clone();
    let body = source.blob(&descriptor, 0..descriptor.size).await?.counted(progress.blob(&descriptor));
    let files = Arc::new(Mutex::new(Vec::new()));
    let (found, encoding) = (files.clone(), reader.encoding);
    let mut buffer = vec![0; CHUNK];
    let mut add = move |file: ArchivedFile, content: &mut dyn Read| {
        let (size, digest, beginning) = read(content, file.size.min(BEGINNING), &beginnings, &mut buffer)?;
        let ArchivedFile { path, executable, offset, .. } = file;
        let (source, layer) = (source.clone(), descriptor.clone());
        let file = Archived { path, size, executable, offset, digest, beginning, source, layer, encoding };
        found.lock().expect("no code panics while it holds the files").push(file);
        Ok(())
    };
    let diff_id = match &layer.content {
        Content::Compressed(path, _) => {
            let executable = layer.is_executable();
            let each = move |path, content: &mut dyn Read| add(ArchivedFile { path, size: BEGINNING, executable, offset: 0 }, content);
            reader.read_compressed_file(path.clone(), body, each).await?;
            None
        }
        _ => Some(reader.read(body, add).await?),
    };
    let files = mem::take(&mut *files.lock().expect("no code panics while it holds the files"));
    Ok((files, diff_id))
}

/// Reads a file to its end. Returns its size, its digest, and at most `keep` bytes of its
/// beginning.
fn read(content: &mut dyn Read, keep: u64, beginnings: &Beginnings, buffer: &mut [u8]) -> Result<(u64, Digest, Bytes)> {
    let (mut size, mut hasher, mut beginning) = (0, Hasher::new(Algorithm::Sha256), Vec::new());
    let keep = if beginnings.take(keep) { usize::try_from(keep).unwrap_or(0) } else { 0 };
    loop {
        let n = content.read(buffer).map_err(|error| error.downcast::<Error>().unwrap_or_else(Error::io("read", "an archive")))?;
        if n == 0 {
            return Ok((size, hasher.finish(), beginning.into()));
        }
        hasher.update(&buffer[..n]);
        size += n as u64;
        beginning.extend_from_slice(&buffer[..n.min(keep - beginning.len())]);
    }
}

#[async_trait]
impl OpenFile for Archived {
    async fn digest(&self) -> Result<Option<Digest>> {
        Ok(Some(self.digest.clone()))
    }

    /// Reads a range. A range at the beginning is in memory. For an uncompressed archive only the
    /// range is fetched, for others all bytes before it too.
    async fn read(&self, range: Range<u64>) -> Result<Body> {
        let Range { start, end } = range;
        if end <= self.beginning.len() as u64 {
            let at = |at: u64| usize::try_from(at).expect("it is at most a length in memory");
            return Ok(Body::from_bytes(self.beginning.slice(at(start.min(end))..at(end))));
        }
        if self.encoding == Encoding::Tar {
            return self.source.blob(&self.layer, self.offset + start..self.offset + end).await;
        }
        let (skip, len) = (self.offset + start, end.saturating_sub(start));
        let blob = LayerFiles::of_blob(self.source.clone(), &self.layer);
        let entry = blob.entries()[0].clone();
        let (blob, encoding) = (FilesReader::new(Arc::new(blob)), self.encoding);
        let produce = move |out: &mut dyn Write| {
            let failed = |error: io::Error| error.downcast::<Error>().unwrap_or_else(Error::io("decompress", entry.path.as_str()));
            // Every byte of the layer was decompressed before, so its size is known to be
            // acceptable.
            let allowance = Allowance::bytes(u64::MAX);
            let reader = BufReader::with_capacity(CHUNK, blob.open(&entry.path, entry.size)?);
            let mut content = decoder(encoding, reader, &allowance).map_err(failed)?;
            io::copy(&mut content.by_ref().take(skip), &mut io::sink()).map_err(failed)?;
            io::copy(&mut content.take(len), out).map(drop).map_err(failed)
        };
        Ok(Body::from_producer(Arc::new(produce), Some(len)))
    }
}
