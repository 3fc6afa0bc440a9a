//! KitOps' Kitfile instead of a Modelfile.

use crate::harness::{cli_with_model, fails, json, ok, run};
use modelpack_testkit::fixture;
use serde_json::json;
use std::fs;

const KITFILE: &str = "\
manifestVersion: 1.0.0
package: {name: from-kitfile, version: 1.10, license: mit, authors: [somebody]}
model:
  path: model-00001-of-00002.safetensors
  framework: PyTorch
  parts:
    - path: model-00002-of-00002.safetensors
    - path: config.json
code:
  - path: examples
docs: [{path: README.md}, {path: examples/prompts}]
";

/// Kind and path of each layer.
fn layers(inspected: &serde_json::Value) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    inspected["layers"].as_array().unwrap().iter().map(|layer| (text(&layer["kind"]), text(&layer["path"]))).collect()
}

#[test]
fn a_kitfile_determines_the_packed_files_and_their_metadata() {
    let cli = cli_with_model().0;
    fs::write(cli.home().join("pack.yaml"), KITFILE).unwrap();
    ok(&cli, "pack model -t tiny -f pack.yaml --family said");
    let inspected = json(&cli, "inspect tiny");
    let expected = [
        ("weight.config", "config.json"),
        ("weight", "model-00001-of-00002.safetensors"),
        ("weight", "model-00002-of-00002.safetensors"),
        ("code", "examples/__init__.py"),
        ("code", "examples/generate.py"),
        ("doc", "README.md"),
        ("doc", "examples/prompts/greeting.txt"),
    ];
    let expected = expected.map(|(kind, path)| (kind.to_owned(), path.to_owned()));
    assert_eq!(layers(&inspected), expected);
    let descriptor = &inspected["config"]["descriptor"];
    assert_eq!(
        (&descriptor["name"], &descriptor["version"], &descriptor["licenses"], &descriptor["family"]),
        (&json!("from-kitfile"), &json!("1.10"), &json!(["MIT"]), &json!("said"))
    );
    assert_eq!(inspected["annotations"], json!({ "dev.modelpack.context-length": "512", "ml.kitops.modelkit.model.framework": "PyTorch" }));
    let explained = json(&cli, "pack model -t tiny -f pack.yaml --explain");
    let name = explained["metadata"].as_array().unwrap().iter().find(|said| said["field"] == "descriptor.name").unwrap();
    assert_eq!(name["from"], "pack.yaml:2");
}

#[test]
fn the_kitfile_of_the_directory_is_used_unless_there_is_a_modelfile() {
    let (cli, model) = cli_with_model();
    fs::write(model.join("Kitfile"), KITFILE).unwrap();
    let packed = run(&cli, "pack model -t tiny").expect_code(0);
    assert!(packed.stderr.contains("using model/Kitfile"), "{}", packed.stderr);
    assert_eq!(json(&cli, "inspect tiny")["layers"].as_array().unwrap().len(), 7);
    fs::write(model.join("Modelfile"), "MODEL *").unwrap();
    let packed = run(&cli, "pack model -t tiny").expect_code(0);
    assert!(packed.stderr.contains("using model/Modelfile"), "{}", packed.stderr);
    let paths = layers(&json(&cli, "inspect tiny"));
    assert!(paths.iter().all(|(_, path)| path != "Kitfile"), "it is not a file of the model: {paths:?}");
}

#[test]
fn errors_in_a_kitfile_are_shown_with_their_position() {
    let (cli, model) = cli_with_model();
    let kitfile = model.join("Kitfile");
    fs::write(&kitfile, "code:\n  - path: examples\n    licence: MIT\n").unwrap();
    let failed = fails(&cli, "pack model -t tiny", 9, &["model/Kitfile:3:5: ", "unknown field `licence`"]);
    assert!(failed.stderr.contains("\n  |\n3 |     licence: MIT\n  |     ^"), "{}", failed.stderr);
    fs::write(&kitfile, "model:\n  path: registry.example.com/base:v1\n").unwrap();
    fails(&cli, "pack model -t tiny", 9, &["model/Kitfile:2:9: ", "another ModelKit"]);
    fs::write(&kitfile, "docs: []\n---\ndocs: []\n").unwrap();
    fails(&cli, "pack model -t tiny", 9, &["model/Kitfile:3:1: ", "a Kitfile has only one"]);
    fs::write(&kitfile, "model: [1]\n").unwrap();
    fails(&cli, "pack model -t tiny", 9, &["model/Kitfile:1:8: ", "expected a mapping"]);
    fs::write(&kitfile, "docs: [{path: missing}]\n").unwrap();
    fails(&cli, "pack model -t tiny", 9, &["model/Kitfile:1:15: \"missing\" does not exist"]);
    fs::write(&kitfile, KITFILE).unwrap();
    ok(&cli, "pack model -t tiny");
}

#[test]
fn the_kitfile_of_a_modelkit_packs_its_files() {
    let (cli, _) = cli_with_model();
    let (tiny, kitfile) = (fixture("tiny"), fixture("Kitfile"));
    ok(&cli, &format!("pack {} -t ours -f {}", tiny.display(), kitfile.display()));
    ok(&cli, "unpack ours -o ours");
    ok(&cli, &format!("unpack oci:{} -o kit", fixture("kit-none").display()));
    modelpack_testkit::assert_same_tree(&cli.home().join("kit"), &cli.home().join("ours"));
}

#[test]
fn files_ignored_by_kitignore_are_not_packed() {
    let (cli, model) = cli_with_model();
    for file in ["secret/key", "secret/public", "examples/notes.md", "examples/kept.md"] {
        fs::create_dir_all(model.join(file).parent().unwrap()).unwrap();
        fs::write(model.join(file), file).unwrap();
    }
    let files = |line: &str| {
        let planned = json(&cli, &format!("pack model --dry-run {line}"));
        planned["layers"].as_array().unwrap().iter().map(|layer| layer["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    fs::write(model.join("Kitfile"), "model: {path: .}\n").unwrap();
    let all = files("");
    assert!(all.contains(&"secret/key".to_owned()), "{all:?}");
    fs::write(model.join(".kitignore"), "# hidden\nsecret\n!secret/public\nexamples/*.md\n!examples/kept.md\n").unwrap();
    let expected: Vec<String> = all.iter().filter(|file| !["secret/key", "examples/notes.md"].contains(&file.as_str())).cloned().collect();
    assert_eq!(files(""), expected);
    assert_eq!(files("-f model/Kitfile"), expected);
    fs::write(model.join("Kitfile"), "model: {path: .}\ndocs: [{path: examples/notes.md}]\n").unwrap();
    fails(&cli, "pack model -t tiny", 9, &["model/Kitfile:2:15: ", "examples/notes.md", ".kitignore:4"]);
    fs::write(model.join(".kitignore"), "a\n[b\n").unwrap();
    fails(&cli, "pack model -t tiny", 9, &["model/.kitignore:2", "not closed"]);
    fs::write(model.join("Modelfile"), "MODEL **\n").unwrap();
    assert!(files("").contains(&"secret/key".to_owned()), "with a Modelfile, .modelpackignore applies");
}
