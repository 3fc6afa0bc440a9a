//! `scan`, and the warnings about files when packing.

use crate::harness::{self, Registry, cli, cli_with_model, fails, ok, run};
use modelpack_testkit::{Cli, fixture, tar_of, torch_archive, zip_of};
use serde_json::{Value, json};
use std::fs;

/// A pickle that creates the file `modelpack-canary` when it is loaded.
const CANARY: &[u8] = b"\x80\x02cposix\nsystem\nX\x16\x00\x00\x00touch modelpack-canary\x85R.";

/// The program with an unsafe model.
fn with_canary() -> Cli {
    let (cli, model) = cli_with_model();
    fs::write(model.join("extra.pt"), torch_archive(CANARY, &[(0, 16)])).unwrap();
    cli
}

/// The report of a file.
fn file_of<'a>(report: &'a Value, path: &str) -> &'a Value {
    report["files"].as_array().unwrap().iter().find(|file| file["path"] == path).unwrap()
}

fn nothing_ran(cli: &Cli) {
    assert!(!cli.home().join("modelpack-canary").exists() && !cli.home().join("model/modelpack-canary").exists());
}

#[test]
fn a_model_of_safetensors_and_texts_has_no_findings() {
    let (cli, _) = cli_with_model();
    let shown = ok(&cli, "scan model");
    assert!(shown.contains("safetensors: the header, checked against the file"), "{shown}");
    assert!(
        shown.contains("Python code") && shown.contains("no findings in the scanned content; of 12 files, 12 scanned, 0 in part, 0 not"),
        "{shown}"
    );
}

#[test]
fn a_canary_is_found_in_every_place_and_never_runs() {
    let (cli, registry) = (with_canary(), Registry::start());
    let reference = registry.reference("tiny:v1");
    ok(&cli, "pack model -t tiny:v1");
    ok(&cli, &format!("cp tiny:v1 {reference}"));
    for target in ["model", "tiny:v1", &reference] {
        let output = run(&cli, &format!("scan {target}")).expect_code(10);
        assert!(
            output.stdout.contains("extra.pt: [dangerous] archive/data.pkl: pickle 1, byte 2: imports posix.system"),
            "{}",
            output.stdout
        );
        assert!(output.stderr.contains("error: 1 finding in"), "{}", output.stderr);
        let output = run(&cli, &format!("scan {target} --json")).expect_code(10);
        let report: Value = serde_json::from_str(&output.stdout).unwrap();
        assert_eq!(report["findings"], 1);
        let file = file_of(&report, "extra.pt");
        assert_eq!(file["findings"][0]["global"], "posix.system");
        assert_eq!(file["findings"][0]["severity"], "dangerous");
    }
    nothing_ran(&cli);
}

#[test]
fn layers_of_every_encoding_are_scanned() {
    let cli = with_canary();
    for encoding in ["raw", "tar", "tar+gzip", "tar+zstd"] {
        ok(&cli, &format!("pack model -t tiny:{} --layer {encoding}", encoding.replace('+', "-")));
        let output = run(&cli, &format!("scan tiny:{}", encoding.replace('+', "-"))).expect_code(10);
        assert!(
            output.stdout.contains("extra.pt: [dangerous] archive/data.pkl: pickle 1, byte 2: imports posix.system"),
            "{}",
            output.stdout
        );
    }
    nothing_ran(&cli);
}

#[test]
fn ignore_files_do_not_apply_to_a_scan() {
    let cli = with_canary();
    fs::write(cli.home().join("model/.modelpackignore"), "*.pt\n").unwrap();
    run(&cli, "scan model").expect_code(10);
    // An unsafe file that is not packed does not prevent packing.
    ok(&cli, "pack model -t tiny:v1 --require-safe");
}

#[test]
fn packing_warns_and_packs() {
    let cli = with_canary();
    let output = run(&cli, "pack model -t tiny:v1").expect_code(0);
    assert!(
        output.stderr.contains("warning: extra.pt: archive/data.pkl: pickle 1, byte 2: imports posix.system (dangerous)"),
        "{}",
        output.stderr
    );
    let packed = harness::json(&cli, "pack model -t tiny:v2");
    assert_eq!(packed["scan"]["findings"], 1);
    assert_eq!(packed["scan"]["files"][0]["path"], "extra.pt");
    nothing_ran(&cli);
}

#[test]
fn require_safe_refuses_before_anything_is_written() {
    let (cli, registry) = (with_canary(), Registry::start());
    let reference = registry.reference("tiny:v1");
    let words = ["extra.pt", "archive/data.pkl", "pickle 1, byte 2", "posix.system", "hint: "];
    for line in [
        "pack model -t tiny:v1 --require-safe".to_owned(),
        "pack model -t oci-archive:model.tar:v1 --require-safe".to_owned(),
        "build model -t tiny:v1 --require-safe".to_owned(),
        format!("push model {reference} --require-safe"),
    ] {
        fails(&cli, &line, 10, &words);
    }
    assert!(!cli.home().join("model.tar").exists());
    assert_eq!(harness::json(&cli, "ls"), json!([]));
    fails(&cli, &format!("inspect docker://{reference}"), 3, &[]);
    let (cli, _) = cli_with_model();
    ok(&cli, "pack model -t tiny:v1 --require-safe");
}

#[test]
fn python_code_is_packed_with_require_safe() {
    let (cli, model) = cli_with_model();
    for (name, code) in [
        ("modeling_tiny.py", "import os\nimport logging\nfrom torch import nn\n\n\nclass Model(nn.Module):\n    pass\n"),
        ("configuration_tiny.py", "import logging\r\nimport sys\r\nsys.path.append(\"..\")\r\n"),
        ("scale.py", "x = 1\n"),
        ("LICENSE.MIT", "Copyright (c) 2018, Somebody\nAll rights reserved.\n"),
    ] {
        fs::write(model.join(name), code).unwrap();
    }
    ok(&cli, "pack model -t tiny:v1 --require-safe");
    let report = harness::json(&cli, "scan model");
    assert_eq!(report["findings"], 0);
    let file = file_of(&report, "modeling_tiny.py");
    assert_eq!((&file["lookedAt"], &file["notJudged"]), (&json!(["a text that is not a pickle"]), &json!([])));
}

#[test]
fn files_that_loaders_decompress_are_refused() {
    let (cli, model) = cli_with_model();
    for (name, bytes) in [
        ("extra.pkl.bz2", &include_bytes!("../../../scan/src/tests/data/canary.pkl.bz2")[..]),
        ("extra.pkl.xz", include_bytes!("../../../scan/src/tests/data/canary.pkl.xz")),
        ("extra.pkl.lzma", include_bytes!("../../../scan/src/tests/data/canary.pkl.lzma")),
        ("extra.pkl.lz4", include_bytes!("../../../scan/src/tests/data/canary.pkl.lz4")),
    ] {
        fs::write(model.join(name), bytes).unwrap();
        fails(&cli, "pack model -t tiny:v1 --require-safe", 10, &[name, "posix.system"]);
        // A part that cannot be read also prevents packing.
        fs::write(model.join(name), &bytes[..bytes.len() / 3]).unwrap();
        fails(&cli, "pack model -t tiny:v1 --require-safe", 10, &[name]);
        let report: Value = serde_json::from_str(&run(&cli, "scan model --json").expect_code(10).stdout).unwrap();
        assert_eq!(file_of(&report, name)["findings"][0]["severity"], "unread", "{report}");
        fs::remove_file(model.join(name)).unwrap();
    }
    assert_eq!(harness::json(&cli, "ls"), json!([]));
    nothing_ran(&cli);
}

#[test]
fn files_that_no_loader_runs_are_listed_and_do_not_prevent_packing() {
    let (cli, model) = cli_with_model();
    fs::write(model.join("model.tflite"), b"\x1c\0\0\0TFL3\x14\0\x20\0").unwrap();
    fs::write(model.join("saved_model.pb"), b"\x08\x01\x12\x02\xff\xff").unwrap();
    ok(&cli, "pack model -t tiny:v1 --require-safe");
    for target in ["model", "tiny:v1"] {
        let report = harness::json(&cli, &format!("scan {target}"));
        assert_eq!(report["findings"], 0);
        assert_eq!(file_of(&report, "model.tflite")["notJudged"], json!(["a tflite model"]));
        let shown = ok(&cli, &format!("scan {target}"));
        let listed = shown.split_once("Not judged:\n").expect("there is a list").1;
        assert!(listed.contains("  model.tflite: a tflite model\n"), "{shown}");
        assert!(listed.contains("  saved_model.pb: the graph of a TensorFlow SavedModel\n"), "{shown}");
        assert!(shown.contains("no findings in the scanned content"), "{shown}");
    }
}

#[test]
fn a_nested_archive_is_scanned_when_packing() {
    let (cli, model) = cli_with_model();
    let archive = torch_archive(b"\x80\x02}.", &[(0, 16)]);
    fs::write(model.join("model.tar"), tar_of(&[("model.pt", &archive)])).unwrap();
    ok(&cli, "pack model -t tiny:v1 --require-safe");
    fs::write(model.join("model.tar"), tar_of(&[("model.pt", &torch_archive(CANARY, &[]))])).unwrap();
    fails(&cli, "pack model -t tiny:v1 --require-safe", 10, &["model.pt > archive/data.pkl", "posix.system"]);
}

#[test]
fn artifacts_of_other_tools_are_scanned_in_every_encoding() {
    let cli = cli();
    for name in ["modctl-raw", "modctl-tar", "modctl-cnai", "oras", "kit-none", "kit-gzip"] {
        let report = harness::json(&cli, &format!("scan oci:{}:v1", fixture(name).display()));
        assert_eq!(report["findings"], 0, "{name}");
        let text = report.to_string();
        assert!(text.contains("safetensors: the header") || text.contains("a tar archive of"), "{name}: {text}");
    }
}

#[test]
fn missing_targets_are_an_error() {
    let cli = cli();
    fails(&cli, "scan tiny", 3, &["tiny"]);
    fails(&cli, "scan ./tiny", 2, &["not a directory"]);
}

#[test]
fn the_sizes_in_an_error_are_those_of_the_whole_blob() {
    let (cli, _) = cli_with_model();
    ok(&cli, "pack model -t tiny:v1");
    ok(&cli, "cp tiny:v1 oci:layout:v1");
    let layers = harness::json(&cli, "inspect tiny:v1")["layers"].clone();
    let weights = layers.as_array().unwrap().iter().find(|layer| layer["path"] == "model-00001-of-00002.safetensors").unwrap();
    let (digest, size) = (weights["digest"].as_str().unwrap(), weights["size"].as_u64().unwrap());
    let blob = cli.home().join("layout/blobs").join(digest.replace(':', "/"));
    fs::File::options().write(true).open(blob).unwrap().set_len(1000).unwrap();
    let expected = format!("does not have the size {size}: 1000 bytes came");
    for line in ["scan oci:layout:v1", "unpack oci:layout:v1 -o out", "verify oci:layout:v1"] {
        let printed = run(&cli, line);
        assert!(printed.code != 0 && printed.stdout.contains(&expected) | printed.stderr.contains(&expected), "{line}: {printed:?}");
    }
}

#[test]
fn tricks_in_a_keras_config_do_not_deceive_require_safe() {
    let (cli, model) = cli_with_model();
    let layer = |layer: &str| format!(r#"{{"odd":Infinity,"class_name":"Sequential","config":{{"layers":[{layer}]}}}}"#);
    let lambda = layer(r#"{"module":"keras.layers","class_name":"Lambda","config":{}}"#);
    let exec = layer(r#"{"module":"builtins","class_name":"function","config":"exec"}"#);
    let dense = layer(r#"{"module":"keras.layers","class_name":"Dense","config":{"units":1}}"#);
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    for (config, words) in [
        (lambda.clone().into_bytes(), "Lambda layer"),
        (utf16(&lambda), "Lambda layer"),
        (exec.into_bytes(), "builtins.exec"),
        (lambda.as_bytes()[..lambda.len() - 1].to_vec(), "cannot be read completely"),
    ] {
        fs::write(model.join("model.json"), &config).unwrap();
        fails(&cli, "pack model -t tiny --require-safe", 10, &["model.json", words]);
        fs::remove_file(model.join("model.json")).unwrap();
        fs::write(model.join("model.keras"), zip_of(&[("config.json", &config)])).unwrap();
        fails(&cli, "pack model -t tiny --require-safe", 10, &["model.keras", "config.json", words]);
    }
    fs::write(model.join("model.keras"), zip_of(&[("config.json", dense.as_bytes())])).unwrap();
    ok(&cli, "pack model -t tiny --require-safe");
}
