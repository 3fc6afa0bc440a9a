//! Parts of artifacts: selected files are complete and verified, and nothing else is fetched or
//! written.

mod artifact;

use artifact::{ARCHIVES, Artifact, compressed, listing, media_type_of, options, tar_of};
use modelpack_pack::{Error, LeftOut, Patterns, Preset, Selection, UnpackOptions, Unpacked};
use modelpack_spec::{Digest, Encoding, LayerKind, LayerType, annotation};
use proptest::{collection, prelude::*};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};
use tempfile::{TempDir, tempdir};

fn selection(include: &[&str], presets: &[Preset], exclude: &[&str]) -> UnpackOptions {
    let (include, exclude) = (Patterns::new("--include", include).unwrap(), Patterns::new("--exclude", exclude).unwrap());
    UnpackOptions { selection: Selection::default().include(include).presets(presets.to_vec()).exclude(exclude), ..options() }
}

async fn part(artifact: &Artifact, options: &UnpackOptions) -> (TempDir, Result<Unpacked, Error>) {
    let directory = tempdir().unwrap();
    let unpacked = artifact.unpack_with(directory.path(), options).await;
    (directory, unpacked)
}

fn kind(kind: LayerKind, encoding: Encoding) -> String {
    LayerType { kind, encoding }.to_string()
}

/// Makes every fetch of the blob fail.
fn forbid(artifact: &mut Artifact, digest: Digest) {
    artifact.damage(digest, b"not what it should be".to_vec());
}

#[tokio::test]
async fn only_selected_files_of_an_archive_are_written_and_all_of_it_is_verified() {
    let tar = tar_of(&[("config.json", b"{}"), ("d/a.bin", b"weights"), ("d/b.txt", b"text")]);
    for encoding in ARCHIVES {
        let mut artifact = Artifact::new();
        let digest = artifact.archive(encoding, &tar).await;
        let (directory, unpacked) = part(&artifact, &selection(&["*.json", "d/"], &[], &["*.bin"])).await;
        let unpacked = unpacked.unwrap();
        assert_eq!(listing(directory.path()), ["config.json", "d/b.txt"]);
        assert_eq!(unpacked.left_out, LeftOut { files: 1, archives: 0, bytes: 7 });
        // The selected file comes first, and is undamaged.
        let mut damaged = compressed(encoding, &tar);
        *damaged.last_mut().unwrap() ^= 1;
        artifact.damage(digest, damaged);
        let (directory, unpacked) = part(&artifact, &selection(&["config.json"], &[], &[])).await;
        assert!(unpacked.is_err());
        assert_eq!(listing(directory.path()), [""; 0]);
    }
}

#[tokio::test]
async fn an_archive_of_another_kind_is_not_fetched_for_a_preset() {
    let mut artifact = Artifact::new();
    let metadata = r#"{"name":"w.bin","mode":420,"uid":0,"gid":0,"size":2,"mtime":"","typeflag":0}"#;
    let alone = [(annotation::FILEPATH, "w.bin"), (annotation::FILE_METADATA, metadata)];
    let weights = artifact.layer(&media_type_of(Encoding::Tar), &alone, tar_of(&[("w.bin", b"ww")])).await;
    let config = tar_of(&[("x.json", b"{}"), ("d/tokenizer.json", b"{}"), ("d/vocab.bpe", b"a")]);
    artifact.layer(&kind(LayerKind::WeightConfig, Encoding::TarGzip), &[], compressed(Encoding::TarGzip, &config)).await;
    forbid(&mut artifact, weights);
    let (directory, unpacked) = part(&artifact, &selection(&[], &[Preset::Config], &[])).await;
    assert_eq!(unpacked.unwrap().left_out.archives, 1);
    assert_eq!(listing(directory.path()), ["d/tokenizer.json", "d/vocab.bpe", "x.json"]);
    let (directory, unpacked) = part(&artifact, &selection(&[], &[Preset::Tokenizer, Preset::Docs], &[])).await;
    unpacked.unwrap();
    assert_eq!(listing(directory.path()), ["d/tokenizer.json", "d/vocab.bpe"]);
}

#[tokio::test]
async fn an_archive_of_a_directory_is_fetched_only_if_a_pattern_may_match_in_it() {
    let tar = tar_of(&[("a/b/x.txt", b"x"), ("a/b/y.txt", b"y")]);
    let metadata = r#"{"name":"b","mode":493,"uid":0,"gid":0,"size":0,"mtime":"","typeflag":5}"#;
    let oras = [(annotation::TITLE, "a/b"), (annotation::ORAS_UNPACK, "true")];
    let ours = [(annotation::FILEPATH, "a/b"), (annotation::FILE_METADATA, metadata)];
    for (media_type, annotations) in [("application/vnd.oci.image.layer.v1.tar+gzip", oras), (&*media_type_of(Encoding::TarGzip), ours)] {
        let mut artifact = Artifact::new();
        artifact.raw("c/x.txt", 0o644, "x").await;
        let digest = artifact.layer(media_type, &annotations, compressed(Encoding::TarGzip, &tar)).await;
        for include in ["x.txt", "/a/", "a/*/x.txt", "**/x.txt"] {
            let (directory, unpacked) = part(&artifact, &selection(&[include], &[], &[])).await;
            unpacked.unwrap();
            assert!(listing(directory.path()).contains(&"a/b/x.txt".to_owned()), "{include}");
        }
        forbid(&mut artifact, digest);
        for (include, exclude) in [("c/*", "none"), ("/c/x.txt", "none"), ("x.txt", "a/")] {
            let (directory, unpacked) = part(&artifact, &selection(&[include], &[], &[exclude])).await;
            assert_eq!(unpacked.unwrap().left_out.archives, 1);
            assert_eq!(listing(directory.path()), ["c/x.txt"]);
        }
        assert!(part(&artifact, &selection(&["x.txt"], &[], &[])).await.1.is_err(), "it is fetched, and its content is wrong");
    }
}

#[tokio::test]
async fn files_without_known_media_types_are_classified_by_name() {
    let mut artifact = Artifact::new();
    for name in ["m.safetensors", "config.json", "README.md", "x.py"] {
        artifact.layer("application/octet-stream", &[(annotation::TITLE, name)], name).await;
    }
    for (preset, expected) in [(Preset::Weights, "m.safetensors"), (Preset::Config, "config.json"), (Preset::Docs, "README.md")] {
        let (directory, unpacked) = part(&artifact, &selection(&[], &[preset], &[])).await;
        unpacked.unwrap();
        assert_eq!(listing(directory.path()), [expected]);
    }
}

#[tokio::test]
async fn an_empty_selection_is_an_error_that_lists_the_files() {
    let mut artifact = Artifact::new();
    artifact.raw("a.bin", 0o644, "a").await;
    artifact.archive(Encoding::Tar, &tar_of(&[("in/b.bin", b"b")])).await;
    let (directory, unpacked) = part(&artifact, &selection(&["*.txt"], &[], &[])).await;
    let error = unpacked.unwrap_err();
    assert!(
        matches!(&error, Error::NothingSelected { rules, has, .. } if rules == &["--include \"*.txt\""] && has.starts_with("a.bin (weight), ") && has.ends_with("in/b.bin")),
        "{error}"
    );
    assert_eq!(listing(directory.path()), [""; 0]);
    let (directory, unpacked) = part(&artifact, &selection(&[], &[], &["*"])).await;
    assert!(matches!(unpacked, Err(Error::NothingSelected { .. })));
    assert!(fs::read_dir(directory.path()).unwrap().next().is_none());
}

#[tokio::test]
async fn a_hostile_path_is_refused_even_if_it_is_not_selected() {
    let mut artifact = Artifact::new();
    artifact.archive(Encoding::Tar, &tar_of(&[("a.txt", b"a"), ("../b.bin", b"b")])).await;
    let (directory, unpacked) = part(&artifact, &selection(&["a.txt"], &[], &[])).await;
    assert!(unpacked.is_err());
    assert_eq!(listing(directory.path()), [""; 0]);
}

/// Names and patterns with few letters, so that they match often.
fn path() -> impl Strategy<Value = String> {
    // The suffix ensures that no file has the name of a directory.
    (collection::vec("[ab.]{0,2}a", 0..3), "[ab.]{0,2}b").prop_map(|(directories, name)| [directories, vec![name]].concat().join("/"))
}

fn pattern() -> impl Strategy<Value = String> {
    prop_oneof![2 => "!?/?[ab.*?]{1,3}(/[ab*?]{1,2}){0,2}/?", 1 => "\\PC{1,6}"]
}

fn contents(directory: &Path) -> BTreeSet<(String, Vec<u8>)> {
    listing(directory).into_iter().map(|name| (name.clone(), fs::read(directory.join(PathBuf::from(name))).unwrap())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_part_and_the_files_left_out_are_complete(
        paths in collection::btree_set(path(), 1..8),
        archived in collection::btree_set(path(), 0..8),
        include in collection::vec(pattern(), 0..3),
        exclude in collection::vec(pattern(), 0..3),
        presets in collection::vec(proptest::sample::select(Preset::ALL.to_vec()), 0..2),
    ) {
        let (Ok(include), Ok(exclude)) = (Patterns::new("i", include), Patterns::new("e", exclude)) else { return Ok(()) };
        let selected = UnpackOptions { selection: Selection::default().include(include).exclude(exclude).presets(presets), ..options() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut artifact = Artifact::new();
            for path in &paths {
                artifact.raw(path, 0o644, path.clone()).await;
            }
            let files: Vec<(String, Vec<u8>)> = archived.iter().map(|path| (format!("t/{path}"), path.clone().into_bytes())).collect();
            let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
            artifact.archive(Encoding::TarZstd, &tar_of(&files)).await;
            let (whole, all) = part(&artifact, &options()).await;
            let all = all.unwrap();
            let (some, unpacked) = part(&artifact, &selected).await;
            let unpacked = match unpacked {
                Ok(unpacked) => unpacked,
                Err(Error::NothingSelected { .. }) => return assert!(listing(some.path()).is_empty()),
                Err(error) => panic!("{error}"),
            };
            let left_out = if unpacked.left_out.archives > 0 { files.len() } else { 0 };
            assert_eq!(unpacked.written.len() + unpacked.left_out.files + left_out, all.written.len());
            assert_eq!(listing(some.path()).len(), unpacked.written.len());
            assert!(contents(some.path()).is_subset(&contents(whole.path())));
        });
    }
}
