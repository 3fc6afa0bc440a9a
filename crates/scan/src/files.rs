//! Scans the files of a tree, and the layers of an artifact.

use crate::{
    FileReport, Finding, Report,
    container::scan_tar,
    file::{Context, scan},
    input::Input,
};
use modelpack_formats::compressed::{Allowance, Compression, decompressed};
use modelpack_spec::{Descriptor, Encoding, FilePath};
use modelpack_transfer::{Error, FileReader, Files, FilesReader, LayerFile, Result, Verifier, blocking, for_each_concurrent};
use std::{
    io::{self, BufReader, Read},
    path::PathBuf,
    sync::Arc,
};

/// Further files of an archive layer share one report.
const MAX_FILES: usize = 100_000;

/// Options of a scan.
#[derive(Clone, Debug)]
pub struct ScanOptions {
    /// The number of files that are read concurrently; at least 1.
    pub concurrency: usize,
    /// The directory to which zip archives inside other archives are extracted. Without it they are
    /// not read, which is a finding.
    pub scratch: Option<PathBuf>,
}

/// A file to scan.
#[derive(Clone, Debug)]
pub struct ScannedFile {
    path: FilePath,
    size: u64,
    /// For an archive layer: its encoding, and the expected digest and size.
    archive: Option<(Encoding, Descriptor)>,
}

impl ScannedFile {
    /// A file of the model with `size` bytes.
    pub fn new(path: FilePath, size: u64) -> Self {
        Self { path, size, archive: None }
    }
}

impl From<&LayerFile> for ScannedFile {
    fn from(layer: &LayerFile) -> Self {
        let LayerFile { path, blob, encoding } = layer;
        let archive = (*encoding != Encoding::Raw).then(|| (*encoding, blob.clone()));
        Self { path: path.clone(), size: blob.size, archive }
    }
}

/// Scans these files of the tree `files`.
///
/// Only the required parts are read, and they are not compared with digests. Archive layers of an
/// artifact are read to their end and compared; each of their files has its own report. Fails if a
/// file cannot be read.
pub async fn scan_files(files: Arc<dyn Files>, scanned: &[ScannedFile], options: &ScanOptions) -> Result<Report> {
    let reader = FilesReader::new(files);
    let reports = for_each_concurrent(options.concurrency, scanned, |file| {
        let (reader, file, scratch) = (reader.clone(), file.clone(), options.scratch.clone());
        blocking(move || {
            let reports = scan_one(&file, &reader, scratch)?;
            reader.failure().map(|()| reports)
        })
    });
    Ok(Report { files: reports.await?.into_iter().flatten().collect() })
}

fn scan_one(file: &ScannedFile, reader: &FilesReader, scratch: Option<PathBuf>) -> Result<Vec<FileReport>> {
    let ScannedFile { path, size, archive } = file;
    let (name, size) = (path.to_string(), *size);
    let mut content = reader.open(path, size)?;
    let allowance = Allowance::of(size);
    let context = Context::new(scratch.as_deref(), &allowance);
    let Some((encoding, descriptor)) = archive else { return Ok(vec![scan(&name, Input::File(&mut content, size), context)]) };
    let compression = match encoding {
        Encoding::Raw | Encoding::Tar => Compression::None,
        Encoding::TarGzip => Compression::Gzip,
        Encoding::TarZstd => Compression::Zstd,
    };
    let what = format!("layer {name}, {}", descriptor.digest);
    let (mut files, mut more, mut count) = (Vec::new(), FileReport::new(format!("{name}: more files"), 0), 0);
    let mut each = |file| {
        if files.len() < MAX_FILES {
            files.push(file);
        } else {
            count += 1;
            more.take_entry(file);
        }
    };
    let mut hashed = Hashed { reader: content, verifier: Verifier::named(&what, descriptor) };
    let read = decompressed(compression, BufReader::new(&mut hashed), &allowance).and_then(|stream| scan_tar(stream, context, &mut each));
    let drained = io::copy(&mut hashed, &mut io::sink());
    reader.failure()?;
    drained.map_err(|error| error.downcast().unwrap_or_else(|error| Error::Invalid { what, why: error.to_string() }))?;
    hashed.verifier.finish()?;
    if count > 0 {
        more.looked(format!("each of {count} more files"));
        files.push(more);
    }
    if let Err(error) = read {
        let mut report = FileReport::new(name, size);
        let message = format!("is an archive that programs read differently or not at all: {error}. The rest of it was not read");
        report.find(Finding::malformed(message));
        files.push(report);
    }
    Ok(files)
}

/// Hashes bytes as they are read.
struct Hashed {
    reader: FileReader,
    verifier: Verifier,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.verifier.update(&buffer[..n]).map_err(io::Error::other)?;
        Ok(n)
    }
}
