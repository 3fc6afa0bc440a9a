//! The contract of [`Files`] as a suite: every implementation runs it in its tests.

use super::{Files, FilesReader};
use crate::Error;
use modelpack_spec::{Digest, FilePath};
use std::{
    io::{Read, Seek, SeekFrom},
    sync::Arc,
};

/// A file that a tree must have.
#[derive(Clone, Debug)]
pub struct ExpectedFile {
    /// Its path.
    pub path: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Whether its owner may execute it.
    pub executable: bool,
}

/// Files that test a tree: no bytes, few bytes, more than one piece, directories, names that sort differently by component.
pub fn expected_files() -> Vec<ExpectedFile> {
    let bytes = |len: usize| (0..len).map(|at| (at % 251) as u8).collect();
    let file = |path, len, executable| ExpectedFile { path, bytes: bytes(len), executable };
    vec![
        file("README.md", 0, false),
        file("a-b", 3, false),
        file("a/b", 1, false),
        file("config.json", 100, false),
        file("model.safetensors", (2 << 20) + 7, false),
        file("scripts/run me.sh", 1000, true),
    ]
}

/// Runs the whole suite on `files`, a tree of [`expected_files`] and no others. Runs within a runtime of several threads.
///
/// # Panics
/// If the implementation breaks the contract. The message says where.
pub async fn check(files: Arc<dyn Files>) {
    let expected = expected_files();
    let listed: Vec<_> = files.entries().iter().map(|entry| (entry.path.as_str(), entry.size, entry.executable)).collect();
    let wanted: Vec<_> = expected.iter().map(|file| (file.path, file.bytes.len() as u64, file.executable)).collect();
    assert_eq!(listed, wanted, "the entries, sorted by path");
    for file in &expected {
        a_file_is_read_whole_and_in_ranges(files.as_ref(), file).await;
    }
    let absent: FilePath = "absent".parse().expect("it is a path");
    assert!(matches!(files.open(&absent).await, Err(Error::NotFound { .. })), "a file that is not listed");
    for fetched_before in [false, true] {
        let reader = FilesReader::new(files.clone());
        if fetched_before {
            reader.fetch_beginnings(files.entries().iter().map(|entry| (&entry.path, entry.size)), 2).await;
        }
        let expected = expected.clone();
        crate::blocking(move || expected.iter().for_each(|file| a_reader_goes_anywhere(&reader, file))).await;
    }
}

async fn a_file_is_read_whole_and_in_ranges(files: &dyn Files, file: &ExpectedFile) {
    let ExpectedFile { path, bytes, .. } = file;
    let open = files.open(&path.parse().expect("the suite's paths are valid")).await.expect("a listed file opens");
    if let Some(digest) = open.digest().await.expect("a digest that is known is told") {
        assert_eq!(digest, Digest::of(bytes), "the digest of {path}");
    }
    let len = bytes.len();
    for range in [0..len, 0..len / 2, len / 2..len, len / 3..len / 2, len..len] {
        let body = open.read(range.start as u64..range.end as u64).await.expect("a range within the file is read");
        assert!(body.len().is_none_or(|said| said == range.len() as u64), "the length of {range:?} of {path}");
        assert!(body.collect(len, path).await.expect("a body is read") == bytes[range.clone()], "bytes {range:?} of {path}");
    }
    open.unchanged().expect("nobody changed the file");
    open.remember(&Digest::of(bytes), None).await;
}

fn a_reader_goes_anywhere(reader: &FilesReader, file: &ExpectedFile) {
    let ExpectedFile { path, bytes, .. } = file;
    let size = bytes.len() as u64;
    let mut open = reader.open(&path.parse().expect("the suite's paths are valid"), size).expect("a listed file opens");
    let mut all = Vec::new();
    open.read_to_end(&mut all).expect("a file is read to its end");
    assert!(all == *bytes, "all bytes of {path}");
    for at in [size / 2, 0, size.saturating_sub(1), size + 9] {
        open.seek(SeekFrom::Start(at)).expect("any position may be sought");
        let mut some = Vec::new();
        (&mut open).take(10).read_to_end(&mut some).expect("bytes are read");
        let from = usize::try_from(at).expect("it is small").min(bytes.len());
        assert!(some == bytes[from..bytes.len().min(from + 10)], "bytes of {path} at {at}");
    }
    assert_eq!(open.seek(SeekFrom::End(-(size as i64))).expect("the beginning is sought from the end"), 0);
    assert!(open.seek(SeekFrom::Current(-1)).is_err(), "before the beginning of {path}");
    reader.failure().expect("nothing failed");
}
