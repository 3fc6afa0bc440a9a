//! An OCI image layout directory (OCI image specification, `image-layout.md`): read as anybody wrote it, written so that anybody reads it.

use super::{
    BlobWriter, Untagged,
    blobs::{Blobs, is_absent, replace_file, sync_directory},
    index::Index,
    lock,
    repository::Links,
};
use crate::{
    Begin, Body, Error, FileRange, Result, Sink, Source, blocking,
    body::read_all,
    verify::{verify_blob, verify_selected},
};
use async_trait::async_trait;
use modelpack_spec::{Algorithm, Descriptor, Digest, Hasher, MAX_MANIFEST_BYTES, Manifest, Selector, Tag};
use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The manifests and blobs in a directory with `oci-layout`, `index.json` and `blobs/<algorithm>/<hex>`.
#[derive(Clone, Debug)]
pub struct Layout(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// What to call it in an error.
    name: String,
    directory: PathBuf,
    blobs: Blobs,
    /// Held while the index is replaced.
    lock: PathBuf,
    /// What this repository holds of a pool that it shares with others; without, it holds all that is there.
    links: Option<Links>,
    untagged: Untagged,
    /// The name that a manifest written by a tag gets instead of that tag.
    entry_name: Option<String>,
}

/// A manifest as it lies in a layout: verified, and not parsed.
pub struct StoredManifest {
    /// Its media type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its bytes.
    pub body: Body,
}

impl Layout {
    /// The layout in `directory`, which need not exist before something is written. Nothing is touched yet.
    pub fn at(directory: &Path) -> Self {
        Self::naming(directory, None)
    }

    /// The layout in `directory`, in which a manifest that is written by a tag gets the name `entry_name` instead of that tag, if there is
    /// one: the name of an entry may be any text, such as a whole reference.
    pub fn naming(directory: &Path, entry_name: Option<String>) -> Self {
        let blobs = Blobs { directory: directory.join("blobs"), ingest: directory.to_owned(), lock: None };
        Self(Arc::new(Inner {
            name: directory.display().to_string(),
            directory: directory.to_owned(),
            blobs,
            lock: directory.to_owned(),
            links: None,
            untagged: Untagged::Keep,
            entry_name,
        }))
    }

    /// A layout whose `blobs` is a link to the pool of a store.
    pub(super) fn of_store(name: String, directory: PathBuf, pool: Blobs, links: Links, untagged: Untagged) -> Self {
        let lock = directory.join("_lock");
        Self(Arc::new(Inner { name, lock, directory, blobs: pool, links: Some(links), untagged, entry_name: None }))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0.directory
    }

    /// Whether there is a layout.
    pub fn exists(&self) -> bool {
        self.0.directory.join("oci-layout").is_file()
    }

    /// What it is called in an error.
    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    pub(super) fn index(&self) -> Result<Index> {
        Index::read(&self.0.directory)?.ok_or_else(|| Error::not_found(format!("an OCI image layout at {}", self.0.directory.display())))
    }

    fn index_or_empty(&self) -> Result<Index> {
        Ok(Index::read(&self.0.directory)?.unwrap_or_else(Index::empty))
    }

    /// The tags, sorted, and what they point to; none if there is no layout.
    pub async fn tags(&self) -> Result<Vec<(Tag, Descriptor)>> {
        let this = self.clone();
        blocking(move || Ok(this.index_or_empty()?.tags())).await
    }

    /// Each manifest once; none if there is no layout.
    pub async fn manifests(&self) -> Result<Vec<Descriptor>> {
        let this = self.clone();
        blocking(move || this.manifests_blocking()).await
    }

    pub(super) fn manifests_blocking(&self) -> Result<Vec<Descriptor>> {
        Ok(self.index_or_empty()?.manifests())
    }

    /// Removes a tag; says whether there was one.
    pub async fn delete_tag(&self, tag: &Tag) -> Result<bool> {
        let (this, tag) = (self.clone(), tag.clone());
        blocking(move || this.update(|index| index.remove_tag(&tag, this.0.untagged))).await
    }

    /// Removes a manifest and all its tags; says whether there was one. Its blobs stay.
    pub async fn delete_manifest(&self, digest: &Digest) -> Result<bool> {
        let (this, digest) = (self.clone(), digest.clone());
        blocking(move || {
            let removed = this.update(|index| index.remove_manifest(&digest))?;
            if let Some(links) = this.0.links.as_ref().filter(|_| removed) {
                links.remove(&digest)?;
            }
            Ok(removed)
        })
        .await
    }

    /// Changes the index under its lock; writes it only if `change` says that it changed something.
    fn update(&self, change: impl FnOnce(&mut Index) -> bool) -> Result<bool> {
        if !self.exists() {
            return Ok(false);
        }
        let _lock = lock::exclusive(&self.0.lock)?;
        let mut index = self.index_or_empty()?;
        let changed = change(&mut index);
        if changed {
            index.write(&self.0.directory)?;
        }
        Ok(changed)
    }

    /// The size in bytes of a blob that this layout holds.
    pub async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        let (this, digest) = (self.clone(), digest.clone());
        blocking(move || this.blob_size_blocking(&digest)).await
    }

    pub(super) fn blob_size_blocking(&self, digest: &Digest) -> Result<Option<u64>> {
        match &self.0.links {
            Some(links) if !links.contain(digest)? => Ok(None),
            _ => self.0.blobs.size(digest),
        }
    }

    pub(super) fn open_blob(&self, digest: &Digest) -> Result<FileRange> {
        let held = self.0.links.as_ref().map_or(Ok(true), |links| links.contain(digest))?;
        let opened = if held { self.0.blobs.open(digest)? } else { None };
        opened.ok_or_else(|| Error::not_found(format!("blob {digest} in {}", self.0.name)))
    }

    /// Begins a blob, hashing with `algorithm` as it is written; creates the layout if there is none.
    pub(super) fn begin_blocking(&self, algorithm: Algorithm, expected: Option<Descriptor>) -> Result<BlobWriter> {
        self.create()?;
        BlobWriter::create(self.0.blobs.clone(), self.0.links.clone(), algorithm, expected)
    }

    /// Makes the directory a layout, unless it is one.
    pub(super) fn create(&self) -> Result<()> {
        if self.exists() {
            return Ok(());
        }
        let directory = &self.0.directory;
        let sha256 = self.0.blobs.directory.join(Algorithm::Sha256.name());
        for created in [directory, &sha256] {
            fs::create_dir_all(created).map_err(Error::io("create", created))?;
        }
        let _lock = lock::exclusive(&self.0.lock)?;
        if let Some(links) = &self.0.links {
            links.create(directory, &self.0.blobs.directory)?;
        }
        if Index::read(directory)?.is_none() {
            Index::empty().write(directory)?;
        }
        replace_file(&directory.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        directory.parent().map_or(Ok(()), sync_directory)
    }

    pub(super) fn read_manifest(&self, entry: &Descriptor) -> Result<Manifest> {
        let (what, range) = self.open_manifest(&entry.digest)?;
        crate::verify_manifest(&what, range.read()?, Some(entry.media_type.as_str()).filter(|t| !t.is_empty()), &entry.digest)
    }

    /// The file of a manifest that is not too large, and what to call it in an error.
    fn open_manifest(&self, digest: &Digest) -> Result<(String, FileRange)> {
        let what = format!("manifest {digest} in {}", self.0.name);
        let range = self.open_blob(digest)?;
        if range.len > MAX_MANIFEST_BYTES as u64 {
            return Err(Error::InvalidManifest { what, source: modelpack_spec::InvalidManifest::TooLarge(range.len) });
        }
        Ok((what, range))
    }

    fn select(&self, at: &Selector) -> Result<Descriptor> {
        let entry = Index::read(&self.0.directory)?.and_then(|index| index.select(at));
        entry.ok_or_else(|| self.no_manifest(at))
    }

    fn no_manifest(&self, at: &Selector) -> Error {
        Error::not_found(format!("{}{at}", self.0.name))
    }

    pub(super) fn stored_manifest_blocking(&self, at: &Selector) -> Result<StoredManifest> {
        let entry = self.select(at)?;
        let read = || {
            if entry.media_type.is_empty() {
                // Only its bytes can say whether it is a manifest at all, and of which type.
                return Ok((self.read_manifest(&entry)?.media_type().to_owned(), self.open_manifest(&entry.digest)?.1));
            }
            let (what, range) = self.open_manifest(&entry.digest)?;
            let mut hasher = Hasher::new(entry.digest.algorithm());
            read_all(&range, |piece| {
                hasher.update(piece);
                Ok(())
            })?;
            let promised = Descriptor::new("", entry.digest.clone(), range.len);
            verify_blob(&what, &promised, &hasher.finish(), range.len)?;
            Ok((entry.media_type.clone(), range))
        };
        let (media_type, range) = read().map_err(|e: Error| if e.is_not_found() { self.no_manifest(at) } else { e })?;
        Ok(StoredManifest { media_type, digest: entry.digest, size: range.len, body: Body::from_file(range) })
    }

    /// Begins the bytes of a manifest; the layout need not be there yet.
    pub(super) fn spool_blocking(&self, algorithm: Algorithm) -> Result<BlobWriter> {
        BlobWriter::create(self.0.blobs.clone(), self.0.links.clone(), algorithm, None)
    }

    fn put_manifest_blocking(&self, at: &Selector, manifest: &Manifest) -> Result<()> {
        let at = std::slice::from_ref(at);
        self.check(at, manifest)?;
        self.create()?;
        let mut writer = self.spool_blocking(manifest.digest().algorithm())?;
        writer.append_blocking(manifest.bytes())?;
        self.commit_manifest(at, manifest, writer)
    }

    pub(super) fn put_spooled_blocking(&self, at: &[Selector], manifest: &Manifest, spooled: BlobWriter) -> Result<()> {
        self.check(at, manifest)?;
        self.create()?;
        self.commit_manifest(at, manifest, spooled)
    }

    /// Refuses a manifest that is written under another digest than its own, or that needs what is not here.
    fn check(&self, at: &[Selector], manifest: &Manifest) -> Result<()> {
        at.iter().try_for_each(|at| verify_selected(at, manifest))?;
        for named in manifest.blobs().chain(manifest.manifests()) {
            if self.blob_size_blocking(&named.digest)?.is_none() {
                return Err(Error::MissingReference { digest: named.digest.clone(), repository: self.0.name.clone() });
            }
        }
        Ok(())
    }

    fn commit_manifest(&self, at: &[Selector], manifest: &Manifest, writer: BlobWriter) -> Result<()> {
        writer.commit_blocking(Some(manifest.digest()))?;
        self.update(|index| {
            for at in at {
                let name = at.tag().map(|tag| self.0.entry_name.as_deref().unwrap_or(tag.as_str()));
                index.put(name, manifest, self.0.untagged);
            }
            true
        })?;
        Ok(())
    }
}

#[async_trait]
impl Source for Layout {
    async fn manifest(&self, at: &Selector) -> Result<Manifest> {
        let (this, at) = (self.clone(), at.clone());
        blocking(move || {
            let entry = this.select(&at)?;
            this.read_manifest(&entry).map_err(|e| if e.is_not_found() { this.no_manifest(&at) } else { e })
        })
        .await
    }

    async fn blob(&self, blob: &Descriptor, range: Range<u64>) -> Result<Body> {
        let (this, blob) = (self.clone(), blob.clone());
        blocking(move || {
            let what = format!("blob {} in {}", blob.digest, this.0.name);
            Ok(Body::from_file(this.open_blob(&blob.digest)?.slice(range, &blob, &what)?))
        })
        .await
    }
}

#[async_trait]
impl Sink for Layout {
    fn wants_digest(&self) -> bool {
        false
    }

    async fn begin(&self, blob: Option<&Descriptor>) -> Result<Begin> {
        let (this, blob) = (self.clone(), blob.cloned());
        blocking(move || {
            if let Some(blob) = &blob {
                let _collection_waits = this.0.blobs.guard()?;
                if this.0.blobs.size(&blob.digest)? == Some(blob.size) {
                    if let Some(links) = &this.0.links {
                        this.create()?;
                        links.add(&blob.digest)?;
                    }
                    return Ok(Begin::Exists);
                }
            }
            let algorithm = blob.as_ref().map_or(Algorithm::Sha256, |b| b.digest.algorithm());
            Ok(Begin::Upload(Box::new(this.begin_blocking(algorithm, blob)?)))
        })
        .await
    }

    async fn put_manifest(&self, at: &Selector, manifest: &Manifest) -> Result<()> {
        let (this, at, manifest) = (self.clone(), at.clone(), manifest.clone());
        blocking(move || this.put_manifest_blocking(&at, &manifest)).await
    }
}

/// Whether `directory` holds an OCI image layout.
pub(super) fn is_layout(directory: &Path) -> Result<bool> {
    match fs::symlink_metadata(directory.join("oci-layout")) {
        Ok(metadata) => Ok(metadata.is_file()),
        Err(e) if is_absent(&e) => Ok(false),
        Err(e) => Err(Error::io("look at", directory)(e)),
    }
}
