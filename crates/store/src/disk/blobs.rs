//! A directory of blobs named by their digests: `<algorithm>/<hex>`.

use super::{
    digest_cache::Stamp,
    lock::{self, Lease},
};
use modelpack_spec::{Algorithm, Digest, HashStates, Hasher};
use modelpack_transfer::{Error, FileRange, PartialDirectory, Result, VerifiedBlob};
use rustix::{
    fs::{Access, AtFlags, CWD, accessat},
    io::Errno,
};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// A directory of blobs, and the directory in which new blobs are written before they are verified. Both are on the same file system.
#[derive(Clone, Debug)]
pub(crate) struct Blobs {
    pub(crate) directory: PathBuf,
    pub(crate) ingest: PathBuf,
    /// Where known blobs lie until all their bytes are there, and how the names of their files begin.
    pub(crate) partials: (PathBuf, &'static str),
    /// Where the lists of hash states of large blobs lie. `None` if they are not kept.
    pub(crate) hash_states: Option<PathBuf>,
    /// A lock: shared while a blob is added or linked, exclusive while blobs are collected. `None` if nothing is ever collected.
    pub(crate) lock: Option<PathBuf>,
}

impl Blobs {
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.algorithm().name()).join(digest.hex())
    }

    /// The size in bytes of the file with the name of a blob. `None` if there is none, or if it is not a regular file.
    pub(crate) fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let path = self.path(digest);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(e) if is_absent(&e) || Errno::from_io_error(&e) == Some(Errno::LOOP) => Ok(None),
            Err(e) => Err(Error::io("look at", path)(e)),
        }
    }

    /// Opens a whole blob, if it is here.
    pub(crate) fn open(&self, digest: &Digest) -> Result<Option<FileRange>> {
        let path = self.path(digest);
        match FileRange::open(&path) {
            Ok(blob) => Ok(Some(blob)),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(Error::io("open", path)(e)),
        }
    }

    /// The directory of partial blobs, which is created if it is not there.
    pub(crate) fn partials(&self) -> Result<PartialDirectory> {
        let (directory, prefix) = &self.partials;
        fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        PartialDirectory::open(directory, prefix)
    }

    /// The directory of partial blobs, if it is there.
    pub(crate) fn existing_partials(&self) -> Result<Option<PartialDirectory>> {
        let (directory, prefix) = &self.partials;
        directory.is_dir().then(|| PartialDirectory::open(directory, prefix)).transpose()
    }

    /// Prevents collection while the result is held.
    pub(crate) fn guard(&self) -> Result<Option<Lease>> {
        self.lock.as_deref().map(lock::shared).transpose().map(Option::flatten)
    }

    /// Opens a whole blob, if it is here and can be read. For a process that may replace it, a blob that cannot be read is a damaged one.
    pub(crate) fn open_readable(&self, digest: &Digest) -> Result<Option<FileRange>> {
        match self.open(digest) {
            Err(Error::Io { source, .. }) if is_no_file(&source) || source.kind() == io::ErrorKind::PermissionDenied => Ok(None),
            opened => opened,
        }
    }

    /// Whether this process may replace blobs.
    pub(crate) fn is_writable(&self) -> bool {
        let directory = self.directory.join(Algorithm::Sha256.name());
        accessat(CWD, &directory, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok()
    }

    /// The size in bytes of a blob, if it is here and intact, so that it need not be transferred again; blocks.
    ///
    /// A file that was changed after it was verified is read and verified again. A file of at most `small` bytes is always verified again.
    pub(crate) fn held(&self, digest: &Digest, small: u64) -> Result<Option<u64>> {
        let Some(blob) = self.open_readable(digest)? else { return Ok(None) };
        Ok(is_believed_or_intact(&blob, digest, small)?.then_some(blob.len))
    }

    /// Renames a file that was written, verified and synced to the name of `blob`, durably. It replaces what has that name, which may be
    /// damaged.
    pub(crate) fn adopt(&self, file: &File, at: &Path, blob: &VerifiedBlob) -> Result<()> {
        let digest = blob.digest();
        let path = self.path(digest);
        // If this fails, the blob is only verified once more when it is looked up.
        let _ = file.set_modified(verified(blob.size()));
        let parent = self.directory.join(digest.algorithm().name());
        if digest.algorithm() != Algorithm::Sha256 {
            fs::create_dir_all(&parent).map_err(Error::io("create", &parent))?;
        }
        let rename = || fs::rename(at, &path);
        match rename() {
            Err(e) if e.kind() == io::ErrorKind::IsADirectory => {
                clear(&path)?;
                rename()
            }
            renamed => renamed,
        }
        .map_err(Error::io("rename into place", &path))?;
        sync_directory(&parent)?;
        if let Some(list) = blob.hash_states() {
            self.keep_hash_states(digest, list);
        }
        Ok(())
    }

    /// Keeps the hash states of a blob that is here. If this fails, or the list is lost, the blob is only verified more slowly.
    fn keep_hash_states(&self, digest: &Digest, list: &HashStates) {
        let Some((directory, path)) = self.hash_states.as_ref().zip(self.hash_states_path(digest)) else { return };
        let has_list = || fs::metadata(&path).is_ok_and(|metadata| metadata.len() == list.bytes().len() as u64);
        if !has_list() && fs::create_dir_all(directory).is_ok() {
            let temporary = directory.join(format!("{TEMPORARY}{}", random_name()));
            let _ = fs::write(&temporary, list.bytes()).and_then(|()| fs::rename(&temporary, &path)).inspect_err(|_| {
                let _ = fs::remove_file(&temporary);
            });
        }
    }

    /// The hash states of a blob of `size` bytes, if they were kept. Whether they are still true is not known.
    pub(crate) fn hash_states(&self, digest: &Digest, size: u64) -> Option<HashStates> {
        let list = FileRange::open(&self.hash_states_path(digest)?).ok()?;
        if list.len != HashStates::list_len(size) {
            return None;
        }
        HashStates::read(size, &list.read().ok()?)
    }

    fn hash_states_path(&self, digest: &Digest) -> Option<PathBuf> {
        (digest.algorithm() == Algorithm::Sha256).then(|| Some(self.hash_states.as_ref()?.join(digest.hex())))?
    }
}

/// The modification time of every verified blob of `len` bytes. No write gives a file this time, so a blob with another time may have
/// changed. The time depends on the length, so a blob that has lost its end has a wrong time even if the time was restored.
fn verified(len: u64) -> SystemTime {
    /// The second after 2000-01-01T00:00:00Z. Every file system can store it and the time that may be added.
    const FIRST: u64 = 946_684_801;
    /// How many lengths have different times. A prime number, because files are mostly cut at the end of a block.
    const LENGTHS: u64 = 16_777_213;
    SystemTime::UNIX_EPOCH + Duration::from_secs(FIRST + len % LENGTHS)
}

/// Whether the file of a blob was not written to since it was verified.
pub(crate) fn is_marked(metadata: &fs::Metadata) -> bool {
    metadata.modified().is_ok_and(|time| time == verified(metadata.len()))
}

/// Whether an open blob is intact. It is read only if it was changed after it was verified, or if it has at most `small` bytes.
pub(crate) fn is_believed_or_intact(blob: &FileRange, digest: &Digest, small: u64) -> Result<bool> {
    let metadata = blob.file.metadata().map_err(Error::io("look at", &blob.path))?;
    let is_believed = is_marked(&metadata) && metadata.len() > small;
    Ok(is_believed || is_intact(blob, digest, |_| ())?)
}

/// Reads all of `blob`, and returns whether it has its digest. If so, it need not be read again until it is written to. `count` is called
/// with the number of bytes of each piece that was read.
pub(crate) fn is_intact(blob: &FileRange, digest: &Digest, count: impl Fn(u64)) -> Result<bool> {
    let look = || blob.file.metadata().map_err(Error::io("look at", &blob.path));
    let before = Stamp::of(&look()?);
    let mut hasher = Hasher::new(digest.algorithm());
    let read = blob.read_all(|piece| {
        hasher.update(piece);
        count(piece.len() as u64);
        Ok(())
    });
    let intact = match read {
        Ok(()) => hasher.finish() == *digest,
        // Bytes that cannot be read count as missing.
        Err(Error::Io { .. } | Error::Changed { .. }) => false,
        Err(e) => return Err(e),
    };
    let after = look()?;
    if intact && Stamp::of(&after) == before && !is_marked(&after) {
        // Only the owner of the file may do this. For other users it is read each time.
        let _ = blob.file.set_modified(verified(blob.len));
    }
    Ok(intact)
}

/// The regular files in a directory with their sizes in bytes. Empty if there is no directory.
pub(crate) fn files(directory: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if is_absent(&e) => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", directory)(e)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("list", directory))?;
        match entry.metadata() {
            Ok(metadata) if metadata.is_file() => files.push((entry.path(), metadata.len())),
            Ok(_) => {}
            Err(e) if is_absent(&e) => {}
            Err(e) => return Err(Error::io("look at", entry.path())(e)),
        }
    }
    Ok(files)
}

/// Removes what is at `path` if it is not a regular file: a pipe, a device, a link or an empty directory. A directory that is not empty is
/// renamed, and its new path is returned.
pub(crate) fn clear(path: &Path) -> Result<Option<PathBuf>> {
    let is_directory = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => return Ok(None),
        Ok(metadata) => metadata.is_dir(),
        Err(e) if is_absent(&e) => return Ok(None),
        Err(e) => return Err(Error::io("look at", path)(e)),
    };
    match if is_directory { fs::remove_dir(path) } else { fs::remove_file(path) } {
        Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {
            let mut aside = path.as_os_str().to_owned();
            aside.push(format!(".moved-aside-{}", random_name()));
            let aside = PathBuf::from(aside);
            fs::rename(path, &aside).map_err(Error::io("move aside", path))?;
            Ok(Some(aside))
        }
        Err(e) if !is_absent(&e) => Err(Error::io("remove", path)(e)),
        _ => Ok(None),
    }
}

/// Whether an error says that nobody can read the file: because it is a directory, a pipe or a loop of links, or because the disk fails.
pub(crate) fn is_no_file(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
        || matches!(Errno::from_io_error(error), Some(Errno::IO | Errno::ISDIR | Errno::LOOP | Errno::NXIO))
}

pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<()> {
    // The parent of a relative path without a slash is empty.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path).and_then(|d| d.sync_all()).map_err(Error::io("sync", path))
}

/// Replaces the content of the file at `path` by `bytes`, durably. Readers see either all of the old or all of the new content. The caller
/// holds a lock, so no other process replaces it. A temporary file that a killed process left is replaced too.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut name = std::ffi::OsString::from(TEMPORARY);
    name.push(path.file_name().unwrap_or_default());
    let temporary = directory.join(name);
    let write = || {
        use io::Write;
        match fs::remove_file(&temporary) {
            Err(e) if !is_absent(&e) => return Err(Error::io("remove", &temporary)(e)),
            _ => {}
        }
        let mut file = File::create_new(&temporary).map_err(Error::io("create", &temporary))?;
        file.write_all(bytes).map_err(Error::io("write", &temporary))?;
        file.sync_all().map_err(Error::io("sync", &temporary))?;
        fs::rename(&temporary, path).map_err(Error::io("rename into place", path))
    };
    let written = write();
    if written.is_err() {
        // The first error is the important one. If the temporary file stays, it does no harm.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    sync_directory(directory)
}

/// The beginning of the name of a temporary file that will replace another file.
pub(crate) const TEMPORARY: &str = ".new-";

/// A random name, which no other process uses.
pub(crate) fn random_name() -> String {
    let number = getrandom::u64().expect("the operating system has random numbers");
    format!("{number:016x}")
}
