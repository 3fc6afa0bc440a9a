//! The files of archive layers, unpacked.
//!
//! A tree is unpacked into `files/` of a directory that nobody else knows, and gets its name when it is complete. `reserved` beside it is a
//! file without blocks, whose length is the number of bytes that the tree may have.
//!
//! The files are not synced, because that would wait for everything else that is being written to the disk. So after the machine was
//! restarted, trees are removed: they are unpacked again from the blobs of their layers.

use super::{
    Cache,
    room::{Need, Purpose, name_of},
};
use crate::{
    disk::blobs::{is_absent, random_name, replace_file},
    partial::{is_at, try_lock},
};
use modelpack_spec::Digest;
use modelpack_transfer::{Error, Result, platform::boot_id};
use rustix::fs::OFlags;
use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

/// How the names of directories begin that are no trees yet, or no trees any more.
const UNFINISHED: &str = ".new-";
/// The directory of the files, in such a directory.
const FILES: &str = "files";
/// The file whose length is the number of bytes that are reserved, in such a directory.
pub(super) const RESERVED: &str = "reserved";

/// The files of an archive layer in the cache. They are not removed while this or a clone of it exists.
#[derive(Clone, Debug)]
pub struct CachedTree {
    path: PathBuf,
    /// Has the shared lock.
    _directory: Arc<File>,
}

impl CachedTree {
    /// Their directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A directory in the cache into which the files of an archive layer are unpacked. If it is dropped before it is
/// [committed](Self::commit), it is removed with all its files.
#[derive(Debug)]
pub struct NewTree {
    cache: Cache,
    layer: Digest,
    /// The directory in which `files` and `reserved` are.
    unfinished: PathBuf,
    files: PathBuf,
    /// The directory of the files. Has the lock.
    directory: Arc<File>,
    reserved: File,
}

impl Cache {
    /// The files of the archive layer with the digest `layer`, if it was unpacked here. This is a use of them.
    ///
    /// Like blobs, they are for callers that have read the manifest with the credentials of the reader.
    pub fn tree(&self, layer: &Digest) -> Result<Option<CachedTree>> {
        let path = self.tree_path(layer);
        loop {
            let Some(directory) = open_directory(&path)? else { return Ok(None) };
            directory.lock_shared().map_err(Error::io("lock", &path))?;
            // Before it was locked, it may have been removed or replaced.
            if is_at(&directory, &path)? {
                // If this process does not own it, it only counts as used less recently.
                let _ = directory.set_modified(SystemTime::now());
                return Ok(Some(CachedTree { path, _directory: Arc::new(directory) }));
            }
        }
    }

    /// Makes room for `size` bytes, and makes a directory in which only this caller unpacks the archive layer with the digest `layer`.
    ///
    /// `size` is how many bytes its files will occupy on the disk. If this is not known before, [`NewTree::reserve`] reserves more. Fails
    /// like [`begin`](Self::begin) if there is too little room.
    pub fn begin_tree(&self, layer: &Digest, size: u64) -> Result<NewTree> {
        let _alone = self.lock()?;
        self.make_room(&Need::of_bytes(size, Purpose::Use))?;
        let unfinished = self.trees().join(format!("{UNFINISHED}{}", random_name()));
        let (files, reserved) = (unfinished.join(FILES), unfinished.join(RESERVED));
        let make = || {
            fs::create_dir_all(&files)?;
            let directory = File::open(&files)?;
            directory.lock()?;
            let reserved = OpenOptions::new().create_new(true).write(true).open(&reserved)?;
            reserved.set_len(size)?;
            Ok((directory, reserved))
        };
        let made = make().inspect_err(|_| {
            // The first error is the important one. What stays is removed when room is made.
            let _ = fs::remove_dir_all(&unfinished);
        });
        let (directory, reserved) = made.map_err(Error::io("create", &files))?;
        Ok(NewTree { cache: self.clone(), layer: layer.clone(), unfinished, files, directory: Arc::new(directory), reserved })
    }

    pub(super) fn trees(&self) -> PathBuf {
        self.0.root.join("trees")
    }

    pub(super) fn tree_path(&self, layer: &Digest) -> PathBuf {
        self.trees().join(name_of(layer))
    }

    /// Removes the tree at `path`, unless it is in use. Returns whether it is gone. The caller holds the lock of the cache.
    pub(super) fn evict_tree(&self, path: &Path) -> Result<bool> {
        let Some(directory) = open_directory(path)? else { return Ok(true) };
        if !try_lock(&directory, path)? {
            return Ok(false);
        }
        // If this process is killed, a part of the files does not have the name of the tree.
        let unfinished = self.trees().join(format!("{UNFINISHED}{}", random_name()));
        fs::rename(path, &unfinished).map_err(Error::io("rename", path))?;
        fs::remove_dir_all(&unfinished).map_err(Error::io("remove", &unfinished))?;
        Ok(true)
    }

    /// Removes the trees that were unpacked before the machine was started, whose files may have lost bytes.
    pub(super) fn remove_trees_of_earlier_boots(&self) -> Result<()> {
        let path = self.0.root.join("boot");
        let boot = boot_id();
        let is_this_boot = || boot.is_some() && fs::read_to_string(&path).ok() == boot;
        if is_this_boot() {
            return Ok(());
        }
        let _alone = self.lock()?;
        if is_this_boot() {
            return Ok(());
        }
        let trees = self.trees();
        for entry in fs::read_dir(&trees).map_err(Error::io("list", &trees))? {
            let entry = entry.map_err(Error::io("list", &trees))?;
            if !is_unfinished(&entry.file_name()) {
                self.evict_tree(&entry.path())?;
            }
        }
        replace_file(&path, boot.unwrap_or_default().as_bytes())
    }

    /// Removes the trees that killed processes left half unpacked or half removed. The caller holds the lock of the cache.
    pub(super) fn remove_abandoned_trees(&self) -> Result<()> {
        let trees = self.trees();
        for entry in fs::read_dir(&trees).map_err(Error::io("list", &trees))? {
            let entry = entry.map_err(Error::io("list", &trees))?;
            let path = entry.path();
            if !is_unfinished(&entry.file_name()) {
                continue;
            }
            // Only a tree that is being unpacked has this directory.
            let owned = open_directory(&path.join(FILES))?;
            if owned.as_ref().map_or(Ok(true), |files| try_lock(files, &path))? {
                // What cannot be removed is counted, and tried again the next time.
                let _ = fs::remove_dir_all(&path);
            }
        }
        Ok(())
    }
}

impl NewTree {
    /// The directory for the files, which is empty at first.
    pub fn path(&self) -> &Path {
        &self.files
    }

    /// Reserves room for `size` bytes in all, if less was reserved before. Fails like [`Cache::begin`] if there is too little.
    pub fn reserve(&self, size: u64) -> Result<()> {
        let failed = |e| Error::io("reserve room for", &self.files)(e);
        let _alone = self.cache.lock()?;
        let reserved = self.reserved.metadata().map_err(failed)?.len();
        if size > reserved {
            self.cache.make_room(&Need::of_bytes(size - reserved, Purpose::Use))?;
            self.reserved.set_len(size).map_err(|e| Error::io("reserve room for", &self.files)(e))?;
        }
        Ok(())
    }

    /// Gives the files, which are complete, their name in the cache. If another process was faster, its files are returned.
    ///
    /// Fails like [`Cache::begin`] if they occupy more than was reserved, and there is too little room for that.
    pub fn commit(self) -> Result<CachedTree> {
        let _alone = self.cache.lock()?;
        self.cache.make_room(&Need::of_bytes(0, Purpose::Use))?;
        let path = self.cache.tree_path(&self.layer);
        // From now on others use it too.
        self.directory.lock_shared().map_err(Error::io("lock", &self.files))?;
        // If this fails, it counts as used less recently.
        let _ = self.directory.set_modified(SystemTime::now());
        match fs::rename(&self.files, &path) {
            Err(e) if matches!(e.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {
                return self.cache.tree(&self.layer)?.ok_or(Error::Changed { path });
            }
            renamed => renamed.map_err(Error::io("rename into place", &path))?,
        }
        Ok(CachedTree { path, _directory: self.directory.clone() })
    }
}

impl Drop for NewTree {
    fn drop(&mut self) {
        // After a commit, the files have another name. What cannot be removed now is removed when room is made.
        let _ = fs::remove_dir_all(&self.unfinished);
    }
}

/// Whether a directory with this name is no tree yet, or no tree any more.
pub(super) fn is_unfinished(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(UNFINISHED.as_bytes())
}

/// Opens a directory. `None` if there is none at `path`.
fn open_directory(path: &Path) -> Result<Option<File>> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    match OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path) {
        Ok(directory) => Ok(Some(directory)),
        Err(e) if is_absent(&e) => Ok(None),
        Err(e) => Err(Error::io("open", path)(e)),
    }
}
