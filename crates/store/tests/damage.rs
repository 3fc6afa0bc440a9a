//! Damage on the disk: it is confined to what it hit, never claimed to be whole, healed by the right bytes, and repaired.

mod common;

use common::{name, open, put_model, tag};
use modelpack_spec::{Descriptor, Digest, ImageIndex, Manifest, Selector, Tag, media_type};
use modelpack_store::{Layout, Repository, Store};
use modelpack_transfer::{Begin, Body, CopyOptions, Error, MemoryStore, Sink, Source, copy, put_bytes};
use rustix::fs::{CWD, Mode, mkfifoat};
use std::{
    ffi::OsStr,
    fs::{self, OpenOptions},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, symlink},
    },
    path::{Path, PathBuf},
};
use tempfile::TempDir;

fn options() -> CopyOptions {
    CopyOptions { concurrency: 2, ..CopyOptions::default() }
}

fn blob_path(root: &Path, digest: &Digest) -> PathBuf {
    root.join("blobs/sha256").join(digest.hex())
}

fn index_path(root: &Path, repository: &str) -> PathBuf {
    root.join("repositories").join(repository).join("index.json")
}

/// A store with the repository `sound`, in which `v1` is whole, and a blob that nobody needs; and its repository `hit`, for what the test does to it.
async fn store() -> (TempDir, Store, Repository) {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let sound = store.repository(&name("sound"));
    put_model(&sound, &tag("v1"), &[b"sound layer"]).await;
    put_bytes(&sound, "x/x", b"garbage".to_vec()).await.unwrap();
    let hit = store.repository(&name("hit"));
    (root, store, hit)
}

async fn assert_whole(repository: &Repository, at: &str) {
    let manifest = repository.manifest(&tag(at)).await.unwrap();
    copy(repository, &manifest, &MemoryStore::new(), &tag(at), &options()).await.unwrap();
}

/// Prunes, and expects that the garbage elsewhere goes, that `hit` keeps all it links to, and that this is reported for a reason with `word` in it.
#[track_caller]
fn prune_keeps(root: &Path, store: &Store, word: &str) {
    let links = |directory: &str| fs::read_dir(root.join(directory).join("_links/sha256")).unwrap().count();
    let before = links("repositories/hit");
    let dry = store.prune(true).unwrap();
    let pruned = store.prune(false).unwrap();
    assert_eq!(dry, pruned);
    assert_eq!(pruned.blobs.iter().map(|(digest, _)| digest.clone()).collect::<Vec<_>>(), [Digest::of(b"garbage")]);
    assert_eq!(links("repositories/hit"), before);
    let [broken] = &pruned.broken[..] else { panic!("{:?}", pruned.broken) };
    assert_eq!((broken.name.as_ref(), broken.why.contains(word)), (Some(&name("hit")), true), "{broken:?}");
}

#[tokio::test]
async fn prune_keeps_what_a_damaged_manifest_may_need_and_collects_the_rest() {
    for (damage, word) in [("flip", "digest"), ("truncate", "digest"), ("empty", "digest"), ("grow", "bytes"), ("remove", "gone")] {
        let (root, store, hit) = store().await;
        let manifest = put_model(&hit, &tag("v1"), &[b"a layer"]).await;
        damage_file(&blob_path(root.path(), manifest.digest()), damage);
        prune_keeps(root.path(), &store, word);
        assert!(blob_path(root.path(), &Digest::of(b"a layer")).exists());
        // The right bytes make it whole.
        put_model(&hit, &tag("v1"), &[b"a layer"]).await;
        assert_eq!(store.prune(false).unwrap().broken, []);
        assert_whole(&hit, "v1").await;
        assert_whole(&store.repository(&name("sound")), "v1").await;
    }
}

fn damage_file(path: &Path, how: &str) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    match how {
        "flip" => file.write_all_at(b"~", file.metadata().unwrap().len() - 1).unwrap(),
        "truncate" => file.set_len(file.metadata().unwrap().len() - 1).unwrap(),
        "empty" => file.set_len(0).unwrap(),
        "grow" => file.set_len(5 << 20).unwrap(),
        _ => fs::remove_file(path).unwrap(),
    }
}

#[tokio::test]
async fn prune_keeps_all_of_a_repository_whose_index_cannot_be_read() {
    for content in [Some(&b""[..]), Some(b"{"), Some(b"[]"), Some(b"{\"schemaVersion\":2,\"manifests\":[{}]}"), None] {
        let (root, store, hit) = store().await;
        put_model(&hit, &tag("v1"), &[b"a layer"]).await;
        let index = index_path(root.path(), "hit");
        match content {
            Some(content) => fs::write(&index, content).unwrap(),
            None => fs::remove_file(&index).unwrap(),
        }
        prune_keeps(root.path(), &store, "index.json");
        let v1 = "v1".parse().unwrap();
        for error in [hit.delete_tag(&v1).await.unwrap_err(), hit.manifest(&tag("v1")).await.unwrap_err(), hit.tags().await.unwrap_err()] {
            assert!(matches!(error, Error::Damaged { .. }), "{error}");
        }
        assert_eq!(store.repositories().unwrap(), [name("hit"), name("sound")]);
        assert_whole(&store.repository(&name("sound")), "v1").await;
    }
}

#[tokio::test]
async fn what_a_directory_links_to_is_kept_even_if_it_is_no_repository() {
    for odd in [&b"Not A Name"[..], b"\xff\xfe", b".hidden", b"_sound"] {
        let (root, store, hit) = store().await;
        put_model(&hit, &tag("v1"), &[b"a layer"]).await;
        let odd = root.path().join("repositories").join(OsStr::from_bytes(odd));
        fs::rename(hit.layout().path(), &odd).unwrap();
        let pruned = store.prune(false).unwrap();
        assert_eq!((pruned.blobs.len(), pruned.broken.len()), (1, 1), "{pruned:?}");
        assert_eq!((&pruned.broken[0].name, &pruned.broken[0].directory), (&None, &odd));
        assert_eq!(store.repositories().unwrap(), [name("sound")]);
        fs::rename(&odd, hit.layout().path()).unwrap();
        assert_whole(&hit, "v1").await;
    }
}

#[tokio::test]
async fn a_directory_that_lost_what_makes_it_a_layout_is_a_repository_still() {
    let (root, store, hit) = store().await;
    put_model(&hit, &tag("v1"), &[b"a layer"]).await;
    fs::remove_file(hit.layout().path().join("oci-layout")).unwrap();
    assert_eq!(store.prune(false).unwrap().blobs.len(), 1);
    put_model(&hit, &tag("v2"), &[b"a layer"]).await;
    assert_whole(&hit, "v1").await;

    // What a removal that was killed left is removed by the next one.
    let left = root.path().join("repositories/left/_links/sha256");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join(Digest::of(b"a layer").hex()), "").unwrap();
    assert_eq!(store.prune(false).unwrap().repositories, [name("left")]);
    assert!(!root.path().join("repositories/left").exists());
}

fn index_of(entries: Vec<Descriptor>) -> Manifest {
    Manifest::parse(serde_json::to_vec(&ImageIndex::new(entries)).unwrap(), None).unwrap()
}

#[tokio::test]
async fn an_index_that_names_an_ordinary_blob_needs_that_blob_and_no_more() {
    let large = vec![7; (4 << 20) + 1];
    for (content, size) in [(&b"no manifest"[..], 11), (b"{\"layers\":[]}", 13), (&large, large.len()), (&large, 9), (b"", 0)] {
        let (root, store, hit) = store().await;
        let blob = put_bytes(&hit, "x/x", content.to_vec()).await.unwrap();
        put_bytes(&hit, "x/x", b"needed by nothing".to_vec()).await.unwrap();
        let entry = Descriptor::new(media_type::IMAGE_MANIFEST, blob.digest.clone(), size as u64);
        hit.put_manifest(&tag("index"), &index_of(vec![entry])).await.unwrap();
        let pruned = store.prune(false).unwrap();
        assert_eq!((pruned.blobs.len(), &pruned.broken[..]), (2, &[][..]));
        assert!(blob_path(root.path(), &blob.digest).exists());
        fs::write(blob_path(root.path(), &blob.digest), "damaged").unwrap();
        assert_eq!(store.prune(false).unwrap().broken.len(), 1, "what it was is not known");
    }
}

/// Two entries may say different things of the same bytes. What they need depends on the bytes.
#[tokio::test]
async fn what_a_manifest_needs_does_not_depend_on_who_names_it() {
    for by_tag_too in [false, true] {
        let (root, store, hit) = store().await;
        let at = if by_tag_too { tag("v1") } else { tag("index") };
        let image = put_model(&hit, &at, &[b"a layer"]).await;
        let wrong = Descriptor { media_type: media_type::IMAGE_INDEX.to_owned(), ..image.descriptor() };
        hit.put_manifest(&tag("index"), &index_of(vec![wrong])).await.unwrap();
        store.prune(false).unwrap();
        assert!(blob_path(root.path(), &Digest::of(b"a layer")).exists());
    }
}

#[tokio::test]
async fn the_verified_bytes_win_over_whatever_has_their_name() {
    for damage in ["flip", "truncate", "empty", "grow", "remove"] {
        let (root, store, hit) = store().await;
        let layer = Descriptor::of("x/x", b"a layer");
        let path = blob_path(root.path(), &layer.digest);
        let layout_directory = tempfile::tempdir().unwrap();
        let layout = Layout::at(layout_directory.path());
        put_model(&layout, &tag("v1"), &[b"a layer"]).await;
        let in_layout = layout_directory.path().join("blobs/sha256").join(layer.digest.hex());
        for known in [true, false] {
            let manifest = put_model(&hit, &tag("v1"), &[b"a layer"]).await;
            for (sink, path) in [(&hit as &dyn Sink, &path), (&layout, &in_layout)] {
                damage_file(path, damage);
                let refused = sink.put_manifest(&tag("v2"), &manifest).await;
                assert!(matches!(refused, Err(Error::MissingReference { .. })), "{damage}: it is not there: {refused:?}");
                match sink.begin(known.then_some(&layer)).await.unwrap() {
                    Begin::Exists => panic!("{damage}: a damaged blob is said to be there"),
                    Begin::Upload(mut upload) => {
                        upload.write(Body::from_bytes(&b"a layer"[..])).await.unwrap();
                        upload.commit(known.then_some(&layer)).await.unwrap();
                    }
                }
                assert_eq!(fs::read(path).unwrap(), b"a layer", "{damage}");
                assert!(matches!(sink.begin(Some(&layer)).await.unwrap(), Begin::Exists));
                sink.put_manifest(&tag("v2"), &manifest).await.unwrap();
            }
        }
        assert_eq!(fs::read_dir(root.path().join("ingest")).unwrap().count(), 0);

        damage_file(&path, damage);
        assert_eq!(hit.blob_size(&layer.digest).await.unwrap(), None, "{damage}");
        for from in [Some(&hit), None] {
            assert!(!store.repository(&name("third")).mount(&layer.digest, from).await.unwrap(), "{damage}");
        }
    }
}

#[tokio::test]
async fn a_blob_that_was_only_touched_is_read_once_and_then_believed() {
    let (root, _, hit) = store().await;
    let layer = put_bytes(&hit, "x/x", b"a layer".to_vec()).await.unwrap();
    let path = blob_path(root.path(), &layer.digest);
    let committed = fs::metadata(&path).unwrap().modified().unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    assert!(matches!(hit.begin(Some(&layer)).await.unwrap(), Begin::Exists));
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), committed);
}

#[tokio::test]
async fn repair_removes_damaged_blobs_and_says_what_lacks_them() {
    for damage in ["flip", "truncate", "empty", "grow", "remove"] {
        let (root, store, hit) = store().await;
        let manifest = put_model(&hit, &tag("v1"), &[b"a layer"]).await;
        let other = put_model(&hit, &tag("v2"), &[b"another layer"]).await;
        let layer = Digest::of(b"a layer");
        damage_file(&blob_path(root.path(), &layer), damage);
        damage_file(&blob_path(root.path(), other.digest()), damage);

        let repaired = store.repair(&options()).await.unwrap();
        let removed: Vec<_> = repaired.removed.iter().map(|(digest, _)| digest.clone()).collect();
        let mut expected = vec![layer.clone(), other.digest().clone()];
        expected.sort();
        assert_eq!(removed, if damage == "remove" { vec![] } else { expected });
        let [mended] = &repaired.repositories[..] else { panic!("{repaired:?}") };
        assert_eq!((&mended.name, &mended.rebuilt), (&name("hit"), &None));
        assert_eq!((&mended.lost_tags[..], &mended.lost_manifests[..]), (&["v2".parse().unwrap()][..], &[other.digest().clone()][..]));
        let [incomplete] = &mended.incomplete[..] else { panic!("{mended:?}") };
        assert_eq!((&incomplete.manifest, &incomplete.tags[..]), (manifest.digest(), &["v1".parse::<Tag>().unwrap()][..]));
        assert_eq!(incomplete.missing, [layer]);

        assert_eq!(hit.tags().await.unwrap().len(), 1);
        assert_eq!(store.prune(false).unwrap().broken, []);
        put_model(&hit, &tag("v1"), &[b"a layer"]).await;
        let options = options();
        let again = store.repair(&options).await.unwrap();
        assert_eq!((again.removed.len(), again.repositories.len()), (0, 0), "{again:?}");
        let counted = options.progress.snapshot();
        assert_eq!((counted.total, counted.moved), (again.bytes, again.bytes));
        assert_whole(&hit, "v1").await;
        assert_whole(&store.repository(&name("sound")), "v1").await;
    }
}

#[tokio::test]
async fn repair_makes_an_index_again_from_the_manifests_that_are_there() {
    for kept in [0, 1, 2] {
        let (root, store, hit) = store().await;
        put_model(&hit, &tag("v1"), &[b"a layer"]).await;
        let child = put_model(&hit, &tag("child"), &[b"of a child"]).await;
        hit.put_manifest(&tag("v2"), &index_of(vec![child.descriptor()])).await.unwrap();
        hit.delete_tag(&"child".parse().unwrap()).await.unwrap();
        let path = index_path(root.path(), "hit");
        let text = fs::read_to_string(&path).unwrap();
        // Cut before the first tag, after it, or behind all of them.
        let cut = match kept {
            0 => text.find("org.opencontainers.image.ref.name").unwrap(),
            1 => text.rfind("org.opencontainers.image.ref.name").unwrap(),
            _ => text.len() - 2,
        };
        fs::write(&path, &text[..cut]).unwrap();
        assert!(matches!(hit.tags().await, Err(Error::Damaged { .. })));

        let repaired = store.repair(&options()).await.unwrap();
        assert!(repaired.repositories[0].rebuilt.as_ref().is_some_and(|why| why.contains("index.json")), "{repaired:?}");
        let tags: Vec<_> = hit.tags().await.unwrap().into_iter().map(|(tag, _)| tag.to_string()).collect();
        assert_eq!(tags, ["v1", "v2"][..kept], "whole entries are found again");
        assert_eq!(hit.manifests().await.unwrap().len(), 2, "what an index names has no entry of its own");
        let pruned = store.prune(false).unwrap();
        assert_eq!((pruned.blobs.len(), pruned.broken.len()), (1, 0), "nothing of them is lost: {pruned:?}");
        put_model(&hit, &tag("v3"), &[b"a layer"]).await;
        assert_whole(&hit, "v3").await;
    }
}

#[tokio::test]
async fn repair_goes_on_where_a_repository_cannot_be_repaired() {
    let (root, store, hit) = store().await;
    put_model(&hit, &tag("v1"), &[b"a layer"]).await;
    fs::rename(hit.layout().path(), root.path().join("repositories/Not A Name")).unwrap();
    fs::create_dir_all(root.path().join("repositories/other/_links")).unwrap();
    // A directory that holds something is not removed.
    fs::create_dir_all(root.path().join("repositories/other/index.json/of somebody")).unwrap();
    fs::write(root.path().join("repositories/other/oci-layout"), "{}").unwrap();
    let repaired = store.repair(&options()).await.unwrap();
    assert_eq!(repaired.broken.len(), 1, "{repaired:?}");
    let [mended] = &repaired.repositories[..] else { panic!("{repaired:?}") };
    assert!(mended.moved_aside[0].join("of somebody").is_dir(), "{mended:?}");
    assert_whole(&store.repository(&name("sound")), "v1").await;
}

/// Damages a file so that its times do not tell.
fn damage_unnoticed(path: &Path, how: &str) {
    let time = fs::metadata(path).unwrap().modified().unwrap();
    damage_file(path, how);
    OpenOptions::new().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[tokio::test]
async fn a_length_is_never_believed_and_what_is_small_is_read() {
    let (root, store, hit) = store().await;
    let large = vec![7; (4 << 20) + 1];
    for (content, how, is_noticed) in [
        (&large[..], "truncate", true),
        (&large, "grow", true),
        (&large, "empty", true),
        // Nobody reads it to find that out.
        (&large, "flip", false),
        (b"small", "flip", true),
        (b"small", "truncate", true),
        (b"", "grow", true),
    ] {
        let manifest = put_model(&hit, &tag("v1"), &[content]).await;
        let layer = &manifest.image().unwrap().layers[0];
        let path = blob_path(root.path(), &layer.digest);
        damage_unnoticed(&path, how);
        let is_there = matches!(hit.begin(Some(layer)).await.unwrap(), Begin::Exists);
        assert_eq!((is_there, hit.blob_size(&layer.digest).await.unwrap().is_some()), (!is_noticed, !is_noticed), "{how}");
        if how != "flip" {
            let refused = hit.put_manifest(&tag("v2"), &manifest).await;
            assert!(matches!(refused, Err(Error::MissingReference { .. })), "{how}: {refused:?}");
        }
        let repaired = store.repair(&options()).await.unwrap();
        assert_eq!(repaired.removed.iter().map(|(digest, _)| digest).collect::<Vec<_>>(), [&layer.digest], "{how}");
        put_model(&hit, &tag("v1"), &[content]).await;
        assert_whole(&hit, "v1").await;
    }
}

fn put_in_place(path: &Path, what: &str) {
    fs::remove_file(path).unwrap();
    match what {
        "a pipe" => mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap(),
        "a link to nowhere" => symlink("/nowhere/at/all", path).unwrap(),
        "a link to itself" => symlink(path.file_name().unwrap(), path).unwrap(),
        "a link to other bytes" => symlink("../../lock", path).unwrap(),
        "a directory" => fs::create_dir(path).unwrap(),
        _ => fs::create_dir_all(path.join("of somebody")).unwrap(),
    }
}

#[tokio::test]
async fn what_is_no_file_is_replaced_or_repaired_and_a_full_directory_is_kept() {
    for what in ["a pipe", "a link to nowhere", "a link to itself", "a link to other bytes", "a directory", "a full directory"] {
        let (root, store, hit) = store().await;
        let manifest = put_model(&hit, &tag("v1"), &[b"a layer"]).await;
        for digest in [&Digest::of(b"a layer"), manifest.digest()] {
            let path = blob_path(root.path(), digest);
            let aside = || fs::read_dir(path.parent().unwrap()).unwrap().filter(|e| e.as_ref().unwrap().file_name().len() > 64).count();
            let before = aside();
            put_in_place(&path, what);
            let read = hit.blob(&Descriptor::new("", digest.clone(), 7), 0..7).await;
            assert!(matches!(read, Err(Error::Damaged { .. } | Error::WrongSize { .. })), "{what}: {:?}", read.err());
            put_model(&hit, &tag("v1"), &[b"a layer"]).await;
            assert_whole(&hit, "v1").await;

            put_in_place(&path, what);
            let repaired = store.repair(&options()).await.unwrap();
            let is_full = what == "a full directory";
            assert_eq!((repaired.removed.len(), repaired.moved_aside.len()), if is_full { (0, 1) } else { (1, 0) }, "{what}: {repaired:?}");
            assert_eq!((&repaired.unrepaired[..], &repaired.broken[..], repaired.repositories.len()), (&[][..], &[][..], 1));
            assert_eq!(aside() - before, if is_full { 2 } else { 0 });
            assert_eq!(store.repair(&options()).await.unwrap().removed, [], "{what}");
            put_model(&hit, &tag("v1"), &[b"a layer"]).await;
            assert_whole(&hit, "v1").await;
        }
    }
}

#[tokio::test]
async fn a_repository_is_there_while_its_index_is() {
    for what in ["", "a pipe", "a directory", "a full directory"] {
        let (_root, store, hit) = store().await;
        put_model(&hit, &tag("v1"), &[b"a layer"]).await;
        let path = hit.layout().path().join("oci-layout");
        let sound = fs::read(&path).unwrap();
        let remove = || if what.is_empty() { fs::remove_file(&path).unwrap() } else { put_in_place(&path, what) };
        remove();
        assert!(hit.exists());
        assert_whole(&hit, "v1").await;
        assert_eq!(store.prune(false).unwrap().broken, []);
        let repaired = store.repair(&options()).await.unwrap();
        let [mended] = &repaired.repositories[..] else { panic!("{what}: {repaired:?}") };
        assert_eq!((mended.completed, mended.moved_aside.len()), (true, usize::from(what == "a full directory")), "{what}");
        assert_eq!(fs::read(&path).unwrap(), sound);
        assert_eq!(store.repair(&options()).await.unwrap().repositories, []);

        remove();
        put_model(&hit, &tag("v2"), &[b"a layer"]).await;
        assert_eq!(fs::read(&path).unwrap(), sound);
        assert!(hit.delete_tag(&"v2".parse().unwrap()).await.unwrap());
    }
}

#[tokio::test]
async fn what_an_index_does_not_name_because_it_names_another_is_kept() {
    let (root, store, hit) = store().await;
    let manifest = put_model(&hit, &tag("v1"), &[b"a layer"]).await;
    let path = index_path(root.path(), "hit");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(manifest.digest().hex(), Digest::of(b"nothing").hex())).unwrap();
    let repaired = store.repair(&options()).await.unwrap();
    let [mended] = &repaired.repositories[..] else { panic!("{repaired:?}") };
    assert_eq!((&mended.lost_manifests[..], &mended.kept[..]), (&[Digest::of(b"nothing")][..], &[manifest.digest().clone()][..]));
    assert_eq!(mended.lost_tags, ["v1".parse::<Tag>().unwrap()]);
    store.prune(false).unwrap();
    let by_digest = Selector::Digest(manifest.digest().clone());
    copy(&hit, &hit.manifest(&by_digest).await.unwrap(), &MemoryStore::new(), &by_digest, &options()).await.unwrap();
}

#[tokio::test]
async fn killed_writers_leave_nothing_for_long() {
    let (root, store, hit) = store().await;
    put_model(&hit, &tag("v1"), &[b"a layer"]).await;
    let left = [hit.layout().path().join(".new-index.json"), root.path().join("digests/.new-0123"), root.path().join("ingest/.ingest-x")];
    left.iter().for_each(|path| fs::write(path, "half").unwrap());
    assert_eq!(store.prune(true).unwrap().abandoned.len(), 3);
    assert!(left.iter().all(|path| path.exists()));
    assert_eq!(store.prune(false).unwrap().abandoned.len(), 3);
    assert!(!left.iter().any(|path| path.exists()));

    fs::write(&left[0], "half").unwrap();
    put_model(&hit, &tag("v2"), &[b"a layer"]).await;
    assert!(!left[0].exists(), "the next writer takes its place");

    fs::write(&left[2], "half").unwrap();
    assert_eq!(store.remove_abandoned().unwrap().len(), 1);
    let layout = tempfile::tempdir().unwrap();
    let in_layout = [".ingest-x", ".new-oci-layout"].map(|name| layout.path().join(name));
    in_layout.iter().for_each(|path| fs::write(path, "half").unwrap());
    assert_eq!(Layout::at(layout.path()).remove_abandoned().await.unwrap(), in_layout.map(|path| (path, 4)));
    let nowhere = layout.path().join("nowhere");
    assert_eq!(Layout::at(&nowhere).remove_abandoned().await.unwrap(), []);
    assert!(!nowhere.exists());
}
