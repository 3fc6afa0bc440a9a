//! Artifacts of every form are unpacked into directories.

mod artifact;

use artifact::{ARCHIVES, Artifact, compressed, ended, entry, forced, listing, options, record, tar_of};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, future, stream};
use modelpack_pack::{Error, Patterns, Selection, UnpackOptions, unpack};
use modelpack_spec::{Descriptor, Encoding, ImageIndex, Manifest, Selector, annotation};
use modelpack_store::{Layout, Settled, Store, Untagged};
use modelpack_testkit::{TinyDisk, assert_same_tree, fixture, write_odd_names};
use modelpack_transfer::{Body, Error as StoreError, MemoryStore, Source};
use std::{
    fs,
    ops::Range,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};
use tempfile::{TempDir, tempdir};
use tokio::{
    runtime::Runtime,
    sync::{Notify, oneshot},
};

/// A directory with unusual names, an executable file, and a file of several pieces.
fn directory() -> TempDir {
    let directory = tempdir().unwrap();
    write_odd_names(directory.path());
    fs::write(directory.path().join("run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(directory.path().join("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(directory.path().join("large.bin"), (0..1_000_003_u32).map(|i| (i % 251) as u8).collect::<Vec<_>>()).unwrap();
    directory
}

fn files(root: &Path) -> Vec<(String, PathBuf)> {
    listing(root).into_iter().map(|name| (name.clone(), root.join(name))).collect()
}

fn tarred(root: &Path) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all(".", root).unwrap();
    builder.into_inner().unwrap()
}

#[tokio::test]
async fn raw_layers_are_unpacked_to_the_original_directory() {
    let (packed, unpacked) = (directory(), tempdir().unwrap());
    let mut artifact = Artifact::new();
    for (name, path) in files(packed.path()) {
        artifact.raw(&name, path.metadata().unwrap().mode() & 0o777, fs::read(path).unwrap()).await;
    }
    let result = artifact.unpack(unpacked.path()).await.unwrap();
    assert_same_tree(packed.path(), unpacked.path());
    let written: Vec<String> = result.written.into_iter().map(String::from).collect();
    assert_eq!(written, listing(packed.path()));
    assert_eq!(result.bytes, files(packed.path()).iter().map(|(_, path)| path.metadata().unwrap().len()).sum::<u64>());
}

#[tokio::test]
async fn archives_are_unpacked_to_the_original_directory_with_empty_directories() {
    let packed = directory();
    fs::create_dir_all(packed.path().join("nothing/in/here")).unwrap();
    for encoding in ARCHIVES {
        let unpacked = tempdir().unwrap();
        let mut artifact = Artifact::new();
        artifact.archive(encoding, &tarred(packed.path())).await;
        artifact.unpack(unpacked.path()).await.unwrap();
        assert_same_tree(packed.path(), unpacked.path());
    }
}

#[tokio::test]
async fn a_path_in_a_pax_record_is_used() {
    let (long, unpacked) = (format!("{}/with\nnewline", "d".repeat(200)), tempdir().unwrap());
    let pax = [entry(b'x', "pax", 0o644, &record("path", &long)), entry(b'0', "short", 0o644, b"x")].concat();
    let mut artifact = Artifact::new();
    artifact.archive(Encoding::Tar, &ended(pax)).await;
    artifact.unpack(unpacked.path()).await.unwrap();
    assert_eq!(listing(unpacked.path()), [long]);
}

#[tokio::test]
async fn artifacts_of_other_tools_are_unpacked() {
    for name in ["modctl-raw", "modctl-tar", "modctl-cnai", "oras"] {
        let (layout, unpacked) = (Layout::at(&fixture(name)), tempdir().unwrap());
        let manifest = layout.manifest(&Selector::Tag("v1".parse().unwrap())).await.unwrap();
        unpack(&layout, &manifest, unpacked.path(), &options(), || {}).await.unwrap();
        assert_same_tree(&fixture("tiny"), unpacked.path());
    }
}

#[tokio::test]
async fn a_directory_packed_by_oras_is_unpacked_below_its_title() {
    let unpacked = tempdir().unwrap();
    let mut artifact = Artifact::new();
    let tar = artifact::compressed(Encoding::TarGzip, &tar_of(&[("data/a", b"a"), ("data/b/c", b"c")]));
    let annotations = [(annotation::TITLE, "data"), (annotation::ORAS_UNPACK, "true")];
    artifact.layer("application/vnd.oci.image.layer.v1.tar+gzip", &annotations, tar).await;
    artifact.unpack(unpacked.path()).await.unwrap();
    assert_eq!(listing(unpacked.path()), ["data/a", "data/b/c"]);
}

#[tokio::test]
async fn a_compressed_file_of_a_modelkit_is_decompressed() {
    let directory = directory();
    let destination = directory.path().join("out");
    let mut artifact = Artifact::new();
    for (encoding, name) in [(Encoding::TarGzip, "raw+gzip"), (Encoding::TarZstd, "raw+zstd")] {
        let media_type = format!("application/vnd.kitops.modelkit.model.v1.{name}");
        artifact.layer(&media_type, &[(annotation::FILEPATH, &format!("dir/{name}"))], compressed(encoding, b"weights")).await;
    }
    let unpacked = artifact.unpack(&destination).await.unwrap();
    assert_eq!(names(&unpacked.written), ["dir/raw+gzip", "dir/raw+zstd"]);
    assert_eq!(unpacked.bytes, 14);
    for name in ["raw+gzip", "raw+zstd"] {
        assert_eq!(fs::read(destination.join("dir").join(name)).unwrap(), b"weights");
    }
    assert_eq!(names(&artifact.unpack(&destination).await.unwrap().unchanged), ["dir/raw+gzip", "dir/raw+zstd"]);
}

#[tokio::test]
async fn layers_without_a_file_name_are_reported_and_skipped() {
    let unpacked = tempdir().unwrap();
    let mut artifact = Artifact::new();
    let digest = artifact.layer("application/octet-stream", &[], "what is this?").await;
    artifact.raw("a", 0o644, "a").await;
    let result = artifact.unpack(unpacked.path()).await.unwrap();
    assert_eq!(result.unnamed.iter().map(|layer| &layer.digest).collect::<Vec<_>>(), [&digest]);
    assert_eq!(listing(unpacked.path()), ["a"]);
}

#[tokio::test]
async fn a_directory_is_created_with_its_parents() {
    let parent = tempdir().unwrap();
    let mut artifact = Artifact::new();
    artifact.raw("a", 0o644, "a").await;
    artifact.unpack(&parent.path().join("not/there/yet")).await.unwrap();
    assert_eq!(listing(parent.path()), ["not/there/yet/a"]);
}

/// Expects that unpacking fails because of the artifact, with these words, and creates nothing.
async fn has_no_file(artifact: &Artifact, selection: Selection, words: &[&str]) {
    let parent = tempdir().unwrap();
    let options = UnpackOptions { selection, ..options() };
    let error = artifact.unpack_with(&parent.path().join("out"), &options).await.unwrap_err();
    assert!(matches!(error, Error::Store(StoreError::Invalid { .. })), "{error:?}");
    let said = error.to_string();
    assert!(said.contains("manifest sha256:") && words.iter().all(|word| said.contains(word)), "{said}");
    let made = parent.path().join("out");
    assert!(!made.exists() || listing(&made).is_empty(), "{:?}", listing(&made));
}

#[tokio::test]
async fn an_artifact_without_files_fails_with_a_reason() {
    let nothing_is_selected = || Selection::default().include(Patterns::new("i", ["*.onnx"]).unwrap());
    for selection in [Selection::default(), nothing_is_selected()] {
        has_no_file(&Artifact::new(), selection.clone(), &["no layers"]).await;
        let mut image = Artifact::new();
        for (at, media_type) in
            ["application/octet-stream", "application/vnd.docker.ai.of.tomorrow", "application/octet-stream"].iter().enumerate()
        {
            image.layer(media_type, &[], vec![u8::try_from(at).unwrap()]).await;
        }
        let types = r#"the type "application/octet-stream", "application/vnd.docker.ai.of.tomorrow""#;
        has_no_file(&image, selection, &[types]).await;
    }
    let mut many = Artifact::new();
    for at in 0..30 {
        many.layer(&format!("application/x{at}"), &[], "x").await;
    }
    has_no_file(&many, Selection::default(), &["application/x0", "20 more"]).await;
    for archive in [tar_of(&[]), ended(entry(b'5', "d/", 0o755, b""))] {
        let mut empty = Artifact::new();
        empty.archive(Encoding::Tar, &archive).await;
        has_no_file(&empty, Selection::default(), &["its archives contain no file"]).await;
    }
}

#[tokio::test]
async fn an_archive_without_files_is_accepted_beside_others() {
    let to = tempdir().unwrap();
    let mut artifact = Artifact::new();
    artifact.archive(Encoding::Tar, &ended(entry(b'5', "d/", 0o755, b""))).await;
    artifact.raw("a", 0o644, "a").await;
    for _ in 0..2 {
        artifact.unpack(to.path()).await.unwrap();
        assert_eq!(listing(to.path()), ["a", "d/"]);
    }
}

#[tokio::test]
async fn docker_layers_are_unpacked_to_the_files_of_their_types() {
    let to = tempdir().unwrap();
    let mut artifact = Artifact::new();
    artifact.layer("application/vnd.docker.ai.safetensors", &[], "one").await;
    artifact.layer("application/vnd.docker.ai.safetensors", &[], "two").await;
    let configs = tar_of(&[("config.json", b"{}"), ("sub/tokenizer.json", b"{}")]);
    let title = [(annotation::FILEPATH, "vllm-config-1.tar"), (annotation::FILE_METADATA, r#"{"name":"vllm-config-1.tar","size":9}"#)];
    artifact.layer("application/vnd.docker.ai.vllm.config.tar", &title, configs).await;
    artifact.layer("application/vnd.docker.ai.dir.tar", &[], tar_of(&[("vae/x", b"x")])).await;
    artifact.unpack(to.path()).await.unwrap();
    let all = ["config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "sub/tokenizer.json", "vae/x"];
    assert_eq!(listing(to.path()), all);
    assert_eq!(fs::read(to.path().join("model-00002-of-00002.safetensors")).unwrap(), b"two");
    let part = tempdir().unwrap();
    let selection = Selection::default().include(Patterns::new("i", ["config.json"]).unwrap());
    artifact.unpack_with(part.path(), &UnpackOptions { selection, ..options() }).await.unwrap();
    assert_eq!(listing(part.path()), ["config.json"]);

    let mut hostile = Artifact::new();
    hostile.layer("application/vnd.docker.ai.dir.tar", &[], tar_of(&[("../x", b"x")])).await;
    assert!(hostile.unpack(&to.path().join("in")).await.is_err());
    assert!(!to.path().join("x").exists());
}

#[tokio::test]
async fn an_index_is_refused_with_its_name() {
    let index = serde_json::to_vec(&ImageIndex::new(Vec::new())).unwrap();
    let index = Manifest::parse(index, None).unwrap();
    let to = tempdir().unwrap();
    let error = unpack(&MemoryStore::new(), &index, to.path(), &options(), || {}).await.unwrap_err();
    assert!(error.to_string().contains("index"), "{error}");
}

#[tokio::test]
async fn one_blob_with_two_paths_becomes_two_files() {
    let unpacked = tempdir().unwrap();
    let mut artifact = Artifact::new();
    artifact.raw("one", 0o644, "same").await;
    artifact.raw("two/three", 0o644, "same").await;
    artifact.unpack(unpacked.path()).await.unwrap();
    let inode = |name| unpacked.path().join(name).metadata().unwrap().ino();
    assert_ne!(inode("one"), inode("two/three"));
}

#[tokio::test]
async fn deep_directories_are_unpacked() {
    let unpacked = tempdir().unwrap();
    let deep = |name: &str| format!("{}{name}", "d/".repeat(150));
    let mut artifact = Artifact::new();
    artifact.raw(&deep("raw"), 0o644, "").await;
    let long = entry(b'L', "././@LongLink", 0, format!("{}\0", deep("archived")).as_bytes());
    artifact.archive(Encoding::Tar, &ended([long, entry(b'0', "short", 0o644, b"x")].concat())).await;
    artifact.unpack(unpacked.path()).await.unwrap();
    assert_eq!(listing(unpacked.path()), [deep("archived"), deep("raw")]);
}

#[tokio::test]
async fn the_destination_itself_may_be_a_link() {
    let parent = tempdir().unwrap();
    fs::create_dir(parent.path().join("real")).unwrap();
    symlink("real", parent.path().join("link")).unwrap();
    let mut artifact = Artifact::new();
    artifact.raw("a", 0o644, "a").await;
    artifact.unpack(&parent.path().join("link")).await.unwrap();
    assert_eq!(listing(&parent.path().join("real")), ["a"]);
}

/// Two raw files, and an archive with two more.
async fn mixed() -> Artifact {
    let mut artifact = Artifact::new();
    artifact.raw("raw.bin", 0o644, vec![7; 300_000]).await;
    artifact.raw("bin/raw.sh", 0o755, "#!").await;
    let archive = [entry(b'0', "archived.bin", 0o644, &[8; 300_000]), entry(b'0', "bin/archived.sh", 0o755, b"#!")].concat();
    artifact.archive(Encoding::TarZstd, &ended(archive)).await;
    artifact
}

const MIXED: [&str; 4] = ["archived.bin", "bin/archived.sh", "bin/raw.sh", "raw.bin"];

fn names(paths: &[modelpack_spec::FilePath]) -> Vec<&str> {
    paths.iter().map(|path| path.as_str()).collect()
}

#[tokio::test]
async fn existing_files_are_kept_and_equal_raw_layers_are_not_fetched() {
    let unpacked = tempdir().unwrap();
    let artifact = mixed().await;
    assert_eq!(names(&artifact.unpack(unpacked.path()).await.unwrap().written), MIXED);
    let before: Vec<_> = MIXED.map(|name| unpacked.path().join(name).metadata().unwrap().ino()).into();

    let options = options();
    let result = artifact.unpack_with(unpacked.path(), &options).await.unwrap();
    assert_eq!((names(&result.unchanged), result.written.len(), result.bytes), (MIXED.to_vec(), 0, 0));
    assert_eq!(MIXED.map(|name| unpacked.path().join(name).metadata().unwrap().ino()).to_vec(), before);
    assert_eq!((options.progress.snapshot().skipped, options.progress.snapshot().hashed), (300_002, 300_002));

    let mut raw = Artifact::new();
    raw.raw("raw.bin", 0o644, vec![7; 300_000]).await;
    let result = unpack(&MemoryStore::new(), &raw.manifest(), unpacked.path(), &options, || {}).await.unwrap();
    assert_eq!(names(&result.unchanged), ["raw.bin"]);
}

#[tokio::test]
async fn the_executable_bit_of_an_equal_file_is_repaired() {
    let unpacked = tempdir().unwrap();
    let artifact = mixed().await;
    artifact.unpack(unpacked.path()).await.unwrap();
    let set = |name, mode| fs::set_permissions(unpacked.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    let mode = |name| unpacked.path().join(name).metadata().unwrap().mode() & 0o7777;
    set("raw.bin", 0o700);
    set("bin/raw.sh", 0o640);
    set("bin/archived.sh", 0o444);
    artifact.unpack(unpacked.path()).await.unwrap();
    assert_eq!((mode("raw.bin"), mode("bin/raw.sh"), mode("bin/archived.sh")), (0o600, 0o750, 0o555));
}

#[tokio::test]
async fn a_different_file_is_a_conflict_before_anything_is_written_and_is_replaced_with_force() {
    for name in MIXED {
        let unpacked = tempdir().unwrap();
        let there = unpacked.path().join(name);
        fs::create_dir_all(there.parent().unwrap()).unwrap();
        // Of the same length as one of the files, so that only its bytes differ.
        fs::write(&there, vec![1; if name.ends_with("bin") { 300_000 } else { 2 }]).unwrap();
        let artifact = mixed().await;
        let error = artifact.unpack(unpacked.path()).await.unwrap_err();
        assert!(matches!(&error, Error::Store(StoreError::Conflict { path, .. }) if *path == there), "{error}");
        assert_eq!(listing(unpacked.path()), [name]);

        let result = artifact.unpack_with(unpacked.path(), &forced()).await.unwrap();
        assert_eq!(names(&result.written), MIXED);
        assert_eq!(
            fs::read(there).unwrap()[0],
            if name.ends_with("sh") {
                b'#'
            } else if name == "raw.bin" {
                7
            } else {
                8
            }
        );
    }
}

#[tokio::test]
async fn a_cached_digest_avoids_hashing_and_digests_of_written_files_are_cached() {
    let (unpacked, root) = (tempdir().unwrap(), tempdir().unwrap());
    let store = Store::open(root.path(), Untagged::Drop).unwrap();
    let with_cache = || UnpackOptions { digest_cache: Some(store.digest_cache().clone()), ..options() };
    let mut artifact = Artifact::new();
    // Large enough that, by the clock of any file system, it is renamed later than its last byte
    // was written.
    const SIZE: usize = 40 << 20;
    artifact.raw("large", 0o644, vec![3; SIZE]).await;
    artifact.unpack_with(unpacked.path(), &with_cache()).await.unwrap();
    if Settled::of(&fs::File::open(unpacked.path().join("large")).unwrap()).is_none() {
        eprintln!("SKIPPED: the times of files in the temporary directory are not trusted");
        return;
    }

    let again = with_cache();
    artifact.unpack_with(unpacked.path(), &again).await.unwrap();
    assert_eq!((again.progress.snapshot().hashed, again.progress.snapshot().skipped), (0, SIZE as u64));

    fs::write(unpacked.path().join("large"), vec![4; SIZE]).unwrap();
    assert!(artifact.unpack_with(unpacked.path(), &with_cache()).await.is_err());
}

#[tokio::test]
async fn files_finished_before_a_failure_are_reused_by_the_next_attempt() {
    let unpacked = tempdir().unwrap();
    let mut artifact = Artifact::new();
    artifact.raw("good", 0o644, "good").await;
    let bad = artifact.raw("bad", 0o644, "good as other").await;
    artifact.damage(bad, b"bad as always".to_vec());
    let error = artifact.unpack_with(unpacked.path(), &UnpackOptions { concurrency: 1, ..options() }).await.unwrap_err();
    assert!(matches!(error, Error::Store(StoreError::WrongDigest { .. })), "{error}");
    assert_eq!(listing(unpacked.path()), ["good"]);

    artifact.repair();
    let result = artifact.unpack(unpacked.path()).await.unwrap();
    assert_eq!((names(&result.unchanged), names(&result.written)), (vec!["good"], vec!["bad"]));
}

#[tokio::test]
async fn a_full_disk_is_reported_and_leaves_nothing() {
    let Some(disk) = TinyDisk::mount(1 << 20) else {
        eprintln!("SKIPPED: this process cannot mount a file system");
        return;
    };
    let mut raw = Artifact::new();
    raw.raw("large", 0o644, vec![1; 2 << 20]).await;
    let mut archive = Artifact::new();
    archive.archive(Encoding::TarGzip, &tar_of(&[("large", &vec![1; 2 << 20])])).await;
    for artifact in [raw, archive] {
        let error = artifact.unpack(disk.path()).await.unwrap_err();
        assert!(
            matches!(&error, Error::Store(StoreError::Io { path, source, .. })
                if path.starts_with(disk.path()) && source.kind() == std::io::ErrorKind::StorageFull),
            "{error}"
        );
        assert!(listing(disk.path()).is_empty());
    }
}

/// Returns half of a blob, signals this, and then returns nothing more.
struct Stalling {
    artifact: Artifact,
    stalled: Arc<Notify>,
}

#[async_trait]
impl Source for Stalling {
    async fn manifest(&self, at: &Selector) -> Result<Manifest, StoreError> {
        Source::manifest(&self.artifact, at).await
    }

    async fn blob(&self, blob: &Descriptor, range: Range<u64>) -> Result<Body, StoreError> {
        let half = self.artifact.blob(blob, 0..range.end / 2).await?.into_stream();
        let stalled = self.stalled.clone();
        let stall = stream::poll_fn(move |_| {
            stalled.notify_one();
            std::task::Poll::<Option<Result<Bytes, StoreError>>>::Pending
        });
        Ok(Body::from_stream(half.chain(stall), Some(blob.size)))
    }
}

#[test]
fn a_dropped_future_leaves_nothing_but_large_blobs_for_the_next_attempt() {
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    let incompressible: Vec<u8> = (0..2_000_000).map(|_| noise()).collect();
    for encoding in Encoding::ALL {
        let (runtime, unpacked) = (Runtime::new().unwrap(), tempdir().unwrap());
        runtime.block_on(async {
            let mut artifact = Artifact::new();
            match encoding {
                Encoding::Raw => artifact.raw("a/b", 0o644, incompressible.clone()).await,
                archive => artifact.archive(archive, &tar_of(&[("a/b", &incompressible)])).await,
            };
            let (manifest, options) = (artifact.manifest(), options());
            let source = Stalling { artifact, stalled: Arc::default() };
            tokio::select! {
                result = unpack(&source, &manifest, unpacked.path(), &options, || {}) => panic!("it ended: {result:?}"),
                () = source.stalled.notified() => {}
            }
            assert!(fs::read_dir(unpacked.path()).unwrap().count() <= 3, "the staging directories and the lock");
        });
        // Waits for the blocking threads.
        drop(runtime);
        let kept = listing(unpacked.path());
        assert_eq!(kept.len(), 2, "{encoding:?}: {kept:?}");
        assert!(kept.iter().all(|name| name.starts_with(".modelpack-partial/sha256-")), "a blob and its journal: {kept:?}");
    }
}

/// Remembers which parts of blobs were asked for.
struct Recording(Artifact, std::sync::Mutex<Vec<Range<u64>>>);

#[async_trait]
impl Source for Recording {
    async fn manifest(&self, at: &Selector) -> Result<Manifest, StoreError> {
        Source::manifest(&self.0, at).await
    }

    async fn blob(&self, blob: &Descriptor, range: Range<u64>) -> Result<Body, StoreError> {
        self.1.lock().unwrap().push(range.clone());
        self.0.blob(blob, range).await
    }
}

#[test]
fn a_large_raw_file_is_continued_and_what_another_attempt_left_is_removed() {
    let content: Vec<u8> = (0..3_000_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let (runtime, unpacked) = (Runtime::new().unwrap(), tempdir().unwrap());
    let stall = async |content: Vec<u8>| {
        let mut artifact = Artifact::new();
        artifact.raw("a/b", 0o755, content).await;
        let (manifest, options) = (artifact.manifest(), options());
        let source = Stalling { artifact, stalled: Arc::default() };
        tokio::select! {
            result = unpack(&source, &manifest, unpacked.path(), &options, || {}) => panic!("it ended: {result:?}"),
            () = source.stalled.notified() => {}
        }
        source.artifact
    };
    let artifact = runtime.block_on(async {
        stall(vec![7; 2_000_000]).await;
        stall(content.clone()).await
    });
    // Waits for the blocking threads.
    drop(runtime);
    assert_eq!(listing(unpacked.path()).len(), 4, "two blobs with their journals");
    let runtime = Runtime::new().unwrap();
    let (source, options) = (Recording(artifact, Default::default()), options());
    runtime.block_on(async {
        let manifest = source.0.manifest();
        unpack(&source, &manifest, unpacked.path(), &options, || {}).await.unwrap();
    });
    let counted = options.progress.snapshot();
    assert_eq!((counted.total, counted.resumed, counted.moved, counted.skipped), (3_000_000, 1_500_000, 1_500_000, 0));
    let asked: u64 = source.1.into_inner().unwrap().iter().map(|range| range.end - range.start).sum();
    assert_eq!(asked, 1_500_000, "the first half was there");
    assert_eq!(listing(unpacked.path()), ["a/b"]);
    assert!(fs::read(unpacked.path().join("a/b")).unwrap() == content);
    let mode = fs::metadata(unpacked.path().join("a/b")).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0o111 & (mode & 0o444) >> 2);
}

#[test]
fn files_of_a_dead_process_are_removed_and_a_running_one_is_waited_for() {
    let (runtime, unpacked) = (Runtime::new().unwrap(), tempdir().unwrap());
    let stale = unpacked.path().join(".modelpack-0123456789abcdef");
    let not_ours = unpacked.path().join(".modelpack-notes");
    for directory in [&stale, &not_ours] {
        fs::create_dir(directory).unwrap();
        fs::write(directory.join("0"), "left behind").unwrap();
    }
    fs::write(unpacked.path().join(".modelpack-lock"), "").unwrap();
    runtime.block_on(async {
        let mut slow = Artifact::new();
        slow.raw("slow", 0o644, vec![1; 1000]).await;
        let (manifest, options) = (slow.manifest(), options());
        let source = Stalling { artifact: slow, stalled: Arc::default() };
        let mut living = Box::pin(unpack(&source, &manifest, unpacked.path(), &options, || panic!("no other process is running")));
        tokio::select! {
            result = &mut living => panic!("it ended: {result:?}"),
            () = source.stalled.notified() => {}
        }
        assert!(!stale.exists() && not_ours.join("0").exists());
        let count = || fs::read_dir(unpacked.path()).unwrap().count();
        assert_eq!(count(), 3, "the staging directory, the lock, and another file");

        let mut other = Artifact::new();
        other.raw("other", 0o644, "other").await;
        let manifest = other.manifest();
        let (said, waits) = oneshot::channel();
        let mut next = Box::pin(unpack(&other, &manifest, unpacked.path(), &options, || said.send(()).unwrap()));
        tokio::select! {
            result = &mut living => panic!("it ended: {result:?}"),
            result = &mut next => panic!("it did not wait: {result:?}"),
            said = waits => said.unwrap(),
        }
        assert_eq!(count(), 3);
        drop(living);
        next.await.unwrap();
    });
    drop(runtime);
    assert_eq!(listing(unpacked.path()), [".modelpack-notes/0", "other"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_unpacks_into_one_directory_write_every_file_once() {
    let (artifact, unpacked) = (mixed().await, tempdir().unwrap());
    let (manifest, options) = (artifact.manifest(), options());
    let all = future::join_all((0..8).map(|_| unpack(&artifact, &manifest, unpacked.path(), &options, || {}))).await;
    let mut written: Vec<String> = Vec::new();
    for result in all {
        let result = result.unwrap();
        assert_eq!(result.written.len() + result.unchanged.len(), MIXED.len());
        written.extend(names(&result.written).into_iter().map(str::to_owned));
    }
    written.sort();
    let mut files = MIXED.to_vec();
    files.sort();
    assert_eq!(written, files);
    assert_eq!(listing(unpacked.path()), files);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_conflicting_artifacts_one_is_complete_and_the_other_leaves_nothing() {
    let mut artifacts = Vec::new();
    for name in ["one", "two"] {
        let mut artifact = Artifact::new();
        artifact.raw(name, 0o644, name).await;
        artifact.archive(Encoding::TarGzip, &tar_of(&[(&format!("archived/{name}"), name.as_bytes())])).await;
        artifact.raw("version", 0o644, name).await;
        artifacts.push((artifact.manifest(), artifact));
    }
    let options = options();
    for round in 0..50 {
        let unpacked = tempdir().unwrap();
        artifacts.reverse();
        let both = artifacts.iter().map(|(manifest, artifact)| unpack(artifact, manifest, unpacked.path(), &options, || {}));
        let results = future::join_all(both).await;
        let whole = fs::read_to_string(unpacked.path().join("version")).unwrap();
        assert_eq!(listing(unpacked.path()), [&format!("archived/{whole}"), &whole, "version"], "round {round}");
        let refused: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        let why = "it differs from the file in the artifact";
        assert!(
            matches!(&refused[..], [Error::Store(StoreError::Conflict { path, why: said })] if path.ends_with("version") && said == why),
            "{refused:?}"
        );
    }
}
