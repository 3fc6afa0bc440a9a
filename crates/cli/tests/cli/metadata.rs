//! The metadata of a model: flags override the Modelfile, and the Modelfile overrides the files.
//! `--explain` shows the source of each value.

use crate::harness::{Registry, cli_with_model, fails, json, ok, run};
use serde_json::{Value, json};
use std::fs;

/// The sources of all values, by field.
fn sources(packed: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    packed["metadata"].as_array().unwrap().iter().map(|said| (text(&said["field"]), text(&said["from"]))).collect()
}

#[test]
fn flags_override_the_modelfile_which_overrides_the_files() {
    let (cli, model) = cli_with_model();
    fs::write(
        model.join("Modelfile"),
        "NAME file\nFAMILY file\nLICENSE MIT\nINPUT text\nINPUT image\nMODEL *.safetensors\nCONFIG *.json\n",
    )
    .unwrap();
    let packed =
        json(&cli, "pack model -t tiny --name flag --language de --language EN --reasoning --annotation org.example.a=b --explain");
    let inspected = json(&cli, "inspect tiny");
    assert_eq!(inspected["config"]["descriptor"], json!({ "name": "flag", "family": "file", "licenses": ["MIT"] }));
    let capabilities = &inspected["config"]["config"]["capabilities"];
    assert_eq!(capabilities["inputTypes"], json!(["text", "image"]));
    assert_eq!((&capabilities["languages"], &capabilities["reasoning"]), (&json!(["de", "en"]), &json!(true)));
    assert_eq!(inspected["config"]["config"]["format"], "safetensors");
    assert_eq!(inspected["annotations"], json!({ "dev.modelpack.context-length": "512", "org.example.a": "b" }));
    let sources = sources(&packed);
    for (field, from) in [
        ("descriptor.name", "--name"),
        ("descriptor.family", "Modelfile:2"),
        ("config.capabilities.inputTypes", "Modelfile:4, Modelfile:5"),
        ("config.capabilities.languages", "--language"),
        ("annotations", "--annotation"),
    ] {
        assert!(sources.contains(&(field.to_owned(), from.to_owned())), "{field} from {from}: {sources:?}");
    }
    let name = packed["metadata"].as_array().unwrap().iter().find(|said| said["field"] == "descriptor.name").unwrap();
    assert_eq!(name["overruled"], json!([{ "value": "file", "from": "Modelfile:1" }]));
    assert!(sources.iter().any(|(field, from)| field == "config.paramSize" && from.contains("safetensors")), "{sources:?}");
}

#[test]
fn an_explanation_as_text_changes_nothing() {
    let (cli, _) = cli_with_model();
    let plain = ok(&cli, "pack model -t tiny");
    let output = run(&cli, "pack model -t tiny --explain").expect_code(0);
    assert_eq!(output.stdout.trim_end(), plain);
    let line = output.stderr.lines().find(|line| line.starts_with("descriptor.family")).unwrap_or_else(|| panic!("{}", output.stderr));
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["descriptor.family", "llama", "config.json:", "`model_type`"]);
    let output = run(&cli, "pack model -t tiny --explain --family mine").expect_code(0);
    let mut lines = output.stderr.lines().skip_while(|line| !line.starts_with("descriptor.family"));
    let mut words = || lines.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(), ["descriptor.family", "mine", "--family"]);
    assert_eq!(words(), ["llama", "config.json:", "`model_type`", "(overruled)"]);
}

#[test]
fn a_push_of_a_directory_accepts_the_same_flags() {
    let (cli, _) = cli_with_model();
    let registry = Registry::start();
    let reference = registry.reference("tiny:v1");
    ok(&cli, &format!("push model {reference} --vendor example --precision bf16"));
    assert_eq!(json(&cli, &format!("inspect {reference}"))["config"]["descriptor"]["vendor"], "example");
    ok(&cli, &format!("pack model -t {reference}"));
    fails(&cli, &format!("push {reference} --vendor example"), 2, &["flags for packing a directory"]);
}

#[test]
fn values_that_a_config_cannot_hold_are_refused_before_packing() {
    let (cli, _) = cli_with_model();
    for (flags, words) in [
        ("--param-size 8x7B", ["8x7B", "config.paramSize"]),
        ("--precision int4", ["int4", "quantization"]),
        ("--created-at yesterday", ["yesterday", "RFC 3339"]),
        ("--input-type smell", ["smell", "text, image"]),
        ("--reward=maybe", ["maybe", "`true` or `false`"]),
        ("--annotation org.cncf.model.filepath=x", ["org.cncf.model.filepath=x", "KEY=VALUE"]),
    ] {
        fails(&cli, &format!("pack model -t tiny {flags}"), 2, &words);
    }
    assert_eq!(json(&cli, "ls"), json!([]));
}

#[test]
fn a_work_tree_gives_its_commit_and_init_leaves_it_out() {
    let (cli, model) = cli_with_model();
    let files_alone = ok(&cli, "pack model -t tiny");
    let commit = "0123456789abcdef0123456789abcdef01234567";
    fs::create_dir(model.join(".git")).unwrap();
    fs::write(model.join(".git/HEAD"), commit).unwrap();
    fs::write(model.join(".git/config"), "[remote \"origin\"]\n\turl = https://me:secret@huggingface.co/org/tiny\n").unwrap();
    let packed = json(&cli, "pack model -t tiny --explain");
    let sources = sources(&packed);
    assert!(sources.contains(&("descriptor.revision".to_owned(), "git: the commit that is checked out".to_owned())), "{sources:?}");
    let descriptor = json(&cli, "inspect tiny")["config"]["descriptor"].clone();
    assert_eq!((&descriptor["revision"], &descriptor["sourceURL"]), (&json!(commit), &json!("https://huggingface.co/org/tiny")));
    ok(&cli, "init model");
    let modelfile = fs::read_to_string(model.join("Modelfile")).unwrap();
    assert!(modelfile.contains("SOURCEURL https://huggingface.co/org/tiny\n") && !modelfile.contains("REVISION"), "{modelfile}");
    fs::remove_file(model.join("Modelfile")).unwrap();
    fs::remove_dir_all(model.join(".git")).unwrap();
    assert_eq!(ok(&cli, "pack model -t tiny"), files_alone);
}

#[test]
fn an_explanation_names_weights_without_metadata_and_the_reason() {
    let (cli, model) = cli_with_model();
    fs::write(model.join("model-00001-of-00002.safetensors"), [9, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    let why = "model-00001-of-00002.safetensors gives no metadata: it declares a header of 9 bytes, but the file has 8 bytes";
    assert_eq!(json(&cli, "pack model -t tiny --explain")["notes"], json!([why]));
    let output = run(&cli, "pack model -t tiny --explain").expect_code(0);
    assert!(output.stderr.lines().any(|line| line == why), "{}", output.stderr);
    assert!(!output.stderr.contains("config.paramSize"), "{}", output.stderr);
}

#[test]
fn a_config_that_only_python_accepts_is_read() {
    let (cli, model) = cli_with_model();
    let config = fs::read_to_string(model.join("config.json")).unwrap();
    let endless = config.replacen('{', r#"{"time_step_limit":[0.0,Infinity],"eps":NaN,"#, 1);
    let expected = {
        ok(&cli, "pack model -t tiny");
        json(&cli, "inspect tiny")["config"].clone()
    };
    for bytes in [endless.clone().into_bytes(), endless.encode_utf16().flat_map(u16::to_le_bytes).collect()] {
        fs::write(model.join("config.json"), bytes).unwrap();
        let output = run(&cli, "pack model -t tiny").expect_code(0);
        assert!(!output.stderr.contains("warning"), "{}", output.stderr);
        let found = json(&cli, "inspect tiny")["config"].clone();
        assert_eq!((&found["descriptor"], &found["config"]), (&expected["descriptor"], &expected["config"]));
    }
}

#[test]
fn an_unreadable_side_file_is_packed_with_one_warning() {
    let (cli, model) = cli_with_model();
    fs::write(model.join("config.json"), "{\n  \"model_type\": \"llama\",\n}\n").unwrap();
    let why = "config.json gives no metadata: line 3, column 1: expected a key in double quotes";
    for flags in ["", " --dry-run", " --explain"] {
        let output = run(&cli, &format!("pack model -t tiny{flags}")).expect_code(0);
        let printed = output.stderr.lines().filter(|line| line.contains("config.json gives")).collect::<Vec<_>>();
        assert_eq!(printed, [format!("warning: {why}")], "{}", output.stderr);
        assert_eq!(json(&cli, &format!("pack model -t tiny{flags}"))["warnings"], json!([why]));
    }
    assert_eq!(json(&cli, "inspect tiny")["config"]["descriptor"]["family"], Value::Null);
    ok(&cli, "unpack tiny -o out");
    assert_eq!(fs::read(cli.home().join("out/config.json")).unwrap(), fs::read(model.join("config.json")).unwrap());
}

#[test]
fn a_malformed_model_card_gives_a_warning_and_is_read_in_part() {
    let (cli, model) = cli_with_model();
    fs::write(model.join("README.md"), "---\nversion: 1.10\ntitle: Tiny: a model\nlicense: mit\n---\n# Tiny\n").unwrap();
    let output = run(&cli, "pack model -t tiny").expect_code(0);
    let warnings: Vec<&str> = output.stderr.lines().filter(|line| line.starts_with("warning: ")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("README.md is read in part: line 3, column 12: "), "{}", output.stderr);
    let descriptor = json(&cli, "inspect tiny")["config"]["descriptor"].clone();
    assert_eq!((&descriptor["version"], &descriptor["licenses"]), (&json!("1.10"), &json!(["MIT"])));
}
