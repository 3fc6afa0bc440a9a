//! The cache of a node: blobs of any repositories that are here whole, or in part, and the files of archive layers.
//!
//! ```text
//! blobs/<algorithm>/<hex>      whole blobs, verified
//! partials/                    blobs of which some bytes are here, each with a journal; locked by its writer
//! hash-states/<hex>            the hash states of a large blob
//! trees/<algorithm>-<hex>/     the files of the archive layer with this digest
//! trees/.new-<random>/         files that are being unpacked; locked by the process that does that
//! boot                         the run of the machine in which all trees were unpacked
//! artifacts/<hex>.json         the artifacts that were pulled, and whether they are pinned; named by the digest of their reference
//! lock                         held shared to give a blob or a tree its name, exclusively to make room
//! version                      the version of this format
//! ```
//!
//! Any number of processes use a cache at the same time, and each may be killed at any time.
//!
//! - **In use** is what a process has locked: the file of a blob, or the directory of a tree. The lock is shared while it is read, and
//!   evicting something needs it exclusively. The operating system releases it with its process, so a killed process holds nothing.
//! - **The last use** of a blob is the access time of its file, and that of a tree is the modification time of its directory. (The
//!   modification time of a blob says that its bytes are verified.)
//! - **Room** is counted from the disk each time: see `cache/room.rs`.

mod records;
mod room;
mod sink;
#[cfg(test)]
mod tests;
mod trees;

use crate::{
    disk::{
        abandoned::sweep_temporaries,
        blobs::{Blobs, files, is_believed_or_intact, is_marked},
        format, lock,
        reserve::is_full,
    },
    partial::is_at,
};
use modelpack_spec::{Algorithm, Descriptor, Digest, HashStates};
use modelpack_transfer::{Error, FileRange, Partial, PartialDirectory, Result, VerifiedBlob};
pub use records::{CachedArtifact, RemovedArtifact};
use room::{Need, Purpose};
pub use sink::CacheSink;
use std::{
    collections::HashMap,
    fmt,
    fs::{self, FileTimes},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};
pub use trees::{CachedTree, NewTree};

/// The cache of a node: a directory in which all mounts and pulls of the node, in any number of processes, share their blobs by digest.
///
/// Only verified bytes have the name of a blob. What is in use is never removed, and neither are the blobs of pinned artifacts. Everything
/// else is removed when room is needed, what was not used for longest first.
///
/// A cache is no permission: it gives bytes to whoever knows their digest. So a caller must have read the manifest that names a blob with
/// the credentials of the user who will read the blob, and must have done so for this user now, not at an earlier time for another one.
///
/// All methods block. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Cache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    /// The most bytes of the disk that it may use.
    limit: Option<u64>,
    blobs: Blobs,
    partials: PartialDirectory,
    /// How many bytes trees occupy that were looked at before, by the digests of their layers. The same layer has the same files.
    tree_sizes: Mutex<HashMap<Digest, u64>>,
}

/// A whole blob of the cache. It is not removed while this, a clone of it, or a clone of its [`file`](Self::file) exists.
#[derive(Clone)]
pub struct CachedBlob {
    /// Holds the shared lock of the file.
    file: FileRange,
}

impl fmt::Debug for CachedBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedBlob").field("path", &self.file.path).finish_non_exhaustive()
    }
}

impl CachedBlob {
    /// All bytes of the blob, open for reading.
    pub fn file(&self) -> &FileRange {
        &self.file
    }

    /// Whether its file was not written to since it was verified.
    fn is_marked(&self) -> bool {
        self.file.file.metadata().is_ok_and(|metadata| is_marked(&metadata))
    }

    /// Remembers the use. To prepare a later one is none.
    fn is_used_for(&self, purpose: Purpose) {
        if purpose == Purpose::Use {
            // If this process does not own the file, the time is the one that the file system keeps.
            let _ = self.file.file.set_times(FileTimes::new().set_accessed(SystemTime::now()));
        }
    }
}

/// The answer to [`Cache::begin`].
#[derive(Debug)]
pub enum CacheBegin {
    /// The blob is here.
    Whole(CachedBlob),
    /// The blob is to be written by the caller, who owns it now. Some of its bytes may be here.
    Partial(Arc<Partial>),
    /// Another owner writes the blob now. The caller waits and asks again.
    Owned,
}

/// How many bytes of the disk a cache uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheUsage {
    /// The bytes that its files occupy, and those that are reserved for what is being written.
    pub used: u64,
    /// The most bytes that this process lets it use; `None` if only the disk is a limit.
    pub limit: Option<u64>,
}

impl Cache {
    /// Opens the cache in `directory`. It is created if it is not there, for the user of this process only.
    ///
    /// This process lets it use at most `limit` bytes of the disk, or all of them. A limit is that of a process, so all processes that use
    /// a cache are to be given the same one. If the cache uses more already, the next blob that is begun makes it smaller.
    ///
    /// Fails with [`Error::Io`] if a newer version of this program wrote it in a format that this one does not know. Nothing is changed
    /// then.
    pub fn open(directory: &Path, limit: Option<u64>) -> Result<Self> {
        // Whoever may read its files needs no credentials.
        let create = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        let root =
            directory.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| create(directory)).and_then(|()| directory.canonicalize());
        let root = root.map_err(Error::io("create the cache", directory))?;
        format::check(&format::CACHE, &root)?;
        let partials = root.join("partials");
        let blobs = Blobs {
            directory: root.join("blobs"),
            ingest: partials.clone(),
            partials: (partials.clone(), ""),
            hash_states: Some(root.join("hash-states")),
            lock: Some(root.join("lock")),
        };
        for created in
            [blobs.directory.join(Algorithm::Sha256.name()), root.join("hash-states"), root.join("trees"), root.join("artifacts"), partials]
        {
            create(&created).map_err(Error::io("create", created))?;
        }
        format::write(&format::CACHE, &root);
        let partials = blobs.partials()?;
        let cache = Self(Arc::new(Inner { root, limit, blobs, partials, tree_sizes: Mutex::default() }));
        cache.remove_trees_of_earlier_boots()?;
        cache.remove_abandoned()?;
        Ok(cache)
    }

    /// Its directory, absolute.
    pub fn directory(&self) -> &Path {
        &self.0.root
    }

    /// How many bytes it uses, counted from its files.
    pub fn usage(&self) -> Result<CacheUsage> {
        let _nothing_is_removed = self.0.blobs.guard()?;
        Ok(CacheUsage { used: self.inventory()?.used, limit: self.0.limit })
    }

    /// A blob, if it is here and whole. This is a use of it.
    ///
    /// A blob that was changed after it was verified is read and verified again, and is not here if it does not have its digest.
    pub fn get(&self, blob: &Descriptor) -> Result<Option<CachedBlob>> {
        Ok(self.find(blob)?.inspect(|found| found.is_used_for(Purpose::Use)))
    }

    /// Like [`get`](Self::get), but this is no use of the blob.
    fn find(&self, blob: &Descriptor) -> Result<Option<CachedBlob>> {
        let Some(held) = self.hold(blob)? else { return Ok(None) };
        Ok(is_believed_or_intact(&held.file, &blob.digest, 0)?.then_some(held))
    }

    /// Begins to write a blob, unless it is here. Makes room for it first, and fails with [`Error::Io`] if there is too little: then the
    /// error says why, and nothing was removed. A blob that is larger than the limit fails at once.
    pub fn begin(&self, blob: &Descriptor) -> Result<CacheBegin> {
        self.begin_for(blob, Purpose::Use)
    }

    fn begin_for(&self, blob: &Descriptor, purpose: Purpose) -> Result<CacheBegin> {
        if let Some(whole) = self.find(blob)? {
            whole.is_used_for(purpose);
            return Ok(CacheBegin::Whole(whole));
        }
        let _alone = self.lock()?;
        // Its owner may have completed it meanwhile. What is damaged is not read once more.
        if let Some(whole) = self.hold(blob)?.filter(CachedBlob::is_marked) {
            whole.is_used_for(purpose);
            return Ok(CacheBegin::Whole(whole));
        }
        if self.is_owned(&blob.digest)? {
            return Ok(CacheBegin::Owned);
        }
        let need = Need { blobs: &[blob], bytes: 0, purpose, is_disk_full: false };
        self.make_room(&need)?;
        let begin = || self.0.partials.begin(blob, &format!("blob {}", blob.digest));
        let begun = match begin() {
            // The file system gives less than it says is free.
            Err(e) if is_full(&e) => self.make_room(&Need { is_disk_full: true, ..need }).and_then(|()| begin())?,
            begun => begun?,
        };
        Ok(begun.map_or(CacheBegin::Owned, |partial| CacheBegin::Partial(Arc::new(partial))))
    }

    /// Verifies a blob that was [begun](Self::begin) and of which all bytes were written, and keeps it under its digest, durably.
    ///
    /// Fails like [`Partial::commit`]: if bytes are missing, those that are here stay; if the digest is wrong, all of them are removed.
    pub fn commit(&self, partial: &Partial) -> Result<CachedBlob> {
        self.adopt(partial)?;
        let blob = partial.blob();
        // The partial blob has a shared lock until it is dropped.
        self.get(blob)?.ok_or_else(|| Error::Changed { path: self.0.blobs.path(&blob.digest) })
    }

    fn adopt(&self, partial: &Partial) -> Result<VerifiedBlob> {
        partial.commit(|file, blob| {
            // While room is made, the lock of a file could get lost between its two states.
            let _no_room_is_made = self.0.blobs.guard()?;
            // From now on others read it too.
            file.lock_shared().map_err(Error::io("lock", partial.path()))?;
            self.0.blobs.adopt(file, &partial.path(), blob)
        })
    }

    /// The hash states of a blob, if they are here. Whether they are true is not known.
    pub fn hash_states(&self, blob: &Descriptor) -> Option<HashStates> {
        self.0.blobs.hash_states(&blob.digest, blob.size)
    }

    /// Opens and locks the file of a blob, if there is one of the right size. Whether its bytes are intact is not known.
    fn hold(&self, blob: &Descriptor) -> Result<Option<CachedBlob>> {
        loop {
            let Some(file) = self.0.blobs.open_readable(&blob.digest)? else { return Ok(None) };
            file.file.lock_shared().map_err(Error::io("lock", &file.path))?;
            // Before it was locked, it may have been removed or replaced.
            if is_at(&file.file, &file.path)? {
                return Ok((file.len == blob.size).then_some(CachedBlob { file }));
            }
        }
    }

    /// Waits until no other process makes room or completes something, and keeps all others from it.
    fn lock(&self) -> Result<lock::Lease> {
        lock::exclusive(&self.0.root.join("lock"))
    }

    /// Removes what killed processes left half done, unless somebody makes room now, which does the same.
    fn remove_abandoned(&self) -> Result<()> {
        let Some(_alone) = lock::try_exclusive(&self.0.root.join("lock"))? else { return Ok(()) };
        self.0.partials.clear(|_| false)?;
        sweep_temporaries(&self.0.root.join("artifacts"), false)?;
        for (path, _) in files(&self.0.root.join("hash-states"))? {
            let is_of_a_blob = path.file_name().is_some_and(|hex| self.0.blobs.directory.join(Algorithm::Sha256.name()).join(hex).exists());
            if !is_of_a_blob {
                // A list that stays is only of no use.
                let _ = fs::remove_file(path);
            }
        }
        self.remove_abandoned_trees()
    }

    /// Whether a blob is here, as far as its file says without being read. This is no use of it.
    fn has(&self, digest: &Digest, size: u64) -> Option<fs::Metadata> {
        let metadata = fs::symlink_metadata(self.0.blobs.path(digest)).ok()?;
        (metadata.is_file() && metadata.len() == size && is_marked(&metadata)).then_some(metadata)
    }
}

/// Another thread that panicked does not make the value wrong: each change of it is one step.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
