//! The place for files until they are complete and verified: a hidden directory in the destination,
//! so that a rename moves them into place.

use super::{
    destination::{Destination, conflict},
    turn::{LOCK, Turn},
};
use crate::directory::{DIRECTORY, failed};
use modelpack_spec::{Descriptor, FilePath};
use modelpack_transfer::{Error, PartialDirectory, Result};
use rustix::{
    fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, unlinkat},
    io::Errno,
};
use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// A blob of at least this many bytes is kept as a partial blob while it is written. To fetch a
/// smaller one again costs less.
pub(super) const RESUMABLE: u64 = 1 << 20;

const PREFIX: &str = ".modelpack-";

/// The directory in the destination with the partial blobs of raw layers. Unlike a staging
/// directory it stays if unpacking fails, so that the next call continues.
const PARTIALS: &str = ".modelpack-partial";

/// Whether a file or directory with this name may be mistaken for one that unpacking itself creates
/// in a destination.
pub(super) fn is_reserved(name: &str) -> bool {
    is_staging_name(name) || matches!(name, LOCK | PARTIALS)
}

fn is_staging_name(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|id| id.len() == 16 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// A staging directory. It is removed with its content when this is dropped.
///
/// Its owner holds a lock on it. The system releases the lock when the owner ends, so a staging
/// directory that can be locked is stale.
#[derive(Debug)]
pub(super) struct Staging {
    destination: Arc<Destination>,
    name: String,
    directory: OwnedFd,
    partials: Option<PartialDirectory>,
    next: AtomicU64,
    /// Released after all work in the staging directory has ended, also when unpacking is
    /// cancelled.
    _turn: Turn,
}

/// A file in the staging directory.
#[derive(Debug)]
pub(super) struct StagedFile {
    pub(super) file: File,
    pub(super) name: String,
}

impl Staging {
    /// Creates a directory in the destination. `turn` is the right to write to it. `blobs` are those
    /// that will be written; if they include large ones, there is a directory for these too.
    ///
    /// Fails if there is too little room for all of them.
    pub(super) fn create(destination: Arc<Destination>, turn: Turn, blobs: &[Descriptor]) -> Result<Self> {
        // The process that was waited for may have been killed.
        Self::remove_stale(&destination);
        let is_large = blobs.iter().any(|blob| blob.size >= RESUMABLE);
        let partials = if is_large { Some(open_partials(&destination)?) } else { None };
        if let Some(partials) = &partials
            && let Err(error) = partials.check_room(blobs)
        {
            remove_partials(&destination);
            return Err(error);
        }
        loop {
            let id = getrandom::u64().expect("the system has random numbers");
            let name = format!("{PREFIX}{id:016x}");
            let path = destination.path().join(&name);
            rustix::fs::mkdirat(&destination, &name, Mode::RWXU).map_err(failed("create the directory", &path))?;
            if let Some(directory) = claim(&destination, &name).map_err(failed("open", path))? {
                return Ok(Self { destination, name, directory, partials, next: AtomicU64::new(0), _turn: turn });
            }
        }
    }

    /// Removes the staging directories of killed processes.
    ///
    /// A directory that cannot be removed is left; it does no harm.
    pub(super) fn remove_stale(destination: &Destination) {
        for name in names(destination.as_fd()).filter(|name| is_staging_name(name)) {
            let Ok(directory) = rustix::fs::openat(destination, &name, DIRECTORY, Mode::empty()) else { continue };
            if rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
                remove(destination, &name, directory.as_fd());
            }
        }
    }

    /// The partial blobs of raw layers.
    pub(super) fn partials(&self) -> &PartialDirectory {
        self.partials.as_ref().expect("there is one for large blobs")
    }

    /// Removes all partial blobs, of this and of earlier calls: nothing is left to do for them.
    pub(super) fn clear_partials(&self) -> Result<()> {
        self.partials.as_ref().map_or(Ok(()), |partials| partials.clear(|_| true).map(drop))
    }

    /// Creates a file with the given executable bit. Its name is short, independent of the file's
    /// own name.
    pub(super) fn create_file(&self, executable: bool) -> Result<StagedFile> {
        let name = self.next.fetch_add(1, Relaxed).to_string();
        let mode = Mode::from_raw_mode(if executable { 0o755 } else { 0o644 });
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, &name, flags, mode);
        let file = file.map_err(failed("create a file in", self.destination.path().join(&self.name)))?.into();
        Ok(StagedFile { file, name })
    }

    /// Syncs a complete and verified file, whose final path will be `path`.
    pub(super) fn sync(&self, staged: &StagedFile, path: &FilePath) -> Result<()> {
        staged.file.sync_data().map_err(Error::io("sync", self.destination.locate(path)))
    }

    /// Renames a synced file to its own path; see [`Destination::place`].
    pub(super) fn rename(&self, name: &str, path: &FilePath, replace: bool) -> Result<()> {
        self.destination.place(self.directory.as_fd(), name, path, replace)
    }

    /// The destination with this staging directory.
    pub(super) fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Opens a file that was created here and closed, for reading.
    pub(super) fn open_file(&self, name: String) -> Result<StagedFile> {
        let file = rustix::fs::openat(&self.directory, &name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        let file = file.map_err(failed("open", self.destination.path().join(&self.name).join(&name)))?.into();
        Ok(StagedFile { file, name })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        remove(&self.destination, &self.name, self.directory.as_fd());
        remove_partials(&self.destination);
    }
}

/// Removes the directory of partial blobs, unless there is something in it.
fn remove_partials(destination: &Destination) {
    let _ = unlinkat(destination, PARTIALS, AtFlags::REMOVEDIR);
}

fn open_partials(destination: &Destination) -> Result<PartialDirectory> {
    let path = destination.path().join(PARTIALS);
    match rustix::fs::mkdirat(destination, PARTIALS, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(failed("create the directory", path)(e)),
    }
    let directory = match rustix::fs::openat(destination, PARTIALS, DIRECTORY, Mode::empty()) {
        Err(Errno::NOTDIR | Errno::LOOP) => {
            return Err(conflict(path, "it is not a directory, and the directory for incomplete files has this name"));
        }
        directory => directory.map_err(failed("open", &path))?,
    };
    Ok(PartialDirectory::at(directory, path, ""))
}

/// Opens and locks a new directory; `None` if another process took it for a stale one before it was
/// locked.
fn claim(destination: &Destination, name: &str) -> rustix::io::Result<Option<OwnedFd>> {
    let directory = match rustix::fs::openat(destination, name, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        directory => directory?,
    };
    // On file systems without directory locks nothing can be locked, so no process takes it for a
    // stale one.
    if rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
        return Ok(None);
    }
    match rustix::fs::statat(destination, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(None),
        found => Ok((found?.st_ino == rustix::fs::fstat(&directory)?.st_ino).then_some(directory)),
    }
}

/// Removes a staging directory. It contains only files; anything else stays.
fn remove(destination: &Destination, name: &str, directory: BorrowedFd<'_>) {
    for file in names(directory) {
        let _ = unlinkat(directory, file, AtFlags::empty());
    }
    let _ = unlinkat(destination, name, AtFlags::REMOVEDIR);
}

/// The readable UTF-8 names in a directory. All names of staged files are UTF-8.
fn names(directory: BorrowedFd<'_>) -> impl Iterator<Item = String> {
    let entries = Dir::read_from(directory).into_iter().flatten().filter_map(|entry| entry.ok());
    entries.filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned)).filter(|name| name != "." && name != "..")
}
