//! Archive layers: their bytes are decompressed and read as they arrive, and their files are
//! staged.

use super::{
    Finished, LISTED, LeftOut,
    contents::{Contents, invalid},
    destination::conflict,
    staging::Staging,
};
use bytes::{Buf, Bytes};
use futures_util::{StreamExt, future};
use modelpack_formats::{
    compressed::{Allowance, Compression, Limited, decompressed},
    tar::{Entries, Kind},
};
use modelpack_spec::{Algorithm, Descriptor, Digest, Encoding, FilePath, Hasher};
use modelpack_store::Writeback;
use modelpack_transfer::{Body, CHUNK, Error, Result, Verifier, blocking, for_each_concurrent};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    path::Path,
    sync::{Arc, Mutex},
};
use tokio::sync::mpsc;

/// How many pieces of an archive may wait to be read.
pub(crate) const PIECES: usize = 8;

/// The staged content of an archive.
#[derive(Default)]
pub(super) struct Archived {
    /// The files with their names in the staging directory.
    files: Vec<(Finished, String)>,
    directories: Vec<FilePath>,
    pub(super) left_out: LeftOut,
    /// The first files that were not selected.
    pub(super) passed: Vec<FilePath>,
}

impl Archived {
    /// Whether it contains a selected file.
    pub(super) fn has_file(&self) -> bool {
        !self.files.is_empty()
    }
}

/// Whether a file with this path and size is to be staged.
type IsSelected<'a> = &'a dyn Fn(&FilePath, u64) -> bool;

/// Stages the files of an artifact's archives. Clones share the limits.
#[derive(Clone)]
pub(super) struct Unarchiver {
    staging: Arc<Staging>,
    contents: Arc<Mutex<Contents>>,
    allowance: Allowance,
}

impl Unarchiver {
    /// `stored` is the size of all archives in bytes; `contents` has the files outside archives.
    pub(super) fn new(staging: Arc<Staging>, contents: Contents, stored: u64) -> Self {
        Self { staging, contents: Arc::new(Mutex::new(contents)), allowance: Allowance::of(stored) }
    }

    /// Stages the selected files of an archive, or the single compressed file `file` with its
    /// executable bit. Fails if the bytes are not those that `verifier` expects. `what` is the name
    /// of the layer in errors.
    pub(super) async fn stage(
        self,
        what: String,
        encoding: Encoding,
        file: Option<(FilePath, bool)>,
        body: Body,
        verifier: Verifier,
        is_selected: impl Fn(&FilePath, u64) -> bool + Send + 'static,
    ) -> Result<Archived> {
        let of = what.clone();
        let read = move |pipe: &mut Pipe| match file {
            Some((path, executable)) => self.read_file(&of, encoding, path, executable, pipe),
            None => self.read_entries(&of, encoding, pipe, &is_selected),
        };
        read_verified(what, body, verifier, read).await
    }

    fn read_entries(&self, what: &str, encoding: Encoding, pipe: &mut Pipe, is_selected: IsSelected<'_>) -> Result<Archived> {
        let blame = |e| blame(what, e);
        let decoder = decoder(encoding, pipe, &self.allowance).map_err(blame)?;
        let mut entries = Entries::new(BufReader::new(decoder));
        let mut archived = Archived::default();
        let mut buffer = vec![0; CHUNK];
        while let Some((path, kind)) = next_entry(what, &mut entries)? {
            let mut contents = self.contents.lock().expect("no code panics while it holds the contents");
            match kind {
                Kind::Directory => {
                    contents.insert_directory(what, &path)?;
                    archived.directories.push(path);
                }
                Kind::File { size, executable } => {
                    contents.insert_file(what, &path)?;
                    drop(contents);
                    if !is_selected(&path, size) {
                        archived.left_out.add_file(size);
                        if archived.passed.len() < LISTED {
                            archived.passed.push(path);
                        }
                        continue;
                    }
                    self.allowance.check(size).map_err(blame)?;
                    let staged = self.stage_file(&path, executable, &mut buffer, |buffer| entries.read_data(buffer).map_err(blame))?;
                    archived.files.push((Finished { path, executable, size }, staged));
                }
            }
        }
        Ok(archived)
    }

    /// Stages a single compressed file.
    fn read_file(&self, what: &str, encoding: Encoding, path: FilePath, executable: bool, pipe: &mut Pipe) -> Result<Archived> {
        let blame = |e| blame(what, e);
        self.contents.lock().expect("no code panics while it holds the contents").insert_file(what, &path)?;
        let mut reader = decoder(encoding, pipe, &self.allowance).map_err(blame)?;
        let (mut buffer, mut size) = (vec![0; CHUNK], 0);
        let staged = self.stage_file(&path, executable, &mut buffer, |buffer| {
            let n = reader.read(buffer).map_err(blame)?;
            size += n as u64;
            Ok(n)
        })?;
        Ok(Archived { files: vec![(Finished { path, executable, size }, staged)], ..Archived::default() })
    }

    /// Writes a file with the bytes that `read` returns, and returns its name in the staging
    /// directory.
    fn stage_file(
        &self,
        path: &FilePath,
        executable: bool,
        buffer: &mut [u8],
        mut read: impl FnMut(&mut [u8]) -> Result<usize>,
    ) -> Result<String> {
        let mut staged = self.staging.create_file(executable)?;
        let (mut writeback, mut len) = (Writeback::default(), 0);
        loop {
            let n = read(buffer)?;
            if n == 0 {
                return Ok(staged.name);
            }
            staged.file.write_all(&buffer[..n]).map_err(Error::io("write", self.staging.destination().locate(path)))?;
            len += n as u64;
            writeback.advance(&staged.file, len);
        }
    }
}

/// Passes a layer to `read` as it arrives, on a thread that may block. Fails if its bytes are not
/// those that `verifier` expects.
async fn read_verified<T: Send + 'static>(
    what: String,
    body: Body,
    verifier: Verifier,
    read: impl FnOnce(&mut Pipe) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = mpsc::channel(PIECES);
    let receive = async move {
        let mut pieces = body.into_stream();
        while let Some(piece) = pieces.next().await {
            if sender.send(piece).await.is_err() {
                break;
            }
        }
    };
    let read = blocking(move || {
        let mut pipe = Pipe { receiver, piece: Bytes::new(), verifier };
        let read = read(&mut pipe);
        // Errors in the content are reported only if the bytes have the right digest. Otherwise the
        // digest error is reported.
        if let Ok(_) | Err(Error::Invalid { .. } | Error::InvalidPath { .. }) = read {
            pipe.finish().map_err(|e| blame(&what, e))?;
        }
        read
    });
    future::join(receive, read).await.1
}

/// The digest of a layer's uncompressed content, which its diffId must equal.
///
/// `body` has the bytes of `layer`, which are not kept. Fails with [`Error::Invalid`] if they are
/// not in `encoding`, or exceed `allowance` when decompressed, and with another error if they do
/// not match the descriptor.
pub async fn content_digest(
    layer: &Descriptor,
    encoding: Encoding,
    algorithm: Algorithm,
    body: Body,
    allowance: Allowance,
) -> Result<Digest> {
    let what = format!("layer {}", layer.digest);
    let (of, verifier) = (what.clone(), Verifier::named(&what, layer));
    let read = move |pipe: &mut Pipe| {
        let decoder = decoder(encoding, pipe, &allowance).map_err(|e| blame(&of, e))?;
        let mut content = BufReader::with_capacity(CHUNK, decoder);
        let mut hasher = Hasher::new(algorithm);
        loop {
            let piece = content.fill_buf().map_err(|e| blame(&of, e))?;
            if piece.is_empty() {
                return Ok(hasher.finish());
            }
            hasher.update(piece);
            let n = piece.len();
            content.consume(n);
        }
    };
    read_verified(what, body, verifier, read).await
}

/// A file in an archive, and the offset of its bytes.
pub(crate) struct ArchivedFile {
    pub(crate) path: FilePath,
    /// Its size in bytes.
    pub(crate) size: u64,
    pub(crate) executable: bool,
    /// The offset of its bytes in the uncompressed archive.
    pub(crate) offset: u64,
}

/// A file or directory in an archive.
pub(crate) enum ArchiveEntry<'a> {
    Directory(FilePath),
    /// A file, and its bytes. Those that are not read are skipped.
    File(ArchivedFile, &'a mut dyn Read),
}

/// Reads an archive with limits for its paths and bytes.
pub(crate) struct ArchiveReader {
    /// The name of the archive in errors.
    pub(crate) what: String,
    pub(crate) layer: Descriptor,
    pub(crate) encoding: Encoding,
    /// The set to which all its paths are added.
    pub(crate) contents: Arc<Mutex<Contents>>,
    pub(crate) allowance: Allowance,
}

impl ArchiveReader {
    /// Passes each file of the archive to `each`, which may read it. `body` has the bytes of the
    /// archive. Returns the digest of the uncompressed archive.
    ///
    /// Fails like unpacking the archive. The bytes that `each` read are verified only after this
    /// returns.
    pub(crate) async fn read(
        self,
        body: Body,
        mut each: impl FnMut(ArchivedFile, &mut dyn Read) -> Result<()> + Send + 'static,
    ) -> Result<Digest> {
        let each = move |entry: ArchiveEntry<'_>| match entry {
            ArchiveEntry::Directory(_) => Ok(()),
            ArchiveEntry::File(file, content) => each(file, content),
        };
        self.read_entries(body, each).await
    }

    /// The same for files and directories, in the order of the archive.
    pub(crate) async fn read_entries(
        self,
        body: Body,
        mut each: impl FnMut(ArchiveEntry<'_>) -> Result<()> + Send + 'static,
    ) -> Result<Digest> {
        let Self { what, layer, encoding, contents, allowance } = self;
        let (of, verifier) = (what.clone(), Verifier::named(&what, &layer));
        let read = move |pipe: &mut Pipe| {
            let blame = |e| blame(&of, e);
            let decoder = decoder(encoding, pipe, &allowance).map_err(blame)?;
            let mut entries = Entries::new(Metered::new(BufReader::with_capacity(CHUNK, decoder)));
            while let Some((path, kind)) = next_entry(&of, &mut entries)? {
                let mut contents = contents.lock().expect("no code panics while it holds the contents");
                match kind {
                    Kind::Directory => {
                        contents.insert_directory(&of, &path)?;
                        drop(contents);
                        each(ArchiveEntry::Directory(path))?;
                    }
                    Kind::File { size, executable } => {
                        contents.insert_file(&of, &path)?;
                        drop(contents);
                        let offset = entries.reader().at;
                        each(ArchiveEntry::File(ArchivedFile { path, size, executable, offset }, &mut EntryData(&mut entries)))?;
                    }
                }
            }
            let mut rest = entries.into_reader();
            io::copy(&mut rest, &mut io::sink()).map_err(blame)?;
            Ok(rest.hasher.finish())
        };
        read_verified(what, body, verifier, read).await
    }

    /// Passes the single file of a compressed-file layer to `each`.
    pub(crate) async fn read_compressed_file(
        self,
        path: FilePath,
        body: Body,
        mut each: impl FnMut(FilePath, &mut dyn Read) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let Self { what, layer, encoding, contents, allowance } = self;
        let (of, verifier) = (what.clone(), Verifier::named(&what, &layer));
        let read = move |pipe: &mut Pipe| {
            contents.lock().expect("no code panics while it holds the contents").insert_file(&of, &path)?;
            let mut decoder = decoder(encoding, pipe, &allowance).map_err(|e| blame(&of, e))?;
            each(path, &mut decoder)
        };
        read_verified(what, body, verifier, read).await
    }
}

/// The bytes of the current entry.
struct EntryData<'a, R>(&'a mut Entries<R>);

impl<R: Read> Read for EntryData<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_data(buffer)
    }
}

/// Counts and hashes bytes as they are read.
struct Metered<R> {
    reader: R,
    at: u64,
    hasher: Hasher,
}

impl<R> Metered<R> {
    fn new(reader: R) -> Self {
        Self { reader, at: 0, hasher: Hasher::new(Algorithm::Sha256) }
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.at += n as u64;
        self.hasher.update(&buffer[..n]);
        Ok(n)
    }
}

/// The next entry with a path. The entry of the archive's top directory has none and is skipped.
fn next_entry(what: &str, entries: &mut Entries<impl Read>) -> Result<Option<(FilePath, Kind)>> {
    while let Some(entry) = entries.next().map_err(|e| blame(what, e))? {
        if entry.kind != Kind::Directory || !is_root(&entry.path) {
            return Ok(Some((entry.path.parse().map_err(invalid(what))?, entry.kind)));
        }
    }
    Ok(None)
}

/// Decompresses an encoding.
pub(crate) fn decoder<'a>(encoding: Encoding, pipe: impl BufRead + 'a, allowance: &Allowance) -> io::Result<Limited<Box<dyn Read + 'a>>> {
    let compression = match encoding {
        Encoding::Raw | Encoding::Tar => Compression::None,
        Encoding::TarGzip => Compression::Gzip,
        Encoding::TarZstd => Compression::Zstd,
    };
    decompressed(compression, pipe, allowance)
}

/// The result of placing the files of all archives.
#[derive(Default)]
pub(super) struct Placed {
    pub(super) written: Vec<Finished>,
    pub(super) unchanged: Vec<Finished>,
    pub(super) directories: Vec<FilePath>,
}

/// How many files are synced concurrently. A file system writes its journal once for all waiting
/// syncs, so many small files need few writes.
const SYNCS: usize = 16;

/// Moves the staged files of all archives into place after all of them were synced.
///
/// Existing files with the same bytes are left. Fails before anything is moved, with
/// [`Error::Conflict`], if a file has other bytes and may not be replaced, or if something else is
/// in the way.
pub(super) async fn place(staging: &Arc<Staging>, archived: Vec<Archived>, replace: bool) -> Result<Placed> {
    let of = staging.clone();
    let (mut placed, staged) = blocking(move || compare(&of, archived, replace)).await?;
    let staged = Arc::new(staged);
    let each = staged.len().div_ceil(SYNCS).max(1);
    let sync = |from: usize| {
        let (of, staged) = (staging.clone(), staged.clone());
        blocking(move || staged[from..].iter().take(each).try_for_each(|(file, name)| of.sync(&of.open_file(name.clone())?, &file.path)))
    };
    for_each_concurrent(SYNCS, (0..staged.len()).step_by(each), sync).await?;
    let of = staging.clone();
    blocking(move || {
        let destination = of.destination();
        placed.directories.iter().try_for_each(|path| destination.make_directory(path))?;
        for (file, name) in Arc::into_inner(staged).expect("all syncs have finished") {
            of.rename(&name, &file.path, replace)?;
            placed.written.push(file);
        }
        Ok(placed)
    })
    .await
}

/// Separates staged files that already exist from those to be moved. This call blocks.
fn compare(staging: &Staging, archived: Vec<Archived>, replace: bool) -> Result<(Placed, Vec<(Finished, String)>)> {
    let destination = staging.destination();
    let (mut placed, mut staged) = (Placed::default(), Vec::new());
    for Archived { files, directories, .. } in archived {
        directories.iter().try_for_each(|path| destination.check_directory(path))?;
        placed.directories.extend(directories);
        for (file, name) in files {
            match destination.file(&file.path)? {
                Some(found) if is_same(&found, &staging.open_file(name.clone())?.file, &destination.locate(&file.path))? => {
                    placed.unchanged.push(file);
                }
                Some(_) if !replace => return Err(conflict(destination.locate(&file.path), "it differs from the file in the artifact")),
                _ => staged.push((file, name)),
            }
        }
    }
    Ok((placed, staged))
}

/// Whether two files have the same bytes.
fn is_same(found: &File, staged: &File, located: &Path) -> Result<bool> {
    let failed = || Error::io("compare", located);
    let len = |file: &File| file.metadata().map(|metadata| metadata.len());
    if len(found).map_err(failed())? != len(staged).map_err(failed())? {
        return Ok(false);
    }
    let (mut found, mut staged) = (BufReader::with_capacity(CHUNK, found), BufReader::with_capacity(CHUNK, staged));
    loop {
        let (one, other) = (found.fill_buf().map_err(failed())?, staged.fill_buf().map_err(failed())?);
        let n = one.len().min(other.len());
        if n == 0 || one[..n] != other[..n] {
            return Ok(one.is_empty() && other.is_empty());
        }
        found.consume(n);
        staged.consume(n);
    }
}

/// The bytes of a layer as they arrive. Every byte that is read is verified.
struct Pipe {
    receiver: mpsc::Receiver<Result<Bytes>>,
    piece: Bytes,
    verifier: Verifier,
}

impl Pipe {
    /// Reads the rest. Fails if the bytes are not the expected ones.
    fn finish(mut self) -> io::Result<()> {
        io::copy(&mut self, &mut io::sink())?;
        self.verifier.finish().map(drop).map_err(io::Error::other)
    }
}

impl BufRead for Pipe {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.piece.is_empty() {
            // If the sender was dropped too early, bytes are missing, which the verification
            // detects.
            let Some(piece) = self.receiver.blocking_recv() else { break };
            self.piece = piece.map_err(io::Error::other)?;
            self.verifier.update(&self.piece).map_err(io::Error::other)?;
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, n: usize) {
        self.piece.advance(n);
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

/// `tar -C directory .` begins with an entry for the directory itself.
fn is_root(path: &str) -> bool {
    path.starts_with('.') && path.split('/').all(|component| matches!(component, "." | ""))
}

/// The error that stopped the reading of an archive: our own error if one was passed through the
/// reader, or else an error in the archive.
pub(crate) fn blame(what: &str, error: io::Error) -> Error {
    error.downcast::<Error>().unwrap_or_else(|error| Error::Invalid { what: what.to_owned(), why: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_digest_of_a_layers_content_is_the_same_in_every_encoding() {
        let content = vec![7; 3 * CHUNK + 1];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&content).unwrap();
        let gzip = gzip.finish().unwrap();
        let gzip_layer = Descriptor::of("x", &gzip);
        let zstd = zstd::encode_all(&content[..], 1).unwrap();
        for (encoding, layer) in
            [(Encoding::Raw, &content), (Encoding::Tar, &content), (Encoding::TarGzip, &gzip), (Encoding::TarZstd, &zstd)]
        {
            let descriptor = Descriptor::of("x", layer);
            let body = |bytes: &[u8]| Body::from_bytes(bytes.to_vec());
            let digest = |bytes: &[u8]| content_digest(&descriptor, encoding, Algorithm::Sha512, body(bytes), Allowance::of(1));
            assert_eq!(digest(layer).await.unwrap(), Algorithm::Sha512.digest(&content), "{encoding:?}");
            let mut other = layer.clone();
            *other.last_mut().unwrap() ^= 1;
            assert!(matches!(digest(&other).await, Err(Error::WrongDigest { .. })), "{encoding:?}");
            assert!(matches!(digest(&layer[1..]).await, Err(Error::WrongSize { .. })), "{encoding:?}");
        }
        for encoding in [Encoding::TarGzip, Encoding::TarZstd] {
            let body = Body::from_bytes(content.clone());
            let layer = Descriptor::of("x", &content);
            let digest = content_digest(&layer, encoding, Algorithm::Sha256, body, Allowance::of(1)).await;
            assert!(matches!(digest, Err(Error::Invalid { .. })), "{encoding:?}");
        }
        let allowance = Allowance::bytes(content.len() as u64 + 1);
        let digest =
            || content_digest(&gzip_layer, Encoding::TarGzip, Algorithm::Sha256, Body::from_bytes(gzip.clone()), allowance.clone());
        assert_eq!(digest().await.unwrap(), Digest::of(&content));
        assert!(matches!(digest().await, Err(Error::Invalid { .. })), "both together unpack to too much");
    }

    #[test]
    fn only_the_root_is_the_root() {
        assert!([".", "./", "./.", "././/"].into_iter().all(is_root));
        assert!(!["", "/", "./a", "..", "/."].into_iter().any(is_root));
    }
}
