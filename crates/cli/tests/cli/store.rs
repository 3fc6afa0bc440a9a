//! The local store: listing, tagging, removing, pruning, and several concurrent processes.

use crate::harness::{Registry, cli_with_model, count_files, expect_sound, fails, json, ok, run, store};
use modelpack_testkit::assert_same_tree;
use serde_json::json;
use std::fs;

#[test]
fn packed_artifacts_are_listed_with_their_layouts() {
    let (cli, model) = cli_with_model();
    assert_eq!(json(&cli, "ls"), json!([]));
    let digest = ok(&cli, "pack model -t team/tiny:v1");
    let listed = json(&cli, "ls");
    let artifact = &listed[0];
    assert_eq!((artifact["repository"].as_str(), artifact["tag"].as_str()), (Some("team/tiny"), Some("v1")));
    assert_eq!(artifact["digest"], digest);
    assert!(artifact["size"].as_u64().unwrap() > 1_700_000);
    ok(&cli, &format!("unpack oci:{}:v1 -o out", artifact["layout"].as_str().unwrap()));
    assert_same_tree(&model, &cli.home().join("out"));
    let table = ok(&cli, "ls");
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["REPOSITORY", "TAG", "DIGEST", "CREATED", "SIZE"]);
    assert_eq!(lines[1], ["team/tiny", "v1", &digest[7..19], "-", "1.8", "MB"]);
}

#[test]
fn a_store_of_a_newer_version_is_refused_by_what_reads_and_by_what_writes() {
    let (cli, _model) = cli_with_model();
    ok(&cli, "pack model -t tiny:v1");
    fs::write(store(&cli).join("version"), "2\n").unwrap();
    for command in ["ls", "inspect tiny:v1", "unpack tiny:v1 -o out", "pack model -t tiny:v2", "rm tiny:v1", "prune", "prune --dry-run"] {
        fails(&cli, command, 6, &["cannot open the store", "format version 2", "Use a newer version of modelpack, or another store"]);
    }
}

#[test]
fn tag_adds_a_name_and_rm_removes_names() {
    let (cli, model) = cli_with_model();
    let digest = ok(&cli, "pack model -t tiny:v1");
    assert_eq!(ok(&cli, "tag tiny:v1 other/name:v2"), digest);
    assert_eq!(ok(&cli, "tag tiny:v1 tiny:v3"), digest);
    assert_eq!(ok(&cli, "rm tiny:v1 tiny:v3"), format!("{digest}\n{digest}"));
    fails(&cli, "rm tiny:v1", 3, &["tiny:v1"]);
    assert_eq!(json(&cli, "ls").as_array().unwrap().len(), 1);
    ok(&cli, "prune");
    ok(&cli, "unpack other/name:v2 -o out");
    assert_same_tree(&model, &cli.home().join("out"));
    fails(&cli, "tag other/name:v9 x:v1", 3, &["other/name:v9"]);
}

#[test]
fn prune_removes_unneeded_blobs_and_dry_run_lists_them() {
    let (cli, _) = cli_with_model();
    let digest = ok(&cli, "pack model -t tiny:v1");
    assert_eq!(json(&cli, "prune --dry-run")["blobs"], json!([]));
    ok(&cli, &format!("rm tiny@{digest}"));
    let planned = json(&cli, "prune --dry-run");
    assert!(planned["bytes"].as_u64().unwrap() > 1_700_000);
    assert!(ok(&cli, "prune --dry-run").starts_with("1.8 MB would be freed"));
    let blobs = count_files(&store(&cli).join("blobs"));
    assert_eq!(planned["blobs"].as_array().unwrap().len(), blobs);
    let done = json(&cli, "prune");
    assert_eq!((&done["blobs"], &done["bytes"]), (&planned["blobs"], &planned["bytes"]));
    assert_eq!(count_files(&store(&cli).join("blobs")), 0);
    assert_eq!(ok(&cli, "pack model -t tiny:v1"), digest, "the store works after pruning");
    expect_sound(&cli, "tiny:v1");
}

#[test]
fn the_flag_or_the_environment_sets_the_store() {
    let (cli, _) = cli_with_model();
    ok(&cli, "pack model -t flag --store here");
    assert!(cli.home().join("here/blobs").is_dir());
    let output = cli.command().args(["pack", "model", "-t", "env"]).env("MODELPACK_STORE", "there").output().unwrap();
    assert!(output.status.success());
    assert!(cli.home().join("there/blobs").is_dir());
    assert!(!store(&cli).exists());
}

#[test]
fn several_processes_can_use_one_store_concurrently() {
    let (cli, model) = cli_with_model();
    let registry = Registry::start();
    let reference = registry.reference("tiny:v1");
    ok(&cli, &format!("push model {reference}"));
    fs::write(model.join("another.bin"), vec![1; 1 << 20]).unwrap();
    let pull = format!("pull {reference}");
    let lines = ["pack model -t one", &pull, "pack model -t two", &pull, "prune", "ls", "pack model -t two", "prune"];
    let running: Vec<_> = lines.iter().map(|line| cli.start(line.split_whitespace())).collect();
    for (line, running) in lines.iter().zip(running) {
        let output = running.wait();
        assert_eq!(output.code, 0, "{line}: {}", output.stderr);
    }
    for reference in ["one", "two", &reference] {
        expect_sound(&cli, reference);
    }
    assert_eq!(run(&cli, "ls --json").expect_code(0).stderr, "");
}
