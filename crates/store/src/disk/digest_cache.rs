//! Digests of files outside the store, so that an unchanged file is not hashed again.
//!
//! An entry says which digest a file had when its identity, size and times were these. It decides what need not be moved; bytes
//! that are moved are hashed all the same.

use super::blobs::{TEMPORARY, random_name};
use crate::{CHUNK, Error, Result};
use modelpack_spec::Digest;
use std::{
    fs::{self, File, Metadata},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// File systems stamp a change with a clock that may stand still for this long.
const TICK: Duration = Duration::from_millis(20);

/// Digests by device, inode, size, modification time and change time.
#[derive(Clone, Debug)]
pub struct DigestCache {
    directory: PathBuf,
}

/// What identifies the content of a file as long as nobody changes it; changes with every write to it.
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

    /// How long ago the file was changed; `None` if that is in the future.
    fn age(&self) -> Option<Duration> {
        let changed = Duration::new(u64::try_from(self.changed.0).ok()?, u32::try_from(self.changed.1).ok()?);
        SystemTime::now().duration_since(UNIX_EPOCH.checked_add(changed)?).ok()
    }
}

impl DigestCache {
    /// A cache in `directory`, which exists.
    pub(super) fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The digest that a file with this stamp has, if it was remembered; blocks.
    pub fn lookup(&self, stamp: &Stamp) -> Option<Digest> {
        let text = fs::read_to_string(self.path(stamp)?).ok()?;
        let (entry, digest) = text.trim_end().rsplit_once(' ')?;
        (entry == line(stamp)).then(|| digest.parse().ok()).flatten()
    }

    /// Remembers the digest of `file`, whose content was hashed when its stamp was `stamp`; blocks, for some milliseconds at most.
    ///
    /// Nothing is remembered of a file that has changed since, or that is so small that hashing it costs no more than this. A file
    /// changed a moment ago might change again under the same time, so this waits until any further change would show.
    pub fn remember(&self, file: &File, stamp: &Stamp, digest: &Digest) -> Result<()> {
        let Some(path) = self.path(stamp) else { return Ok(()) };
        match stamp.age() {
            None => return Ok(()),
            Some(age) => std::thread::sleep(TICK.saturating_sub(age)),
        }
        let now = file.metadata().map_err(Error::io("look at a file before remembering it in", &path))?;
        if Stamp::of(&now) != *stamp {
            return Ok(());
        }
        let temporary = self.directory.join(format!("{TEMPORARY}{}", random_name()));
        // Lost or half an entry costs one hash, so nothing is synced.
        fs::write(&temporary, format!("{} {digest}\n", line(stamp))).map_err(Error::io("write", &temporary))?;
        fs::rename(&temporary, &path).map_err(Error::io("rename into place", path))
    }

    fn path(&self, stamp: &Stamp) -> Option<PathBuf> {
        (stamp.size >= CHUNK as u64).then(|| self.directory.join(format!("{:x}-{:x}", stamp.device, stamp.inode)))
    }
}

fn line(stamp: &Stamp) -> String {
    let Stamp { size, modified, changed, .. } = stamp;
    format!("{size} {}.{} {}.{}", modified.0, modified.1, changed.0, changed.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};

    fn stamp(file: &File) -> Stamp {
        Stamp::of(&file.metadata().unwrap())
    }

    #[test]
    fn an_unchanged_file_is_known_and_a_changed_one_is_not_even_if_its_size_and_time_are_put_back() {
        let directory = tempfile::tempdir().unwrap();
        let cache = DigestCache::at(directory.path().to_owned());
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![1; CHUNK]).unwrap();
        let digest = Digest::of(&vec![1; CHUNK]);
        assert_eq!(cache.lookup(&stamp(&file)), None);
        let before = stamp(&file);
        cache.remember(&file, &before, &digest).unwrap();
        assert_eq!(cache.lookup(&stamp(&file)), Some(digest));

        let modified = file.metadata().unwrap().modified().unwrap();
        file.rewind().unwrap();
        file.write_all(b"x").unwrap();
        file.set_modified(modified).unwrap();
        assert_eq!(cache.lookup(&stamp(&file)), None);
        cache.remember(&file, &before, &Digest::of(b"stale")).unwrap();
        assert_eq!(cache.lookup(&stamp(&file)), None);
    }
}
