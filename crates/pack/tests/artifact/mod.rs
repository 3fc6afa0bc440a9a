//! Builds artifacts directly.

#![allow(dead_code, reason = "each test binary uses a part")]

use async_trait::async_trait;
use modelpack_pack::{Error, UnpackOptions, Unpacked, unpack};
use modelpack_spec::{Descriptor, Digest, Encoding, ImageManifest, LayerKind, LayerType, Manifest, Selector, annotation, media_type};
use modelpack_transfer::{Body, Error as StoreError, MemoryStore, Source, put_bytes};
use std::{collections::BTreeMap, fs, io::Write, ops::Range, path::Path};

/// An artifact in memory. Its blobs can be damaged after the store has verified them.
pub(crate) struct Artifact {
    store: MemoryStore,
    damaged: BTreeMap<Digest, Vec<u8>>,
    layers: Vec<Descriptor>,
}

impl Artifact {
    pub(crate) fn new() -> Self {
        Self { store: MemoryStore::new(), damaged: BTreeMap::new(), layers: Vec::new() }
    }

    /// Adds a layer with these bytes and annotations.
    pub(crate) async fn layer(&mut self, media_type: &str, annotations: &[(&str, &str)], bytes: impl Into<Vec<u8>>) -> Digest {
        let mut layer = put_bytes(&self.store, media_type, bytes.into()).await.unwrap();
        layer.annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.layers.push(layer.clone());
        layer.digest
    }

    /// Adds a raw layer with a path and permission bits.
    pub(crate) async fn raw(&mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) -> Digest {
        let metadata = format!(r#"{{"name":"x","mode":{mode},"uid":1,"gid":1,"size":1,"mtime":"2026-01-02T03:04:05Z","typeflag":0}}"#);
        let annotations = [(annotation::FILEPATH, path), (annotation::FILE_METADATA, metadata.as_str())];
        self.layer(&media_type_of(Encoding::Raw), &annotations, bytes).await
    }

    /// Adds an archive layer, compressed according to its encoding.
    pub(crate) async fn archive(&mut self, encoding: Encoding, tar: &[u8]) -> Digest {
        self.layer(&media_type_of(encoding), &[], compressed(encoding, tar)).await
    }

    pub(crate) fn manifest(&self) -> Manifest {
        Manifest::from_image(ImageManifest {
            schema_version: 2,
            media_type: Some(media_type::IMAGE_MANIFEST.to_owned()),
            artifact_type: Some(media_type::ARTIFACT.to_owned()),
            config: Descriptor::of(media_type::CONFIG, b"{}"),
            layers: self.layers.clone(),
            subject: None,
            annotations: BTreeMap::new(),
            other: Default::default(),
        })
        .unwrap()
    }

    /// Returns these bytes for a blob from now on.
    pub(crate) fn damage(&mut self, digest: Digest, bytes: Vec<u8>) {
        self.damaged.insert(digest, bytes);
    }

    /// Returns the right bytes again.
    pub(crate) fn repair(&mut self) {
        self.damaged.clear();
    }

    pub(crate) async fn unpack(&self, destination: &Path) -> Result<Unpacked, Error> {
        self.unpack_with(destination, &options()).await
    }

    pub(crate) async fn unpack_with(&self, destination: &Path, options: &UnpackOptions) -> Result<Unpacked, Error> {
        unpack(self, &self.manifest(), destination, options, || {}).await
    }
}

#[async_trait]
impl Source for Artifact {
    async fn manifest(&self, at: &Selector) -> Result<Manifest, StoreError> {
        self.store.manifest(at).await
    }

    async fn blob(&self, blob: &Descriptor, range: Range<u64>) -> Result<Body, StoreError> {
        match self.damaged.get(&blob.digest) {
            Some(bytes) => Ok(Body::from_bytes(bytes.clone())),
            None => self.store.blob(blob, range).await,
        }
    }
}

pub(crate) fn options() -> UnpackOptions {
    UnpackOptions { concurrency: 3, ..UnpackOptions::default() }
}

pub(crate) fn forced() -> UnpackOptions {
    UnpackOptions { force: true, ..options() }
}

pub(crate) fn media_type_of(encoding: Encoding) -> String {
    LayerType { kind: LayerKind::Weight, encoding }.to_string()
}

pub(crate) fn compressed(encoding: Encoding, tar: &[u8]) -> Vec<u8> {
    match encoding {
        Encoding::Raw | Encoding::Tar => tar.to_vec(),
        Encoding::TarGzip => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(tar).unwrap();
            gzip.finish().unwrap()
        }
        Encoding::TarZstd => zstd::encode_all(tar, 1).unwrap(),
    }
}

pub(crate) const ARCHIVES: [Encoding; 3] = [Encoding::Tar, Encoding::TarGzip, Encoding::TarZstd];

/// An archive of regular files with these unchecked names and contents.
pub(crate) fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let entries: Vec<u8> = files.iter().flat_map(|(name, bytes)| entry(b'0', name, 0o644, bytes)).collect();
    ended(entries)
}

/// A header of any kind, and data.
pub(crate) fn entry(kind: u8, name: &str, mode: u32, data: &[u8]) -> Vec<u8> {
    entry_with(kind, name, mode, data, |_| {})
}

/// An entry. `change` modifies the header before its checksum is written.
pub(crate) fn entry_with(kind: u8, name: &str, mode: u32, data: &[u8], change: impl FnOnce(&mut tar::Header)) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_mode(mode);
    header.set_size(data.len() as u64);
    change(&mut header);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// The entries, followed by the end of an archive.
pub(crate) fn ended(mut entries: Vec<u8>) -> Vec<u8> {
    entries.extend([0; 1024]);
    entries
}

/// A pax record.
pub(crate) fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len();
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}").into_bytes()
}

/// Everything below a directory, except non-empty directories. Links are not followed.
pub(crate) fn listing(directory: &Path) -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .flat_map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if !entry.file_type().unwrap().is_dir() {
                return vec![name];
            }
            let inside = listing(&entry.path());
            if inside.is_empty() { vec![format!("{name}/")] } else { inside.into_iter().map(|i| format!("{name}/{i}")).collect() }
        })
        .collect();
    found.sort();
    found
}
