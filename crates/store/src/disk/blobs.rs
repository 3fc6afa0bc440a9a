//! A directory of blobs named by their digests: `<algorithm>/<hex>`.

use super::{
    digest_cache::Stamp,
    lock::{self, Lease},
    presence::Presence,
};
use modelpack_spec::{Algorithm, Digest};
use modelpack_transfer::{Error, FileRange, Result, VerifiedBlob};
use rustix::{
    fs::{Access, AtFlags, CWD, accessat},
    io::Errno,
};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Blobs on disk, and where new ones are written before they are verified. Both are on one file system.
#[derive(Clone, Debug)]
pub(super) struct Blobs {
    pub(super) directory: PathBuf,
    pub(super) ingest: PathBuf,
    /// Held shared while a blob is added or linked, alone while blobs are collected; `None` where nothing is ever collected.
    pub(super) lock: Option<PathBuf>,
    /// Who writes.
    pub(super) presence: Arc<Presence>,
}

impl Blobs {
    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.algorithm().name()).join(digest.hex())
    }

    /// The size in bytes of the file that has the name of a blob; `None` if there is none, or something that is no file.
    pub(super) fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let path = self.path(digest);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(e) if is_absent(&e) || Errno::from_io_error(&e) == Some(Errno::LOOP) => Ok(None),
            Err(e) => Err(Error::io("look at", path)(e)),
        }
    }

    /// The whole of a blob that is here.
    pub(super) fn open(&self, digest: &Digest) -> Result<Option<FileRange>> {
        let path = self.path(digest);
        match FileRange::open(&path) {
            Ok(blob) => Ok(Some(blob)),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(Error::io("open", path)(e)),
        }
    }

    /// Keeps collection away while the result is held.
    pub(super) fn guard(&self) -> Result<Option<Lease>> {
        self.lock.as_deref().map(lock::shared).transpose().map(Option::flatten)
    }

    /// The whole of a blob that is here and can be read. What cannot be read is as good as damaged to whoever may replace it.
    pub(super) fn open_readable(&self, digest: &Digest) -> Result<Option<FileRange>> {
        match self.open(digest) {
            Err(Error::Io { source, .. }) if is_no_file(&source) || source.kind() == io::ErrorKind::PermissionDenied => Ok(None),
            opened => opened,
        }
    }

    /// Whether this process may replace blobs.
    pub(super) fn is_writable(&self) -> bool {
        let directory = self.directory.join(Algorithm::Sha256.name());
        accessat(CWD, &directory, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok()
    }

    /// The size in bytes of a blob of which it may be said that it is here, so that nobody need bring it; blocks.
    ///
    /// A file that was written to after it was verified is read once more, and with other bytes it is not the blob. A file of at most `small`
    /// bytes is read whatever its times say.
    pub(super) fn held(&self, digest: &Digest, small: u64) -> Result<Option<u64>> {
        let Some(blob) = self.open_readable(digest)? else { return Ok(None) };
        let metadata = blob.file.metadata().map_err(Error::io("look at", &blob.path))?;
        let is_believed = is_marked(&metadata) && metadata.len() > small;
        Ok((is_believed || is_intact(&blob, digest)?).then_some(blob.len))
    }

    /// Makes a file that was written, verified and synced the blob `blob`, durably. It replaces whatever has that name, which may be damaged.
    pub(super) fn adopt(&self, file: &File, at: &Path, blob: &VerifiedBlob) -> Result<()> {
        let digest = blob.digest();
        let path = self.path(digest);
        // Where this fails it is only read once more, by who is told that it is here.
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
        sync_directory(&parent)
    }
}

/// The modification time of every blob of `len` bytes that was verified where it lies. No file gets it by being written to, so a blob with
/// another one may have changed. Which second it is tells the length, so that a blob whose end is lost shows it even if its time was kept.
fn verified(len: u64) -> SystemTime {
    /// The second after 2000-01-01T00:00:00Z. Every file system can store it and the time that may be added.
    const FIRST: u64 = 946_684_801;
    /// How many lengths are told apart: a prime number, because the end of a file is most often lost at the end of a block.
    const LENGTHS: u64 = 16_777_213;
    SystemTime::UNIX_EPOCH + Duration::from_secs(FIRST + len % LENGTHS)
}

fn is_marked(metadata: &fs::Metadata) -> bool {
    metadata.modified().is_ok_and(|time| time == verified(metadata.len()))
}

/// Reads all of `blob`, and says whether it has its digest. If it has, it need not be read again before somebody writes to it.
pub(super) fn is_intact(blob: &FileRange, digest: &Digest) -> Result<bool> {
    let look = || blob.file.metadata().map_err(Error::io("look at", &blob.path));
    let before = Stamp::of(&look()?);
    let intact = match blob.digest(digest.algorithm()) {
        Ok(found) => found == *digest,
        // Bytes that cannot be read are not there.
        Err(Error::Io { .. } | Error::Changed { .. }) => false,
        Err(e) => return Err(e),
    };
    let after = look()?;
    if intact && Stamp::of(&after) == before && !is_marked(&after) {
        // Only its owner may; for anybody else it is read each time.
        let _ = blob.file.set_modified(verified(blob.len));
    }
    Ok(intact)
}

/// The plain files in a directory with their sizes in bytes; none if it is not there.
pub(super) fn files(directory: &Path) -> Result<Vec<(PathBuf, u64)>> {
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

/// Removes what is no file at `path`: a pipe, a device, a link or an empty directory. A directory that holds something is moved aside; returns
/// where it is then.
pub(super) fn clear(path: &Path) -> Result<Option<PathBuf>> {
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

/// Whether an error says that there is no file whose bytes anybody could read: a directory, a pipe or a loop of links in its place, or a disk
/// that fails.
pub(super) fn is_no_file(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
        || matches!(Errno::from_io_error(error), Some(Errno::IO | Errno::ISDIR | Errno::LOOP | Errno::NXIO))
}

pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Makes the names in a directory as durable as the files.
pub(super) fn sync_directory(path: &Path) -> Result<()> {
    // The parent of a relative name without a slash is empty.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path).and_then(|d| d.sync_all()).map_err(Error::io("sync", path))
}

/// Replaces the file at `path` by `bytes`, so that readers see the old or the new one whole, durably. The caller holds a lock, so that
/// nobody else replaces it; what an earlier one who was killed left is replaced too.
pub(super) fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
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
        // The error that matters is the first one; what is left of the temporary file is harmless.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    sync_directory(directory)
}

/// How the name of a file that will replace another one begins.
pub(super) const TEMPORARY: &str = ".new-";

/// A name that nobody else chooses.
pub(super) fn random_name() -> String {
    let number = getrandom::u64().expect("the operating system has random numbers");
    format!("{number:016x}")
}
