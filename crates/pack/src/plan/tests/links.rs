//! Links inside a directory, out of it, and to it.

use super::*;
use std::os::unix::fs::symlink;

#[test]
fn a_link_within_the_directory_is_followed() {
    let directory = tree(&["real/model.bin", ".store/tokenizer.json"]);
    let at = |path: &str| directory.path().join(path);
    symlink("real/model.bin", at("first.gguf")).unwrap();
    symlink(at("first.gguf"), at("second.gguf")).unwrap();
    symlink("../.store/tokenizer.json", at("real/tokenizer.json")).unwrap();
    symlink("real", at("latest")).unwrap();
    let plan = plan(directory.path(), None, &FileFilter::default()).unwrap();
    assert_eq!(
        paths(&plan),
        ["latest/tokenizer.json", "real/tokenizer.json", "first.gguf", "second.gguf", "latest/model.bin", "real/model.bin"]
    );
    let root = directory.path().canonicalize().unwrap();
    assert_eq!(source(&plan.files[0]), root.join(".store/tokenizer.json"));
    for file in &plan.files[2..] {
        assert_eq!((source(file), file.size), (root.join("real/model.bin"), 14));
    }
}

#[test]
fn the_directory_itself_may_be_a_link() {
    let directory = tree(&["real/a.txt"]);
    let link = directory.path().join("link");
    symlink("real", &link).unwrap();
    assert_eq!(planned(&link), ["a.txt"]);
}

#[test]
fn a_link_out_of_the_directory_is_refused() {
    let directory = tree(&["model/a.txt", "other/secret", "model2/x"]);
    let model = directory.path().join("model");
    let link = model.join("link");
    // The last target shares a prefix with the directory, but is a different one.
    for target in ["../other/secret", "../other", "/etc/passwd", "/dev/null", "../model2", "../model2/x"] {
        symlink(target, &link).unwrap();
        let error = refused(&model);
        let leads_to = model.join(target).canonicalize().unwrap();
        let Error::LinkOutside { link: named, target: found, .. } = &error else { panic!("{target}: {error:?}") };
        assert_eq!((named, found), (&link, &leads_to));
        fs::remove_file(&link).unwrap();
    }
    symlink("../model/../model/a.txt", &link).unwrap();
    assert_eq!(planned(&model), ["link", "a.txt"]);
}

#[test]
fn an_excluded_link_is_not_checked() {
    let directory = tree(&["a.txt"]);
    symlink("/etc/passwd", directory.path().join(".passwd")).unwrap();
    symlink("nowhere", directory.path().join("x.pyc")).unwrap();
    assert_eq!(planned(directory.path()), ["a.txt"]);
}

#[test]
fn a_dangling_link_is_refused() {
    let directory = tree(&["a.txt"]);
    let link = directory.path().join("link");
    symlink("nowhere/at all", &link).unwrap();
    let error = refused(directory.path());
    assert!(matches!(&error, Error::LinkDangling { link: l, target } if *l == link && target == Path::new("nowhere/at all")), "{error:?}");
    fs::remove_file(&link).unwrap();
    symlink("link", &link).unwrap();
    let error = refused(directory.path()).to_string();
    assert!(error.starts_with(&format!("cannot follow the link {}: ", link.display())), "{error}");
}

#[test]
fn a_link_to_a_directory_that_contains_it_is_refused() {
    for target in [".", "..", "../sub"] {
        let directory = tree(&["sub/a.txt"]);
        let link = directory.path().join("sub/link");
        symlink(target, &link).unwrap();
        let error = refused(directory.path());
        assert!(matches!(&error, Error::LinkCycle { link: l, .. } if *l == link), "{target}: {error:?}");
    }
    let directory = tree(&["a/x.txt", "b/x.txt"]);
    symlink("../b", directory.path().join("a/to-b")).unwrap();
    symlink("../a", directory.path().join("b/to-a")).unwrap();
    assert!(matches!(refused(directory.path()), Error::LinkCycle { .. }));
}

/// Creates a Hugging Face cache with these files in a snapshot, and returns the snapshot.
fn cache(root: &Path, repository: &str, files: &[&str]) -> PathBuf {
    let snapshot = root.join(repository).join("snapshots/0123abcd");
    for file in files {
        let blob = format!("{repository}/blobs/{}", file.replace('/', "-"));
        write(root, &blob);
        let link = snapshot.join(file);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        let up = "../".repeat(file.split('/').count() + 1);
        symlink(format!("{up}blobs/{}", file.replace('/', "-")), link).unwrap();
    }
    snapshot
}

#[test]
fn a_snapshot_of_a_hugging_face_cache_is_planned() {
    let directory = tempfile::tempdir().unwrap();
    for repository in ["models--org--tiny", "datasets--org--tiny"] {
        let snapshot = cache(directory.path(), repository, &["config.json", "model.safetensors", "onnx/model.onnx"]);
        let plan = plan(&snapshot, None, &FileFilter::default()).unwrap();
        assert_eq!(paths(&plan), ["config.json", "model.safetensors", "onnx/model.onnx"]);
        let blobs = directory.path().canonicalize().unwrap().join(repository).join("blobs");
        assert_eq!(source(&plan.files[2]), blobs.join("onnx-model.onnx"));
        assert_eq!(planned(&snapshot.join("onnx")), ["model.onnx"]);
    }
}

#[test]
fn links_of_a_snapshot_must_stay_in_its_own_blobs() {
    let directory = tempfile::tempdir().unwrap();
    let other = cache(directory.path(), "models--org--other", &["config.json"]);
    let snapshot = cache(directory.path(), "models--org--tiny", &["config.json"]);
    write(directory.path(), "models--org--tiny/blobs/nested/x");
    write(directory.path(), "models--org--tiny/refs/main");
    let link = snapshot.join("link");
    for target in [other.join("config.json"), "../../refs/main".into(), "../../blobs/nested/x".into(), "../../blobs".into()] {
        symlink(&target, &link).unwrap();
        assert!(matches!(refused(&snapshot), Error::LinkOutside { .. }), "{}", target.display());
        fs::remove_file(&link).unwrap();
    }
    // The same tree under another name is not a cache.
    let plain = cache(directory.path(), "org--tiny", &["config.json"]);
    assert!(matches!(refused(&plain), Error::LinkOutside { .. }));
}

/// Hashes of two shared files.
const HASHES: [&str; 2] = [
    "ab00000000000000000000000000000000000000000000000000000000000001",
    "cd00000000000000000000000000000000000000000000000000000000000002",
];

/// The cache above, with a `model.safetensors` that all repositories share.
fn sharing_cache(root: &Path) -> PathBuf {
    let snapshot = cache(root, "models--org--tiny", &["config.json", "model.safetensors"]);
    write(root, format!("blobs/ab/{}", HASHES[0]));
    fs::write(root.join("blobs/.huggingface-shared-blobs"), "1\n").unwrap();
    let own = root.join("models--org--tiny/blobs/model.safetensors");
    fs::remove_file(&own).unwrap();
    symlink(format!("../../blobs/ab/{}", HASHES[0]), own).unwrap();
    snapshot
}

#[test]
fn shared_files_of_a_cache_are_planned() {
    let directory = tempfile::tempdir().unwrap();
    let snapshot = sharing_cache(directory.path());
    symlink("model.safetensors", snapshot.join("same.safetensors")).unwrap();
    let plan = plan(&snapshot, None, &FileFilter::default()).unwrap();
    assert_eq!(paths(&plan), ["config.json", "model.safetensors", "same.safetensors"]);
    let shared = directory.path().canonicalize().unwrap().join("blobs/ab").join(HASHES[0]);
    for file in &plan.files[1..] {
        assert_eq!(source(file), shared);
        assert_eq!(file.content.open_here(&file.path).unwrap().unwrap().here().unwrap().file.metadata().unwrap().len(), file.size);
    }
    // A replacement of the file since then is not opened, whether it is a link or another file.
    fs::rename(&shared, shared.with_extension("old")).unwrap();
    symlink(shared.with_extension("old"), &shared).unwrap();
    assert!(plan.files[1].content.open_here(&plan.files[1].path).unwrap().is_err());
}

#[test]
fn a_snapshot_reaches_shared_files_only_through_its_own_blobs() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let snapshot = sharing_cache(root);
    let own = root.join("models--org--tiny/blobs/link");
    symlink("../../blobs/link", snapshot.join("link")).unwrap();
    write(root, format!("blobs/cd/{}", HASHES[1]));
    write(root, format!("blobs/ab/{}", HASHES[1]));
    write(root, format!("blobs/cd/nested/{}", HASHES[1]));
    write(root, "blobs/cd/short");
    write(root, "elsewhere/secret");
    fs::create_dir(root.join("blobs/ef")).unwrap();
    let linked = format!("blobs/ef/ef{}", &HASHES[0][2..]);
    symlink("../../elsewhere/secret", root.join(&linked)).unwrap();
    symlink("../elsewhere", root.join("blobs/01")).unwrap();
    let hash_elsewhere = format!("01{}", &HASHES[0][2..]);
    write(root, format!("elsewhere/{hash_elsewhere}"));
    for target in [
        format!("blobs/ab/{}", HASHES[1]),
        format!("blobs/cd/nested/{}", HASHES[1]),
        "blobs/cd/short".to_owned(),
        "blobs/cd".to_owned(),
        "blobs/.huggingface-shared-blobs".to_owned(),
        "elsewhere/secret".to_owned(),
        linked,
        format!("blobs/01/{hash_elsewhere}"),
    ] {
        symlink(root.join(&target), &own).unwrap();
        assert!(matches!(refused(&snapshot), Error::LinkOutside { .. }), "{target}");
        fs::remove_file(&own).unwrap();
    }
    symlink(root.join(format!("blobs/cd/{}", HASHES[1])), &own).unwrap();
    assert_eq!(planned(&snapshot), ["config.json", "model.safetensors", "link"]);
    // A direct link to a shared file, which may belong to another repository.
    let link = snapshot.join("straight");
    symlink(format!("../../../blobs/cd/{}", HASHES[1]), &link).unwrap();
    assert!(matches!(refused(&snapshot), Error::LinkOutside { .. }));
    fs::remove_file(&link).unwrap();
    // A directory without the mark for shared files.
    for marker in ["2\n", "", "1\n\n"] {
        fs::write(root.join("blobs/.huggingface-shared-blobs"), marker).unwrap();
        assert!(matches!(refused(&snapshot), Error::LinkOutside { .. }), "{marker:?}");
    }
    fs::remove_file(root.join("blobs/.huggingface-shared-blobs")).unwrap();
    assert!(matches!(refused(&snapshot), Error::LinkOutside { .. }));
}
