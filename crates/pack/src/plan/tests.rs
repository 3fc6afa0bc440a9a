//! Plans of real directories.

mod filter;
mod links;
mod modelfile;

use super::*;
use LayerKind::{Code, Dataset, Doc, Weight, WeightConfig};
use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::PathBuf};
use tempfile::TempDir;

/// A directory with these files. Each file contains its own path.
fn tree(files: &[&str]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for file in files {
        write(directory.path(), file);
    }
    directory
}

fn write(directory: &Path, file: impl AsRef<Path>) {
    let path = directory.join(&file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, file.as_ref().as_os_str().as_bytes()).unwrap();
}

fn paths(plan: &Plan) -> Vec<&str> {
    plan.files.iter().map(|f| f.path.as_str()).collect()
}

fn planned(directory: &Path) -> Vec<String> {
    let plan = plan(directory, None, &FileFilter::default()).unwrap_or_else(|e| panic!("{e}"));
    paths(&plan).into_iter().map(str::to_owned).collect()
}

/// The real location of the file.
fn source(file: &PlannedFile) -> PathBuf {
    file.content.open_here(&file.path).unwrap().unwrap().here().unwrap().path.clone()
}

fn refused(directory: &Path) -> Error {
    plan(directory, None, &FileFilter::default()).unwrap_err()
}

#[test]
fn every_file_is_planned_by_kind_with_top_level_files_first() {
    let directory = tree(&[
        "README.md",
        "src/run.py",
        "model-00002-of-00002.safetensors",
        "model-00001-of-00002.safetensors",
        "a-b",
        "a/b",
        "config.json",
        "1_Pooling/config.json",
        "empty/nested/LICENSE",
    ]);
    let plan = plan(directory.path(), None, &FileFilter::default()).unwrap();
    let root = directory.path().canonicalize().unwrap();
    let expected = [
        ("config.json", WeightConfig),
        ("1_Pooling/config.json", WeightConfig),
        ("model-00001-of-00002.safetensors", Weight),
        ("model-00002-of-00002.safetensors", Weight),
        ("a-b", Code),
        ("a/b", Code),
        ("src/run.py", Code),
        ("README.md", Doc),
        ("empty/nested/LICENSE", Doc),
    ];
    let found = plan.files.iter().map(|f| (f.path.as_str(), source(f), f.kind, f.inferred, f.size, f.executable));
    let expected = expected.map(|(path, kind)| (path, root.join(path), kind, true, path.len() as u64, false));
    assert_eq!(found.collect::<Vec<_>>(), expected);
}

#[test]
fn files_that_are_not_part_of_a_model_are_left_out() {
    let directory = tree(&[
        "model.bin",
        "Modelfile",
        "sub/Modelfile",
        ".env",
        ".git/config",
        ".cache/huggingface/download/model.bin.lock",
        "sub/.ipynb_checkpoints/x.ipynb",
        "sub/__pycache__/x.cpython-312.pyc",
        "x.pyc",
        "x.PYO",
        "CVS/Root",
        "lost+found/x",
        "Thumbs.db",
        "model2.bin.incomplete",
        "poetry.lock",
    ]);
    assert_eq!(planned(directory.path()), ["model.bin", "poetry.lock", "sub/Modelfile"]);
}

#[test]
fn unusual_names_are_planned() {
    let long = "ü".repeat(127);
    let names = ["a b.txt", "b[0-9]*?.txt", "c\"'`$.txt", "d\n.txt", "e{x,y}.txt", "日本語/模型.txt", &long];
    let directory = tree(&names);
    let mut planned = planned(directory.path());
    planned.sort();
    let mut names = names.map(str::to_owned);
    names.sort();
    assert_eq!(planned, names);
}

#[test]
fn a_deep_tree_is_planned() {
    let deep = format!("{}x.txt", "d/".repeat(200));
    let directory = tree(&[&deep]);
    assert_eq!(planned(directory.path()), [deep]);
}

#[test]
fn too_deep_directories_are_refused() {
    let directory = tree(&["a"]);
    let name = "d".repeat(200);
    let mut at = fs::File::open(directory.path()).unwrap();
    for _ in 0..30 {
        rustix::fs::mkdirat(&at, &name, 0o755.into()).unwrap();
        at = rustix::fs::openat(&at, &name, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap().into();
    }
    let error = refused(directory.path()).to_string();
    assert!(error.starts_with("cannot list ") && error.contains("name too long"), "{error}");
}

#[test]
fn location_and_times_of_files_do_not_matter() {
    let files = ["b.bin", "a.bin", "c/d.json", "run.sh"];
    let one = tree(&files);
    let elsewhere = tempfile::tempdir().unwrap();
    let other = elsewhere.path().join("a name with spaces");
    for file in files.iter().rev() {
        write(&other, file);
    }
    let set_mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    set_mode(&one.path().join("run.sh"), 0o755);
    set_mode(&other.join("run.sh"), 0o700);
    set_mode(&other.join("a.bin"), 0o611);
    fs::File::open(other.join("a.bin")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();

    let without_source = |directory: &Path| -> Vec<_> {
        let files = plan(directory, None, &FileFilter::default()).unwrap().files;
        files.into_iter().map(|f| (f.path, f.kind, f.inferred, f.size, f.executable)).collect()
    };
    let plan = without_source(one.path());
    assert_eq!(plan, without_source(&other));
    assert_eq!(plan.iter().filter(|f| f.4).map(|f| f.0.as_str()).collect::<Vec<_>>(), ["run.sh"]);
}

#[test]
fn the_directory_must_exist_and_be_a_directory() {
    let directory = tree(&["file"]);
    let missing = refused(&directory.path().join("missing"));
    assert!(matches!(&missing, Error::Store(e) if e.is_not_found()), "{missing:?}");
    assert!(missing.to_string().contains("missing"));
    assert!(matches!(refused(&directory.path().join("file")), Error::NotADirectory { path } if path.ends_with("file")));
}

#[test]
fn a_directory_without_files_to_pack_is_refused() {
    let directory = tree(&[".hidden", "Modelfile", "__pycache__/x"]);
    fs::create_dir_all(directory.path().join("a/b")).unwrap();
    assert!(matches!(refused(directory.path()), Error::Empty { files, .. } if files == directory.path().to_str().unwrap()));
}

#[test]
fn paths_that_clash_are_refused() {
    let directory = tree(&["Readme.md", "README.md"]);
    assert!(matches!(refused(directory.path()), Error::InvalidPath { .. }));
    let directory = tree(&["a\\b"]);
    assert!(refused(directory.path()).to_string().contains("backslash"));
}

#[test]
fn names_that_are_not_utf8_are_refused() {
    let directory = tree(&["a"]);
    write(directory.path(), Path::new(OsStr::from_bytes(b"sub/b\xff")));
    assert!(matches!(refused(directory.path()), Error::NotUtf8 { path } if path.as_os_str().as_bytes().ends_with(b"sub/b\xff")));
    // Files that are left out are not checked.
    let directory = tree(&["a"]);
    write(directory.path(), Path::new(OsStr::from_bytes(b".b\xff")));
    assert_eq!(planned(directory.path()), ["a"]);
}

#[test]
fn special_files_are_refused() {
    let directory = tree(&["a"]);
    let pipe = directory.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(matches!(refused(directory.path()), Error::NotAFile { path, kind: "named pipe" } if path == pipe));
    fs::remove_file(pipe).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(directory.path().join("socket")).unwrap();
    assert!(matches!(refused(directory.path()), Error::NotAFile { kind: "socket", .. }));
    fs::rename(directory.path().join("socket"), directory.path().join(".socket")).unwrap();
    assert_eq!(planned(directory.path()), ["a"]);
}

/// Runs `test` on a thread that can read only what the permission bits allow, even as root.
fn without_privileges(test: impl FnOnce() + Send) {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    std::thread::scope(|scope| {
        let test = scope.spawn(|| {
            let mut sets = capabilities(None).unwrap();
            sets.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
            set_capabilities(None, sets).unwrap();
            test();
        });
        test.join().unwrap();
    });
}

#[test]
fn unreadable_files_and_directories_are_reported() {
    let directory = tree(&["a", "sub/secret.bin"]);
    let (sub, secret) = (directory.path().join("sub"), directory.path().join("sub/secret.bin"));
    let set_mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    set_mode(&secret, 0o000);
    without_privileges(|| {
        let error = refused(directory.path()).to_string();
        assert!(error.starts_with(&format!("cannot read {}: Permission denied", secret.display())), "{error}");
        set_mode(&secret, 0o400);
        set_mode(&sub, 0o000);
        let error = refused(directory.path()).to_string();
        assert!(error.starts_with(&format!("cannot list {}: Permission denied", sub.display())), "{error}");
        set_mode(&sub, 0o600);
        let error = refused(directory.path()).to_string();
        assert!(error.starts_with(&format!("cannot look at {}: Permission denied", secret.display())), "{error}");
        set_mode(&sub, 0o700);
        assert_eq!(planned(directory.path()), ["a", "sub/secret.bin"].map(str::to_owned).into_iter().rev().collect::<Vec<_>>());
    });
}
