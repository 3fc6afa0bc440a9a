//! Files are added to an artifact or replaced in it, and nothing else changes.

use crate::harness::{Registry, cli, cli_with_model, fails, json, ok};
use modelpack_testkit::{Failure, Fault, assert_same_tree, fixture};
use serde_json::{Value, json};
use std::fs;

#[test]
fn an_attached_file_is_where_packing_would_have_put_it() {
    let (cli, model) = cli_with_model();
    ok(&cli, "pack model -t tiny:v1");
    fs::create_dir(cli.home().join("notes")).unwrap();
    fs::write(cli.home().join("notes/eval.csv"), "a,b\n").unwrap();
    let attached = ok(&cli, "attach notes/eval.csv -s tiny:v1 -t tiny:v2");
    fs::create_dir(model.join("notes")).unwrap();
    fs::write(model.join("notes/eval.csv"), "a,b\n").unwrap();
    assert_eq!(ok(&cli, "pack model -t again"), attached);
    ok(&cli, "unpack tiny:v2 -o out");
    assert_same_tree(&model, &cli.home().join("out"));
    ok(&cli, "verify tiny:v2");
}

#[test]
fn an_existing_file_is_replaced_only_with_force() {
    let (cli, model) = cli_with_model();
    ok(&cli, "pack model -t tiny:v1");
    let before = json(&cli, "inspect tiny:v1");
    fs::write(cli.home().join("README.md"), "another").unwrap();
    let line = "attach README.md -s tiny:v1 -t tiny:v1";
    fails(&cli, line, 8, &["README.md", "hint: `--force`"]);
    assert_eq!(json(&cli, "inspect tiny:v1"), before);

    let attached = json(&cli, &format!("{line} --force"));
    assert_eq!((&attached["added"], &attached["replaced"], &attached["unchanged"]), (&json!([]), &json!(["README.md"]), &json!([])));
    let after = json(&cli, "inspect tiny:v1");
    let others = |inspected: &Value| {
        let layers = inspected["layers"].as_array().unwrap().iter().filter(|layer| layer["path"] != "README.md");
        layers.cloned().collect::<Vec<_>>()
    };
    assert_eq!(others(&after), others(&before));
    assert_eq!(after["config"]["descriptor"], before["config"]["descriptor"]);
    ok(&cli, "unpack tiny:v1 -o out");
    fs::write(model.join("README.md"), "another").unwrap();
    assert_same_tree(&model, &cli.home().join("out"));

    let again = json(&cli, line);
    assert_eq!((&again["unchanged"], &again["digest"]), (&json!(["README.md"]), &attached["digest"]), "the same bytes need no --force");
}

#[test]
fn only_new_blobs_are_transferred() {
    let (cli, _) = cli_with_model();
    let registry = Registry::start();
    let (v1, v2) = (registry.reference("team/tiny:v1"), registry.reference("other/tiny:v2"));
    ok(&cli, &format!("push model {v1}"));
    fs::write(cli.home().join("more.md"), "more").unwrap();
    let attached = json(&cli, &format!("attach more.md -s docker://{v1} -t docker://{v2} --dir docs"));
    assert_eq!(attached["added"], json!(["docs/more.md"]));
    assert!(attached["present"].as_u64().unwrap() > 1_000_000, "weights are mounted: {attached}");
    assert!(attached["moved"].as_u64().unwrap() < 10_000, "{attached}");
    ok(&cli, &format!("verify docker://{v2}"));
}

#[test]
fn wrong_bytes_of_the_source_are_the_error_also_within_one_registry() {
    let (cli, _) = cli_with_model();
    let registry = Registry::start();
    ok(&cli, &format!("push model {}", registry.reference("team/tiny:v1")));
    let inspected = json(&cli, &format!("inspect {}", registry.reference("team/tiny:v1")));
    let layers = inspected["layers"].as_array().unwrap();
    let digest = layers.iter().find(|layer| layer["path"] == "README.md").unwrap()["digest"].as_str().unwrap();
    let no_mount = Failure::Status { code: 405, headers: Vec::new(), body: String::new() };
    let proxy = registry
        .behind(vec![Fault::on("POST", "mount=", no_mount), Fault::on("GET", format!("team/tiny/blobs/{digest}"), Failure::FlipByte(3))]);
    let (source, other) = (format!("docker://{}/team/tiny:v1", proxy.address()), format!("docker://{}/other/tiny:v2", proxy.address()));
    fs::write(cli.home().join("more.md"), "more").unwrap();
    for line in [format!("attach more.md -s {source} -t {other}"), format!("cp {source} {other}")] {
        fails(&cli, &line, 5, &[digest]);
        assert_eq!(registry.request("GET", "other/tiny/manifests/v2"), 404);
    }
}

#[test]
fn the_kind_of_a_file_can_be_given() {
    let (cli, _) = cli_with_model();
    ok(&cli, "pack model -t tiny");
    fs::write(cli.home().join("samples.jsonl"), "{}").unwrap();
    ok(&cli, "attach samples.jsonl -s tiny -t tiny --kind dataset");
    let inspected = json(&cli, "inspect tiny");
    let layers = inspected["layers"].as_array().unwrap();
    let kinds: Vec<_> = layers.iter().filter(|layer| layer["path"] == "samples.jsonl").map(|layer| layer["kind"].clone()).collect();
    assert_eq!(kinds, ["dataset"]);
}

#[test]
fn artifacts_of_other_tools_are_kept_or_refused() {
    let cli = cli();
    fs::write(cli.home().join("more.md"), "more").unwrap();
    let attach = |name: &str| format!("attach more.md -s oci:{}:v1 -t tiny", fixture(name).display());
    ok(&cli, &attach("modctl-raw"));
    let (old, new) = (json(&cli, &format!("inspect oci:{}:v1", fixture("modctl-raw").display())), json(&cli, "inspect tiny"));
    assert_eq!(old["annotations"], new["annotations"]);
    assert_eq!(old["config"]["descriptor"], new["config"]["descriptor"], "createdAt is kept too");
    for name in ["modctl-cnai", "oras"] {
        fails(&cli, &attach(name), 5, &["config of the type", "hint: "]);
    }
}

#[test]
fn a_path_that_clashes_with_others_is_refused() {
    let (cli, _) = cli_with_model();
    ok(&cli, "pack model -t tiny:v1");
    for name in ["readme.MD", "x.md"] {
        fs::write(cli.home().join(name), "more").unwrap();
    }
    fails(&cli, "attach readme.MD -s tiny:v1 -t tiny:v2", 5, &["readme.MD", "case"]);
    fails(&cli, "attach x.md -d README.md -s tiny:v1 -t tiny:v2", 5, &["README.md/x.md", "is a file"]);
    fails(&cli, "attach x.md -d ../up -s tiny:v1 -t tiny:v2", 2, &[".."]);
    fails(&cli, "attach absent -s tiny:v1 -t tiny:v2", 3, &["absent"]);
    fails(&cli, "attach model -s tiny:v1 -t tiny:v2", 9, &["model is a directory"]);
    fails(&cli, "inspect store:tiny:v2", 3, &["tiny:v2"]);
}

#[test]
fn files_in_archives_are_known() {
    let (cli, _) = cli_with_model();
    for name in ["README.md", "readme.MD", "x.md"] {
        fs::write(cli.home().join(name), "another").unwrap();
    }
    for encoding in ["tar", "tar+gzip", "tar+zstd"] {
        ok(&cli, &format!("pack model -t bundled --max-layers 4 --layer {encoding}"));
        let before = json(&cli, "inspect bundled");
        let attach = |file: &str, more: &str| format!("attach {file} -s bundled -t bundled {more}");
        let words = ["already has README.md in layer ", "other files", "hint: unpack"];
        fails(&cli, &attach("README.md", ""), 8, &words);
        fails(&cli, &attach("README.md", "--force"), 8, &words);
        fails(&cli, &attach("readme.MD", "--force"), 5, &["readme.MD", "case"]);
        fails(&cli, &attach("x.md", "-d README.md"), 5, &["README.md/x.md", "is a file"]);
        fails(&cli, &attach("x.md", "-d EXAMPLES"), 5, &["EXAMPLES/x.md", "case"]);
        assert_eq!(json(&cli, "inspect bundled"), before);
        ok(&cli, &attach("x.md", ""));
        ok(&cli, &format!("unpack bundled -o {encoding}"));
        assert_eq!(fs::read_to_string(cli.home().join(encoding).join("x.md")).unwrap(), "another");
    }
}

#[test]
fn an_archive_of_one_file_is_replaced_with_force() {
    let (cli, model) = cli_with_model();
    fs::write(cli.home().join("README.md"), "another").unwrap();
    ok(&cli, "pack model -t tiny:v1 --layer tar+zstd");
    fails(&cli, "attach README.md -s tiny:v1 -t tiny:v2", 8, &["already has another README.md", "hint: `--force`"]);
    let attached = json(&cli, "attach README.md -s tiny:v1 -t tiny:v2 --force");
    assert_eq!(attached["replaced"], json!(["README.md"]));
    let count = |reference: &str| json(&cli, &format!("inspect {reference}"))["layers"].as_array().unwrap().len();
    assert_eq!(count("tiny:v1"), count("tiny:v2"));
    fs::write(model.join("README.md"), "another").unwrap();
    ok(&cli, "unpack tiny:v2 -o out");
    assert_same_tree(&model, &cli.home().join("out"));
    ok(&cli, "validate --read-layers tiny:v2");

    let modctl = format!("oci:{}:v1", fixture("modctl-tar").display());
    let path = json(&cli, &format!("inspect {modctl}"))["layers"][0]["path"].as_str().unwrap().to_owned();
    fs::create_dir_all(cli.home().join(&path).parent().unwrap()).unwrap();
    fs::write(cli.home().join(&path), "another").unwrap();
    ok(&cli, &format!("attach {path} -s {modctl} -t theirs --force"));
    ok(&cli, "unpack theirs -o theirs");
    assert_eq!(fs::read_to_string(cli.home().join("theirs").join(path)).unwrap(), "another");
}
