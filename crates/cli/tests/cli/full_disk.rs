//! Disks that fill up: nothing half-written stays, and the same command succeeds when there is space again.

use crate::harness::{Registry, cli_with_model, count_files, fails, json, ok};
use modelpack_testkit::{TinyDisk, assert_same_tree};
use std::fs;

/// A disk with room for half a model, until the ballast is removed.
fn nearly_full_disk() -> Option<TinyDisk> {
    let disk = TinyDisk::mount(8 << 20);
    match &disk {
        Some(disk) => fs::write(disk.path().join("ballast"), vec![1; 7 << 20]).unwrap(),
        None => eprintln!("SKIPPED: this process may not mount a disk"),
    }
    disk
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
        assert_eq!(count_files(&store.join("ingest")), 0, "no half-written blob is left");
    }
    fs::remove_file(disk.path().join("ballast")).unwrap();
    for line in &lines {
        ok(&cli, line);
    }
    ok(&cli, &format!("unpack tiny -o out --store {}", store.display()));
    assert_same_tree(&model, &cli.home().join("out"));
}

#[test]
fn a_full_disk_where_files_or_an_archive_should_go() {
    let Some(disk) = nearly_full_disk() else { return };
    let (cli, model) = cli_with_model();
    ok(&cli, "pack model -t tiny");
    let (out, archive) = (disk.path().join("out"), disk.path().join("model.tar"));
    let lines = [format!("unpack tiny -o {}", out.display()), format!("cp tiny oci-archive:{}:v1", archive.display())];
    fails(&cli, &lines[0], 6, &["No space left on device", "hint: free some space"]);
    let left = fs::read_dir(&out).unwrap().filter(|entry| entry.as_ref().unwrap().file_name().as_encoded_bytes()[0] == b'.');
    assert_eq!(left.count(), 0, "no half-written file is left");
    fs::remove_dir_all(&out).unwrap();
    fails(&cli, &lines[1], 6, &["No space left on device"]);
    assert_eq!(count_files(disk.path()), 1, "only the ballast is left");
    fs::remove_file(disk.path().join("ballast")).unwrap();
    for line in &lines {
        ok(&cli, line);
    }
    assert_same_tree(&model, &out);
    ok(&cli, &format!("verify oci-archive:{}", archive.display()));
}
