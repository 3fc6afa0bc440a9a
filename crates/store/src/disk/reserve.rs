//! Disk blocks that deletes need on a full disk.
//!
//! To remove a tag, `index.json` is replaced by a shorter one. That needs a few blocks before it frees others. The reserve is a file that
//! has these blocks: the new index is written into it, and the two files exchange their names. So the old index is the next reserve. On a
//! file system that copies on write, such as btrfs, blocks in use cannot be overwritten: there the old index is removed, and a new reserve
//! gets its blocks.

use super::{
    blobs::{TEMPORARY, is_absent, replace_file, sync_directory},
    lock,
};
use modelpack_transfer::{
    Error, Result,
    platform::{FileSystem, allocate, exchange, file_system, sync_file_system},
};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// The smallest size of the reserve, in bytes.
const LEAST: u64 = 64 << 10;
/// The block size of file systems, in bytes.
const BLOCK: usize = 4096;

/// A file in the directory of the store. Each process that uses it locks that directory.
#[derive(Clone, Debug)]
pub(super) struct Reserve {
    root: PathBuf,
}

impl Reserve {
    pub(super) fn of(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn path(&self) -> PathBuf {
        self.root.join("reserve")
    }

    fn len(&self) -> Result<u64> {
        match fs::metadata(self.path()) {
            Ok(metadata) => Ok(metadata.len()),
            Err(e) if is_absent(&e) => Ok(0),
            Err(e) => Err(Error::io("look at", self.path())(e)),
        }
    }

    /// Makes sure that an index of `len` bytes can be replaced on a full disk. Fails if there is not enough space for that.
    pub(super) fn ensure(&self, len: u64) -> Result<()> {
        let wanted = len.max(LEAST).next_power_of_two();
        if self.len()? >= len.max(LEAST) {
            return Ok(());
        }
        let _lock = lock::exclusive(&self.root)?;
        let present = self.len()?;
        self.grow(present, wanted).or_else(|e| if is_full(&e) { self.grow(present, len) } else { Err(e) })
    }

    /// Makes the file larger. Blocks are allocated for all of its length.
    fn grow(&self, present: u64, wanted: u64) -> Result<()> {
        if wanted <= present {
            return Ok(());
        }
        let path = self.path();
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(Error::io("create", &path))?;
        allocate(&file, present..wanted).map_err(Error::io("allocate", path))
    }

    /// Replaces the file by a new one, if it was an index before: another process may still be reading it.
    fn renew(&self, len: u64) -> Result<()> {
        let (path, new) = (self.path(), self.root.join(format!("{TEMPORARY}reserve")));
        let file = File::create(&new).map_err(Error::io("create", &new))?;
        let renewed = allocate(&file, 0..len).and_then(|()| fs::rename(&new, &path));
        if renewed.is_err() {
            // The next attempt uses the same name.
            let _ = fs::remove_file(&new);
        }
        renewed.map_err(Error::io("allocate", path))
    }

    /// Replaces the content of the file at `path` by `bytes`, durably and in one step, also on a full disk. Only one process does this at a
    /// time, so that the blocks that one delete frees become the reserve of the next one.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let _lock = lock::exclusive(&self.root)?;
        let size = self.len()?;
        let if_full = |result: Result<()>, again: &dyn Fn(Error) -> Result<()>| match result {
            Err(error) if is_full(&error) => again(error),
            result => result,
        };
        let replaced = replace_file(path, bytes);
        let replaced = if_full(replaced, &|error| if size < bytes.len() as u64 { Err(error) } else { self.change_places(path, bytes) });
        // The reserve could not be written, because the file system copies on write and its blocks were written before.
        let replaced = if_full(replaced, &|error| self.give_back().map_or(Err(error), |()| replace_file(path, bytes)));
        self.grow_again(size.max(LEAST))?;
        replaced
    }

    /// Makes the reserve `wanted` bytes large, or as large as the disk allows: the next delete needs less.
    fn grow_again(&self, wanted: u64) -> Result<()> {
        let present = self.len()?;
        if self.grow(present, wanted).is_ok() {
            return Ok(());
        }
        // Blocks that were freed just now may become available only after the file system has written that.
        let _ = self.sync();
        let mut again = wanted;
        while again > present && self.grow(present, again).is_err() {
            again /= 2;
        }
        Ok(())
    }

    /// Writes into the reserve and exchanges it with the file at `path`, which is the reserve after that.
    fn change_places(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let reserve = self.path();
        let file = OpenOptions::new().write(true).open(&reserve).map_err(Error::io("open", &reserve))?;
        file.write_all_at(bytes, 0).map_err(Error::io("write", &reserve))?;
        file.set_len(bytes.len() as u64).and_then(|()| file.sync_all()).map_err(Error::io("write", &reserve))?;
        exchange(&reserve, path).map_err(Error::io("rename into place", path))?;
        sync_directory(path.parent().unwrap_or(&self.root))?;
        // If there is no space for a new one, the old index serves as the reserve of the next delete.
        let _ = if copies_on_write(&file) {
            self.give_back().map_err(Error::io("free", reserve))
        } else {
            self.renew(bytes.len().next_multiple_of(BLOCK) as u64)
        };
        Ok(())
    }

    /// Frees its blocks. The file is removed and not truncated, because it may have been an index that another process still reads.
    fn give_back(&self) -> io::Result<()> {
        fs::remove_file(self.path())?;
        self.sync()
    }

    /// Returns when the file system has written which blocks are free.
    fn sync(&self) -> io::Result<()> {
        sync_file_system(&File::open(&self.root)?)
    }
}

/// Whether an error says that the disk, or the quota of the user, is full.
pub(crate) fn is_full(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}

/// Whether the file system writes to new blocks when a file is overwritten, so that overwriting needs free space.
fn copies_on_write(file: &File) -> bool {
    matches!(file_system(file), Some(FileSystem::Btrfs | FileSystem::Bcachefs | FileSystem::Zfs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Read, os::unix::fs::MetadataExt};

    #[test]
    fn it_is_large_enough_for_the_index_and_is_there_again_after_each_use() {
        let root = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(root.path());
        let (index, large) = (root.path().join("index.json"), vec![b'x'; 200_000]);
        for (len, expected) in [(0, LEAST), (10, LEAST), (200_000, 262_144), (10, 262_144)] {
            reserve.ensure(len).unwrap();
            assert_eq!(reserve.len().unwrap(), expected);
        }
        fs::write(&index, &large).unwrap();
        for len in (0..large.len()).rev().step_by(50_000) {
            // As on a full disk, and then as on any disk.
            let (mut reader, before) = (File::open(&index).unwrap(), fs::read(&index).unwrap());
            reserve.ensure(len as u64).unwrap();
            reserve.change_places(&index, &large[..len]).unwrap();
            assert_eq!(fs::read(&index).unwrap(), large[..len]);
            reserve.replace(&index, &large[1..len]).unwrap();
            assert_eq!(fs::read(&index).unwrap(), large[1..len]);
            let again = fs::metadata(reserve.path()).unwrap();
            assert!(again.len() >= LEAST, "{again:?}");
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            assert_eq!(read, before, "whoever reads the old index is not disturbed");
            assert_ne!(again.ino(), reader.metadata().unwrap().ino(), "nor later, by the next one that is written");
            assert!(again.blocks() * 512 >= again.len(), "its blocks are allocated");
        }
    }
}
