//! The selection of files for packing: ignore files, --include and --exclude.

use crate::harness::{Registry, cli_with_model, fails, json, ok, run};
use modelpack_testkit::Cli;
use std::fs;

fn packed(cli: &Cli, reference: &str) -> Vec<String> {
    let layers = json(cli, &format!("inspect {reference}"))["layers"].as_array().unwrap().clone();
    layers.iter().map(|layer| layer["path"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_ignore_file_applies_to_every_command_that_packs_a_directory() {
    let (cli, model) = cli_with_model();
    fs::write(model.join(".modelpackignore"), "examples/\n*.md\n/LICENSE\n").unwrap();
    let expected = [
        "config.json",
        "generation_config.json",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ];
    let digest = ok(&cli, "pack model -t tiny");
    assert_eq!(packed(&cli, "tiny"), expected);
    assert_eq!(ok(&cli, "build model -t built"), digest);
    let registry = Registry::start();
    assert_eq!(ok(&cli, &format!("push model {}", registry.reference("tiny"))), digest);
    ok(&cli, "init model");
    assert!(!fs::read_to_string(model.join("Modelfile")).unwrap().contains("README"));
    ok(&cli, "pack model -t again");
    assert_eq!(packed(&cli, "again"), expected);
    assert_eq!(json(&cli, "lint model --for podman")["consumers"][0]["verdict"], "works", "the nested files are ignored");
}

#[test]
fn includes_and_excludes_select_the_packed_files() {
    let (cli, model) = cli_with_model();
    fs::write(model.join(".env.example"), "A=1").unwrap();
    fs::write(model.join(".modelpackignore"), "tokenizer*\n").unwrap();
    ok(&cli, "pack model -t json --include *.json --include .env* --exclude generation_*");
    let expected = ["config.json", "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json", ".env.example"];
    assert_eq!(packed(&cli, "json"), expected);
    ok(&cli, "pack model -t flat --exclude */ --exclude *.json");
    let expected = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "LICENSE", "README.md"];
    assert_eq!(packed(&cli, "flat"), expected);
    let nested = json(&cli, "lint model --exclude examples --for podman");
    assert_eq!(nested["consumers"][0]["verdict"], "works");
    fails(&cli, "lint store:flat --exclude x", 2, &["--exclude", "directory"]);
    fails(&cli, "push flat --exclude x", 2, &["store"]);
}

#[test]
fn excludes_remove_files_of_a_modelfile_and_ignore_files_do_not() {
    let (cli, model) = cli_with_model();
    fs::write(cli.home().join("m"), "MODEL *.safetensors\nDOC README.md\n").unwrap();
    ok(&cli, "pack model -t tiny -f m --exclude README.md");
    assert_eq!(packed(&cli, "tiny").len(), 2);
    fs::write(model.join(".modelpackignore"), "# mine\n*.md\n").unwrap();
    let words = ["m:2:5: ", "\"README.md\" is left out by model/.modelpackignore:2 \"*.md\"", "DOC README.md", "hint: "];
    fails(&cli, "pack model -t tiny -f m", 9, &words);
}

#[test]
fn an_invalid_pattern_is_reported_with_its_reason() {
    let (cli, model) = cli_with_model();
    fails(&cli, "pack model -t tiny --exclude [z-a]", 2, &["--exclude \"[z-a]\": invalid range"]);
    fails(&cli, "unpack tiny -o out --include #x", 2, &["--include \"#x\"", r"\#"]);
    fails(&cli, "pack model -t tiny --include *.onnx --exclude x", 9, &["no file to pack", "--include \"*.onnx\", --exclude \"x\""]);
    fs::write(model.join(".modelpackignore"), "ok\n\\\n").unwrap();
    fails(&cli, "pack model -t tiny", 9, &["model/.modelpackignore:2 ", "hint: "]);
}

#[test]
fn init_accepts_hidden_files_that_are_included() {
    let (cli, model) = cli_with_model();
    fs::write(model.join(".chat"), "hi").unwrap();
    ok(&cli, "modelfile generate model --include .chat --exclude examples/ --exclude *.md");
    let written = fs::read_to_string(cli.home().join("Modelfile")).unwrap();
    assert!(written.contains(".chat") && written.contains("LICENSE"), "{written}");
    assert!(!written.contains("README.md") && !written.contains("examples"), "{written}");
    assert!(run(&cli, "init model --include .chat").expect_code(0).stdout.contains("Modelfile"));
}
