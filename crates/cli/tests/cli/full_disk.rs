//! Full disks: no incomplete files stay, and the same command succeeds when there is space again.

use crate::harness::{Registry, cli_with_model, count_files, fails, json, ok, store, wait_until};
use modelpack_testkit::{Signal, TinyDisk, assert_same_tree};
use std::{fs, path::Path};

/// A disk with room for some models.
fn empty_disk() -> Option<TinyDisk> {
    let disk = TinyDisk::mount(8 << 20);
    if disk.is_none() {
        eprintln!("SKIPPED: this process cannot mount a file system");
    }
    disk
}

/// A disk with room for half a model until the ballast is removed.
fn nearly_full_disk() -> Option<TinyDisk> {
    let disk = empty_disk()?;
    fs::write(disk.path().join("ballast"), vec![1; 7 << 20]).unwrap();
    Some(disk)
}

#[test]
fn a_full_disk_under_the_store() {
    let Some(disk) = nearly_full_disk() else { return };
    let (cli, model) = cli_with_model();
    let registry = Registry::start();
    let reference = registry.reference("tiny:v1");
    ok(&cli, &format!("push model {reference}"));
    let store = disk.path().join("store");
    let lines = [format!("pack model -t tiny --store {}", store.display()), format!("pull {reference} --store {}", store.display())];
    for line in &lines {
        fails(&cli, line, 6, &["No space left on device", &store.display().to_string(), "hint: free some space"]);
        assert_eq!(json(&cli, &format!("ls --store {}", store.display())), serde_json::json!([]));
        assert_eq!(count_files(&store.join("ingest")), 0, "no incomplete blob remains");
    }
    fs::remove_file(disk.path().join("ballast")).unwrap();
    for line in &lines {
        ok(&cli, line);
    }
    ok(&cli, &format!("unpack tiny -o out --store {}", store.display()));
    assert_same_tree(&model, &cli.home().join("out"));
}

#[test]
fn a_full_disk_under_the_target_of_files_or_an_archive() {
    let Some(disk) = nearly_full_disk() else { return };
    let (cli, model) = cli_with_model();
    ok(&cli, "pack model -t tiny");
    let (out, archive) = (disk.path().join("out"), disk.path().join("model.tar"));
    let lines = [format!("unpack tiny -o {}", out.display()), format!("cp tiny oci-archive:{}:v1", archive.display())];
    fails(&cli, &lines[0], 6, &["No space left on device", "hint: free some space"]);
    let left = fs::read_dir(&out).unwrap().filter(|entry| entry.as_ref().unwrap().file_name().as_encoded_bytes()[0] == b'.');
    assert_eq!(left.count(), 0, "no incomplete file remains");
    fs::remove_dir_all(&out).unwrap();
    fails(&cli, &lines[1], 6, &["No space left on device"]);
    assert_eq!(count_files(disk.path()), 1, "only the ballast remains");
    fs::remove_file(disk.path().join("ballast")).unwrap();
    for line in &lines {
        ok(&cli, line);
    }
    assert_same_tree(&model, &out);
    ok(&cli, &format!("verify oci-archive:{}", archive.display()));
}

/// Runs command lines that delete, on a completely full disk. All of them must succeed.
#[test]
fn names_can_be_removed_from_a_full_disk() {
    let Some(disk) = empty_disk() else { return };
    let (cli, _) = cli_with_model();
    let store = format!("--store {}", disk.path().join("store").display());
    // With this many tags, the index does not fit into one block.
    let tags = 40;
    let digest = ok(&cli, &format!("pack model -t tiny:v0 {store}"));
    (1..tags).for_each(|n| drop(ok(&cli, &format!("tag tiny:v0 tiny:v{n} {store}"))));
    ok(&cli, &format!("pack model -t other:v1 --exclude *.md {store}"));
    disk.fill();
    fails(&cli, &format!("tag tiny:v0 tiny:new {store}"), 6, &["No space left on device"]);
    for n in 0..tags - 1 {
        ok(&cli, &format!("rm tiny:v{n} {store}"));
    }
    let listed = json(&cli, &format!("ls {store}"));
    let tags: Vec<_> = listed.as_array().unwrap().iter().map(|artifact| artifact["tag"].as_str().unwrap()).collect();
    assert_eq!(tags, ["v1", "v39"]);
    // The reserved blocks are used for deletes only.
    disk.fill();
    ok(&cli, &format!("rm tiny@{digest} {store}"));
    assert_eq!(json(&cli, &format!("ls {store}")).as_array().unwrap().len(), 1);
    disk.fill();
    let freed = json(&cli, &format!("prune {store}"));
    assert!(freed["bytes"].as_u64().unwrap() > 0);
    assert_eq!(freed["repositories"], serde_json::json!(["tiny"]));
    ok(&cli, &format!("verify other:v1 {store}"));
    fs::remove_file(disk.path().join("ballast")).unwrap();
    ok(&cli, &format!("pack model -t tiny {store}"));
    ok(&cli, &format!("verify tiny {store}"));
}

#[test]
fn a_registry_can_delete_on_a_full_disk() {
    let Some(disk) = empty_disk() else { return };
    let (cli, _) = cli_with_model();
    let root = disk.path().join("registry");
    let registry = Registry::start_in(&root);
    let push = |name: &str, flags: &str| ok(&cli, &format!("push model {} {flags}", registry.reference(name)));
    let digest = push("a/b:v1", "");
    ["a/b:v2", "a/b:v3", "c:v1"].iter().for_each(|name| drop(push(name, "")));
    let other = push("a/b:v4", "--exclude *.md");
    disk.fill();
    assert_eq!(registry.request("POST", "a/b/blobs/uploads/?digest=sha256:00"), 400);
    let layer = json(&cli, &format!("inspect {}", registry.reference("c:v1")))["layers"][0]["digest"].as_str().unwrap().to_owned();
    for path in [
        "a/b/manifests/v1".to_owned(),
        "a/b/manifests/v2".to_owned(),
        format!("a/b/manifests/{other}"),
        format!("a/b/manifests/{digest}"),
        format!("c/blobs/{layer}"),
        "c/manifests/v1".to_owned(),
        format!("c/manifests/{digest}"),
    ] {
        assert_eq!(registry.request("DELETE", &path), 202, "{path}");
        assert_eq!(registry.request("DELETE", &path), 404, "{path}");
        disk.fill();
    }
    let output = registry.end(Signal::TERM);
    assert_eq!(output.code, 0, "{}", output.stderr);
    // As if some minutes had passed since the pushes.
    for repository in ["a/b", "c"] {
        let lease = fs::File::options().write(true).open(root.join("repositories").join(repository).join("_lease")).unwrap();
        lease.set_modified(std::time::SystemTime::now()).unwrap();
    }
    let freed = json(&cli, &format!("prune --store {}", root.display()));
    assert!(freed["bytes"].as_u64().unwrap() > 1_000_000, "{freed}");
    assert_eq!(freed["broken"], serde_json::json!([]));
}

#[test]
fn files_of_killed_writers_are_removed_by_the_next_write_to_the_store() {
    let (cli, _) = cli_with_model();
    let abandon = |directory: &Path| {
        fs::create_dir_all(directory).unwrap();
        fs::write(directory.join(".ingest-0123456789abcdef"), "half a blob").unwrap();
        directory.join(".ingest-0123456789abcdef")
    };
    ok(&cli, "pack model -t tiny");
    let home = cli.home();
    for (line, directory) in [
        ("tag tiny tiny:v2", store(&cli).join("ingest")),
        ("rm tiny:v2", store(&cli).join("ingest")),
        ("cp tiny oci:layout", home.join("layout")),
    ] {
        let left = abandon(&directory);
        ok(&cli, line);
        assert!(!left.exists(), "{line}");
    }
    let root = home.join("registry");
    let left = abandon(&root.join("ingest"));
    let _registry = Registry::start_in(&root);
    wait_until("the registry has removed it", || !left.exists());
}
