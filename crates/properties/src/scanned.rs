//! Reading and scanning of pickles, zip archives, configs and compressed files.

use modelpack_formats::{
    compressed::{Allowance, Compression, decompressed},
    pickle::{Ending, Pickles},
    zip::Archive,
};
use modelpack_scan::{FileReport, scan_file};
use std::io::{Cursor, Read};

/// Positions are within the pickle and do not decrease, consecutive walks are adjacent, and reading
/// gives the same events as scanning.
pub(crate) fn pickle(data: &[u8]) {
    let size = data.len() as u64;
    let mut pickles = Pickles::new(Cursor::new(data));
    let mut begin = 0;
    while pickles.is_at_end().is_ok_and(|is_at_end| !is_at_end) {
        let walk = pickles.walk(&mut |step| assert!((begin..size).contains(&step.at), "{step:?} in {size} bytes"));
        assert_eq!(walk.begin, begin);
        if !matches!(walk.ending, Ending::Stop(_)) {
            break;
        }
        assert!(walk.end > begin && walk.end <= size, "{walk:?}");
        begin = walk.end;
    }
    for name in ["model.pkl", "model.txt"] {
        report(&scan_file(name, size, Cursor::new(data), None), size);
    }
}

/// The entries of an archive have at most the size that its directory gives, and a scan ends.
pub(crate) fn zip(data: &[u8]) {
    let size = data.len() as u64;
    if let Ok(archive) = Archive::read(Cursor::new(data), size) {
        for entry in archive.entries.iter().take(100) {
            let Ok(content) = entry.open(Cursor::new(data)) else { continue };
            let mut bytes = Vec::new();
            let read = content.take(1 << 20).read_to_end(&mut bytes);
            assert!(read.is_err() || bytes.len() as u64 <= entry.size, "{} bytes of {entry:?}", bytes.len());
        }
    }
    report(&scan_file("model.pt", size, Cursor::new(data), None), size);
}

/// A scan of a config ends, whatever follows.
pub(crate) fn json(data: &[u8]) {
    let size = data.len() as u64;
    report(&scan_file("config.json", size, Cursor::new(data), None), size);
}

/// In every compression format, the bytes decompress to no more than the allowance, and a scan
/// ends.
pub(crate) fn compressed(data: &[u8]) {
    const ALLOWED: u64 = 1 << 20;
    let size = data.len() as u64;
    let each =
        [Compression::Gzip, Compression::Zlib, Compression::Zstd, Compression::Bzip2, Compression::Xz, Compression::Lzma, Compression::Lz4];
    for compression in each {
        let Ok(mut stream) = decompressed(compression, data, &Allowance::bytes(ALLOWED)) else { continue };
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes);
        assert!(read.is_err() || bytes.len() as u64 <= ALLOWED, "{compression}: {} bytes", bytes.len());
    }
    for name in ["model.pkl.xz", "model.joblib"] {
        report(&scan_file(name, size, Cursor::new(data), None), size);
    }
}

/// A scan of HDF5 ends, even if parts of it look like a config.
pub(crate) fn hdf5(data: &[u8]) {
    let bytes = [b"\x89HDF\r\n\x1a\n", data].concat();
    let size = bytes.len() as u64;
    report(&scan_file("model.h5", size, Cursor::new(bytes), None), size);
}

/// A report states that a file was scanned, that it was not judged, or what was found.
fn report(report: &FileReport, size: u64) {
    assert_eq!(report.size, size);
    assert!(!report.looked_at.is_empty() || !report.not_judged.is_empty() || !report.findings.is_empty(), "{report:?}");
}
