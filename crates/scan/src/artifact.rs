//! The layers of an artifact.

use crate::{
    FileReport, Finding, Report,
    blob::BlobReader,
    container::scan_tar,
    file::{Context, scan},
    input::Input,
};
use modelpack_formats::compressed::{Allowance, Compression, decompressed};
use modelpack_spec::{Artifact, Content, Encoding, Hasher, Layer};
use modelpack_transfer::{Error, Result, Source, blocking, for_each_concurrent, verify_blob};
use std::{
    io::{self, BufReader, Read},
    path::PathBuf,
    sync::Arc,
};
use tokio::runtime::Handle;

/// The files of an archive layer beyond are told together.
const MAX_FILES: usize = 100_000;

/// How an artifact is scanned.
#[derive(Clone, Debug)]
pub struct ScanOptions {
    /// How many layers are read at once; at least 1.
    pub concurrency: usize,
    /// Where zip archives within archive layers are put while they are looked at; without it they are not read,
    /// which is a finding.
    pub scratch: Option<PathBuf>,
}

/// Scans the files of an artifact where they lie.
///
/// Of raw layers only what is looked at is read, and that is not compared with their digests; archive layers are read to their end, and
/// compared. Fails if a layer cannot be read.
pub async fn scan_artifact(source: Arc<dyn Source>, artifact: &Artifact, options: &ScanOptions) -> Result<Report> {
    let layers: Vec<(usize, &Layer)> = artifact.layers.iter().enumerate().collect();
    let handle = Handle::current();
    let reports = for_each_concurrent(options.concurrency, &layers, |(index, layer)| {
        let reader = BlobReader::new(source.clone(), layer.descriptor.clone(), handle.clone());
        let (index, layer, scratch) = (*index, (*layer).clone(), options.scratch.clone());
        blocking(move || scan_layer(index, &layer, reader, scratch))
    });
    Ok(Report { files: reports.await?.into_iter().flatten().collect() })
}

fn scan_layer(index: usize, layer: &Layer, mut reader: BlobReader, scratch: Option<PathBuf>) -> Result<Vec<FileReport>> {
    let size = layer.descriptor.size;
    let allowance = Allowance::of(size);
    let context = Context::new(scratch.as_deref(), &allowance);
    let name = match &layer.path {
        Some(path) => path.to_string(),
        None => format!("layer {index}"),
    };
    let encoding = match layer.content {
        Content::Archive(encoding) => encoding,
        // That it is compressed is told from its bytes, as of any file.
        Content::File(_) | Content::Compressed(..) | Content::Unnamed => Encoding::Raw,
    };
    let compression = match encoding {
        Encoding::Raw => {
            let report = scan(&name, Input::File(&mut reader, size), context);
            return reader.failed.map_or(Ok(vec![report]), Err);
        }
        Encoding::Tar => Compression::None,
        Encoding::TarGzip => Compression::Gzip,
        Encoding::TarZstd => Compression::Zstd,
    };
    let what = format!("layer {index}, {}", layer.descriptor.digest);
    let (mut files, mut more, mut count) = (Vec::new(), FileReport::new(format!("{name}: more files"), 0), 0);
    let mut each = |file| {
        if files.len() < MAX_FILES {
            files.push(file);
        } else {
            count += 1;
            more.take_entry(file);
        }
    };
    let mut hashed = Hashed { reader, hasher: Hasher::new(layer.descriptor.digest.algorithm()), len: 0 };
    let read = decompressed(compression, BufReader::new(&mut hashed), &allowance).and_then(|stream| scan_tar(stream, context, &mut each));
    let drained = io::copy(&mut hashed, &mut io::sink());
    if let Some(error) = hashed.reader.failed {
        return Err(error);
    }
    drained.map_err(|error| Error::Invalid { what: what.clone(), why: error.to_string() })?;
    verify_blob(&what, &layer.descriptor, &hashed.hasher.finish(), hashed.len)?;
    if count > 0 {
        more.looked(format!("each of {count} more files"));
        files.push(more);
    }
    if let Err(error) = read {
        let mut report = FileReport::new(name, size);
        let message = format!("is an archive that programs read differently, or not: {error}. What follows in it was not read");
        report.find(Finding::malformed(message));
        files.push(report);
    }
    Ok(files)
}

/// Bytes that are hashed as they are read.
struct Hashed {
    reader: BlobReader,
    hasher: Hasher,
    len: u64,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        self.len += n as u64;
        Ok(n)
    }
}
