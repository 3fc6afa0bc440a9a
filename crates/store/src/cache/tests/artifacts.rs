//! Artifacts that were pulled, and pins.

use super::*;
use modelpack_spec::{Manifest, Selector};
use modelpack_transfer::{CopyOptions, MemoryStore, contract, copy, put_bytes};

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
    let same = pull(&cache, "same:v1", &[(1, MIB), (2, MIB)], false).await.unwrap();
    assert!(same.last_use.is_none() && cache.artifacts().unwrap()[0].last_use.is_none(), "another pull is no use");
    cache.remove_artifact("same:v1").unwrap();
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
