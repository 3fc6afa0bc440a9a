//! A directory, and an artifact of it with any encoding of its layers, satisfy the contract of
//! `Files`.

use modelpack_pack::{ArtifactFiles, Description, FileFilter, LayerPolicy, PackOptions, layers, pack, plan, plan_artifact};
use modelpack_spec::{Artifact, Selector, Tag};
use modelpack_transfer::{
    MemoryStore, Source,
    files_contract::{check, expected_files},
};
use std::{fs, os::unix::fs::PermissionsExt, sync::Arc};
use tempfile::TempDir;

fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for file in expected_files() {
        let path = directory.path().join(file.path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &file.bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(if file.executable { 0o755 } else { 0o644 })).unwrap();
    }
    directory
}

fn options() -> PackOptions {
    PackOptions { concurrency: 2, ..PackOptions::default() }
}

/// Packs with these rules and this many layers at most, into memory.
async fn packed(rules: &[&str], max_layers: usize) -> (MemoryStore, ArtifactFiles, String) {
    let directory = directory();
    let store = MemoryStore::new();
    let policy = LayerPolicy::default().rules(rules.iter().map(|rule| rule.parse().unwrap())).max_layers(max_layers);
    let layers = layers(&plan(directory.path(), None, &FileFilter::default()).unwrap(), &policy).unwrap();
    let at = Selector::Tag(Tag::latest());
    let manifest = pack(&layers, &Description::default(), &store, &at, &options()).await.unwrap();
    let artifact = Artifact::read(manifest.image().unwrap()).unwrap();
    let source: Arc<dyn Source> = Arc::new(store.clone());
    let files = ArtifactFiles::list("the artifact", source, &artifact, 2, &Arc::default()).await.unwrap();
    (store, files, manifest.digest().to_string())
}

const WAYS: [(&[&str], usize); 6] =
    [(&[], 512), (&["tar"], 512), (&["tar+gzip"], 512), (&["tar+zstd"], 512), (&["tar+zstd"], 4), (&["weight=tar+gzip", "code=tar"], 512)];

#[tokio::test(flavor = "multi_thread")]
async fn a_directory() {
    let directory = directory();
    check(plan(directory.path(), None, &FileFilter::default()).unwrap().content().clone()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_in_every_encoding() {
    for (rules, max_layers) in WAYS {
        check(Arc::new(packed(rules, max_layers).await.1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_packed_of_an_artifact_is_that_artifact() {
    for (rules, max_layers) in WAYS {
        let (store, files, digest) = packed(rules, max_layers).await;
        let plan = plan_artifact(&Arc::new(files), None, &FileFilter::default()).unwrap();
        // The rules are not said again: archives stay because they hold the same files.
        let layers = layers(&plan, &LayerPolicy::default().max_layers(max_layers)).unwrap();
        let at = Selector::Tag("again".parse().unwrap());
        for sink in [store, MemoryStore::new()] {
            let options = options();
            let again = pack(&layers, &Description::default(), &sink, &at, &options).await.unwrap();
            assert_eq!(again.digest().to_string(), digest, "{rules:?}, {max_layers} layers");
            let counted = options.progress.snapshot();
            assert_eq!(counted.done(), counted.total, "{rules:?}, {max_layers} layers: all that was expected");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_that_does_not_stay_is_packed_anew_from_verified_bytes() {
    let (_, plain, expected) = packed(&[], 512).await;
    drop(plain);
    for (rules, max_layers) in WAYS {
        let (store, files, _) = packed(rules, max_layers).await;
        let plan = plan_artifact(&Arc::new(files), None, &FileFilter::default()).unwrap();
        let policy = LayerPolicy::default().rules(["raw".parse().unwrap()]);
        let at = Selector::Tag("raw".parse().unwrap());
        let raw = pack(&layers(&plan, &policy).unwrap(), &Description::default(), &store, &at, &options()).await.unwrap();
        assert_eq!(raw.digest().to_string(), expected, "{rules:?}, {max_layers} layers: as if packed raw from the directory");
    }
}
