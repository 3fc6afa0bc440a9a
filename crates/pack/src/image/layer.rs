//! The layers of an image: archives whose bytes are produced from a layer of the model while they
//! are read, the same each time.
//!
//! The first time, the bytes of the model's layer are verified, because the digest of the archive is
//! computed from them and nobody knows another. If they are wrong, the body ends with an error, so
//! nobody keeps it. After that the digest of the archive is known, and the bytes of a second reading
//! are compared with it where they are kept.

use super::prefix::ImagePrefix;
use crate::{
    pack::{TarWriter, around},
    unpack::{Allowance, ArchiveEntry, ArchiveReader, Contents, PIECES, blame},
};
use bytes::Bytes;
use futures_util::{
    StreamExt, TryStreamExt,
    future::ready,
    stream::{self, BoxStream},
};
use modelpack_spec::{Descriptor, Encoding, FilePath};
use modelpack_transfer::{Body, CHUNK, Error, Hashing, PieceWriter, Progress, Result, Source, Verifier, blocking};
use std::{
    io::{self, Read, Write},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::mpsc;

type Pieces = BoxStream<'static, Result<Bytes>>;

/// A layer of the model.
#[derive(Clone)]
pub(super) struct ModelLayer {
    pub(super) source: Arc<dyn Source>,
    pub(super) blob: Descriptor,
    /// Its name in errors.
    pub(super) what: String,
}

impl ModelLayer {
    async fn read(&self, from: u64) -> Result<Body> {
        self.source.blob(&self.blob, from.min(self.blob.size)..self.blob.size).await
    }
}

/// A file of the model as an archive: its bytes, unchanged, between those of the archive.
#[derive(Clone)]
pub(super) struct FileLayer {
    layer: ModelLayer,
    before: Bytes,
    after: Bytes,
}

impl FileLayer {
    /// `path` is the path of the file in the image.
    pub(super) fn new(layer: ModelLayer, path: &FilePath, executable: bool) -> Self {
        let (before, after) = around(path, layer.blob.size, executable);
        Self { layer, before: before.into(), after: after.into() }
    }

    /// The size of the archive in bytes.
    pub(super) fn len(&self) -> u64 {
        self.layer.blob.size.saturating_add((self.before.len() + self.after.len()) as u64)
    }

    /// The archive. It ends with an error if the bytes of the file are not those of the layer.
    pub(super) fn first(&self) -> Body {
        let verifier = Verifier::named(&self.layer.what, &self.layer.blob);
        Body::from_stream(self.pieces(0, Some(verifier)), Some(self.len()))
    }

    /// The archive, whose digest is known. It can be read again, from any byte on.
    pub(super) fn again(&self) -> Body {
        let this = self.clone();
        let reopen = move |skip| this.pieces(skip, None);
        Body::from_reopened(reopen(0), Some(self.len()), Arc::new(reopen))
    }

    /// The archive without its first `skip` bytes.
    fn pieces(&self, skip: u64, verifier: Option<Verifier>) -> Pieces {
        let (before, skip) = without_first(&self.before, skip);
        let size = self.layer.blob.size;
        let (after, _) = without_first(&self.after, skip.saturating_sub(size));
        let layer = self.layer.clone();
        let file = async move {
            let pieces = layer.read(skip).await?.into_stream();
            Ok(match verifier {
                Some(verifier) => verified(pieces, Hashing::new(verifier), size),
                None => pieces,
            })
        };
        let in_memory = |bytes: Bytes| stream::iter((!bytes.is_empty()).then_some(Ok(bytes)));
        in_memory(before).chain(stream::once(file).try_flatten()).chain(in_memory(after)).boxed()
    }
}

/// The bytes without the first `skip`, and how many of these are left to skip.
fn without_first(bytes: &Bytes, skip: u64) -> (Bytes, u64) {
    let skipped = usize::try_from(skip).map_or(bytes.len(), |skip| skip.min(bytes.len()));
    (bytes.slice(skipped..), skip - skipped as u64)
}

/// The pieces of a blob of `size` bytes. They end with an error if they are not those that `hashing`
/// expects.
fn verified(pieces: Pieces, hashing: Hashing, size: u64) -> Pieces {
    let next = move |state: Option<(Pieces, Hashing)>| async move {
        let (mut pieces, hashing) = state?;
        if let Some(piece) = pieces.next().await {
            let Ok(bytes) = &piece else { return Some((piece, None)) };
            hashing.update(&bytes.into());
            if hashing.given() <= size {
                return Some((piece, Some((pieces, hashing))));
            }
        }
        hashing.finish().finish().err().map(|error| (Err(error), None))
    };
    stream::unfold(Some((pieces, hashing)), next).boxed()
}

/// An archive of the model as an archive of the image: the same files and directories below the
/// prefix, with the attributes that all archives have here.
#[derive(Clone)]
pub(super) struct ArchiveLayer {
    layer: ModelLayer,
    encoding: Encoding,
    prefix: ImagePrefix,
    /// The file, if the layer is a single compressed file.
    file: Option<CompressedFile>,
}

/// A file that is a layer of its own and compressed.
#[derive(Clone)]
struct CompressedFile {
    /// Its path in the model.
    path: FilePath,
    executable: bool,
    /// Its size in bytes.
    size: u64,
}

/// The paths of all archives, and the bytes that they may decompress to.
#[derive(Clone)]
pub(super) struct Limits {
    pub(super) contents: Arc<Mutex<Contents>>,
    pub(super) allowance: Allowance,
}

impl Limits {
    /// For a layer that was read before and was within its limits.
    fn checked() -> Self {
        Self { contents: Arc::default(), allowance: Allowance::bytes(u64::MAX) }
    }
}

impl ArchiveLayer {
    /// An archive layer.
    pub(super) fn archive(layer: ModelLayer, encoding: Encoding, prefix: ImagePrefix) -> Self {
        Self { layer, encoding, prefix, file: None }
    }

    /// A single compressed file. It is read once for its size, which an archive has before the bytes.
    pub(super) async fn compressed_file(
        layer: ModelLayer,
        encoding: Encoding,
        path: FilePath,
        executable: bool,
        prefix: ImagePrefix,
        limits: Limits,
    ) -> Result<Self> {
        prefix.place(&layer.what, &path)?;
        let (measured, what, body) = (Arc::new(Mutex::new(0)), layer.what.clone(), layer.read(0).await?);
        let size = measured.clone();
        let measure = move |_, content: &mut dyn Read| {
            *lock(&size) = io::copy(content, &mut io::sink()).map_err(|error| blame(&what, error))?;
            Ok(())
        };
        reader(&layer, encoding, limits).read_compressed_file(path.clone(), body, measure).await?;
        let size = *lock(&measured);
        Ok(Self { layer, encoding, prefix, file: Some(CompressedFile { path, executable, size }) })
    }

    /// The archive. It ends with an error if the bytes of the layer are wrong, or exceed the limits.
    /// Its size is not known in advance, so `progress` expects its bytes as they come.
    pub(super) fn first(&self, limits: Limits, progress: Arc<Progress>) -> Body {
        // The paths of a compressed file were added when it was measured.
        let limits = if self.file.is_some() { Limits::checked() } else { limits };
        let pieces = self.pieces(limits).inspect_ok(move |piece| progress.expect(piece.len() as u64));
        Body::from_stream(pieces, None)
    }

    /// The archive, whose digest and `size` are known. It can be read again.
    pub(super) fn again(&self, size: u64) -> Body {
        let this = self.clone();
        let reopen = move |skip| drop_first(this.pieces(Limits::checked()), skip);
        Body::from_reopened(reopen(0), Some(size), Arc::new(reopen))
    }

    fn pieces(&self, limits: Limits) -> Pieces {
        let (sender, receiver) = mpsc::channel(PIECES);
        let work = self.clone().write(limits, PieceWriter::new(sender));
        let failure = stream::once(work).filter_map(|written| ready(written.err().map(Err)));
        let pieces = stream::unfold(receiver, async |mut receiver| Some((Ok(receiver.recv().await?), receiver)));
        stream::select(pieces, failure).boxed()
    }

    /// Reads the layer, and writes the archive as it is read.
    async fn write(self, limits: Limits, out: PieceWriter) -> Result<()> {
        let Self { layer, encoding, prefix, file } = self;
        let body = layer.read(0).await?;
        let reader = reader(&layer, encoding, limits);
        let tar = Arc::new(Mutex::new(TarWriter::new(out)));
        let (writing, directory, what) = (tar.clone(), prefix.directory().cloned(), layer.what.clone());
        let mut buffer = vec![0; CHUNK];
        if let Some(CompressedFile { path, executable, size }) = file {
            let place = prefix.place(&what, &path)?;
            let each = move |_, content: &mut dyn Read| {
                let mut tar = lock(&writing);
                tar.file(&place, size, executable).map_err(unsent())?;
                let n = copy(&what, &mut content.take(size), &mut tar, &mut buffer)?;
                // If the bytes of the layer are others, that is the error.
                if n < size || content.read(&mut [0]).map_err(|error| blame(&what, error))? > 0 {
                    let why = "the size of its file has changed".to_owned();
                    return Err(Error::Invalid { what: what.clone(), why });
                }
                Ok(())
            };
            reader.read_compressed_file(path, body, each).await?;
        } else {
            let each = move |entry: ArchiveEntry<'_>| {
                let mut tar = lock(&writing);
                match entry {
                    ArchiveEntry::Directory(path) => tar.directory(&prefix.place(&what, &path)?).map_err(unsent()),
                    ArchiveEntry::File(file, content) => {
                        tar.file(&prefix.place(&what, &file.path)?, file.size, file.executable).map_err(unsent())?;
                        copy(&what, content, &mut tar, &mut buffer).map(drop)
                    }
                }
            };
            reader.read_entries(body, each).await?;
        }
        let tar = Arc::into_inner(tar).expect("the layer was read").into_inner().unwrap_or_else(PoisonError::into_inner);
        blocking(move || {
            let mut tar = tar;
            // An archive without files has the directory of the files.
            directory.map_or(Ok(()), |directory| tar.directory(&directory)).map_err(unsent())?;
            tar.finish().and_then(|mut out| out.flush()).map_err(unsent())
        })
        .await
    }
}

fn reader(layer: &ModelLayer, encoding: Encoding, Limits { contents, allowance }: Limits) -> ArchiveReader {
    ArchiveReader { what: layer.what.clone(), layer: layer.blob.clone(), encoding, contents, allowance }
}

/// Writes the bytes of a file of the layer `what`, and returns their number.
fn copy(what: &str, content: &mut dyn Read, tar: &mut TarWriter<PieceWriter>, buffer: &mut [u8]) -> Result<u64> {
    let mut len = 0;
    loop {
        let n = content.read(buffer).map_err(|error| blame(what, error))?;
        if n == 0 {
            return Ok(len);
        }
        tar.data(&buffer[..n]).map_err(unsent())?;
        len += n as u64;
    }
}

/// The error if nobody reads the archive any more.
fn unsent() -> impl FnOnce(io::Error) -> Error {
    Error::io("write", "a layer of an image")
}

/// No code panics while it holds what is locked here.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pieces without their first `skip` bytes.
fn drop_first(pieces: Pieces, mut skip: u64) -> Pieces {
    let rest = pieces.map_ok(move |piece| {
        let (piece, left) = without_first(&piece, skip);
        skip = left;
        piece
    });
    rest.try_filter(|piece| ready(!piece.is_empty())).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use modelpack_transfer::{MemoryStore, put_bytes};

    async fn bytes_of(body: Body) -> Vec<u8> {
        body.collect(usize::MAX, "an archive").await.unwrap()
    }

    async fn model_layer(bytes: &[u8]) -> ModelLayer {
        let store = MemoryStore::new();
        let blob = put_bytes(&store, "x/x", bytes.to_vec()).await.unwrap();
        ModelLayer { source: Arc::new(store), blob, what: "layer x".to_owned() }
    }

    /// Positions at which something begins or ends in an archive, and those beside them.
    fn positions(len: usize) -> impl Iterator<Item = usize> {
        let all = [0, 512, 1024, CHUNK, len - 1024, len].into_iter();
        all.flat_map(|at| [at.saturating_sub(1), at, at + 1]).filter(move |at| *at <= len)
    }

    #[tokio::test]
    async fn an_archive_of_a_file_can_be_read_again_from_any_byte() {
        for size in [0, 1, 512, CHUNK + 1] {
            let layer = model_layer(&vec![7; size]).await;
            let file = FileLayer::new(layer, &"models/m".parse().unwrap(), false);
            let whole = bytes_of(file.first()).await;
            assert_eq!((whole.len() as u64, file.again().len()), (file.len(), Some(file.len())));
            for at in positions(whole.len()) {
                assert!(bytes_of(file.again().without_first(at as u64)).await == whole[at..], "{size} from {at}");
            }
        }
    }

    #[tokio::test]
    async fn a_rewritten_archive_can_be_read_again_from_any_byte() {
        let mut tar = TarWriter::new(Vec::new());
        tar.file(&"d/m".parse().unwrap(), 2 * CHUNK as u64, true).unwrap();
        tar.data(&vec![7; 2 * CHUNK]).unwrap();
        let layer = model_layer(&tar.finish().unwrap()).await;
        let archive = ArchiveLayer::archive(layer, Encoding::Tar, ImagePrefix::default());
        let progress = Arc::new(Progress::default());
        let whole = bytes_of(archive.first(Limits::checked(), progress.clone())).await;
        assert_eq!(progress.snapshot().total, whole.len() as u64);
        for at in positions(whole.len()) {
            let again = archive.again(whole.len() as u64).without_first(at as u64);
            assert!(bytes_of(again).await == whole[at..], "from {at}");
        }
    }

    #[tokio::test]
    async fn a_layer_that_decompresses_to_more_than_its_allowance_is_refused() {
        let zeros = zstd::encode_all(&vec![0; 1 << 20][..], 1).unwrap();
        let limits = || Limits { contents: Arc::default(), allowance: Allowance::bytes(1 << 19) };
        let layer = model_layer(&zeros).await;
        let (path, prefix) = ("m".parse().unwrap(), ImagePrefix::default());
        let file = ArchiveLayer::compressed_file(layer.clone(), Encoding::TarZstd, path, false, prefix.clone(), limits()).await;
        assert!(matches!(file, Err(Error::Invalid { .. })));
        let archive = ArchiveLayer::archive(layer, Encoding::TarZstd, prefix);
        let read = archive.first(limits(), Arc::default()).collect(usize::MAX, "an archive").await;
        assert!(matches!(read, Err(Error::Invalid { .. })));
    }
}
