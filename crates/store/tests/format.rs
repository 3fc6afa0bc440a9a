//! The version of the store's format: stores of older programs go on working, and those of newer ones are left alone.

mod common;

use common::{name, open, put_model, tag};
use modelpack_spec::{Descriptor, Digest, Manifest};
use modelpack_store::{Store, Untagged};
use modelpack_transfer::{Error, Source, contract};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
};

/// Each file, directory and link below `root`, with what changes when it is written to.
fn tree(root: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap().map(Result::unwrap) {
            let metadata = fs::symlink_metadata(entry.path()).unwrap();
            if metadata.is_dir() {
                directories.push(entry.path());
            }
            found.insert(entry.path(), (metadata.ino(), metadata.ctime(), metadata.ctime_nsec()));
        }
    }
    found
}

/// Writes a store as the first version of this program did: with no `version`, no `reserve` and no `writers`.
fn write_old_store(root: &Path) -> Manifest {
    let (manifest, layer) = contract::manifest(b"a layer");
    let layout = root.join("repositories/team/model");
    for directory in ["blobs/sha256", "ingest", "digests"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::create_dir_all(layout.join("_links/sha256")).unwrap();
    symlink("../../../blobs", layout.join("blobs")).unwrap();
    for bytes in [b"{}", &layer[..], manifest.bytes()] {
        let digest = Digest::of(bytes);
        fs::write(root.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        fs::write(layout.join("_links/sha256").join(digest.hex()), "").unwrap();
    }
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{}","size":{},"annotations":{{"org.opencontainers.image.ref.name":"v1"}}}}]}}"#,
        manifest.media_type(),
        manifest.digest(),
        manifest.bytes().len()
    );
    fs::write(layout.join("index.json"), index).unwrap();
    manifest
}

async fn expect_readable(store: &Store, manifest: &Manifest) {
    let repository = store.repository(&name("team/model"));
    assert_eq!(repository.manifest(&tag("v1")).await.unwrap().bytes(), manifest.bytes());
    let layer = Descriptor::of("x/x", b"a layer");
    let read = repository.blob(&layer, 0..layer.size).await.unwrap().collect(usize::MAX, "layer").await.unwrap();
    assert_eq!(read, b"a layer");
    assert_eq!(store.repositories().unwrap(), [name("team/model")]);
}

#[tokio::test]
async fn a_store_of_an_older_program_is_read_as_it_is_and_gets_the_version_when_it_is_written() {
    let root = tempfile::tempdir().unwrap();
    let manifest = write_old_store(root.path());
    let before = tree(root.path());
    expect_readable(&Store::open_existing(root.path(), Untagged::Drop).unwrap(), &manifest).await;
    assert_eq!(tree(root.path()), before, "reading changes nothing");

    let store = open(root.path());
    assert_eq!(fs::read_to_string(root.path().join("version")).unwrap(), "1\n");
    put_model(&store.repository(&name("team/model")), &tag("v2"), &[b"another layer"]).await;
    assert!(store.prune(false).unwrap().broken.is_empty());
    expect_readable(&store, &manifest).await;
    expect_readable(&open(root.path()), &manifest).await;
}

#[test]
fn a_store_of_a_newer_program_is_refused_and_left_alone() {
    let root = tempfile::tempdir().unwrap();
    write_old_store(root.path());
    for (version, said) in [
        ("2\n", "has the format version 2, and this program knows no version above 1. Use a newer version"),
        ("3", "has the format version 3"),
        ("0\n", "remove this file"),
        ("", "remove this file"),
        ("one\n", "remove this file"),
        ("99999999999999999999999\n", "remove this file"),
    ] {
        fs::write(root.path().join("version"), version).unwrap();
        let before = tree(root.path());
        for opened in [Store::open(root.path(), Untagged::Drop), Store::open_existing(root.path(), Untagged::Drop)] {
            let error = opened.unwrap_err();
            assert!(matches!(error, Error::Io { .. }), "{error:?}");
            let message = error.to_string();
            assert!(message.contains(said) && message.contains(root.path().to_str().unwrap()), "{message}");
        }
        assert_eq!(tree(root.path()), before, "{version:?}");
    }
    fs::write(root.path().join("version"), "1").unwrap();
    open(root.path());
    assert_eq!(fs::read_to_string(root.path().join("version")).unwrap(), "1", "what is there stays");
}
