//! What processes leave that were killed.

use super::*;
use modelpack_testkit::Random;
use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

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
        command.args(["--exact", "cache::tests::killed::a_process_of_its_own"]).env(CHILD, directory.path());
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
