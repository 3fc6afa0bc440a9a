//! Which artifacts were pulled into the cache, and which of them are pinned.
//!
//! A record is a JSON file that lists all blobs of the artifact, so that nothing else has to be read to know what must stay. Manifests and
//! configs are blobs of the cache like layers.

use super::{
    Cache,
    room::{Need, Purpose, in_blocks},
};
use crate::disk::blobs::{is_absent, replace_file, sync_directory};
use modelpack_spec::{Descriptor, Digest};
use modelpack_transfer::{Error, FileRange, Result};
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// An artifact that was pulled into the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedArtifact {
    /// Its name, as it was pulled.
    pub reference: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The bytes of its manifest, its config and its layers.
    pub size: u64,
    /// How many of these are in the cache, in whole blobs.
    pub present: u64,
    /// Whether it stays until it is unpinned.
    pub is_pinned: bool,
    /// When it was pulled.
    pub pulled_at: SystemTime,
    /// When one of its blobs was last used since then; `None` if none was.
    pub last_use: Option<SystemTime>,
}

/// An artifact that was removed from the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedArtifact {
    /// Its name.
    pub reference: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// How many bytes became free on the disk.
    pub freed: u64,
    /// How many bytes of it stay, because somebody uses them. They are removed like everything else that is in no record.
    pub in_use: u64,
}

/// What is stored of an artifact.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) reference: String,
    pub(super) digest: Digest,
    /// In nanoseconds since 1970: the access times of files are compared with it.
    pulled_at: u64,
    #[serde(rename = "pinned")]
    is_pinned: bool,
    /// All its blobs, each once: manifests, configs and layers.
    blobs: Vec<Named>,
}

/// A blob of an artifact.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Named {
    digest: Digest,
    size: u64,
}

impl Record {
    pub(super) fn new(reference: &str, digest: &Digest, is_pinned: bool, blobs: impl IntoIterator<Item = Descriptor>) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let blobs = blobs.into_iter().map(|blob| Named { digest: blob.digest, size: blob.size }).collect();
        let pulled_at = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        Self { reference: reference.to_owned(), digest: digest.clone(), pulled_at, is_pinned, blobs }
    }

    fn pulled_at(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.pulled_at)
    }

    fn has(&self, digest: &Digest) -> bool {
        self.blobs.iter().any(|blob| blob.digest == *digest)
    }
}

/// How well something is protected from being removed to make room. The first is removed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protection {
    /// It is damaged, and is going to be replaced.
    Damaged,
    None,
    /// It was pulled for a later use, and was not used yet.
    Prepared,
    Pinned,
}

/// What the records protect.
#[derive(Debug, Default)]
pub(super) struct Protected {
    pub(super) pinned: HashSet<Digest>,
    /// When a blob was pulled last.
    pub(super) prepared: HashMap<Digest, SystemTime>,
}

impl Protected {
    /// How well a blob, or what was unpacked from it, is protected.
    pub(super) fn protection(&self, digest: &Digest, last_use: SystemTime) -> Protection {
        if self.pinned.contains(digest) {
            Protection::Pinned
        } else if self.prepared.get(digest).is_some_and(|pulled| last_use <= *pulled) {
            Protection::Prepared
        } else {
            Protection::None
        }
    }
}

impl Cache {
    /// The artifacts that were pulled, sorted by their references.
    ///
    /// Fails with [`Error::Invalid`] if the file of a record is damaged.
    pub fn artifacts(&self) -> Result<Vec<CachedArtifact>> {
        let described = |record: Result<Record>| Ok(self.described(&record?));
        let mut artifacts = self.records()?.into_iter().map(described).collect::<Result<Vec<_>>>()?;
        artifacts.sort_by(|a, b| a.reference.cmp(&b.reference));
        Ok(artifacts)
    }

    /// Pins a pulled artifact: its manifest, its config, its layers, and what is unpacked of these, stay until it is
    /// [unpinned](Self::unpin) or [removed](Self::remove_artifact).
    ///
    /// Fails with [`Error::NotFound`] if it was not pulled.
    pub fn pin(&self, reference: &str) -> Result<CachedArtifact> {
        self.set_pinned(reference, true)
    }

    /// Lets a pinned artifact be removed when room is needed. Fails with [`Error::NotFound`] if it was not pulled.
    pub fn unpin(&self, reference: &str) -> Result<CachedArtifact> {
        self.set_pinned(reference, false)
    }

    /// Removes the record of an artifact, pinned or not, and all its blobs that no other record names and that nobody uses.
    ///
    /// Fails with [`Error::NotFound`] if it was not pulled.
    pub fn remove_artifact(&self, reference: &str) -> Result<RemovedArtifact> {
        let _alone = self.lock()?;
        let record = self.record(reference)?;
        let path = self.record_path(reference);
        fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        sync_directory(&self.0.root.join("artifacts"))?;
        let others: Vec<_> = self.records()?.into_iter().flatten().collect();
        let (freed, in_use) = self.evict_all(|digest| record.has(digest) && !others.iter().any(|other| other.has(digest)))?;
        Ok(RemovedArtifact { reference: record.reference, digest: record.digest, freed, in_use })
    }

    /// Writes a record. An artifact that is pinned under this reference stays so.
    pub(super) fn write_record(&self, record: Record) -> Result<CachedArtifact> {
        let _alone = self.lock()?;
        let is_pinned = record.is_pinned || self.record(&record.reference).is_ok_and(|earlier| earlier.is_pinned);
        let record = Record { is_pinned, ..record };
        let bytes = record_bytes(&record);
        if bytes.len() as u64 > MAX_RECORD {
            let why = format!("it has {} blobs, and a record of it would be too large", record.blobs.len());
            return Err(Error::Invalid { what: record.reference, why });
        }
        self.make_room(&Need::of_bytes(in_blocks(bytes.len() as u64), Purpose::Preparation))?;
        replace_file(&self.record_path(&record.reference), &bytes)?;
        Ok(self.described(&record))
    }

    /// What all records protect. A record that cannot be read protects nothing.
    pub(super) fn protected(&self) -> Result<Protected> {
        let mut protected = Protected::default();
        for record in self.records()?.into_iter().flatten() {
            let pulled = record.pulled_at();
            for Named { digest, .. } in record.blobs {
                let latest = protected.prepared.entry(digest.clone()).or_insert(pulled);
                *latest = pulled.max(*latest);
                if record.is_pinned {
                    protected.pinned.insert(digest);
                }
            }
        }
        Ok(protected)
    }

    fn set_pinned(&self, reference: &str, is_pinned: bool) -> Result<CachedArtifact> {
        let _alone = self.lock()?;
        let record = Record { is_pinned, ..self.record(reference)? };
        replace_file(&self.record_path(reference), &record_bytes(&record))?;
        Ok(self.described(&record))
    }

    fn described(&self, record: &Record) -> CachedArtifact {
        let here = record.blobs.iter().filter_map(|blob| Some((blob.size, self.has(&blob.digest, blob.size)?)));
        let (mut present, mut last_use) = (0u64, None);
        for (size, metadata) in here {
            present = present.saturating_add(size);
            last_use = last_use.max(metadata.accessed().ok());
        }
        let pulled_at = record.pulled_at();
        CachedArtifact {
            reference: record.reference.clone(),
            digest: record.digest.clone(),
            size: record.blobs.iter().fold(0, |sum: u64, blob| sum.saturating_add(blob.size)),
            present,
            is_pinned: record.is_pinned,
            pulled_at,
            last_use: last_use.filter(|time| *time > pulled_at),
        }
    }

    fn record_path(&self, reference: &str) -> PathBuf {
        self.0.root.join("artifacts").join(format!("{}.json", Digest::of(reference.as_bytes()).hex()))
    }

    fn record(&self, reference: &str) -> Result<Record> {
        let not_found = || Error::not_found(format!("{reference} in the cache {}", self.0.root.display()));
        read_record(&self.record_path(reference))?.ok_or_else(not_found)
    }

    /// All records; of those that cannot be read, why.
    fn records(&self) -> Result<Vec<Result<Record>>> {
        let directory = self.0.root.join("artifacts");
        let mut records = Vec::new();
        for entry in fs::read_dir(&directory).map_err(Error::io("list", &directory))? {
            let path = entry.map_err(Error::io("list", &directory))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                // It may have been removed since.
                records.extend(read_record(&path).transpose());
            }
        }
        Ok(records)
    }
}

fn record_bytes(record: &Record) -> Vec<u8> {
    serde_json::to_vec(record).expect("keys are strings, so it always serialises")
}

/// Reads the record in a file. `None` if there is no file.
fn read_record(path: &Path) -> Result<Option<Record>> {
    let file = match FileRange::open(path) {
        Ok(file) => file,
        Err(e) if is_absent(&e) => return Ok(None),
        Err(e) => return Err(Error::io("open", path)(e)),
    };
    let invalid = |why: String| Error::Invalid { what: path.display().to_string(), why: format!("it is no record of an artifact: {why}") };
    if file.len > MAX_RECORD {
        return Err(invalid(format!("it has {} bytes", file.len)));
    }
    serde_json::from_slice(&file.read()?).map(Some).map_err(|e| invalid(e.to_string()))
}

/// The most bytes of a record: room for half a million blobs.
const MAX_RECORD: u64 = 64 << 20;
