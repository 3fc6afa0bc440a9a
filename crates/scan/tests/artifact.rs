//! Artifacts with raw and archive layers, and files too large to be read.

use flate2::{Compression, read::GzEncoder};
use modelpack_scan::{FileReport, Report, ScanOptions, ScannedFile, Severity, scan_file, scan_files};
use modelpack_spec::{Artifact, Descriptor, Encoding, ImageManifest, LayerKind, LayerType, annotation, media_type};
use modelpack_testkit::{tar_of, torch_archive, zip_of};
use modelpack_transfer::{Error, LayerFiles, MemoryStore, put_bytes};
use std::{collections::BTreeMap, fs::File, io::Read, io::Write, sync::Arc};

const CANARY: &[u8] = b"\x80\x02cposix\nsystem\nX\x16\x00\x00\x00touch modelpack-canary\x85R.";

/// Scans an artifact with these layers: encoding, path, bytes.
async fn scan(layers: &[(Encoding, &str, Vec<u8>)], damage: impl Fn(&mut Descriptor)) -> Result<Report, Error> {
    let store = MemoryStore::new();
    let mut descriptors = Vec::new();
    for (encoding, path, bytes) in layers {
        let layer_type = LayerType { kind: LayerKind::Weight, encoding: *encoding }.to_string();
        let mut layer = put_bytes(&store, &layer_type, bytes.clone()).await.unwrap();
        layer.annotations.insert(annotation::FILEPATH.to_owned(), (*path).to_owned());
        damage(&mut layer);
        descriptors.push(layer);
    }
    let image = ImageManifest {
        schema_version: 2,
        media_type: Some(media_type::IMAGE_MANIFEST.to_owned()),
        artifact_type: Some(media_type::ARTIFACT.to_owned()),
        config: Descriptor::of(media_type::CONFIG, b"{}"),
        layers: descriptors,
        subject: None,
        annotations: BTreeMap::new(),
        other: Default::default(),
    };
    let artifact = Artifact::read(&image).unwrap();
    let options = ScanOptions { concurrency: 2, scratch: Some(std::env::temp_dir()) };
    let layers = LayerFiles::new(Arc::new(store), &artifact);
    let scanned: Vec<_> = layers.layers().iter().map(ScannedFile::from).collect();
    scan_files(Arc::new(layers), &scanned, &options).await
}

async fn scanned(layers: &[(Encoding, &str, Vec<u8>)]) -> Vec<FileReport> {
    scan(layers, |_| {}).await.unwrap().files
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::new();
    GzEncoder::new(bytes, Compression::default()).read_to_end(&mut compressed).unwrap();
    compressed
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_scanned_in_layers_of_every_encoding() {
    let torch = torch_archive(CANARY, &[(0, 100_000)]);
    let tar = tar_of(&[("a.txt", b"text"), ("m/x.pkl", CANARY), ("m/model.pt", &torch), ("z.txt", b"text")]);
    for (encoding, bytes) in [(Encoding::Tar, tar.clone()), (Encoding::TarGzip, gzip(&tar)), (Encoding::TarZstd, zstd(&tar))] {
        let files = scanned(&[(encoding, "m", bytes)]).await;
        let found: Vec<_> = files.iter().map(|file| (file.path.as_str(), file.findings.len())).collect();
        assert_eq!(found, [("a.txt", 0), ("m/x.pkl", 1), ("m/model.pt", 1), ("z.txt", 0)], "{encoding:?}");
    }
    let files = scanned(&[(Encoding::Raw, "b.pkl", b"\x80\x02N.".to_vec()), (Encoding::Raw, "model.pt", torch)]).await;
    assert_eq!(files[1].findings[0].global.as_deref(), Some("posix.system"));
    assert_eq!((files[0].path.as_str(), files[0].findings.len()), ("b.pkl", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_in_a_raw_layer_is_detected_by_its_bytes() {
    let files = scanned(&[(Encoding::Raw, "weights", gzip(&tar_of(&[("x.pkl", CANARY)])))]).await;
    assert_eq!(files[0].findings[0].within.as_deref(), Some("x.pkl"), "{files:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_archive_layer_is_found_and_earlier_files_are_reported() {
    let mut tar = tar_of(&[("x.pkl", CANARY), ("y.pkl", CANARY)]);
    tar[1024 + 150] ^= 1;
    for (encoding, bytes) in [(Encoding::Tar, tar.clone()), (Encoding::TarGzip, gzip(&tar)), (Encoding::TarZstd, b"none".to_vec())] {
        let files = scanned(&[(encoding, "m", bytes)]).await;
        let last = files.last().unwrap();
        assert_eq!((last.path.as_str(), last.findings.len(), last.findings[0].severity), ("m", 1, Severity::Malformed));
        assert_eq!(files.len(), if encoding == Encoding::TarZstd { 1 } else { 2 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_layer_with_a_wrong_digest_is_an_error() {
    let layers = [(Encoding::Tar, "m", tar_of(&[("x.pkl", CANARY)]))];
    let longer = scan(&layers, |layer| layer.size += 1).await;
    assert!(longer.is_err(), "{longer:?}");
    let missing = scan(&layers, |layer| layer.digest = modelpack_spec::Digest::of(b"other")).await;
    assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
}

#[test]
fn only_the_header_of_weights_is_read() {
    let mut file = tempfile::tempfile().unwrap();
    let size = 1u64 << 40;
    let header = format!(r#"{{"a":{{"dtype":"U8","shape":[{size}],"data_offsets":[0,{size}]}}}}"#);
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    let whole = 8 + header.len() as u64 + size;
    if file.set_len(whole).is_err() {
        eprintln!("SKIPPED: this file system has no sparse files of 1 TiB");
        return;
    }
    let report = scan_file("model.safetensors", whole, &mut file, None);
    assert_eq!(report.looked_at, ["safetensors: the header, checked against the file"]);
    let shorter = scan_file("model.safetensors", whole - 1, &mut file, None);
    assert_eq!(shorter.findings[0].severity, Severity::Malformed);
}

#[test]
fn a_nested_archive_needs_a_scratch_directory() {
    let bytes = zip_of(&[("inner.zip", &zip_of(&[("x.pkl", CANARY)]))]);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    let scan = |file: File, scratch: Option<&std::path::Path>| scan_file("model.zip", bytes.len() as u64, file, scratch);
    let without = scan(file.try_clone().unwrap(), None);
    assert_eq!(without.findings[0].severity, Severity::Unread, "{without:?}");
    let with = scan(file, Some(&std::env::temp_dir()));
    assert_eq!(with.findings[0].within.as_deref(), Some("inner.zip > x.pkl"));
}
