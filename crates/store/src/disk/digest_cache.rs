//! Digests of files outside the store, so that an unchanged file is not hashed again.
//!
//! An entry says which digest a file with this identity, size and times has. It decides only what need not be transferred: bytes that are
//! transferred are hashed anyway. To never be wrong, the cache remembers a file only if every later change must change its times: see
//! [`Settled`].

use super::{
    blobs::{TEMPORARY, random_name},
    settled::Settled,
};
use modelpack_spec::{Digest, HashStates};
use modelpack_transfer::{CHUNK, Error, FileRange, Result, VerifiedBlob, platform::boot_id};
use std::{
    fs::{self, File, Metadata},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// An entry has a line of text, and the hash states of a large file after it.
const MAX_ENTRY: u64 = (2 << 20) + 1024;

/// Digests by device, inode, size, modification time and change time.
#[derive(Clone, Debug)]
pub struct DigestCache {
    directory: PathBuf,
}

/// What is remembered of the content of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Its digest.
    pub digest: Digest,
    /// Its hash states, if it is large enough to have them and they are known.
    pub hash_states: Option<HashStates>,
}

impl From<&VerifiedBlob> for Remembered {
    fn from(blob: &VerifiedBlob) -> Self {
        Self { digest: blob.digest().clone(), hash_states: blob.hash_states().cloned() }
    }
}

impl From<Digest> for Remembered {
    fn from(digest: Digest) -> Self {
        Self { digest, hash_states: None }
    }
}

/// What identifies the content of a file as long as nobody changes it.
///
/// It changes with every write to the file. It may stay the same if another program stores into a shared mapping of the file, or if the file
/// system has no exact times. So a different stamp says that the file may have changed, but only a stamp that is [`Settled`] says that the
/// file is still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of an open file now.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether it is equal to `other`, or differs only in the inode number.
    pub fn is_renumbered(&self, other: &Self) -> bool {
        *self == Self { inode: self.inode, ..*other }
    }

    /// Whether this is of a file that had the stamp `whole` and was then only renamed.
    ///
    /// By the clock of the file system, it must have got its name later than its last byte: before that, no other process knew it.
    pub fn is_renamed(&self, whole: &Self) -> bool {
        *self == Self { changed: self.changed, ..*whole } && self.changed > self.modified
    }

    /// How long ago the file was changed. `None` if the time is in the future, or has only whole seconds.
    pub(super) fn age(&self) -> Option<Duration> {
        let nanoseconds = u32::try_from(self.changed.1).ok().filter(|nanoseconds| *nanoseconds > 0)?;
        let changed = Duration::new(u64::try_from(self.changed.0).ok()?, nanoseconds);
        SystemTime::now().duration_since(UNIX_EPOCH.checked_add(changed)?).ok()
    }
}

impl DigestCache {
    /// A cache in `directory`, which exists.
    pub(super) fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// What was remembered of the file with this stamp; blocks.
    pub fn lookup(&self, stamp: &Stamp) -> Option<Remembered> {
        let entry = FileRange::open(&self.path(stamp)?).ok().filter(|entry| entry.len <= MAX_ENTRY)?.read().ok()?;
        let end = entry.iter().position(|byte| *byte == b'\n')?;
        let (of, digest) = str::from_utf8(&entry[..end]).ok()?.rsplit_once(' ')?;
        let digest = (of == line(stamp)?).then(|| digest.parse().ok()).flatten()?;
        // An entry without a list, or with an incomplete one, still has the digest.
        let list = Some(&entry[end + 1..]).filter(|list| !list.is_empty());
        Some(Remembered { digest, hash_states: list.and_then(|list| HashStates::read(stamp.size, list)) })
    }

    /// Prepares to remember the digest of `file`, which is open for reading only. To be called before the file is hashed. Blocks for a few
    /// milliseconds.
    ///
    /// `None` if the file is so small that hashing it is as fast as this, or if it could change without a change of its times.
    pub fn prepare(&self, file: &File) -> Option<Settled> {
        let size = file.metadata().ok()?.size();
        if size >= CHUNK as u64 { Settled::of(file) } else { None }
    }

    /// Remembers the digest and the hash states of `file`, which was hashed after it was found to be settled; blocks. A file that has changed
    /// since then is not remembered.
    pub fn remember(&self, file: &File, settled: &Settled, known: &Remembered) -> Result<()> {
        let stamp = settled.stamp();
        let Some((path, line)) = self.path(stamp).zip(line(stamp)) else { return Ok(()) };
        let now = file.metadata().map_err(Error::io("look at a file before remembering it in", &path))?;
        if Stamp::of(&now) != *stamp {
            return Ok(());
        }
        let temporary = self.directory.join(format!("{TEMPORARY}{}", random_name()));
        // If an entry is lost or incomplete, the file is only hashed once more. So nothing is synced.
        let mut entry = format!("{line} {}\n", known.digest).into_bytes();
        entry.extend(known.hash_states.iter().flat_map(HashStates::bytes));
        fs::write(&temporary, entry).map_err(Error::io("write", &temporary))?;
        fs::rename(&temporary, &path).map_err(Error::io("rename into place", path))
    }

    fn path(&self, stamp: &Stamp) -> Option<PathBuf> {
        (stamp.size >= CHUNK as u64).then(|| self.directory.join(format!("{:x}-{:x}", stamp.device, stamp.inode)))
    }
}

/// The text of an entry before the digest. Entries from before the machine started are not trusted: after a power failure a file may have
/// its new bytes with its old times, and devices may have other numbers. Entries of older versions, which remembered every file that they had hashed, begin with the size.
fn line(stamp: &Stamp) -> Option<String> {
    let boot = boot_id()?;
    let Stamp { size, modified, changed, .. } = stamp;
    Some(format!("{boot} {size} {}.{} {}.{}", modified.0, modified.1, changed.0, changed.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Seek, Write},
        path::Path,
    };
    use tempfile::TempDir;

    /// A cache, and a file of two chunks in a directory of its own.
    fn scene() -> (TempDir, DigestCache, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let (cache, path) = (DigestCache::at(directory.path().to_owned()), directory.path().join("file"));
        fs::write(&path, vec![1; 2 * CHUNK]).unwrap();
        (directory, cache, path)
    }

    fn digest() -> Digest {
        Digest::of(&vec![1; 2 * CHUNK])
    }

    fn known(cache: &DigestCache, path: &Path) -> Option<Digest> {
        cache.lookup(&Stamp::of(&fs::metadata(path).unwrap())).map(|known| known.digest)
    }

    /// The result of [`DigestCache::prepare`]. Prints a line and returns `None` if the file system is not trusted.
    fn settled(cache: &DigestCache, file: &File) -> Option<Settled> {
        let settled = cache.prepare(file);
        if settled.is_none() {
            eprintln!("SKIPPED: the times of files in the temporary directory are not trusted");
        }
        settled
    }

    #[test]
    fn an_unchanged_file_is_known_and_a_changed_one_is_not_even_if_its_size_and_time_are_put_back() {
        let (_directory, cache, path) = scene();
        let file = File::open(&path).unwrap();
        let Some(before) = settled(&cache, &file) else { return };
        assert_eq!(known(&cache, &path), None);
        cache.remember(&file, &before, &digest().into()).unwrap();
        assert_eq!(known(&cache, &path), Some(digest()));

        let modified = file.metadata().unwrap().modified().unwrap();
        let mut writer = File::options().write(true).open(&path).unwrap();
        writer.rewind().unwrap();
        writer.write_all(b"x").unwrap();
        writer.set_modified(modified).unwrap();
        assert_eq!(known(&cache, &path), None);
        cache.remember(&file, &before, &Digest::of(b"stale").into()).unwrap();
        assert_eq!(known(&cache, &path), None);
    }

    #[test]
    fn what_was_remembered_before_the_machine_started_or_by_an_older_version_is_not_believed() {
        let (_directory, cache, path) = scene();
        let stamp = Stamp::of(&fs::metadata(&path).unwrap());
        let entry = cache.path(&stamp).unwrap();
        let line = line(&stamp).unwrap();
        let (_, of_file) = line.split_once(' ').unwrap();
        let cases = [(line.as_str(), true), (of_file, false), (&format!("01234567-89ab-cdef-0123-456789abcdef {of_file}"), false)];
        for (line, is_believed) in cases {
            fs::write(&entry, format!("{line} {}\n", digest())).unwrap();
            assert_eq!(known(&cache, &path), is_believed.then(digest), "{line}");
        }
    }

    #[test]
    fn a_small_file_is_not_remembered() {
        let (_directory, cache, path) = scene();
        fs::write(&path, vec![1; CHUNK - 1]).unwrap();
        assert!(cache.prepare(&File::open(&path).unwrap()).is_none());
    }

    #[test]
    fn a_time_in_whole_seconds_is_no_time() {
        let stamp = Stamp { device: 1, inode: 2, size: 3, modified: (9, 5), changed: (9, 6) };
        assert!(stamp.age().is_some());
        assert_eq!(Stamp { changed: (9, 0), ..stamp }.age(), None, "much can happen in a second");
        assert_eq!(Stamp { changed: (i64::MAX, 6), ..stamp }.age(), None, "it is in the future");
    }

    #[test]
    fn a_file_that_got_another_number_is_otherwise_the_same() {
        let stamp = Stamp { device: 1, inode: 2, size: 3, modified: (9, 5), changed: (9, 6) };
        assert!(stamp.is_renumbered(&stamp) && Stamp { inode: 7, ..stamp }.is_renumbered(&stamp));
        for other in [
            Stamp { device: 7, ..stamp },
            Stamp { size: 7, ..stamp },
            Stamp { modified: (9, 7), ..stamp },
            Stamp { changed: (9, 7), ..stamp },
        ] {
            assert!(!other.is_renumbered(&stamp), "{other:?}");
        }
    }

    #[test]
    fn a_renamed_file_is_known_by_the_time_of_its_last_byte() {
        let whole = Stamp { device: 1, inode: 2, size: 3, modified: (9, 5), changed: (9, 6) };
        assert!(Stamp { changed: (9, 7), ..whole }.is_renamed(&whole));
        for other in [
            Stamp { changed: (9, 5), ..whole },
            Stamp { modified: (9, 6), changed: (9, 7), ..whole },
            Stamp { inode: 3, changed: (9, 7), ..whole },
            Stamp { size: 4, changed: (9, 7), ..whole },
        ] {
            assert!(!other.is_renamed(&whole), "{other:?}");
        }
    }
}
