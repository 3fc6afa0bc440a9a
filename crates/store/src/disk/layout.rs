//! An OCI image layout directory (OCI image specification, `image-layout.md`). It may come from any tool, and any tool can read what is
//! written here.

use super::{
    BlobWriter, Untagged, abandoned,
    blobs::{Blobs, clear, is_no_file, replace_file, sync_directory},
    entries::written_name,
    index::{self, Index},
    links::Links,
    lock,
    partial_upload::PartialUpload,
    reserve::Reserve,
};
use async_trait::async_trait;
use modelpack_spec::{Algorithm, Descriptor, Digest, HashStates, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, Manifest, Selector, Tag};
use modelpack_transfer::{
    Begin, Body, Error, FileRange, Progress, Result, Sink, Source, Verifier, blocking, named_hash_states, verify_selected, wait_for_owner,
};
use std::{
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The manifests and blobs in a directory with `oci-layout`, `index.json` and `blobs/<algorithm>/<hex>`.
#[derive(Clone, Debug)]
pub struct Layout(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    /// Its name in an error.
    name: String,
    directory: PathBuf,
    blobs: Blobs,
    /// The lock that is held while the index is replaced.
    lock: PathBuf,
    /// What it shares with a store, if it is a repository of one.
    shared: Option<Shared>,
    untagged: Untagged,
    /// The name that a manifest gets instead of the tag that it is written with.
    entry_name: Option<String>,
    /// Lists that a blob is waited for, which another process writes.
    progress: Arc<Progress>,
}

/// A manifest of a layout, verified and not parsed.
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

/// What a repository shares with its store.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    /// Which blobs of the pool it holds. A layout directory without a store holds all its blobs.
    pub(super) links: Links,
    /// Disk blocks for deletes on a full disk.
    pub(super) reserve: Reserve,
}

impl Layout {
    /// The layout in `directory`, which need not exist before something is written. The directory is not read or changed yet.
    pub fn at(directory: &Path) -> Self {
        Self::naming(directory, None)
    }

    /// The layout in `directory`, in which a manifest that is written with a tag gets the name `entry_name` instead of the tag, if that is
    /// given. It may be any text, such as a whole reference.
    pub fn naming(directory: &Path, entry_name: Option<String>) -> Self {
        let blobs = Blobs {
            directory: directory.join("blobs"),
            ingest: directory.to_owned(),
            partials: (directory.to_owned(), PARTIAL),
            hash_states: None,
            lock: None,
        };
        Self(Arc::new(Inner {
            name: directory.display().to_string(),
            directory: directory.to_owned(),
            blobs,
            lock: directory.to_owned(),
            shared: None,
            untagged: Untagged::Keep,
            entry_name,
            progress: Arc::default(),
        }))
    }

    /// A layout whose `blobs` is a link to the pool of a store.
    pub(super) fn of_store(name: String, directory: PathBuf, pool: Blobs, shared: Shared, untagged: Untagged) -> Self {
        let lock = directory.join("_lock");
        let (shared, entry_name, progress) = (Some(shared), None, Arc::default());
        Self(Arc::new(Inner { name, lock, directory, blobs: pool, shared, untagged, entry_name, progress }))
    }

    /// The same layout. `progress` lists that a blob is waited for, while another process writes it.
    pub fn with_progress(&self, progress: Arc<Progress>) -> Self {
        Self(Arc::new(Inner { progress, ..(*self.0).clone() }))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0.directory
    }

    /// Whether there is a layout. A repository of a store is there as long as its index is.
    pub fn exists(&self) -> bool {
        self.is_complete() || self.0.shared.is_some() && self.0.directory.join(index::FILE).symlink_metadata().is_ok()
    }

    /// Whether the directory has the file that makes it a layout. This file is written last.
    pub(super) fn is_complete(&self) -> bool {
        self.0.directory.join(LAYOUT_FILE).is_file()
    }

    /// Writes the file that makes the directory a layout, if it is missing. Returns whether it was missing. The caller holds the lock.
    pub(super) fn complete(&self) -> Result<bool> {
        const CONTENT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
        if self.is_complete() {
            return Ok(false);
        }
        let path = self.0.directory.join(LAYOUT_FILE);
        clear(&path)?;
        replace_file(&path, CONTENT)?;
        Ok(true)
    }

    /// Its name in an error.
    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    fn links(&self) -> Option<&Links> {
        self.0.shared.as_ref().map(|shared| &shared.links)
    }

    /// Reads the index. `None` if there is no layout.
    ///
    /// Fails with [`Error::Damaged`] if this is a repository of a store and its index cannot be read or is missing.
    pub(super) fn read_index(&self) -> Result<Option<Index>> {
        let read = || match Index::read(&self.0.directory) {
            Err(Error::Invalid { what, why }) if self.0.shared.is_some() => Err(self.damaged(format!("{what}: {why}"))),
            Err(Error::Io { path, source, .. }) if self.0.shared.is_some() && is_no_file(&source) => {
                Err(self.damaged(format!("{}: {source}", path.display())))
            }
            index => index,
        };
        let index = read()?;
        if index.is_some() || self.0.shared.is_none() || !self.is_complete() {
            return Ok(index);
        }
        // It may have been created meanwhile. The index is written before the file that makes it a layout, and removed after it.
        let without = || self.damaged(format!("it has no {}", index::FILE));
        read()?.ok_or_else(without).map(Some)
    }

    /// [`Error::Damaged`] of this repository.
    pub(super) fn damaged(&self, why: String) -> Error {
        Error::Damaged { repository: self.0.name.clone(), why }
    }

    pub(super) fn index(&self) -> Result<Index> {
        self.read_index()?.ok_or_else(|| Error::not_found(format!("an OCI image layout at {}", self.0.directory.display())))
    }

    pub(super) fn index_or_empty(&self) -> Result<Index> {
        Ok(self.read_index()?.unwrap_or_else(Index::empty))
    }

    /// The entry that `at` selects, without reading its manifest. `None` if there is no such entry.
    pub async fn entry(&self, at: &Selector) -> Result<Option<Descriptor>> {
        let (this, at) = (self.clone(), at.clone());
        blocking(move || Ok(this.index_or_empty()?.find(&at).cloned())).await
    }

    /// The sorted tags, and what they point to. Empty if there is no layout.
    pub async fn tags(&self) -> Result<Vec<(Tag, Descriptor)>> {
        let this = self.clone();
        blocking(move || Ok(this.index_or_empty()?.tags())).await
    }

    /// All manifests, each once, sorted by digest. Empty if there is no layout.
    pub async fn manifests(&self) -> Result<Vec<Descriptor>> {
        let this = self.clone();
        blocking(move || this.manifests_blocking()).await
    }

    pub(super) fn manifests_blocking(&self) -> Result<Vec<Descriptor>> {
        Ok(self.index_or_empty()?.manifests())
    }

    /// The manifest of an entry, without reading the index again.
    pub async fn manifest_of(&self, entry: &Descriptor) -> Result<Manifest> {
        let (this, entry) = (self.clone(), entry.clone());
        blocking(move || this.read_manifest(&entry)).await
    }

    /// Removes a tag. Returns whether it was there.
    pub async fn delete_tag(&self, tag: &Tag) -> Result<bool> {
        let (this, tag) = (self.clone(), tag.clone());
        blocking(move || this.update(Change::Removes, |index| index.remove_tag(&tag, this.0.untagged))).await
    }

    /// Removes a manifest and all its tags, but not its blobs. Returns whether it was there.
    pub async fn delete_manifest(&self, digest: &Digest) -> Result<bool> {
        let (this, digest) = (self.clone(), digest.clone());
        blocking(move || {
            let removed = this.update(Change::Removes, |index| index.remove_manifest(&digest))?;
            if let Some(links) = this.links().filter(|_| removed) {
                links.remove(&digest)?;
            }
            Ok(removed)
        })
        .await
    }

    /// Changes the index while its lock is held. Writes it only if `change` returns that it changed something.
    pub(super) fn update(&self, kind: Change, change: impl FnOnce(&mut Index) -> bool) -> Result<bool> {
        if !self.exists() {
            return Ok(false);
        }
        let _lock = self.lock()?;
        let mut index = self.index_or_empty()?;
        let changed = change(&mut index);
        if changed {
            self.write_index(&index, kind)?;
        }
        Ok(changed)
    }

    /// Prevents other processes from changing the index while the result is held.
    pub(super) fn lock(&self) -> Result<lock::Lease> {
        lock::exclusive(&self.0.lock)
    }

    /// Replaces the index. The caller holds the lock.
    pub(super) fn write_index(&self, index: &Index, kind: Change) -> Result<()> {
        let (path, bytes) = (self.0.directory.join(index::FILE), index.to_bytes());
        match (&self.0.shared, kind) {
            (Some(shared), Change::Adds) => {
                shared.reserve.ensure(bytes.len() as u64)?;
                replace_file(&path, &bytes)
            }
            (Some(shared), Change::Removes) => shared.reserve.replace(&path, &bytes),
            (None, _) => replace_file(&path, &bytes),
        }
    }

    /// Removes the files that dead writers left in the directory, and returns them with their sizes in bytes. In a store, the store does this.
    pub async fn remove_abandoned(&self) -> Result<Vec<(PathBuf, u64)>> {
        let this = self.clone();
        blocking(move || {
            let directory = &this.0.directory;
            let mut abandoned = abandoned::sweep(directory, abandoned::PREFIX, false)?;
            if directory.is_dir() {
                let _nothing_is_replaced = this.lock()?;
                abandoned.extend(abandoned::sweep_temporaries(directory, false)?);
            }
            Ok(abandoned)
        })
        .await
    }

    /// The size in bytes of a blob that this layout holds. It does not hold a blob that was damaged after it was verified.
    pub async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        let (this, digest) = (self.clone(), digest.clone());
        blocking(move || this.blob_size_blocking(&digest)).await
    }

    pub(super) fn blob_size_blocking(&self, digest: &Digest) -> Result<Option<u64>> {
        self.held(digest, SMALL)
    }

    fn held(&self, digest: &Digest, small: u64) -> Result<Option<u64>> {
        match self.links() {
            Some(links) if !links.contain(digest)? => Ok(None),
            _ => self.0.blobs.held(digest, small),
        }
    }

    pub(super) fn open_blob(&self, digest: &Digest) -> Result<FileRange> {
        let linked = self.links().map_or(Ok(true), |links| links.contain(digest))?;
        let opened = match if linked { self.0.blobs.open(digest) } else { Ok(None) } {
            // For a process that may replace it, a blob that it may not read is a damaged one.
            Err(Error::Io { source, .. })
                if self.0.shared.is_some()
                    && (is_no_file(&source) || source.kind() == io::ErrorKind::PermissionDenied && self.0.blobs.is_writable()) =>
            {
                return Err(self.damaged(format!("blob {digest} cannot be read: {source}")));
            }
            opened => opened?,
        };
        opened.ok_or_else(|| match &self.0.shared {
            Some(_) if linked => self.damaged(format!("blob {digest} is gone")),
            _ => Error::not_found(format!("blob {digest} in {}", self.0.name)),
        })
    }

    /// Begins a blob. Creates the layout if there is none.
    pub(super) fn begin_blocking(&self, verifier: Verifier) -> Result<BlobWriter> {
        self.create()?;
        BlobWriter::create(self.0.blobs.clone(), self.links().cloned(), verifier)
    }

    /// See [`Sink::begin`]. `None` while another process writes the blob.
    fn try_begin_blocking(&self, blob: &Descriptor) -> Result<Option<Begin>> {
        if self.adds_held(blob)? {
            return Ok(Some(Begin::Exists));
        }
        self.create()?;
        let Some(partial) = self.0.blobs.partials()?.begin(blob, &format!("blob {}", blob.digest))? else { return Ok(None) };
        // Its last owner may have completed it.
        if self.adds_held(blob)? {
            partial.discard();
            return Ok(Some(Begin::Exists));
        }
        Ok(Some(Begin::Upload(Box::new(PartialUpload::new(self.0.blobs.clone(), self.links().cloned(), partial)))))
    }

    /// Adds a blob that is here already. Returns whether it is.
    fn adds_held(&self, blob: &Descriptor) -> Result<bool> {
        // Blobs that are small enough for memory, such as configs, are always read: this costs less than to miss a damage.
        let is_held = self.0.blobs.held(&blob.digest, MAX_CONFIG_BYTES as u64)? == Some(blob.size);
        // Collection may have removed it while it was read.
        let _collection_waits = self.0.blobs.guard()?;
        if !is_held || self.0.blobs.size(&blob.digest)? != Some(blob.size) {
            return Ok(false);
        }
        if let Some(links) = self.links() {
            self.create()?;
            links.add(&blob.digest)?;
        }
        Ok(true)
    }

    /// Makes the directory a layout, if it is not a layout yet.
    pub(super) fn create(&self) -> Result<()> {
        if self.is_complete() {
            return Ok(());
        }
        let directory = &self.0.directory;
        let sha256 = self.0.blobs.directory.join(Algorithm::Sha256.name());
        for created in [directory, &sha256] {
            fs::create_dir_all(created).map_err(Error::io("create", created))?;
        }
        let _lock = self.lock()?;
        // Another process may have done it meanwhile.
        if self.is_complete() {
            return Ok(());
        }
        if let Some(links) = self.links() {
            links.create(directory, &self.0.blobs.directory)?;
        }
        if self.read_index()?.is_none() {
            self.write_index(&Index::empty(), Change::Adds)?;
        }
        self.complete()?;
        directory.parent().map_or(Ok(()), sync_directory)
    }

    pub(super) fn read_manifest(&self, entry: &Descriptor) -> Result<Manifest> {
        let (what, range) = self.open_manifest(&entry.digest)?;
        modelpack_transfer::verify_manifest(&what, range.read()?, Some(entry.media_type.as_str()).filter(|t| !t.is_empty()), &entry.digest)
    }

    pub(super) fn read_manifest_blocking(&self, at: &Selector) -> Result<Manifest> {
        let entry = self.select(at)?;
        self.read_manifest(&entry).map_err(|e| if e.is_not_found() { self.no_manifest(at) } else { e })
    }

    /// The file of a manifest, if that is not too large, and its name in an error.
    pub(super) fn open_manifest(&self, digest: &Digest) -> Result<(String, FileRange)> {
        let what = format!("manifest {digest} in {}", self.0.name);
        let range = self.open_blob(digest)?;
        if range.len > MAX_MANIFEST_BYTES as u64 {
            return Err(Error::InvalidManifest { what, source: modelpack_spec::InvalidManifest::TooLarge(range.len) });
        }
        Ok((what, range))
    }

    fn select(&self, at: &Selector) -> Result<Descriptor> {
        let entry = self.read_index()?.and_then(|index| index.select(at));
        entry.ok_or_else(|| self.no_manifest(at))
    }

    fn no_manifest(&self, at: &Selector) -> Error {
        Error::not_found(format!("{}{at}", self.0.name))
    }

    pub(super) fn stored_manifest_blocking(&self, at: &Selector) -> Result<StoredManifest> {
        let entry = self.select(at)?;
        let read = || {
            if entry.media_type.is_empty() {
                // Only its bytes tell whether it is a manifest, and its type.
                return Ok((self.read_manifest(&entry)?.media_type().to_owned(), self.open_manifest(&entry.digest)?.1));
            }
            let (what, range) = self.open_manifest(&entry.digest)?;
            range.verify(Verifier::named(what, &Descriptor::new("", entry.digest.clone(), range.len)))?;
            Ok((entry.media_type.clone(), range))
        };
        let (media_type, range) = read().map_err(|e: Error| if e.is_not_found() { self.no_manifest(at) } else { e })?;
        Ok(StoredManifest { media_type, digest: entry.digest, size: range.len, body: Body::from_file(range) })
    }

    /// Begins the bytes of a manifest. The layout need not exist yet.
    pub(super) fn spool_blocking(&self, algorithm: Algorithm) -> Result<BlobWriter> {
        BlobWriter::create(self.0.blobs.clone(), self.links().cloned(), Verifier::unknown(algorithm))
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

    /// Fails if a manifest is written with another digest than its own, or names something that is not here.
    fn check(&self, at: &[Selector], manifest: &Manifest) -> Result<()> {
        at.iter().try_for_each(|at| verify_selected(at, manifest))?;
        self.check_held(manifest.blobs().chain(manifest.manifests()).map(|named| &named.digest))
    }

    /// Fails with [`Error::MissingReference`] if this layout lacks one of the blobs that a manifest names.
    pub(super) fn check_held<'a>(&self, named: impl IntoIterator<Item = &'a Digest>) -> Result<()> {
        for digest in named {
            // A manifest may name very many blobs. Those that were reported as held a moment ago are not read again.
            if self.held(digest, 0)?.is_none() {
                return Err(Error::MissingReference { digest: digest.clone(), repository: self.0.name.clone() });
            }
        }
        Ok(())
    }

    fn commit_manifest(&self, at: &[Selector], manifest: &Manifest, writer: BlobWriter) -> Result<()> {
        let bytes = Descriptor::new(manifest.media_type(), manifest.digest().clone(), manifest.bytes().len() as u64);
        writer.commit_blocking(Some(&bytes))?;
        self.update(Change::Adds, |index| {
            for at in at {
                let name = at.tag().map(|tag| written_name(tag, self.0.entry_name.as_deref()));
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
        blocking(move || this.read_manifest_blocking(&at)).await
    }

    async fn blob(&self, blob: &Descriptor, range: Range<u64>) -> Result<Body> {
        let (this, blob) = (self.clone(), blob.clone());
        blocking(move || {
            let what = format!("blob {} in {}", blob.digest, this.0.name);
            Ok(Body::from_file(this.open_blob(&blob.digest)?.slice(range, &blob, &what)?))
        })
        .await
    }

    async fn hash_states(&self, blob: &Descriptor) -> Option<HashStates> {
        let (blobs, digest, size) = (self.0.blobs.clone(), blob.digest.clone(), blob.size);
        match blocking(move || blobs.hash_states(&digest, size)).await {
            Some(kept) => Some(kept),
            None => named_hash_states(self, blob).await,
        }
    }

    async fn referrers(&self, subjects: &[Digest]) -> Result<Option<Vec<Descriptor>>> {
        let (this, subjects) = (self.clone(), subjects.to_vec());
        blocking(move || this.all_referrers_blocking(&subjects).map(Some)).await
    }

    async fn tags(&self) -> Result<Option<Vec<Tag>>> {
        Ok(Some(self.tags().await?.into_iter().map(|(tag, _)| tag).collect()))
    }
}

#[async_trait]
impl Sink for Layout {
    fn wants_digest(&self) -> bool {
        false
    }

    async fn check_room(&self, blobs: &[&Descriptor]) -> Result<()> {
        let (this, blobs) = (self.clone(), blobs.iter().map(|blob| (*blob).clone()).collect::<Vec<_>>());
        blocking(move || {
            this.create()?;
            // Whether a blob that is here is intact is looked at when it is begun.
            let is_absent = |blob: &&Descriptor| !this.0.blobs.size(&blob.digest).is_ok_and(|size| size == Some(blob.size));
            this.0.blobs.partials()?.check_room(blobs.iter().filter(is_absent))
        })
        .await
    }

    async fn begin(&self, blob: Option<&Descriptor>) -> Result<Begin> {
        let Some(blob) = blob else {
            let this = self.clone();
            let writer = blocking(move || this.begin_blocking(Verifier::unknown(Algorithm::Sha256))).await?;
            return Ok(Begin::Upload(Box::new(writer)));
        };
        wait_for_owner(blob, &self.0.progress, || {
            let (this, blob) = (self.clone(), blob.clone());
            blocking(move || this.try_begin_blocking(&blob))
        })
        .await
    }

    async fn put_manifest(&self, at: &Selector, manifest: &Manifest) -> Result<()> {
        let (this, at, manifest) = (self.clone(), at.clone(), manifest.clone());
        blocking(move || this.put_manifest_blocking(&at, &manifest)).await
    }
}

/// A blob of at most this many bytes is read and verified each time that it is looked up.
pub(super) const SMALL: u64 = 1 << 20;

/// How the names of partial blobs in a layout begin.
const PARTIAL: &str = ".partial-";

/// The name of the file that makes a directory a layout.
pub(super) const LAYOUT_FILE: &str = "oci-layout";

/// What a change does to an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It may become longer.
    Adds,
    /// It becomes shorter. That must also be possible on a full disk.
    Removes,
}
