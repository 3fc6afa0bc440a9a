//! Revision and source URL of a directory that is a git work tree.

use crate::{FileFilter, plan};
use modelpack_describe::infer;
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba98";

fn write(root: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// Revision and source URL of the model in `directory`.
fn told(directory: &Path) -> (Option<String>, Option<String>) {
    write(directory, &[("a.bin", "x")]);
    let inferred = infer(&plan(directory, None, &FileFilter::default()).unwrap().model());
    (inferred.descriptor.revision, inferred.descriptor.source_url)
}

fn of(files: &[(&str, &str)]) -> (Option<String>, Option<String>) {
    let directory = TempDir::new().unwrap();
    write(directory.path(), files);
    told(directory.path())
}

fn revision(files: &[(&str, &str)]) -> Option<String> {
    of(files).0
}

#[test]
fn the_checked_out_commit_and_the_cloned_url_are_found() {
    let config =
        "[core]\n\tbare = false\n[remote \"origin\"]\n\turl = https://me:secret@huggingface.co/org/model\n\tfetch = +refs/heads/*\n";
    let (revision, source) =
        of(&[(".git/HEAD", "ref: refs/heads/main\n"), (".git/refs/heads/main", &format!("{COMMIT}\n")), (".git/config", config)]);
    assert_eq!(revision.as_deref(), Some(COMMIT));
    assert_eq!(source.as_deref(), Some("https://huggingface.co/org/model"));
}

#[test]
fn a_detached_commit_and_a_packed_branch_are_found() {
    assert_eq!(revision(&[(".git/HEAD", COMMIT)]).as_deref(), Some(COMMIT));
    let packed = format!("# pack-refs with: peeled\n{OTHER} refs/heads/mai\n{COMMIT} refs/heads/main\n^{OTHER}\n");
    assert_eq!(revision(&[(".git/HEAD", "ref: refs/heads/main"), (".git/packed-refs", &packed)]).as_deref(), Some(COMMIT));
}

#[test]
fn only_the_directorys_own_repository_counts() {
    let parent = TempDir::new().unwrap();
    write(parent.path(), &[(".git/HEAD", COMMIT), ("model/a.bin", "x")]);
    assert_eq!(told(&parent.path().join("model")), (None, None));
}

#[test]
fn a_linked_work_tree_has_its_own_commit_and_shares_other_files() {
    let root = TempDir::new().unwrap();
    let tree = root.path().join("tree");
    write(
        root.path(),
        &[
            ("main/.git/HEAD", OTHER),
            ("main/.git/config", "[remote \"origin\"]\nurl = git@github.com:org/model.git\n"),
            ("main/.git/refs/heads/side", COMMIT),
            ("main/.git/worktrees/tree/HEAD", "ref: refs/heads/side"),
            ("main/.git/worktrees/tree/commondir", "../.."),
            ("main/.git/worktrees/tree/gitdir", tree.join(".git").to_str().unwrap()),
            ("tree/.git", "gitdir: ../main/.git/worktrees/tree"),
            ("stranger/.git", "gitdir: ../main/.git/worktrees/tree"),
            ("robber/.git", "gitdir: ../main/.git"),
        ],
    );
    assert_eq!(told(&tree), (Some(COMMIT.to_owned()), Some("https://github.com/org/model".to_owned())));
    for other in ["stranger", "robber"] {
        assert_eq!(told(&root.path().join(other)), (None, None), "{other} is not the work tree that the repository lists");
    }
}

#[test]
fn a_submodule_must_be_listed_by_its_repository() {
    let root = TempDir::new().unwrap();
    write(
        root.path(),
        &[
            (".git/modules/model/HEAD", COMMIT),
            (".git/modules/model/config", "[core]\nworktree = ../../../model\n"),
            ("model/.git", "gitdir: ../.git/modules/model"),
        ],
    );
    assert_eq!(told(&root.path().join("model")).0.as_deref(), Some(COMMIT));
}

#[test]
fn broken_and_hostile_repositories_give_nothing() {
    let outside: PathBuf = TempDir::new().unwrap().keep();
    write(&outside, &[("HEAD", COMMIT), ("ref", COMMIT)]);
    let away = format!("ref: refs/../../../..{}/ref", outside.display());
    for files in [
        &[(".git/HEAD", "")][..],
        &[(".git/HEAD", "0123")],
        &[(".git/HEAD", &COMMIT.to_uppercase())],
        &[(".git/HEAD", "ref: refs/heads/main")],
        &[(".git/HEAD", "ref: refs/heads/main"), (".git/refs/heads/main", "ref: refs/heads/main")],
        &[(".git/HEAD", &away)],
        &[(".git/HEAD", &"x".repeat(1 << 20))],
        &[(".git", &format!("gitdir: {}", outside.display()))],
        &[(".git", "")],
    ] {
        assert_eq!(of(files), (None, None), "{files:?}");
    }
    let directory = TempDir::new().unwrap();
    std::os::unix::fs::symlink(&outside, directory.path().join(".git")).unwrap();
    assert_eq!(told(directory.path()), (None, None), "a link");
    let directory = TempDir::new().unwrap();
    write(directory.path(), &[(".git/config", "")]);
    let pipe = directory.path().join(".git/HEAD");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
    assert_eq!(told(directory.path()), (None, None), "a pipe without a writer");
    fs::remove_dir_all(outside).unwrap();
}

#[test]
fn a_link_in_the_repository_is_not_followed() {
    let outside = TempDir::new().unwrap();
    let config = "[remote \"origin\"]\nurl = https://github.com/secret/repo\n";
    write(
        outside.path(),
        &[("HEAD", COMMIT), ("config", config), ("refs/heads/main", COMMIT), ("packed-refs", &format!("{COMMIT} refs/heads/side\n"))],
    );
    for (head, link) in
        [(None, "HEAD"), (Some("ref: refs/heads/main"), "refs"), (Some("ref: refs/heads/side"), "packed-refs"), (None, "config")]
    {
        let directory = TempDir::new().unwrap();
        write(directory.path(), &[(".git/HEAD", head.unwrap_or("ref: refs/heads/none"))]);
        let at = directory.path().join(".git").join(link);
        let _ = fs::remove_file(&at);
        std::os::unix::fs::symlink(outside.path().join(link), at).unwrap();
        assert_eq!(told(directory.path()), (None, None), "{link}");
    }
}

#[test]
fn a_directory_cannot_borrow_the_history_of_a_repository_that_does_not_list_it() {
    let root = TempDir::new().unwrap();
    let tree = root.path().join("tree");
    let config = "[remote \"origin\"]\nurl = https://github.com/secret/repo\n";
    write(
        root.path(),
        &[
            ("victim/.git/HEAD", "ref: refs/heads/main"),
            ("victim/.git/refs/heads/main", COMMIT),
            ("victim/.git/config", config),
            ("victim/.git/worktrees/own/HEAD", COMMIT),
            ("tree/own/HEAD", "ref: refs/heads/main"),
            ("tree/own/commondir", "../../victim/.git"),
            ("tree/own/gitdir", tree.join(".git").to_str().unwrap()),
            ("tree/.git", "gitdir: own"),
        ],
    );
    assert_eq!(told(&tree), (None, None));
}
