use super::*;
use modelpack_spec::{Manifest, Selector};
use modelpack_testkit::{Random, TinyDisk};
use modelpack_transfer::{CopyOptions, MemoryStore, Sink, contract, copy, put_bytes};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::OpenOptions,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
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
                for round in 0..60u8 {
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
fn a_tree_is_there_when_it_is_complete_and_is_in_use_like_a_blob() {
    let directory = directory();
    let cache = open(&directory, 4 * MIB);
    let layer = bytes(1, 1).1.digest;
    assert!(cache.tree(&layer).unwrap().is_none());
    let new = cache.begin_tree(&layer, MIB + 8192).unwrap();
    std::fs::create_dir(new.path().join("below")).unwrap();
    std::fs::write(new.path().join("below/file"), vec![1; MIB as usize]).unwrap();
    assert!(cache.tree(&layer).unwrap().is_none(), "it is not complete");
    drop(new);
    assert_eq!(std::fs::read_dir(cache.trees()).unwrap().count(), 0, "what was not completed is removed");

    let [new, other] = [(); 2].map(|()| {
        let new = cache.begin_tree(&layer, MIB + 8192).unwrap();
        std::fs::write(new.path().join("file"), vec![1; MIB as usize]).unwrap();
        new
    });
    let tree = new.commit().unwrap();
    let same = other.commit().unwrap();
    assert_eq!((tree.path(), same.path()), (cache.tree_path(&layer).as_path(), tree.path()));
    assert_eq!(std::fs::read(tree.path().join("file")).unwrap().len() as u64, MIB);
    assert_eq!(std::fs::read_dir(cache.trees()).unwrap().count(), 1);

    let others = open(&directory, 4 * MIB);
    drop(tree);
    (2..8).for_each(|seed| drop(put(&others, seed, MIB)));
    assert!(same.path().join("file").exists(), "somebody uses it");
    drop(same);
    cache.tree(&layer).unwrap().unwrap();
    put(&others, 8, MIB);
    assert!(cache.tree(&layer).unwrap().is_some(), "it was used after the others");
    (9..14).for_each(|seed| drop(put(&others, seed, MIB)));
    assert!(cache.tree(&layer).unwrap().is_none(), "it was not used for longest");
}

#[test]
fn room_for_a_tree_is_reserved_before_it_is_unpacked() {
    let directory = directory();
    let cache = open(&directory, 4 * MIB);
    let layer = bytes(1, 1).1.digest;
    assert!(cache.begin_tree(&layer, 5 * MIB).is_err());
    let new = cache.begin_tree(&layer, 2 * MIB).unwrap();
    assert!(cache.usage().unwrap().used >= 2 * MIB);
    fails_to_begin(&cache, &bytes(2, 2 * MIB + 1).1, &["in use"]);
    new.reserve(3 * MIB).unwrap();
    fails_to_begin(&cache, &bytes(2, MIB + 1).1, &["in use"]);
    assert!(new.reserve(4 * MIB + 1).is_err());
    put(&cache, 2, MIB / 2);
    // More than was reserved.
    std::fs::write(new.path().join("file"), vec![1; 3 * MIB as usize + MIB as usize / 2]).unwrap();
    new.commit().unwrap();
    assert!(cache.usage().unwrap().used <= 4 * MIB);
    assert!(!has(&cache, 2, MIB / 2), "it made room for the rest");
}

#[test]
fn a_tree_that_occupies_too_much_does_not_stay() {
    let directory = directory();
    let cache = open(&directory, 4 * MIB);
    let _held = put(&cache, 2, 2 * MIB);
    let new = cache.begin_tree(&bytes(1, 1).1.digest, MIB).unwrap();
    std::fs::write(new.path().join("file"), vec![1; 3 * MIB as usize]).unwrap();
    assert!(new.commit().is_err());
    assert_eq!(std::fs::read_dir(cache.trees()).unwrap().count(), 0);
}

#[test]
fn trees_of_an_earlier_run_of_the_machine_are_removed() {
    let directory = directory();
    let cache = open(&directory, 4 * MIB);
    let layer = bytes(1, 1).1.digest;
    cache.begin_tree(&layer, MIB).unwrap().commit().unwrap();
    assert!(open(&directory, 4 * MIB).tree(&layer).unwrap().is_some());
    std::fs::write(directory.path().join("boot"), "another").unwrap();
    assert!(open(&directory, 4 * MIB).tree(&layer).unwrap().is_none());
    cache.begin_tree(&layer, MIB).unwrap().commit().unwrap();
    assert!(open(&directory, 4 * MIB).tree(&layer).unwrap().is_some());
}

#[test]
fn what_killed_processes_left_is_removed_when_the_cache_is_opened_or_room_is_made() {
    let directory = directory();
    let cache = open(&directory, 4 * MIB);
    let living = cache.begin_tree(&bytes(1, 1).1.digest, MIB).unwrap();
    let leave = || {
        std::fs::create_dir_all(cache.trees().join(".new-unpacked/files/below")).unwrap();
        std::fs::write(cache.trees().join(".new-unpacked/files/below/file"), vec![1; 1 << 16]).unwrap();
        std::fs::create_dir_all(cache.trees().join(".new-evicted/below")).unwrap();
        std::fs::write(cache.directory().join("artifacts/.new-x.json"), "{").unwrap();
        std::fs::write(cache.directory().join("hash-states").join(bytes(1, 1).1.digest.hex()), "of no blob").unwrap();
    };
    leave();
    let opened = open(&directory, 4 * MIB);
    let count = |name: &str| std::fs::read_dir(opened.directory().join(name)).unwrap().count();
    assert_eq!((count("trees"), count("artifacts"), count("hash-states")), (1, 0, 0));
    assert!(living.path().exists());
    leave();
    put(&opened, 2, MIB);
    assert_eq!(count("trees"), 1);
}

async fn pull(cache: &Cache, reference: &str, layers: &[(u8, u64)], pin: bool) -> Result<CachedArtifact> {
    let (source, manifest) = artifact(layers).await;
    let sink = CacheSink::new(cache.clone(), Arc::default());
    let at = Selector::Digest(manifest.digest().clone());
    copy(&source, &manifest, &sink, &at, &CopyOptions::default()).await?;
    sink.record(reference, manifest.digest(), pin).await
}

/// An artifact with such layers.
async fn artifact(layers: &[(u8, u64)]) -> (MemoryStore, Manifest) {
    let source = MemoryStore::new();
    let (template, _) = contract::manifest(b"");
    let mut image = template.image().unwrap().clone();
    put_bytes(&source, "application/vnd.oci.empty.v1+json", b"{}".to_vec()).await.unwrap();
    image.layers.clear();
    for (seed, len) in layers {
        image.layers.push(put_bytes(&source, "x/x", bytes(*seed, *len).0).await.unwrap());
    }
    let manifest = Manifest::from_image(image).unwrap();
    source.put_manifest(&Selector::Digest(manifest.digest().clone()), &manifest).await.unwrap();
    (source, manifest)
}

#[tokio::test]
async fn a_pinned_artifact_stays_until_it_is_unpinned() {
    let directory = directory();
    let cache = open(&directory, 6 * MIB);
    let pinned = pull(&cache, "a:v1", &[(1, MIB), (2, MIB)], true).await.unwrap();
    assert!(pinned.is_pinned && pinned.present == pinned.size && pinned.last_use.is_none(), "{pinned:?}");
    // Used, so it is not only prepared.
    cache.get(&bytes(1, MIB).1).unwrap();
    cache.get(&bytes(2, MIB).1).unwrap();
    (3..13).for_each(|seed| drop(put(&cache, seed, MIB)));
    let listed = cache.artifacts().unwrap();
    assert_eq!((listed.len(), listed[0].present, listed[0].size), (1, pinned.size, pinned.size));
    assert!(listed[0].last_use.is_some());
    fails_to_begin(&cache, &bytes(99, 4 * MIB).1, &["are pinned"]);
    assert!(pull(&cache, "a:v1", &[(1, MIB)], false).await.unwrap().is_pinned, "pulling it again does not unpin it");
    assert!(!cache.unpin("a:v1").unwrap().is_pinned);
    begin(&cache, &bytes(99, 5 * MIB).1);
    assert!(matches!(cache.pin("b:v1"), Err(Error::NotFound { .. })));
    let repinned = cache.pin("a:v1").unwrap();
    assert!(repinned.is_pinned && repinned.present < repinned.size, "{repinned:?}");
}

#[tokio::test]
async fn what_was_pulled_stays_longest_until_it_is_used() {
    let directory = directory();
    let cache = open(&directory, 6 * MIB);
    pull(&cache, "a:v1", &[(1, MIB), (2, MIB)], false).await.unwrap();
    (3..13).for_each(|seed| drop(put(&cache, seed, MIB)));
    assert!(has(&cache, 1, MIB) && has(&cache, 2, MIB), "they were pulled for later");
    let refused = pull(&cache, "b:v1", &[(20, 4 * MIB)], false).await.unwrap_err();
    assert!(refused.to_string().contains("were pulled and not used yet"), "{refused}");
    assert!(has(&cache, 1, MIB) && has(&cache, 2, MIB), "a pull takes nothing from another one");
    cache.get(&bytes(1, MIB).1).unwrap();
    (3..13).for_each(|seed| drop(put(&cache, seed, MIB)));
    assert!(!has(&cache, 1, MIB) && has(&cache, 2, MIB), "one of them was used");
    begin(&cache, &bytes(99, 5 * MIB).1);
    assert!(!has(&cache, 2, MIB), "a reader who needs room now gets it");
}

#[tokio::test]
async fn a_removed_artifact_leaves_what_others_need_or_use() {
    let directory = directory();
    let cache = open(&directory, 64 * MIB);
    let all = pull(&cache, "a:v1", &[(1, MIB), (2, MIB), (3, MIB)], true).await.unwrap();
    pull(&cache, "b:v1", &[(2, MIB)], false).await.unwrap();
    let held = cache.get(&bytes(3, MIB).1).unwrap();
    let new = cache.begin_tree(&bytes(1, MIB).1.digest, MIB).unwrap();
    std::fs::write(new.path().join("file"), "x").unwrap();
    new.commit().unwrap();
    let removed = cache.remove_artifact("a:v1").unwrap();
    assert_eq!((&removed.reference, &removed.digest), (&all.reference, &all.digest));
    assert!(removed.freed >= MIB && removed.in_use >= MIB && removed.in_use < 2 * MIB, "{removed:?}");
    assert_eq!(here(&cache, MIB), [2, 3]);
    assert!(cache.tree(&bytes(1, MIB).1.digest).unwrap().is_none());
    assert!(matches!(cache.remove_artifact("a:v1"), Err(Error::NotFound { .. })));
    drop(held);
    let b = &cache.artifacts().unwrap()[0];
    assert_eq!((b.reference.as_str(), b.present), ("b:v1", b.size));
}

#[tokio::test]
async fn a_pull_moves_what_is_missing_and_records_only_what_is_whole() {
    let directory = directory();
    let cache = open(&directory, 64 * MIB);
    let (source, manifest) = artifact(&[(1, MIB), (2, MIB)]).await;
    let sink = CacheSink::new(cache.clone(), Arc::default());
    let at = Selector::Digest(manifest.digest().clone());
    let missing = sink.put_manifest(&at, &manifest).await;
    assert!(matches!(missing, Err(Error::MissingReference { .. })), "{missing:?}");
    assert!(sink.begin(None).await.is_err(), "the room for it is not known");
    let (content, blob) = bytes(1, MIB);
    let half = begin(&cache, &blob);
    half.write_blocking(0, &content[..MIB as usize / 2]).unwrap();
    drop(half);
    let options = CopyOptions::default();
    copy(&source, &manifest, &sink, &at, &options).await.unwrap();
    let moved = options.progress.snapshot();
    assert_eq!((moved.resumed, moved.moved), (MIB / 2, MIB + MIB / 2 + 2));
    assert!(cache.artifacts().unwrap().is_empty(), "it is not recorded yet");
    sink.record("a:v1", manifest.digest(), false).await.unwrap();
    let read = cache.get(&manifest.descriptor()).unwrap().unwrap();
    assert_eq!(read.file().read().unwrap(), manifest.bytes());
    let again = CopyOptions::default();
    copy(&source, &manifest, &CacheSink::new(cache.clone(), Arc::default()), &at, &again).await.unwrap();
    assert_eq!(again.progress.snapshot().moved, 0);
}

#[tokio::test]
async fn blobs_of_an_artifact_that_is_being_pulled_are_in_use() {
    let directory = directory();
    let cache = open(&directory, 4 * MIB);
    let (source, manifest) = artifact(&[(1, MIB), (2, MIB)]).await;
    let sink = CacheSink::new(cache.clone(), Arc::default());
    let at = Selector::Digest(manifest.digest().clone());
    copy(&source, &manifest, &sink, &at, &CopyOptions::default()).await.unwrap();
    (3..13).for_each(|seed| drop(put(&open(&directory, 4 * MIB), seed, MIB)));
    sink.record("a:v1", manifest.digest(), false).await.unwrap();
    let artifact = &cache.artifacts().unwrap()[0];
    assert_eq!(artifact.present, artifact.size);
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
fn a_cache_of_a_newer_version_is_refused_and_not_changed() {
    let directory = directory();
    open(&directory, MIB);
    assert_eq!(std::fs::read_to_string(directory.path().join("version")).unwrap(), "1\n");
    std::fs::write(directory.path().join("version"), "2\n").unwrap();
    let error = Cache::open(directory.path(), None).unwrap_err().to_string();
    assert!(error.contains("cannot open the cache") && error.contains("or another cache"), "{error}");
}

/// The name of the variable that tells a process of its own where its cache is.
const CHILD: &str = "MODELPACK_TEST_CACHE";

/// Not a test: what a process does that is killed by [`what_is_killed_at_any_time_holds_nothing_and_leaves_nothing_half_done`].
#[test]
fn a_process_of_its_own() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let cache = Cache::open(Path::new(&directory), Some(6 * MIB)).unwrap();
    let mut random = Random::new(std::process::id().into(), 0);
    loop {
        let seed = random.below(12) as u8;
        let (content, blob) = bytes(seed, MIB);
        if let CacheBegin::Partial(partial) = cache.begin(&blob).unwrap() {
            content.chunks(100_000).enumerate().for_each(|(n, piece)| {
                let _ = partial.write_blocking(n as u64 * 100_000, piece);
            });
            cache.commit(&partial).unwrap();
        }
        let layer = bytes(seed, 1).1.digest;
        if cache.tree(&layer).unwrap().is_none()
            && let Ok(new) = cache.begin_tree(&layer, MIB)
        {
            (0..50).for_each(|n| std::fs::write(new.path().join(n.to_string()), vec![seed; 10_000]).unwrap());
            new.commit().unwrap();
        }
    }
}

#[test]
fn what_is_killed_at_any_time_holds_nothing_and_leaves_nothing_half_done() {
    let directory = directory();
    let start = || -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "cache::tests::a_process_of_its_own"]).env(CHILD, directory.path());
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    for round in 0..12 {
        let mut children = [start(), start()];
        let cache = open(&directory, 6 * MIB);
        // Until they work; then they are killed wherever they are.
        while here(&cache, MIB).is_empty() {
            thread::yield_now();
        }
        thread::sleep(Duration::from_millis(7 * round));
        for child in &mut children {
            assert!(child.try_wait().unwrap().is_none(), "it works until it is killed");
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(cache.usage().unwrap().used <= 6 * MIB);
        for seed in 0..12 {
            let (content, blob) = bytes(seed, MIB);
            let path = cache.0.blobs.path(&blob.digest);
            assert!(!path.exists() || std::fs::read(&path).unwrap() == content, "what has the name of a blob is that blob");
            if let Some(tree) = cache.tree(&bytes(seed, 1).1.digest).unwrap() {
                let files: Vec<_> = std::fs::read_dir(tree.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
                assert!(files.len() == 50 && files.iter().all(|file| std::fs::read(file).unwrap() == vec![seed; 10_000]));
            }
        }
        // They hold nothing: everything can be removed for a blob that needs nearly all.
        let partial = begin(&cache, &bytes(99, 5 * MIB).1);
        assert_eq!(here(&cache, MIB), [] as [u8; 0]);
        assert_eq!(std::fs::read_dir(cache.trees()).unwrap().count(), 0);
        partial.discard();
    }
}
