//! Whether every change of a file from now on must change its times.
//!
//! A write to a file changes its times. A store into a shared mapping does so only if it is the first store to its page since the page was
//! last written to the disk. Until then the page is dirty, and other stores to it do not change the times. So the times of a file that a
//! process has mapped say nothing. But a mapping that is created later changes the times at its first store to each page, dirty or not. So
//! it is enough that no process can write to the file at the moment of the stamp. A [`ReadLease`], which is held while the stamp is taken,
//! guarantees that. It also excludes a write that has begun and has already set the time.
//!
//! To write the dirty pages to the disk first would do nearly the same, without a lease and for files of other users. But it takes as long
//! as the disk needs for them, and it misses a store that has set the time and waits for the disk.

use super::{digest_cache::Stamp, read_lease::ReadLease};
use modelpack_transfer::platform::{FileSystem, file_system};
use std::{fs::File, time::Duration};

/// The clock that a file system uses for times may stand still for this long.
const TICK: Duration = Duration::from_millis(20);

/// A stamp that was taken when no process could write to its file. As long as the file has this stamp, its content is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled(Stamp);

impl Settled {
    /// The stamp of `file`, which is open for reading only; blocks, for some milliseconds at most.
    ///
    /// `None` if a change might leave the times as they are: on a file system that is not known to change them, if a process has the file open
    /// or mapped for writing, or if that is not known, because the kernel tells it only to the owner of the file.
    pub fn of(file: &File) -> Option<Self> {
        if !marks_stores(file) {
            return None;
        }
        let stamp = || Some(Stamp::of(&file.metadata().ok()?));
        // A file that was changed a moment ago might change again with the same time.
        std::thread::sleep(TICK.saturating_sub(stamp()?.age()?));
        let lease = ReadLease::take(file)?;
        let stamp = stamp()?;
        drop(lease);
        (stamp.age()? >= TICK).then_some(Self(stamp))
    }

    /// The stamp.
    pub fn stamp(&self) -> &Stamp {
        &self.0
    }
}

/// Whether the file lies on a file system of which it is known that the first store through a mapping to each page changes the times of
/// the file.
///
/// In memory (tmpfs) no store does. Network servers and programs in user space set times as they like. overlayfs asks the file system
/// below for times, but not in every version for leases.
fn marks_stores(file: &File) -> bool {
    matches!(file_system(file), Some(FileSystem::Ext | FileSystem::Xfs | FileSystem::Btrfs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use modelpack_testkit::{SharedMapping, TinyDisk};
    use std::{fs, path::PathBuf};
    use tempfile::TempDir;

    /// A file on a file system whose times are trusted. Prints a line and returns `None` if the temporary directory is on another one.
    fn file() -> Option<(TempDir, PathBuf)> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, vec![1; 100_000]).unwrap();
        if Settled::of(&File::open(&path).unwrap()).is_some() {
            return Some((directory, path));
        }
        eprintln!("SKIPPED: the times of files in the temporary directory are not trusted");
        None
    }

    #[test]
    fn a_file_that_somebody_could_write_to_is_not_settled() {
        let Some((_directory, path)) = file() else { return };
        let read = File::open(&path).unwrap();
        let settled = || Settled::of(&read).is_some();
        let writer = File::options().write(true).open(&path).unwrap();
        assert!(!settled(), "it is open for writing");
        drop(writer);
        assert!(settled());
        let mapping = SharedMapping::of(&path);
        assert!(!settled(), "it is mapped, and no descriptor says so");
        mapping.store(5, 2);
        assert!(!settled());
        drop(mapping);
        assert!(settled());
        assert!(Settled::of(&File::options().read(true).write(true).open(&path).unwrap()).is_none(), "who asks could write");
    }

    #[test]
    fn the_stamp_of_a_settled_file_changes_with_whatever_is_stored_though_its_pages_are_dirty() {
        let Some((_directory, path)) = file() else { return };
        let read = File::open(&path).unwrap();
        let stamp = || Stamp::of(&read.metadata().unwrap());
        for round in 0..200 {
            // Nothing of this is written to the disk before the next store.
            let mapping = SharedMapping::of(&path);
            mapping.store(round, 2);
            mapping.store(50_000 + round, 3);
            drop(mapping);
            let settled = Settled::of(&read).unwrap();
            assert_eq!(*settled.stamp(), stamp());
            let at = if round % 2 == 0 { round } else { 50_000 + round };
            SharedMapping::of(&path).store(at, 4);
            assert_ne!(*settled.stamp(), stamp(), "round {round}");
        }
    }

    #[test]
    fn a_file_in_memory_is_never_settled() {
        let Some(disk) = TinyDisk::mount(1 << 20) else {
            eprintln!("SKIPPED: this process may not mount a disk");
            return;
        };
        let path = disk.path().join("file");
        fs::write(&path, "x").unwrap();
        assert!(Settled::of(&File::open(path).unwrap()).is_none());
    }
}
