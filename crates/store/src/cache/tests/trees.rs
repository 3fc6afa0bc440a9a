//! The files of archive layers.

use super::*;

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
    std::fs::write(new.path().join("file"), vec![1; 3 * MIB as usize + MIB as usize / 2 + 8192]).unwrap();
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
