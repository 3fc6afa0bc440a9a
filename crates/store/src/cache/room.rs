//! Room in the cache: what occupies it, and what is removed if there is too little.
//!
//! Everything is counted from the disk each time, while the lock of the cache is held alone. So there is no counter that a killed process
//! could leave wrong, and two processes never promise the same room to two blobs. What is reserved can be seen on the disk too: a partial
//! blob has the length of the blob from the beginning, and a tree that is being unpacked has a file with the length that is reserved.

use super::{
    Cache, locked,
    records::{Protected, Protection},
    trees::{RESERVED, is_unfinished},
};
use crate::{
    disk::blobs::{is_absent, is_marked},
    partial::{is_at, try_lock},
};
use modelpack_spec::{Algorithm, Descriptor, Digest, HashStates};
use modelpack_transfer::{Error, Result, platform::free_room};
use rustix::fs::OFlags;
use std::{
    collections::{HashMap, HashSet},
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// At how many percent of the limit a removal ends, so that not every blob that is begun removes something.
const LOW: u64 = 90;
/// The block size of file systems, in bytes.
const BLOCK: u64 = 4096;

/// What room is needed for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need<'a> {
    /// Blobs that will be written. What is here of them in part stays, and counts. If one is here and damaged, it may be removed.
    pub(super) blobs: &'a [&'a Descriptor],
    /// Bytes for anything else.
    pub(super) bytes: u64,
    pub(super) purpose: Purpose,
    /// Whether the file system has refused to give that much, whatever it says is free.
    pub(super) is_disk_full: bool,
}

impl Need<'_> {
    /// So many bytes for something else than blobs. With 0, the cache becomes as small as it should be.
    pub(super) fn of_bytes(bytes: u64, purpose: Purpose) -> Self {
        Self { blobs: &[], bytes, purpose, is_disk_full: false }
    }
}

/// Why room is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Somebody reads the blob now.
    Use,
    /// It will be used later. So it does not replace what was pulled for the same reason and was not used yet.
    Preparation,
}

/// How many bytes of the disk a blob of `size` bytes needs at most until it is whole: those of its file, of its journal (a line for each
/// 512 KiB until they are synced; the hash states as text; the next journal until it replaces this one) and of its hash states.
fn footprint(size: u64) -> u64 {
    let states = if size < HashStates::LEAST_SIZE { 0 } else { HashStates::list_len(size) };
    let beside = (size >> 13).min(64 << 10) + 3 * states + 2 * BLOCK;
    in_blocks(size).saturating_add(in_blocks(beside))
}

/// The bytes of whole blocks that so many bytes need.
pub(super) fn in_blocks(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX)
}

/// The name of what belongs to a blob, in a directory for all algorithms: `<algorithm>-<hex>`, as in a [`PartialDirectory`].
///
/// [`PartialDirectory`]: modelpack_transfer::PartialDirectory
pub(super) fn name_of(blob: &Digest) -> String {
    format!("{}-{}", blob.algorithm().name(), blob.hex())
}

/// The digest in such a name, at the end of a path.
fn digest_in(path: &Path) -> Option<Digest> {
    let (algorithm, hex) = path.file_name()?.to_str()?.split_once('-')?;
    format!("{algorithm}:{hex}").parse().ok()
}

/// The bytes that a file occupies on the disk.
fn occupied(metadata: &Metadata) -> u64 {
    metadata.blocks().saturating_mul(512)
}

/// The bytes that a directory with all its files occupies on the disk. What disappears meanwhile is left out.
pub(super) fn disk_usage(directory: &Path) -> Result<u64> {
    let mut sum = fs::symlink_metadata(directory).map_or(0, |metadata| occupied(&metadata));
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for (path, metadata) in entries(&directory)? {
            sum = sum.saturating_add(occupied(&metadata));
            if metadata.is_dir() {
                directories.push(path);
            }
        }
    }
    Ok(sum)
}

/// What is in a directory; links are not followed. Empty if there is no directory.
fn entries(directory: &Path) -> Result<Vec<(PathBuf, Metadata)>> {
    let listed = match fs::read_dir(directory) {
        Ok(listed) => listed,
        Err(e) if is_absent(&e) => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("list", directory)(e)),
    };
    let mut entries = Vec::new();
    for entry in listed {
        let entry = entry.map_err(Error::io("list", directory))?;
        match entry.metadata() {
            Ok(metadata) => entries.push((entry.path(), metadata)),
            Err(e) if is_absent(&e) => {}
            Err(e) => return Err(Error::io("look at", entry.path())(e)),
        }
    }
    Ok(entries)
}

/// Something that is removed as a whole.
#[derive(Clone, Debug)]
struct Item {
    kind: Kind,
    /// Its blob or, if it is a tree, the layer that it was unpacked from.
    digest: Digest,
    path: PathBuf,
    /// The bytes that become free.
    bytes: u64,
    last_use: SystemTime,
    /// Whether it is the file of a blob that was written to after it was verified.
    is_damaged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Blob,
    Partial,
    Tree,
}

/// What is in the cache.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    items: Vec<Item>,
    /// The bytes that everything occupies, or may occupy because they are reserved.
    pub(super) used: u64,
    /// Those of them that are not allocated yet.
    unallocated: u64,
}

impl Inventory {
    fn add(&mut self, occupied: u64, reserved: u64) -> u64 {
        let counted = occupied.max(reserved);
        self.used = self.used.saturating_add(counted);
        self.unallocated = self.unallocated.saturating_add(counted - occupied);
        counted
    }
}

impl Cache {
    /// Looks at everything in the cache. The caller holds its lock, shared or alone.
    pub(super) fn inventory(&self) -> Result<Inventory> {
        let mut found = Inventory::default();
        let mut states = HashMap::new();
        for (path, metadata) in entries(&self.0.root.join("hash-states"))? {
            let bytes = found.add(occupied(&metadata), 0);
            states.insert(path.file_name().unwrap_or_default().to_owned(), bytes);
        }
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            for (path, metadata) in entries(&self.0.blobs.directory.join(algorithm.name()))? {
                let bytes = found.add(occupied(&metadata), 0);
                let name = path.file_name().unwrap_or_default();
                let digest = format!("{}:{}", algorithm.name(), name.to_string_lossy()).parse();
                let Some(digest) = digest.ok().filter(|_| metadata.is_file()) else { continue };
                let states = if algorithm == Algorithm::Sha256 { states.get(name).copied().unwrap_or(0) } else { 0 };
                let last_use = metadata.accessed().unwrap_or(SystemTime::UNIX_EPOCH);
                let is_damaged = !is_marked(&metadata);
                found.items.push(Item { kind: Kind::Blob, digest, bytes: bytes + states, last_use, is_damaged, path });
            }
        }
        for (path, metadata) in entries(&self.0.root.join("partials"))? {
            let digest = digest_in(&path).filter(|_| metadata.is_file());
            let bytes = found.add(occupied(&metadata), digest.as_ref().map_or(0, |_| footprint(metadata.len())));
            if let Some(digest) = digest {
                let last_use = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                found.items.push(Item { kind: Kind::Partial, digest, bytes, last_use, is_damaged: false, path });
            }
        }
        for (path, metadata) in entries(&self.trees())? {
            let reserved = match is_unfinished(path.file_name().unwrap_or_default()) {
                true => fs::metadata(path.join(RESERVED)).map_or(0, |reserved| reserved.len()),
                false => 0,
            };
            let layer = digest_in(&path).filter(|_| metadata.is_dir());
            let bytes = found.add(self.tree_size(layer.as_ref(), &path)?, reserved);
            if let Some(digest) = layer {
                let last_use = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                found.items.push(Item { kind: Kind::Tree, digest, bytes, last_use, is_damaged: false, path });
            }
        }
        for (_, metadata) in entries(&self.0.root.join("artifacts"))? {
            found.add(occupied(&metadata), 0);
        }
        Ok(found)
    }

    /// The bytes that the directory of a tree occupies. Those of a complete tree are counted once.
    fn tree_size(&self, layer: Option<&Digest>, path: &Path) -> Result<u64> {
        let known = || locked(&self.0.tree_sizes);
        let before = layer.and_then(|layer| known().get(layer).copied());
        let Some(layer) = layer.filter(|_| before.is_none()) else { return before.map_or_else(|| disk_usage(path), Ok) };
        let size = disk_usage(path)?;
        known().insert(layer.clone(), size);
        Ok(size)
    }

    /// Makes room, and removes nothing if it cannot make enough. The caller holds the lock of the cache alone.
    pub(super) fn make_room(&self, need: &Need<'_>) -> Result<()> {
        self.remove_abandoned_trees()?;
        // What cannot be removed is not tried again, and why is told if it is needed.
        let (mut stuck, mut why) = (HashSet::new(), None);
        loop {
            let found = self.inventory()?;
            let shortage = Shortage::of(self, need, &found)?;
            if shortage.least == 0 {
                return Ok(());
            }
            let candidates = in_order(found.items, need, &self.protected()?);
            let is_free = |item: &Item| match self.is_free(item) {
                _ if stuck.contains(&item.path) => false,
                Ok(is_free) => is_free,
                Err(error) => {
                    why = Some(error);
                    false
                }
            };
            let chosen = match choose(&candidates, &shortage, need.purpose, is_free) {
                Ok(chosen) => chosen,
                Err(in_the_way) => return Err(why.unwrap_or_else(|| shortage.error(&self.0.root, &in_the_way))),
            };
            for item in chosen {
                match self.evict(item) {
                    Ok(true) => {}
                    // Somebody has begun to use it since then.
                    Ok(false) => drop(stuck.insert(item.path.clone())),
                    Err(error) => {
                        stuck.insert(item.path.clone());
                        why = Some(error);
                    }
                }
            }
            if need.is_disk_full {
                return Ok(());
            }
        }
    }

    /// Whether nobody uses something now.
    fn is_free(&self, item: &Item) -> Result<bool> {
        match item.kind {
            Kind::Blob | Kind::Partial => is_unlocked(open_to_lock(&item.path), &item.path),
            Kind::Tree => is_unlocked(File::open(&item.path), &item.path),
        }
    }

    /// Whether somebody writes a blob now. The caller holds the lock of the cache alone.
    pub(super) fn is_owned(&self, blob: &Digest) -> Result<bool> {
        let path = self.0.root.join("partials").join(name_of(blob));
        Ok(!is_unlocked(open_to_lock(&path), &path)?)
    }

    /// Removes something unless it is in use. Returns whether it is gone.
    fn evict(&self, item: &Item) -> Result<bool> {
        match item.kind {
            Kind::Blob => self.evict_blob(&item.digest, &item.path),
            Kind::Tree => self.evict_tree(&item.path),
            Kind::Partial => Ok(!self.0.partials.clear(|leftover| leftover.path == item.path)?.is_empty()),
        }
    }

    fn evict_blob(&self, digest: &Digest, path: &Path) -> Result<bool> {
        let file = match open_to_lock(path) {
            Ok(file) => file,
            Err(e) if is_absent(&e) => return Ok(true),
            Err(e) => return Err(Error::io("open", path)(e)),
        };
        if !try_lock(&file, path)? || !is_at(&file, path)? {
            return Ok(false);
        }
        fs::remove_file(path).map_err(Error::io("remove", path))?;
        if digest.algorithm() == Algorithm::Sha256 {
            // Without its blob it is of no use, and harms nobody.
            let _ = fs::remove_file(self.0.root.join("hash-states").join(digest.hex()));
        }
        Ok(true)
    }

    /// Removes whatever is here of the blobs that `is_unneeded` names and is not in use. Returns how many bytes became free, and how many are in use.
    /// The caller holds the lock of the cache alone.
    pub(super) fn evict_all(&self, is_unneeded: impl Fn(&Digest) -> bool) -> Result<(u64, u64)> {
        let (mut freed, mut in_use) = (0u64, 0u64);
        for item in self.inventory()?.items.iter().filter(|item| is_unneeded(&item.digest)) {
            let sum = if self.evict(item)? { &mut freed } else { &mut in_use };
            *sum = sum.saturating_add(item.bytes);
        }
        Ok((freed, in_use))
    }
}

/// Whether nobody has locked what is at `path`; also if nothing is there.
fn is_unlocked(opened: io::Result<File>, path: &Path) -> Result<bool> {
    match opened {
        Ok(file) => try_lock(&file, path),
        Err(e) if is_absent(&e) => Ok(true),
        Err(e) => Err(Error::io("open", path)(e)),
    }
}

/// Opens a file for an exclusive lock, which network file systems grant only on files that are open for writing.
fn open_to_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32).open(path)
}

/// What may be removed, in the order in which that is done: what was damaged, what was not used for longest, and at the end what is protected.
fn in_order(items: Vec<Item>, need: &Need<'_>, protected: &Protected) -> Vec<(Protection, Item)> {
    let is_needed = |item: &Item| need.blobs.iter().any(|blob| blob.digest == item.digest);
    let mut ordered: Vec<_> = items
        .into_iter()
        .filter(|item| item.kind != Kind::Partial || !is_needed(item))
        .map(|item| {
            let is_replaced = item.kind == Kind::Blob && item.is_damaged && is_needed(&item);
            let protection = if is_replaced { Protection::Damaged } else { protected.protection(&item.digest, item.last_use) };
            (protection, item)
        })
        .collect();
    ordered.sort_by_key(|(protection, item)| (*protection, item.last_use));
    ordered
}

/// Chooses what to remove, from the first candidate on. If it is too little, returns what is in the way.
fn choose<'i>(
    candidates: &'i [(Protection, Item)],
    shortage: &Shortage,
    purpose: Purpose,
    mut is_free: impl FnMut(&Item) -> bool,
) -> Result<Vec<&'i Item>, InTheWay> {
    let (mut chosen, mut freed, mut enough, mut in_the_way) = (Vec::new(), 0u64, None, InTheWay::default());
    for (protection, item) in candidates {
        if freed >= shortage.better {
            break;
        }
        match protection {
            Protection::Pinned => in_the_way.pinned += item.bytes,
            Protection::Prepared if purpose == Purpose::Preparation => in_the_way.prepared += item.bytes,
            _ if !is_free(item) => {}
            _ => {
                chosen.push(item);
                freed += item.bytes;
                if freed >= shortage.least && enough.is_none() {
                    enough = Some(chosen.len());
                }
            }
        }
    }
    in_the_way.removable = freed;
    if freed < shortage.better {
        // What is better cannot be reached, so nothing is removed for it.
        chosen.truncate(enough.ok_or(in_the_way)?);
    }
    Ok(chosen)
}

/// How many bytes must become free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shortage {
    /// At least so many.
    least: u64,
    /// So many that the next blobs need no removal, if that is possible.
    better: u64,
    /// The bytes that are needed.
    needed: u64,
    /// The bytes that the cache uses.
    used: u64,
    limit: Option<u64>,
    /// The bytes that are free on the disk.
    free: u64,
}

/// What can be removed, and what of the rest could be if somebody allowed it, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct InTheWay {
    removable: u64,
    pinned: u64,
    prepared: u64,
}

impl Shortage {
    fn new(needed: u64, used: u64, limit: Option<u64>, free: u64) -> Self {
        let wanted = used.saturating_add(needed);
        let over = limit.map_or(0, |limit| wanted.saturating_sub(limit));
        let least = over.max(needed.saturating_sub(free));
        let below_low = limit.filter(|_| over > 0).map_or(0, |limit| wanted - limit / 100 * LOW);
        Self { least, better: least.max(below_low), needed, used, limit, free }
    }

    fn of(cache: &Cache, need: &Need<'_>, found: &Inventory) -> Result<Self> {
        let here_in_part = |blob: &Descriptor| found.items.iter().find(|item| item.kind == Kind::Partial && item.digest == blob.digest);
        let (mut all, mut needed) = (need.bytes, need.bytes);
        for blob in need.blobs {
            let bytes = footprint(blob.size);
            all = all.saturating_add(bytes);
            needed = needed.saturating_add(bytes.saturating_sub(here_in_part(blob).map_or(0, |item| item.bytes)));
        }
        if let Some(limit) = cache.0.limit.filter(|limit| all > *limit) {
            let why = format!("{all} bytes are needed, and the cache may use only {limit}");
            return Err(no_room(&cache.0.root, io::ErrorKind::QuotaExceeded, why));
        }
        let free = match need.is_disk_full {
            true => 0,
            // If the file system does not say how much is free, the first write that fails does.
            false => File::open(&cache.0.root).and_then(free_room).map_or(u64::MAX, |free| free.saturating_sub(found.unallocated)),
        };
        // What was reserved before needs nothing more, even if the limit has become smaller.
        let limit = cache.0.limit.filter(|_| needed > 0 || need.blobs.is_empty());
        Ok(Self::new(needed, found.used, limit, free))
    }

    /// The error if too little can be removed.
    fn error(&self, root: &Path, in_the_way: &InTheWay) -> Error {
        let Self { needed, used, limit, free, .. } = self;
        let InTheWay { removable, pinned, prepared } = in_the_way;
        let in_use = used.saturating_sub(*removable).saturating_sub(*pinned).saturating_sub(*prepared);
        let of_it = format!(
            "of the {used} bytes in it, {in_use} are in use, {pinned} are pinned, {prepared} were pulled and not used yet, and only \
             {removable} can be removed"
        );
        match limit.filter(|limit| used.saturating_add(*needed) - removable > *limit) {
            Some(limit) => {
                let why = format!("{needed} bytes are needed, and the cache may use {limit}; {of_it}");
                no_room(root, io::ErrorKind::QuotaExceeded, why)
            }
            None => {
                let why = format!("No space left on device: {needed} bytes are needed, and {free} are free; {of_it}");
                no_room(root, io::ErrorKind::StorageFull, why)
            }
        }
    }
}

fn no_room(root: &Path, kind: io::ErrorKind, why: String) -> Error {
    Error::io("make room in the cache", root)(io::Error::new(kind, why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn item(name: &str, bytes: u64, last_use: u64) -> Item {
        let last_use = SystemTime::UNIX_EPOCH + Duration::from_secs(last_use);
        Item { kind: Kind::Blob, digest: Digest::of(name.as_bytes()), path: name.into(), bytes, last_use, is_damaged: false }
    }

    fn names(chosen: &[&Item]) -> Vec<String> {
        chosen.iter().map(|item| item.path.display().to_string()).collect()
    }

    #[test]
    fn nothing_has_to_be_removed_as_long_as_there_is_room() {
        for (needed, used, limit, free) in [(10, 90, Some(100), 10), (10, 90, None, 10), (0, 0, Some(0), 0)] {
            assert_eq!(Shortage::new(needed, used, limit, free).least, 0, "{needed} {used} {limit:?} {free}");
        }
    }

    #[test]
    fn what_is_removed_for_the_limit_goes_down_to_the_low_mark_and_for_the_disk_it_is_only_what_is_needed() {
        let shortage = Shortage::new(10, 1_000, Some(1_000), 500);
        assert_eq!((shortage.least, shortage.better), (10, 110));
        let shortage = Shortage::new(10, 500, Some(1_000), 4);
        assert_eq!((shortage.least, shortage.better), (6, 6));
        let shortage = Shortage::new(u64::MAX, 5, None, 4);
        assert_eq!((shortage.least, shortage.better), (u64::MAX - 4, u64::MAX - 4), "sizes come from outside");
    }

    #[test]
    fn the_least_recently_used_goes_first_and_no_more_than_has_a_use() {
        let items = vec![item("newest", 50, 3), item("oldest", 30, 1), item("middle", 20, 2)];
        let (need, protected) = (Need::of_bytes(0, Purpose::Use), Protected::default());
        let candidates = in_order(items, &need, &protected);
        let choose = |least, better, is_free: &dyn Fn(&Item) -> bool| {
            let shortage = Shortage { least, better, needed: least, used: 100, limit: Some(100), free: 0 };
            choose(&candidates, &shortage, Purpose::Use, is_free).map(|chosen| names(&chosen))
        };
        assert_eq!(choose(10, 10, &|_| true).unwrap(), ["oldest"]);
        assert_eq!(choose(10, 40, &|_| true).unwrap(), ["oldest", "middle"], "down to the low mark");
        assert_eq!(choose(10, 101, &|_| true).unwrap(), ["oldest"], "the low mark cannot be reached");
        assert_eq!(choose(10, 40, &|item| item.path != Path::new("oldest")).unwrap(), ["middle", "newest"], "what is in use stays");
        assert_eq!(choose(101, 101, &|_| true), Err(InTheWay { removable: 100, ..InTheWay::default() }));
    }

    #[test]
    fn what_is_protected_goes_last_or_not_at_all() {
        let items = || vec![item("pinned", 10, 1), item("prepared", 10, 2), item("used since", 10, 4), item("ordinary", 10, 5)];
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let digest = |name: &str| Digest::of(name.as_bytes());
        let protected = Protected {
            pinned: HashSet::from([digest("pinned")]),
            prepared: HashMap::from([(digest("prepared"), at(3)), (digest("used since"), at(3))]),
        };
        let shortage = |least| Shortage { least, better: least, needed: least, used: 40, limit: Some(40), free: 0 };
        for (purpose, least, expected) in [
            (Purpose::Use, 20, Ok(vec!["used since", "ordinary"])),
            (Purpose::Use, 30, Ok(vec!["used since", "ordinary", "prepared"])),
            (Purpose::Use, 40, Err(InTheWay { removable: 30, pinned: 10, prepared: 0 })),
            (Purpose::Preparation, 30, Err(InTheWay { removable: 20, pinned: 10, prepared: 10 })),
        ] {
            let need = Need::of_bytes(least, purpose);
            let candidates = in_order(items(), &need, &protected);
            let chosen = choose(&candidates, &shortage(least), purpose, |_| true).map(|chosen| names(&chosen));
            assert_eq!(chosen, expected.map(|names| names.into_iter().map(str::to_owned).collect()), "{purpose:?} {least}");
            assert!(choose(&candidates, &shortage(least), purpose, |_| false).is_err());
        }
    }

    #[test]
    fn a_damaged_blob_makes_room_for_itself_even_if_it_is_pinned_and_its_bytes_that_are_here_stay() {
        let damaged = Item { is_damaged: true, ..item("blob", 10, 9) };
        let partial = Item { kind: Kind::Partial, ..item("blob", 10, 1) };
        let items = vec![partial, item("other", 10, 2), damaged];
        let blob = Descriptor::of("x/x", b"blob");
        let need = Need { blobs: &[&blob], bytes: 0, purpose: Purpose::Use, is_disk_full: false };
        let protected = Protected { pinned: HashSet::from([blob.digest.clone()]), ..Protected::default() };
        let candidates = in_order(items.clone(), &need, &protected);
        let order: Vec<_> = candidates.iter().map(|(protection, item)| (*protection, item.path.to_str().unwrap())).collect();
        assert_eq!(order, [(Protection::Damaged, "blob"), (Protection::None, "other")]);
        let others = in_order(items, &Need { blobs: &[], ..need }, &protected);
        assert_eq!(others.iter().filter(|(protection, _)| *protection == Protection::Pinned).count(), 2, "for other blobs it is pinned");
    }

    #[test]
    fn a_blob_needs_at_least_its_blocks_and_a_size_from_outside_does_no_harm() {
        assert!(footprint(0) < 1 << 16 && footprint(1) >= BLOCK);
        for size in [1, 4096, 1 << 20, 1 << 30, 1 << 40] {
            assert!((size..size + size / 1000 + (1 << 17)).contains(&footprint(size)), "{size}: {}", footprint(size));
        }
        assert_eq!(footprint(u64::MAX), u64::MAX);
    }
}
