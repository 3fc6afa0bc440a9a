//! Archive layers: their bytes are produced while they are consumed, and can be produced again.

use super::{
    PackOptions, Stored, Turns,
    encode::Encoder,
    tar::{TarWriter, archive_len},
};
use crate::{PlannedFile, PlannedLayer, Result};
use modelpack_spec::{Algorithm, Descriptor, Digest, Encoding, Hasher};
use modelpack_transfer::{Begin, Body, CHUNK, Committed, Error, FilesReader, Hashing, Progress, Sink, Verifier, blocking};
use std::{
    io::{self, Write},
    sync::{Arc, OnceLock},
};

/// Writes the files of a layer as an archive, unless the sink has it.
pub(super) async fn pack_archive(layer: &PlannedLayer, sink: &dyn Sink, options: &PackOptions, turns: &Turns) -> Result<Stored> {
    let archive = Arc::new(Archive::new(layer));
    let media_type = layer.layer_type().to_string();
    let promised = match sink.wants_digest() {
        true => {
            let _turn = turns.take().await;
            let Committed { digest, size, hash_states } = archive.hash(options).await?;
            Some((Descriptor::new(media_type, digest, size), hash_states))
        }
        false => None,
    };
    let (promised, known_states) = promised.unzip();
    let Committed { digest, size, hash_states } = match sink.begin(promised.as_ref()).await? {
        Begin::Exists => {
            options.progress.skipped(layer.bytes());
            let blob = promised.expect("only a blob with a known digest can exist");
            Committed { digest: blob.digest, size: blob.size, hash_states: None }
        }
        Begin::Upload(mut upload) => {
            let size = promised.as_ref().map(|blob| blob.size).or(layer.size());
            let written = upload.write(archive.body(size, options, Progress::moved)).await;
            if written.is_err() {
                // A registry refuses bytes with a wrong digest. If a file has changed, that is the
                // better error.
                let archive = archive.clone();
                blocking(move || archive.unchanged()).await?;
            }
            written?;
            upload.commit(promised.as_ref()).await?
        }
    };
    let input = layer.input(digest, archive.diff_id.get().cloned(), size);
    Ok(Stored { input, hash_states: known_states.flatten().or(hash_states) })
}

/// The files of an archive, and data from the first time that it was produced.
struct Archive {
    /// The files with their readers.
    files: Vec<(PlannedFile, FilesReader)>,
    encoding: Encoding,
    /// The digest of the uncompressed archive.
    diff_id: OnceLock<Digest>,
}

impl Archive {
    fn new(layer: &PlannedLayer) -> Self {
        let mut readers: Vec<FilesReader> = Vec::new();
        let mut reader = |file: &PlannedFile| {
            if readers.last().is_none_or(|last| !Arc::ptr_eq(last.files(), &file.content)) {
                readers.push(FilesReader::new(file.content.clone()));
            }
            readers.last().expect("one was pushed").clone()
        };
        let files = layer.files.iter().map(|file| (file.clone(), reader(file))).collect();
        Self { files, encoding: layer.encoding, diff_id: OnceLock::new() }
    }

    /// The bytes of the layer, with the given `size` if it is known. `count` receives the number of
    /// file bytes read.
    fn body(self: &Arc<Self>, size: Option<u64>, options: &PackOptions, count: fn(&Progress, u64)) -> Body {
        let (archive, progress) = (self.clone(), options.progress.clone());
        let len = archive_len(archive.files.iter().map(|(file, _)| (&file.path, file.size)));
        Body::from_producer(Arc::new(move |out| archive.write(len, out, |n| count(&progress, n))), size)
    }

    /// The layer, as it will be committed.
    async fn hash(self: &Arc<Self>, options: &PackOptions) -> Result<Committed> {
        let hashing = Hashing::new(Verifier::unknown(Algorithm::Sha256));
        let hashed = self.body(None, options, Progress::hashed).drain(hashing, |hashing, piece| {
            hashing.update(&piece);
            Ok(())
        });
        let (hashing, result) = hashed.await;
        result?;
        Ok(hashing.finish().finish()?.into())
    }

    fn write(&self, len: u64, out: &mut dyn Write, count: impl Fn(u64)) -> Result<(), Error> {
        let failed = || Error::io("compress", self.files[0].0.path.as_str());
        let encoder = Encoder::new(self.encoding, len, out).map_err(failed())?;
        let hasher = self.encoding.is_compressed().then(|| Hasher::new(Algorithm::Sha256));
        let mut tar = TarWriter::new(Hashed { out: encoder, hasher });
        let mut buffer = vec![0; CHUNK];
        for (file, reader) in &self.files {
            write_file(file, reader, &mut tar, &mut buffer, &count)?;
        }
        let Hashed { out, hasher } = tar.finish().map_err(failed())?;
        if let Some(hasher) = hasher {
            // Later productions give the same digest, because changed files are detected.
            self.diff_id.get_or_init(|| hasher.finish());
        }
        out.finish().map(drop).map_err(failed())
    }

    /// Fails if a file has changed since it was planned.
    fn unchanged(&self) -> Result<(), Error> {
        self.files.iter().try_for_each(|(file, reader)| reader.open(&file.path, file.size).map(drop))
    }
}

fn write_file(
    planned: &PlannedFile,
    reader: &FilesReader,
    tar: &mut TarWriter<impl Write>,
    buffer: &mut [u8],
    count: impl Fn(u64),
) -> Result<(), Error> {
    let mut file = reader.open(&planned.path, planned.size)?;
    let name = file.name();
    let written = || Error::io("compress", &name);
    tar.file(&planned.path, planned.size, planned.executable).map_err(written())?;
    let mut missing = planned.size;
    while missing > 0 {
        let want = buffer.len().min(usize::try_from(missing).unwrap_or(usize::MAX));
        let n = file.read_piece(&mut buffer[..want])?;
        if n == 0 {
            return Err(Error::Changed { path: name.into() });
        }
        tar.data(&buffer[..n]).map_err(written())?;
        count(n as u64);
        missing -= n as u64;
    }
    file.unchanged()
}

/// Hashes the written bytes, if the digest is needed.
struct Hashed<W> {
    out: W,
    hasher: Option<Hasher>,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes[..n]);
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
