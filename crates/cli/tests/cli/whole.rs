//! Incomplete models: `pack`, `push` and `build` warn, `--strict` refuses, `lint` has a rule.

use crate::harness::{Registry, cli, cli_with_model, fails, json, ok, run};
use modelpack_testkit::Cli;
use serde_json::{Value, json};
use std::{fs, path::PathBuf};

const SECOND: &str = "model-00002-of-00002.safetensors";
const POINTER: &str =
    "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";

fn absent() -> String {
    format!("model.safetensors.index.json names 1 missing file: {SECOND}")
}

/// A model without its second shard.
fn half() -> (Cli, PathBuf) {
    let (cli, model) = cli_with_model();
    fs::remove_file(model.join(SECOND)).unwrap();
    (cli, model)
}

#[test]
fn a_complete_model_is_packed_with_strict_and_without_warnings() {
    let (cli, _) = cli_with_model();
    for command in ["pack model -t tiny --strict", "build model -t built --strict", "pack model --strict --dry-run"] {
        let output = run(&cli, command).expect_code(0);
        assert!(!output.stderr.contains("warning"), "{command}: {}", output.stderr);
    }
    assert_eq!(json(&cli, "pack model -t tiny")["missing"], json!([]));
    assert_eq!(json(&cli, "lint model")["model"], json!([]));
    assert_eq!(json(&cli, "lint store:tiny")["model"], json!([]));
}

#[test]
fn packing_an_incomplete_model_gives_a_warning() {
    let (cli, _) = half();
    let registry = Registry::start();
    for command in
        ["pack model -t tiny", "build model -t built", "pack model --dry-run", &format!("push model {}", registry.reference("tiny"))]
    {
        let output = run(&cli, command).expect_code(0);
        assert_eq!(
            output.stderr.lines().filter(|line| *line == format!("warning: {}", absent())).count(),
            1,
            "{command}: {}",
            output.stderr
        );
    }
    let output = run(&cli, "pack model -t tiny --json").expect_code(0);
    let warnings: Vec<Value> = output.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(warnings, [json!({"warning": {"message": absent()}})]);
    let result: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(result["missing"], json!([{"path": "model.safetensors.index.json", "message": absent()}]));
    let planned = json(&cli, "pack model --dry-run");
    assert_eq!(planned["missing"], result["missing"]);
}

#[test]
fn strict_refuses_an_incomplete_model() {
    let (cli, model) = half();
    let registry = Registry::start();
    let reference = registry.reference("tiny");
    fs::write(model.join("tokenizer.json"), POINTER).unwrap();
    for command in ["pack model -t tiny", "build model -t tiny", "pack model --dry-run", &format!("push model {reference}")] {
        let output = run(&cli, &format!("{command} --strict")).expect_code(11);
        assert!(output.stdout.is_empty(), "{command}: {}", output.stdout);
        for expected in ["error: not packed", "tokenizer.json is a git LFS pointer", "`git lfs pull`", "; 1 more found", "hint: "] {
            assert!(output.stderr.contains(expected), "{command}: {expected} not in {}", output.stderr);
        }
        assert!(output.stderr.contains(&format!("warning: {}", absent())), "{command}: {}", output.stderr);
    }
    let output = run(&cli, "pack model -t tiny --strict --json").expect_code(11);
    assert!(output.stderr.contains(r#""kind":"notWhole""#) && output.stderr.contains(r#""exitCode":11"#), "{}", output.stderr);
    assert!(!cli.home().join("store/repositories").exists(), "something was written");
    fails(&cli, "inspect tiny", 3, &["tiny"]);
    fails(&cli, &format!("inspect docker://{reference}"), 3, &[]);
    fails(&cli, "push tiny --strict", 2, &["directory"]);
}

#[test]
fn excluded_files_count_as_missing() {
    let (cli, _) = cli_with_model();
    let excluded = run(&cli, &format!("pack model -t tiny --exclude {SECOND}")).expect_code(0);
    assert!(excluded.stderr.contains(&absent()), "{}", excluded.stderr);
    let weightless = run(&cli, "pack model -t tiny --exclude *.safetensors --exclude *.index.json --strict").expect_code(0);
    assert!(!weightless.stderr.contains("warning"), "{}", weightless.stderr);
}

#[test]
fn lint_reports_missing_parts_by_content_in_a_directory_and_by_names_and_sizes_in_an_artifact() {
    let (cli, model) = half();
    fs::write(model.join("a.bin"), POINTER).unwrap();
    fs::write(model.join("b.gguf"), "").unwrap();
    let rules = |report: &Value| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        report["model"].as_array().unwrap().iter().map(|finding| (text(&finding["rule"]), text(&finding["found"]))).collect()
    };
    let whole = |found: &str| ("not-whole".to_owned(), found.to_owned());
    assert_eq!(
        rules(&json(&cli, "lint model")),
        [
            whole("a.bin is a git LFS pointer, not the file itself; `git lfs pull` fetches it"),
            whole("b.gguf is empty, but should contain weights"),
            whole(&absent()),
        ]
    );
    ok(&cli, "pack model -t tiny");
    let report = json(&cli, "lint tiny");
    assert_eq!(
        rules(&report),
        [
            whole("weights of 0 bytes"),
            whole("model-00001-of-00002.safetensors is one of 2 files, of which 1 is missing: number 2"),
            ("pointer-size".to_owned(), format!("{} bytes", POINTER.len())),
        ]
    );
    assert_eq!(report["model"][0]["at"]["path"], "b.gguf");
    let shown = ok(&cli, "lint model");
    for expected in ["the model itself", "not-whole (loss)", &absent(), "change: pack the complete model"] {
        assert!(shown.contains(expected), "{expected} not in {shown}");
    }
    // The verdict on tools is independent of this.
    ok(&cli, "lint model --for oras");
}

#[test]
fn shards_in_a_bundle_are_not_reported_as_missing() {
    let (cli, _) = cli_with_model();
    ok(&cli, "pack model -t tiny --max-layers 4 --layer weight=tar");
    assert_eq!(json(&cli, "lint store:tiny")["model"], json!([]));
}

#[test]
fn shards_inside_a_bundle_are_unknown_from_outside() {
    let cli = cli();
    let model = cli.home().join("m");
    fs::create_dir(&model).unwrap();
    for number in 1..=40 {
        fs::write(model.join(format!("m-{number:05}-of-00040.bin")), "weights").unwrap();
    }
    ok(&cli, "pack m -t bundled --max-layers 3 --layer m-00001-of-00040.bin=raw");
    let paths = json(&cli, "inspect bundled")["layers"].to_string();
    assert!(paths.contains("m-00001-of-00040.bin") && paths.contains("bundle-1"), "{paths}");
    assert_eq!(json(&cli, "lint store:bundled")["model"], json!([]));
}
