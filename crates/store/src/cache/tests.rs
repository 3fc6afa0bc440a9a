mod artifacts;
mod killed;
mod trees;

use super::*;
use modelpack_testkit::TinyDisk;
use modelpack_transfer::Sink;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::OpenOptions,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// Bytes that depend on `seed`, and their descriptor.
fn bytes(seed: u8, len: u64) -> (Vec<u8>, Descriptor) {
    let content: Vec<u8> = (0..len).map(|i| (i % 251) as u8 ^ seed).collect();
    let blob = Descriptor::of("x/x", &content);
    (content, blob)
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(directory: &TempDir, limit: u64) -> Cache {
    Cache::open(directory.path(), Some(limit)).unwrap()
}

/// Becomes the owner of a blob that is not here.
#[track_caller]
fn begin(cache: &Cache, blob: &Descriptor) -> Arc<Partial> {
    match cache.begin(blob).unwrap() {
        CacheBegin::Partial(partial) => partial,
        other => panic!("it is to be written: {other:?}"),
    }
}

#[track_caller]
fn put(cache: &Cache, seed: u8, len: u64) -> CachedBlob {
    let (content, blob) = bytes(seed, len);
    let partial = begin(cache, &blob);
    partial.write_blocking(0, &content).unwrap();
    cache.commit(&partial).unwrap()
}

fn has(cache: &Cache, seed: u8, len: u64) -> bool {
    /// The digests of bytes that were asked for before.
    static KNOWN: Mutex<BTreeMap<(u8, u64), Digest>> = Mutex::new(BTreeMap::new());
    let digest = locked(&KNOWN).entry((seed, len)).or_insert_with(|| bytes(seed, len).1.digest).clone();
    cache.has(&digest, len).is_some()
}

/// The seeds of the blobs of `len` bytes that are here.
fn here(cache: &Cache, len: u64) -> Vec<u8> {
    (0..20).filter(|seed| has(cache, *seed, len)).collect()
}

/// The bytes that all files occupy.
fn used(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let bytes = |entry: std::fs::DirEntry| match entry.metadata().unwrap() {
        metadata if metadata.is_dir() => used(&entry.path()),
        metadata => metadata.blocks() * 512,
    };
    entries.map(bytes).sum()
}

#[track_caller]
fn fails_to_begin(cache: &Cache, blob: &Descriptor, words: &[&str]) {
    let error = cache.begin(blob).unwrap_err();
    let Error::Io { source, .. } = &error else { panic!("{error}") };
    assert!(matches!(source.kind(), std::io::ErrorKind::QuotaExceeded | std::io::ErrorKind::StorageFull), "{error}");
    let text = error.to_string();
    assert!(words.iter().all(|word| text.contains(word)), "{words:?} not all in: {text}");
}

#[test]
fn a_blob_is_written_by_one_owner_and_then_read_by_all() {
    let directory = directory();
    let (one, other) = (open(&directory, 64 * MIB), Cache::open(directory.path(), None).unwrap());
    let (content, blob) = bytes(1, 3 * MIB);
    assert!(one.get(&blob).unwrap().is_none());
    let partial = begin(&one, &blob);
    partial.write_blocking(MIB, &content[MIB as usize..]).unwrap();
    assert!(matches!(other.begin(&blob).unwrap(), CacheBegin::Owned));
    drop(partial);
    let partial = begin(&other, &blob);
    assert!(partial.missing().iter().eq(std::iter::once(0..MIB)), "what the earlier owner wrote is kept");
    assert!(matches!(other.commit(&partial), Err(Error::WrongSize { .. })));
    partial.write_blocking(0, &content[..MIB as usize]).unwrap();
    let written = other.commit(&partial).unwrap();
    assert_eq!(written.file().read().unwrap(), content);
    let CacheBegin::Whole(read) = one.begin(&blob).unwrap() else { panic!("it is whole") };
    assert_eq!(read.file().read().unwrap(), content);
}

#[test]
fn a_cache_is_open_to_its_user_only_also_in_a_directory_of_others() {
    let directory = directory();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let path = directory.path().join("a/b");
    let cache = Cache::open(&path, None).unwrap();
    assert_eq!(mode(cache.directory()), 0o700);
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).unwrap();
    open(&directory, MIB);
    assert_eq!(mode(directory.path()), 0o777);
    for name in ["blobs", "partials", "trees", "artifacts"] {
        assert_eq!(mode(&directory.path().join(name)), 0o700, "{name}");
    }
    assert_eq!(cache.usage().unwrap(), CacheUsage { used: 0, limit: None });
}

#[test]
fn wrong_bytes_never_get_the_name_of_a_blob_and_do_not_stay() {
    let directory = directory();
    let cache = open(&directory, 64 * MIB);
    let (mut content, blob) = bytes(1, MIB);
    content[77] ^= 1;
    let partial = begin(&cache, &blob);
    partial.write_blocking(0, &content).unwrap();
    assert!(matches!(cache.commit(&partial), Err(Error::WrongDigest { .. })));
    drop(partial);
    assert!(cache.get(&blob).unwrap().is_none());
    assert_eq!(begin(&cache, &blob).missing().total(), blob.size);
}

#[test]
fn a_damaged_blob_is_not_served_and_is_replaced() {
    let directory = directory();
    let cache = open(&directory, 64 * MIB);
    let (content, blob) = bytes(1, MIB);
    let path = put(&cache, 1, MIB).file().path.clone();
    let write = || OpenOptions::new().write(true).open(&path).unwrap();
    let damages: [&dyn Fn(); 3] = [&|| write().write_all_at(b"damaged", 1000).unwrap(), &|| write().set_len(MIB - 1).unwrap(), &|| {
        // A part is lost, and the time was restored.
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        write().set_len(MIB - 4096).unwrap();
        write().set_modified(time).unwrap();
    }];
    for damage in damages {
        damage();
        assert!(cache.get(&blob).unwrap().is_none());
        let partial = begin(&cache, &blob);
        partial.write_blocking(0, &content).unwrap();
        assert_eq!(cache.commit(&partial).unwrap().file().read().unwrap(), content);
    }
    write().set_modified(SystemTime::now()).unwrap();
    assert!(cache.get(&blob).unwrap().is_some(), "its bytes are right, whatever its time says");
    assert!(cache.has(&blob.digest, blob.size).is_some(), "and it need not be read again");
    let lie = Descriptor { size: blob.size + 1, ..blob.clone() };
    assert!(cache.get(&lie).unwrap().is_none(), "another size than the descriptor's");
    drop(begin(&cache, &lie));
    assert!(cache.get(&blob).unwrap().is_some(), "a wrong descriptor takes nothing from the right one");
}

#[test]
fn the_limit_is_never_exceeded_and_a_removal_makes_room_for_several_blobs() {
    let directory = directory();
    let cache = open(&directory, 10 * MIB);
    let mut removals = 0;
    for seed in 0..30 {
        let before = here(&cache, MIB).len();
        let (content, blob) = bytes(seed, MIB);
        let partial = begin(&cache, &blob);
        let usage = cache.usage().unwrap();
        assert!(usage.used <= 10 * MIB && used(directory.path()) <= 10 * MIB, "{usage:?}");
        let now = here(&cache, MIB).len();
        if now < before {
            removals += 1;
            assert!(usage.used <= 9 * MIB, "{usage:?}");
        }
        partial.write_blocking(0, &content[..MIB as usize / 2]).unwrap();
        partial.write_blocking(MIB / 2, &content[MIB as usize / 2..]).unwrap();
        cache.commit(&partial).unwrap();
        assert!(cache.usage().unwrap().used <= 10 * MIB);
    }
    assert!((5..20).contains(&removals), "{removals} removals for 30 blobs");
}

#[test]
fn the_last_use_decides_also_after_a_restart() {
    let directory = directory();
    let cache = open(&directory, 4 * MIB + MIB / 2);
    for seed in [1, 2, 3] {
        put(&cache, seed, MIB);
    }
    cache.get(&bytes(1, MIB).1).unwrap().unwrap();
    drop(cache);
    let cache = open(&directory, 3 * MIB + MIB / 2);
    put(&cache, 4, MIB);
    assert_eq!(here(&cache, MIB), [1, 3, 4], "the least recently used goes");
}

#[test]
fn what_is_in_use_is_never_removed_and_counts() {
    let directory = directory();
    let (mount, pull) = (open(&directory, 4 * MIB), open(&directory, 4 * MIB));
    let held = put(&mount, 1, MIB);
    let (clone, file) = (held.clone(), held.file().clone());
    drop(held);
    for seed in 2..12 {
        put(&pull, seed, MIB);
        assert!(has(&pull, 1, MIB), "it was used before all others, but it is in use");
    }
    let second = put(&pull, 12, MIB);
    let too_much = bytes(99, 3 * MIB + MIB / 2).1;
    let before = here(&pull, MIB);
    fails_to_begin(&pull, &too_much, &["bytes are needed", &format!("may use {}", 4 * MIB), "are in use", "0 are pinned"]);
    assert_eq!(here(&pull, MIB), before, "nothing is removed for a blob that gets no room");
    drop((clone, second));
    fails_to_begin(&pull, &too_much, &["are in use"]);
    drop(file);
    begin(&pull, &too_much);
}

#[test]
fn a_blob_that_is_larger_than_the_limit_fails_at_once() {
    let directory = directory();
    let cache = open(&directory, 4 * MIB);
    put(&cache, 1, MIB);
    for size in [4 * MIB, 5 * MIB, u64::MAX] {
        let blob = Descriptor { size, ..bytes(2, 1).1 };
        fails_to_begin(&cache, &blob, &["bytes are needed", &format!("may use only {}", 4 * MIB)]);
    }
    let unlimited = Cache::open(directory.path(), None).unwrap();
    assert!(unlimited.begin(&Descriptor { size: 1 << 60, ..bytes(2, 1).1 }).is_err(), "the disk is a limit too");
    assert_eq!(here(&cache, MIB), [1], "nothing was removed");
    assert_eq!(cache.usage().unwrap().used, cache.inventory().unwrap().used);
    put(&cache, 3, MIB);
}

#[test]
fn bytes_that_a_dead_writer_left_make_room_and_those_of_a_living_one_stay() {
    let directory = directory();
    let cache = open(&directory, 4 * MIB);
    let (content, left) = bytes(1, MIB);
    let partial = begin(&cache, &left);
    partial.write_blocking(0, &content[..MIB as usize / 2]).unwrap();
    drop(partial);
    let (other, living) = bytes(2, MIB);
    let writer = begin(&cache, &living);
    writer.write_blocking(0, &other[..MIB as usize / 2]).unwrap();
    put(&cache, 3, MIB);
    put(&cache, 4, MIB);
    assert_eq!(begin(&cache, &left).missing().total(), MIB, "its bytes made room");
    writer.write_blocking(MIB / 2, &other[MIB as usize / 2..]).unwrap();
    cache.commit(&writer).unwrap();
}

#[tokio::test]
async fn what_is_here_of_a_blob_in_part_is_not_removed_to_make_room_for_its_artifact() {
    let directory = directory();
    let cache = open(&directory, 4 * MIB);
    let (content, blob) = bytes(1, 2 * MIB);
    let partial = begin(&cache, &blob);
    partial.write_blocking(0, &content[..MIB as usize]).unwrap();
    drop(partial);
    put(&cache, 2, MIB);
    let sink = CacheSink::new(cache.clone(), Arc::default());
    sink.check_room(&[&blob, &bytes(3, MIB + MIB / 2).1]).await.unwrap();
    assert!(!has(&cache, 2, MIB), "it was used later, but is not needed");
    assert_eq!(begin(&cache, &blob).missing().total(), MIB);
}

#[test]
fn what_has_the_name_of_a_blob_and_is_none_harms_nobody() {
    let directory = directory();
    let cache = open(&directory, 4 * MIB);
    put(&cache, 1, MIB);
    // A directory and a link with the names of blobs.
    let [in_blobs, in_partials] = [2, 3].map(|seed| bytes(seed, MIB).1.digest);
    std::fs::create_dir_all(cache.0.blobs.path(&in_blobs).join("below")).unwrap();
    std::os::unix::fs::symlink("nowhere", directory.path().join("partials").join(room::name_of(&in_partials))).unwrap();
    (4..12).for_each(|seed| drop(put(&cache, seed, MIB)));
    assert!(cache.usage().unwrap().used <= 4 * MIB);
    assert!(cache.begin(&bytes(3, MIB).1).is_err(), "a link is followed by nobody");
    drop(put(&cache, 2, MIB));
}

#[test]
fn what_cannot_be_removed_does_not_keep_the_rest_from_being_removed() {
    let directory = directory();
    let cache = open(&directory, 4 * MIB);
    let layer = bytes(1, 1).1.digest;
    cache.begin_tree(&layer, MIB).unwrap().commit().unwrap();
    let Some(mounted) = TinyDisk::mount_over(&cache.tree_path(&layer), MIB) else {
        return eprintln!("SKIPPED: this process cannot mount a file system");
    };
    std::fs::write(mounted.path().join("file"), vec![1; 900_000]).unwrap();
    (2..12).for_each(|seed| drop(put(&cache, seed, MIB)));
    assert!(cache.usage().unwrap().used <= 4 * MIB);
    assert!(cache.tree_path(&layer).exists());
    let _held = [20, 21].map(|seed| put(&cache, seed, MIB));
    let error = cache.begin(&bytes(22, MIB + MIB / 2).1).unwrap_err().to_string();
    assert!(error.contains("cannot rename") && error.contains(layer.hex()), "why it is too little: {error}");
}

#[test]
fn the_hash_states_of_a_large_blob_stay_and_go_with_it() {
    let directory = directory();
    let cache = open(&directory, 100 * MIB);
    let content = vec![7; HashStates::LEAST_SIZE as usize];
    let blob = Descriptor::of("x/x", &content);
    let partial = begin(&cache, &blob);
    content.chunks(MIB as usize).zip(0..).for_each(|(piece, n)| partial.write_blocking(n * MIB, piece).unwrap());
    cache.commit(&partial).unwrap();
    drop(partial);
    let list = cache.hash_states(&blob).expect("they were noted while the blob was hashed");
    assert_eq!(list.size(), blob.size);
    let lists = || std::fs::read_dir(directory.path().join("hash-states")).unwrap().count();
    assert_eq!(lists(), 1);
    begin(&cache, &Descriptor { size: 60 * MIB, ..bytes(1, 1).1 });
    assert_eq!(lists(), 0);
    assert!(cache.get(&blob).unwrap().is_none() && cache.hash_states(&blob).is_none());
}

/// How many descriptors of this process are open for a file.
#[cfg(target_os = "linux")]
fn descriptors_of(path: &Path) -> usize {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
    descriptors.filter(|entry| std::fs::read_link(entry.as_ref().unwrap().path()).is_ok_and(|target| target == path)).count()
}

/// Somebody who makes room has locked what is at `path`. As soon as `open` has opened that too, `meanwhile` runs, and the lock is released.
/// Returns what `open` returns.
#[cfg(target_os = "linux")]
fn opened_before<T: Send>(path: &Path, open: impl Fn() -> T + Send, meanwhile: impl FnOnce()) -> T {
    let evictor = std::fs::File::open(path).unwrap();
    evictor.lock().unwrap();
    thread::scope(|scope| {
        let opening = scope.spawn(open);
        while descriptors_of(path) < 2 {
            thread::yield_now();
        }
        meanwhile();
        drop(evictor);
        opening.join().unwrap()
    })
}

#[test]
#[cfg(target_os = "linux")]
fn what_is_removed_after_it_was_opened_and_before_it_was_locked_is_not_there() {
    let directory = directory();
    let cache = open(&directory, 64 * MIB);
    let (content, blob) = bytes(1, MIB);
    let path = put(&cache, 1, MIB).file().path.clone();
    let found = opened_before(&path, || cache.get(&blob).unwrap(), || std::fs::remove_file(&path).unwrap());
    assert!(found.is_none());
    put(&cache, 1, MIB);
    let replace = || {
        std::fs::remove_file(&path).unwrap();
        put(&cache, 1, MIB);
    };
    let found = opened_before(&path, || cache.get(&blob).unwrap(), replace).expect("it was fetched again");
    assert_eq!(std::fs::metadata(&path).unwrap().ino(), found.file().file.metadata().unwrap().ino());
    assert_eq!(found.file().read().unwrap(), content);

    let tree = cache.begin_tree(&blob.digest, MIB).unwrap().commit().unwrap().path().to_owned();
    let found = opened_before(&tree, || cache.tree(&blob.digest).unwrap(), || std::fs::remove_dir(&tree).unwrap());
    assert!(found.is_none());
}

/// Two threads that evict, and two that use what is there: each through a cache that it opened itself, as processes do.
#[test]
fn what_was_opened_stays_while_others_make_room() {
    let directory = directory();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for first in [0, 4] {
            let cache = open(&directory, 5 * MIB);
            let is_over = &is_over;
            scope.spawn(move || {
                for round in 0..40u8 {
                    let (content, blob) = bytes(first + round % 8, MIB);
                    if let CacheBegin::Partial(partial) = cache.begin(&blob).unwrap() {
                        partial.write_blocking(0, &content).unwrap();
                        cache.commit(&partial).unwrap();
                    }
                    assert!(cache.usage().unwrap().used <= 5 * MIB);
                }
                is_over.store(true, Ordering::Relaxed);
            });
        }
        for _ in 0..2 {
            let cache = open(&directory, 5 * MIB);
            let is_over = &is_over;
            scope.spawn(move || {
                let mut seen = BTreeSet::new();
                while !is_over.load(Ordering::Relaxed) {
                    for seed in 0..12 {
                        let (content, blob) = bytes(seed, MIB);
                        let Some(held) = cache.get(&blob).unwrap() else { continue };
                        seen.insert(seed);
                        thread::yield_now();
                        let named = std::fs::metadata(&held.file().path).expect("what is held has its name");
                        assert_eq!(named.ino(), held.file().file.metadata().unwrap().ino());
                        assert!(held.file().read().unwrap() == content);
                    }
                }
                seen
            });
        }
    });
}

#[test]
fn a_full_disk_is_made_room_on_and_an_error_says_so_if_there_is_none() {
    let Some(disk) = TinyDisk::mount(8 * MIB) else { return eprintln!("SKIPPED: this process cannot mount a file system") };
    let cache = Cache::open(&disk.path().join("cache"), None).unwrap();
    for seed in 0..20 {
        put(&cache, seed, MIB);
    }
    assert!(has(&cache, 19, MIB) && !has(&cache, 0, MIB), "without a limit, the disk is the limit");
    let held: Vec<_> = here(&cache, MIB).into_iter().map(|seed| cache.get(&bytes(seed, MIB).1).unwrap()).collect();
    fails_to_begin(&cache, &bytes(99, 2 * MIB).1, &["No space left on device", "bytes are needed", "in use"]);
    drop(held);
    put(&cache, 99, 2 * MIB);
    // What is reserved for a blob is promised to no other, also where the file system reserves nothing.
    let first = begin(&cache, &bytes(50, 4 * MIB).1);
    fails_to_begin(&cache, &bytes(51, 4 * MIB).1, &["No space left on device"]);
    drop(first);
}

#[test]
fn room_is_made_if_the_file_system_refuses_a_blob_although_bytes_are_free() {
    let Some(disk) = TinyDisk::mount_for_files(24) else { return eprintln!("SKIPPED: this process cannot mount a file system") };
    let cache = Cache::open(&disk.path().join("cache"), None).unwrap();
    for seed in 0..20 {
        put(&cache, seed, 4096);
    }
    let left = here(&cache, 4096);
    assert!(left.len() < 14 && left.contains(&19), "{left:?}");
    let _held: Vec<_> = left.into_iter().map(|seed| cache.get(&bytes(seed, 4096).1).unwrap()).collect();
    let begun: Vec<_> = (20..40).map_while(|seed| cache.begin(&bytes(seed, 4096).1).ok()).collect();
    fails_to_begin(&cache, &bytes(20 + begun.len() as u8, 4096).1, &["No space left on device", "in use"]);
}

#[test]
fn a_cache_of_a_newer_version_is_refused_and_not_changed() {
    let directory = directory();
    open(&directory, MIB);
    assert_eq!(std::fs::read_to_string(directory.path().join("version")).unwrap(), "1\n");
    std::fs::write(directory.path().join("version"), "2\n").unwrap();
    let error = Cache::open(directory.path(), None).unwrap_err().to_string();
    assert!(error.contains("cannot open the cache") && error.contains("or another cache"), "{error}");
}
