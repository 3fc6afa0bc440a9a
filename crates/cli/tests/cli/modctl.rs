//! modctl's command names and flags for our commands.

use crate::harness::{Registry, cli_with_model, json, ok};
use modelpack_testkit::assert_same_tree;
use std::fs;

#[test]
fn build_and_extract_are_pack_and_unpack() {
    let (cli, model) = cli_with_model();
    fs::write(cli.home().join("m"), "NAME from-modelfile\nMODEL **\n").unwrap();
    let digest = ok(&cli, "build model -t tiny:v1 -f m -c 2 --raw");
    assert_eq!(ok(&cli, "pack model -t tiny:v2 -f m"), digest);
    assert_eq!(ok(&cli, "build --raw=true --concurrency 3 -f m -t tiny:v1 model"), digest);
    assert_eq!(ok(&cli, "extract tiny:v1 --output out --concurrency 2"), digest);
    assert_same_tree(&model, &cli.home().join("out"));
}

#[test]
fn its_metadata_flags_set_values_in_the_config() {
    let (cli, _) = cli_with_model();
    let flags = "--source-url https://example.com/tiny --source-revision abc123 --reasoning --no-creation-time";
    let line = format!("build model -t tiny {flags}");
    let output = cli.command().args(line.split_whitespace()).env("SOURCE_DATE_EPOCH", "0").output().unwrap();
    assert!(output.status.success());
    let config = json(&cli, "inspect tiny")["config"].clone();
    assert_eq!(config["descriptor"]["sourceURL"], "https://example.com/tiny");
    assert_eq!(config["descriptor"]["revision"], "abc123");
    assert_eq!(config["config"]["capabilities"]["reasoning"], true);
    assert!(config["descriptor"]["createdAt"].is_null());
}

#[test]
fn output_remote_packs_directly_into_the_registry() {
    let (cli, model) = cli_with_model();
    let registry = Registry::start();
    let reference = registry.reference("tiny:v1");
    ok(&cli, &format!("build model -t {reference} --output-remote --plain-http --insecure"));
    assert_eq!(json(&cli, "ls"), serde_json::json!([]));
    ok(&cli, &format!("pull {reference} -o out"));
    assert_same_tree(&model, &cli.home().join("out"));
}

#[test]
fn raw_false_makes_tar_layers() {
    let (cli, model) = cli_with_model();
    let digest = ok(&cli, "build model -t tiny --raw=false");
    assert_eq!(ok(&cli, "pack model -t other --layer tar"), digest);
    let layers = json(&cli, "inspect tiny")["layers"].clone();
    let is_tar = |layer: &serde_json::Value| layer["mediaType"].as_str().unwrap().ends_with(".tar") && layer["archive"] == true;
    assert!(layers.as_array().unwrap().iter().all(is_tar), "{layers}");
    ok(&cli, "extract tiny --output out");
    assert_same_tree(&model, &cli.home().join("out"));
    assert_eq!(ok(&cli, "build model -t tiny --raw=false --layer raw"), ok(&cli, "build model -t tiny"), "--layer overrides --raw");
}
