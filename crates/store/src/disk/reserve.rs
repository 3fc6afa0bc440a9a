//! Room that deletes need on a disk that is full.
//!
//! To remove a name, `index.json` is replaced by a shorter one, which needs a few blocks before it frees others. The reserve is a file
//! that has those blocks: the new content is written into it, and it takes the place of the index. The blocks of the old index then
//! become the next reserve.

use super::{
    blobs::{is_absent, sync_directory},
    lock,
};
use crate::{Error, Result};
use rustix::fs::{FallocateFlags, fallocate};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// The least that is kept, in bytes.
const LEAST: u64 = 64 << 10;

/// A file in the directory of the store; everybody who uses it locks that directory.
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

    /// Makes sure that an index of `len` bytes can be replaced on a full disk; fails if there is no room for that.
    pub(super) fn ensure(&self, len: u64) -> Result<()> {
        if self.len()? >= len.max(1) {
            return Ok(());
        }
        let _lock = lock::exclusive(&self.root)?;
        let present = self.len()?;
        let wanted = len.max(LEAST).next_power_of_two();
        self.grow(present, wanted).or_else(|e| if is_full(&e) { self.grow(present, len) } else { Err(e) })
    }

    /// Makes the file larger. Its length says how many bytes of blocks it has for sure.
    fn grow(&self, present: u64, wanted: u64) -> Result<()> {
        let path = self.path();
        if wanted <= present {
            return Ok(());
        }
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(Error::io("create", &path))?;
        let grown = allocate(&file, present..wanted).and_then(|()| file.set_len(wanted));
        if grown.is_err() {
            // Gives back what was allocated in part. What fails here is as it was.
            let _ = file.set_len(present);
        }
        grown.map_err(Error::io("allocate", path))
    }

    /// Replaces the file at `path` by `bytes`, durably and at once, in the blocks of the reserve.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let reserve = self.path();
        let _lock = lock::exclusive(&self.root)?;
        let file = OpenOptions::new().write(true).open(&reserve).map_err(Error::io("open", &reserve))?;
        let size = file.metadata().map_err(Error::io("look at", &reserve))?.len();
        if size < bytes.len() as u64 {
            return Err(Error::io("write", path)(io::ErrorKind::StorageFull.into()));
        }
        file.write_all_at(bytes, 0).map_err(Error::io("write", &reserve))?;
        file.set_len(bytes.len() as u64).and_then(|()| file.sync_all()).map_err(Error::io("write", &reserve))?;
        fs::rename(&reserve, path).map_err(Error::io("rename into place", path))?;
        sync_directory(path.parent().unwrap_or(&self.root))?;
        // As large as it was if it can be, else as large as there is room for: the next delete needs less.
        let mut again = size;
        while again > 0 && self.grow(0, again).is_err() {
            again /= 2;
        }
        Ok(())
    }
}

/// Whether an error says that the disk, or the share of it that this user may have, is full.
pub(super) fn is_full(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}

fn allocate(file: &File, range: std::ops::Range<u64>) -> io::Result<()> {
    match fallocate(file, FallocateFlags::KEEP_SIZE, range.start, range.end - range.start) {
        // A file system that cannot promise blocks gives them to bytes that are written.
        Err(rustix::io::Errno::OPNOTSUPP) => {
            let zeros = vec![0; LEAST as usize];
            let mut at = range.start;
            while at < range.end {
                let n = (range.end - at).min(LEAST);
                file.write_all_at(&zeros[..n as usize], at)?;
                at += n;
            }
            Ok(())
        }
        allocated => Ok(allocated?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn it_is_as_large_as_the_largest_index_and_is_there_again_after_each_use() {
        let root = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(root.path());
        let (index, large) = (root.path().join("index.json"), vec![b'x'; 200_000]);
        assert!(reserve.replace(&index, b"{}").is_err(), "there is none yet");
        for (len, expected) in [(0, LEAST), (10, LEAST), (200_000, 262_144), (10, 262_144)] {
            reserve.ensure(len).unwrap();
            assert_eq!(reserve.len().unwrap(), expected);
        }
        for len in (0..large.len()).rev().step_by(50_000) {
            reserve.replace(&index, &large[..len]).unwrap();
            assert_eq!(fs::read(&index).unwrap(), large[..len]);
            let again = fs::metadata(reserve.path()).unwrap();
            assert_eq!(again.len(), 262_144);
            assert!(again.blocks() * 512 >= 262_144, "its blocks are allocated");
        }
        assert!(reserve.replace(&index, &vec![b'x'; 300_000]).is_err());
        assert_eq!(fs::read(&index).unwrap().len(), 49_999, "what does not fit changes nothing");
    }
}
