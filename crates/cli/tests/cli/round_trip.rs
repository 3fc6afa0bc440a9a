//! A model is byte for byte the same after it was copied through every place.

use crate::harness::{Registry, cli_with_model, count_files, fails, json, ok, store};
use modelpack_testkit::{Cli, assert_same_tree, write_odd_names};
use std::{fs, path::Path};

/// Packs `model` with `pack`, copies it through every place, and unpacks it from each.
fn send_through_every_place(cli: &Cli, model: &Path, pack: &str) {
    let registry = Registry::start();
    let (one, two) = (registry.reference("team/one:v1"), registry.reference("team/two:v2"));
    let digest = ok(cli, &format!("{pack} -t {one}"));
    let hops = [
        format!("push {one}"),
        format!("pull docker://{one} --store other"),
        format!("cp store:{one} oci:layout:v1 --store other"),
        "cp oci:layout:v1 oci-archive:model.tar".to_owned(),
        format!("cp oci-archive:model.tar {two}"),
        format!("cp {two} store:again:v3"),
        format!("cp {two} docker://{}", registry.reference("team/three")),
        format!(
            "push {model} {}",
            registry.reference("team/four:v1"),
            model = pack.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
        ),
    ];
    for hop in hops {
        assert_eq!(ok(cli, &hop), digest, "{hop}");
    }
    let places = [
        one.clone(),
        format!("store:{one}"),
        format!("docker://{two}@{digest}"),
        "again:v3".to_owned(),
        format!("again@{digest}"),
        "oci:layout".to_owned(),
        "oci-archive:model.tar:v1".to_owned(),
        registry.reference("team/three"),
        registry.reference("team/four:v1"),
    ];
    for (number, place) in places.iter().enumerate() {
        assert_eq!(ok(cli, &format!("unpack {place} -o out{number}")), digest, "{place}");
        assert_same_tree(model, &cli.home().join(format!("out{number}")));
        assert_eq!(ok(cli, &format!("verify {place}")), digest, "{place}");
    }
}

#[test]
fn a_model_is_the_same_after_every_place() {
    let (cli, model) = cli_with_model();
    send_through_every_place(&cli, &model, "pack model");
}

#[test]
fn unusual_names_are_the_same_after_every_place() {
    let (cli, _) = cli_with_model();
    let odd = cli.home().join("odd");
    write_odd_names(&odd);
    fs::write(cli.home().join("all"), "MODEL **/*\n").unwrap();
    send_through_every_place(&cli, &odd, "pack odd -f all");
}

#[test]
fn a_direct_push_and_pull_keep_no_copy() {
    let (cli, model) = cli_with_model();
    let registry = Registry::start();
    let reference = registry.reference("tiny:v1");
    let digest = ok(&cli, &format!("push model {reference}"));
    assert_eq!(ok(&cli, &format!("pull {reference} -o out")), digest);
    assert_same_tree(&model, &cli.home().join("out"));
    assert_eq!(json(&cli, "ls"), serde_json::json!([]));
    assert_eq!(count_files(&store(&cli).join("blobs")), 0);
    assert_eq!(ok(&cli, "pack model -t tiny:v1"), digest, "packing into the store gives the same artifact");
}

#[test]
fn a_second_push_and_pull_transfer_nothing() {
    let (cli, _) = cli_with_model();
    let registry = Registry::start();
    let reference = registry.reference("tiny:v1");
    ok(&cli, &format!("pack model -t {reference}"));
    let first = json(&cli, &format!("push {reference}"));
    let second = json(&cli, &format!("push {reference}"));
    assert_eq!((&first["present"], &second["moved"]), (&0.into(), &0.into()));
    assert_eq!(first["moved"], second["present"]);
    let pulled = json(&cli, &format!("pull {reference}"));
    assert_eq!((&pulled["moved"], &pulled["present"]), (&0.into(), &first["moved"]));
    let elsewhere = json(&cli, &format!("cp {reference} {}", registry.reference("other/tiny:v1")));
    assert_eq!(elsewhere["digest"], first["digest"]);
}

#[test]
fn unpacking_twice_writes_nothing_and_overwrites_files_only_with_force() {
    let (cli, model) = cli_with_model();
    ok(&cli, "pack model -t tiny");
    ok(&cli, "unpack tiny -o out");
    let again = json(&cli, "unpack tiny -o out");
    assert_eq!((again["written"].as_array().unwrap().len(), again["unchanged"].as_array().unwrap().len()), (0, 12));
    let mine = cli.home().join("out/README.md");
    fs::write(&mine, "mine").unwrap();
    fails(&cli, "unpack tiny -o out", 8, &["out/README.md", "is in the way", "hint: ", "--force"]);
    assert_eq!(fs::read(&mine).unwrap(), b"mine");
    let forced = json(&cli, "unpack tiny -o out --force");
    assert_eq!(forced["written"], serde_json::json!(["README.md"]));
    assert_same_tree(&model, &cli.home().join("out"));
}
