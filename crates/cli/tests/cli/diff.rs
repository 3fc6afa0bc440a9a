//! The differences between two artifacts or directories.

use crate::harness::{Registry, cli_with_model, fails, ok, run};
use modelpack_testkit::Cli;
use serde_json::{Value, json as value};
use std::fs;

/// The JSON output of `diff`, after checking its exit code.
fn diff(cli: &Cli, line: &str, code: i32) -> Value {
    let output = run(cli, &format!("diff {line} --json")).expect_code(code);
    assert_eq!(output.stderr, "");
    serde_json::from_str(&output.stdout).unwrap()
}

fn changes(diff: &Value) -> Vec<(String, String)> {
    let layers = diff["layers"].as_array().unwrap().iter();
    let path = |layer: &Value| layer["path"].as_str().unwrap_or("-").to_owned();
    layers
        .map(|change| (change["change"].as_str().unwrap().to_owned(), format!("{} {}", path(&change["old"]), path(&change["new"]))))
        .collect()
}

#[test]
fn an_artifact_is_equal_to_itself_in_any_place() {
    let (cli, _) = cli_with_model();
    let registry = Registry::start();
    let reference = registry.reference("tiny:v1");
    let digest = ok(&cli, "pack model -t tiny");
    ok(&cli, &format!("cp store:tiny docker://{reference}"));
    ok(&cli, "cp store:tiny oci:layout:v1");
    for other in ["store:tiny".to_owned(), format!("docker://{reference}"), "oci:layout:v1".to_owned(), "model".to_owned()] {
        let found = diff(&cli, &format!("{other} tiny"), 0);
        assert_eq!((&found["equal"], &found["a"]["digest"], &found["b"]["digest"]), (&true.into(), &value!(digest), &value!(digest)));
        assert_eq!((&found["same"]["layers"], &found["toFetch"]), (&12.into(), &value!({ "layers": 0, "bytes": 0 })));
    }
    let shown = run(&cli, "diff model tiny").expect_code(0).stdout;
    assert!(shown.contains("No difference: 12 layers, 1."), "{shown}");
}

#[test]
fn changes_are_shown() {
    let (cli, model) = cli_with_model();
    ok(&cli, "pack model -t tiny");
    fs::rename(model.join("LICENSE"), model.join("LICENSE.txt")).unwrap();
    fs::remove_file(model.join("generation_config.json")).unwrap();
    fs::write(model.join("tokenizer_config.json"), "{}\n").unwrap();
    fs::write(model.join("new.txt"), "new").unwrap();
    let config = fs::read_to_string(model.join("config.json")).unwrap();
    fs::write(model.join("config.json"), config.replace("\"llama\"", "\"mistral\"")).unwrap();
    let found = diff(&cli, "tiny model", 1);
    let expected = [
        ("renamed", "LICENSE LICENSE.txt"),
        ("changed", "config.json config.json"),
        ("removed", "generation_config.json -"),
        ("added", "- new.txt"),
        ("changed", "tokenizer_config.json tokenizer_config.json"),
    ];
    assert_eq!(changes(&found), expected.map(|(change, paths)| (change.to_owned(), paths.to_owned())));
    assert_eq!(found["metadata"], value!([{ "field": "descriptor.family", "old": "llama", "new": "mistral" }]));
    let size = |file: &str| fs::metadata(model.join(file)).unwrap().len();
    let needed = size("config.json") + size("new.txt") + size("tokenizer_config.json");
    assert_eq!((&found["toFetch"], &found["same"]["layers"]), (&value!({ "layers": 3, "bytes": needed }), &8.into()));

    let output = run(&cli, "diff tiny model").expect_code(1);
    for line in [
        "descriptor.family  llama  ->  mistral",
        "3 B  new.txt",
        "LICENSE -> LICENSE.txt",
        "2 changed; 1 renamed; 1 added; 1 removed; the same: 8 layers",
    ] {
        assert!(output.stdout.contains(line), "{line:?} not in:\n{}", output.stdout);
    }
    assert!(output.stdout.contains("A download of B by a client that has A fetches 3 layers"));
    assert_eq!(output.stderr, "", "a difference is not an error");
}

#[test]
fn kinds_and_metadata_of_files_are_compared_too() {
    let (cli, _) = cli_with_model();
    fs::write(cli.home().join("a"), "DOC README.md\nANNOTATION org.example=1\n").unwrap();
    fs::write(cli.home().join("b"), "CODE README.md\nNAME tiny\nANNOTATION org.example=2\n").unwrap();
    ok(&cli, "pack model -t a -f a");
    ok(&cli, "pack model -t b -f b");
    let found = diff(&cli, "a b", 1);
    assert_eq!(found["annotations"], value!([{ "field": "org.example", "old": "1", "new": "2" }]));
    assert_eq!(found["metadata"][0]["field"], "descriptor.name");
    assert_eq!((&found["layers"][0]["differs"], &found["toFetch"]["layers"]), (&value!(["type"]), &0.into()));
    let shown = run(&cli, "diff a b").expect_code(1).stdout;
    assert!(shown.contains("README.md, doc raw -> code raw") && shown.contains("fetches nothing"), "{shown}");
}

#[test]
fn targets_that_cannot_be_compared_are_an_error_and_not_a_difference() {
    let (cli, _) = cli_with_model();
    fails(&cli, "diff model nothing:v1", 3, &["nothing:v1"]);
    fails(&cli, "diff ./nothing model", 2, &["./nothing is not a directory"]);
    fs::create_dir(cli.home().join("empty")).unwrap();
    fails(&cli, "diff model empty", 9, &["no file"]);
}
