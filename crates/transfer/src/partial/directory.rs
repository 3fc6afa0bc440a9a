//! A directory of partial blobs and upload sessions: who owns which of them, and what nobody owns.

use super::journal;
use crate::{
    Error, Result,
    platform::{self, boot_id},
};
use modelpack_spec::{Descriptor, Digest};
use rustix::{
    fs::{AtFlags, Dir, Mode, OFlags, openat, statat, unlinkat},
    io::Errno,
};
use std::{
    collections::BTreeSet,
    fs::{File, TryLockError},
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

/// A directory in which partial blobs lie. Each is a file named by its digest, with a journal beside it.
#[derive(Clone, Debug)]
pub struct PartialDirectory(pub(super) Arc<Place>);

#[derive(Debug)]
pub(super) struct Place {
    pub(super) directory: OwnedFd,
    /// Its name in errors.
    pub(super) path: PathBuf,
    /// How the names of all files begin.
    pub(super) prefix: String,
    /// Identifies the present run of the machine; `None` if the operating system does not say.
    pub(super) boot: Option<String>,
}

/// A partial blob or an upload session that nobody owns now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Its file.
    pub path: PathBuf,
    /// The bytes that it occupies on the disk.
    pub bytes: u64,
    /// When it was last written to.
    pub modified: SystemTime,
}

impl PartialDirectory {
    /// The directory at `path`, which exists; blocks. The names of all partial blobs begin with `prefix`.
    pub fn open(path: &Path, prefix: &str) -> Result<Self> {
        let directory = File::open(path).map_err(Error::io("open", path))?;
        Ok(Self::at(directory.into(), path.to_owned(), prefix))
    }

    /// An open directory. `path` is its name in errors.
    pub fn at(directory: OwnedFd, path: PathBuf, prefix: &str) -> Self {
        Self(Arc::new(Place { directory, path, prefix: prefix.to_owned(), boot: boot_id() }))
    }

    /// Fails with [`Error::Io`] and [`ErrorKind::StorageFull`](io::ErrorKind::StorageFull) if the file system has too little room for all of
    /// these blobs; blocks. What is reserved for them already counts.
    pub fn check_room<'a>(&self, blobs: impl IntoIterator<Item = &'a Descriptor>) -> Result<()> {
        let lacks = |blob: &Descriptor| blob.size.saturating_sub(self.reserved(&blob.digest));
        let needed = blobs.into_iter().fold(0, |sum: u64, blob| sum.saturating_add(lacks(blob)));
        // If the file system does not say how much is free, the first write that fails does.
        match platform::free_room(&self.0.directory) {
            Ok(free) if free < needed => {
                let why = format!("No space left on device: {needed} bytes are needed, and {free} are free");
                Err(Error::io("make room in", &self.0.path)(io::Error::new(io::ErrorKind::StorageFull, why)))
            }
            _ => Ok(()),
        }
    }

    /// How many bytes of the blob's room are reserved already.
    fn reserved(&self, blob: &Digest) -> u64 {
        let found = statat(&self.0.directory, self.name(blob), AtFlags::SYMLINK_NOFOLLOW);
        found.map_or(0, |found| u64::try_from(found.st_blocks).unwrap_or_default().saturating_mul(512))
    }

    /// The partial blobs and upload sessions that nobody owns; blocks.
    pub fn leftovers(&self) -> Result<Vec<Leftover>> {
        let mut leftovers = Vec::new();
        for name in self.names()? {
            let Ok(Some(file)) = self.try_own(&name, OFlags::RDWR) else { continue };
            let metadata = file.metadata().map_err(Error::io("look at", self.0.path.join(&name)))?;
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            leftovers.push(Leftover { path: self.0.path.join(&name), bytes: metadata.blocks() * 512, modified });
        }
        Ok(leftovers)
    }

    /// Removes partial blobs and upload sessions that nobody owns: those that `is_over` says; blocks. Returns them.
    pub fn clear(&self, mut is_over: impl FnMut(&Leftover) -> bool) -> Result<Vec<Leftover>> {
        let mut cleared = self.leftovers()?;
        cleared.retain(|leftover| is_over(leftover));
        cleared.retain(|leftover| {
            let name = leftover.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            // Held until both files are removed. It may have an owner by now.
            let owned = self.try_own(name, OFlags::RDWR).ok().flatten();
            if owned.is_some() {
                self.remove(name);
            }
            owned.is_some()
        });
        self.clear_journals()?;
        Ok(cleared)
    }

    /// Removes journals without files: of processes that were killed when the blob was complete.
    fn clear_journals(&self) -> Result<()> {
        let is_gone = |name: &str| matches!(statat(&self.0.directory, name, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT));
        for name in self.names()?.iter().filter(|name| is_gone(name)) {
            // Owned meanwhile, so that it is not the journal of somebody who begins now.
            if let Ok(Some(_owned)) = self.try_own(name, OFlags::RDWR | OFlags::CREATE) {
                self.remove(name);
            }
        }
        Ok(())
    }

    pub(super) fn name(&self, digest: &Digest) -> String {
        format!("{}{}-{}", self.0.prefix, digest.algorithm().name(), digest.hex())
    }

    /// The names of the files of partial blobs and upload sessions, also where only the journal is there.
    pub(super) fn names(&self) -> Result<BTreeSet<String>> {
        let failed = |e: Errno| Error::io("list", &self.0.path)(e.into());
        let mut names = BTreeSet::new();
        for entry in Dir::read_from(&self.0.directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().to_str().map(journal::name_of_data) else { continue };
            let digest = name.strip_prefix(&self.0.prefix).and_then(|name| name.split_once('-'));
            let is_blob = digest.is_some_and(|(algorithm, hex)| format!("{algorithm}:{hex}").parse::<Digest>().is_ok());
            if is_blob || self.session_id(name).is_some() {
                names.insert(name.to_owned());
            }
        }
        Ok(names)
    }

    /// Opens and locks the file, which is created if it is not there. `None` if it has an owner.
    pub(super) fn own(&self, name: &str) -> Result<Option<File>> {
        loop {
            match self.try_own(name, OFlags::RDWR | OFlags::CREATE) {
                // The earlier owner removed it before it was locked.
                Ok(None) if !self.is_owned(name)? => {}
                owned => return owned,
            }
        }
    }

    pub(super) fn is_owned(&self, name: &str) -> Result<bool> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match openat(&self.0.directory, name, flags, Mode::empty()) {
            Ok(file) => Ok(matches!(File::from(file).try_lock(), Err(TryLockError::WouldBlock))),
            Err(Errno::NOENT) => Ok(false),
            Err(e) => Err(Error::io("open", self.0.path.join(name))(e.into())),
        }
    }

    /// Opens and locks the file. `None` if it has an owner, is gone, or was replaced meanwhile.
    pub(super) fn try_own(&self, name: &str, flags: OFlags) -> Result<Option<File>> {
        let path = self.0.path.join(name);
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.0.directory, name, flags, Mode::from_raw_mode(0o644)) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(Error::io("create", path)(e.into())),
        };
        let metadata = file.metadata().map_err(Error::io("look at", &path))?;
        if !metadata.is_file() {
            return Err(Error::Conflict { path, why: "it is not a regular file, and a partial blob has this name".to_owned() });
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            // On a file system without locks, nobody can be excluded.
            Err(TryLockError::Error(_)) => {}
        }
        let named = statat(&self.0.directory, name, AtFlags::SYMLINK_NOFOLLOW);
        let is_here = named.is_ok_and(|named| (named.st_dev, named.st_ino) == (metadata.dev() as _, metadata.ino() as _));
        Ok(is_here.then_some(file))
    }

    pub(super) fn remove(&self, name: &str) {
        // The journal goes first: without it the file says nothing. What cannot be removed is found by the next owner.
        journal::remove(&self.0, name);
        let _ = unlinkat(&self.0.directory, name, AtFlags::empty());
    }
}
