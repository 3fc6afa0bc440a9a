//! Whether a change of a file from now on must show in its times.
//!
//! A write to a file changes its times. A store into a shared mapping does so only if it is the first to a page since that was last
//! written to the disk: until then the page is dirty, and every other store goes unnoticed. So the times of a file that somebody has mapped
//! say nothing. But a mapping that is made later notices its first store to each page, dirty or not: what counts is
//! that nobody can write to the file at the moment of the stamp. That is what a [`ReadLease`] says, which is held while the stamp is taken. It
//! speaks for writes that have begun and set the time already, too.
//!
//! Writing the file's dirty pages to the disk first would do nearly the same, without a lease and for files of others. But it costs
//! as much as all that was not written yet, and a store that has set the time and waits for the disk passes it unseen.

use super::{digest_cache::Stamp, read_lease::ReadLease};
use modelpack_transfer::platform::{FileSystem, file_system};
use std::{fs::File, time::Duration};

/// A file system stamps a change with a clock that may stand still for this long.
const TICK: Duration = Duration::from_millis(20);

/// A stamp that was taken when nobody could write to its file. As long as the file has it, its content is what it was then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled(Stamp);

impl Settled {
    /// The stamp of `file`, which is open for reading only; blocks, for some milliseconds at most.
    ///
    /// `None` where a change might not show: on a file system that is not known for it, if somebody has the file open or mapped for writing,
    /// or might have, because the kernel tells only the file's owner.
    pub fn of(file: &File) -> Option<Self> {
        if !marks_stores(file) {
            return None;
        }
        let stamp = || Some(Stamp::of(&file.metadata().ok()?));
        // What was changed a moment ago might change again under the same time.
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

/// Whether the file lies on a file system of which it is known that the first store through a mapping to a page that is not mapped for
/// writing changes the file's times.
///
/// Not so in memory (tmpfs), where no store does. Servers and programs in user space keep times as they like. Layers of file systems
/// (overlayfs) ask the one below for times, but not in every version for leases.
fn marks_stores(file: &File) -> bool {
    matches!(file_system(file), Some(FileSystem::Ext | FileSystem::Xfs | FileSystem::Btrfs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use modelpack_testkit::{SharedMapping, TinyDisk};
    use std::{fs, path::PathBuf};
    use tempfile::TempDir;

    /// A file on a file system whose times are believed; says so and gives nothing if the temporary directory is on none.
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
