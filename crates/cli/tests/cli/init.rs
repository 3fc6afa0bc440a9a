//! `init` writes a Modelfile that packs the files of a directory.

use crate::harness::{cli_with_model, fails, json, ok, run};
use modelpack_testkit::write_odd_names;
use std::fs;

#[test]
fn the_modelfile_of_init_packs_the_same_files_and_values() {
    let (cli, model) = cli_with_model();
    write_odd_names(&model.join("odd"));
    ok(&cli, "pack model -t without");
    assert_eq!(ok(&cli, "init model --name renamed"), "model/Modelfile");
    ok(&cli, "pack model -t with");
    let (without, with) = (json(&cli, "inspect without"), json(&cli, "inspect with"));
    let files = |inspected: &serde_json::Value| {
        let layers = inspected["layers"].as_array().unwrap().iter();
        layers.map(|layer| (layer["path"].to_string(), layer["kind"].to_string(), layer["digest"].to_string())).collect::<Vec<_>>()
    };
    assert_eq!(files(&without), files(&with));
    assert_eq!(without["config"]["config"], with["config"]["config"]);
    assert_eq!(with["config"]["descriptor"]["name"], "renamed");
}

#[test]
fn an_existing_modelfile_is_kept_unless_forced() {
    let (cli, model) = cli_with_model();
    ok(&cli, "init model");
    let written = fs::read_to_string(model.join("Modelfile")).unwrap();
    assert!(written.contains("\nFAMILY llama\n") && written.contains("\nCODE examples/generate.py\n"), "{written}");
    fs::write(model.join("Modelfile"), "mine").unwrap();
    fails(&cli, "init model", 8, &["model/Modelfile", "--overwrite"]);
    assert_eq!(fs::read_to_string(model.join("Modelfile")).unwrap(), "mine");
    ok(&cli, "init model --overwrite");
    assert_eq!(fs::read_to_string(model.join("Modelfile")).unwrap(), written);
    fails(&cli, "init nowhere", 3, &["nowhere"]);
}

#[test]
fn generate_writes_to_the_same_path_as_modctl() {
    let (cli, model) = cli_with_model();
    ok(&cli, "modelfile generate model -n tiny --arch transformer --param-size 8B");
    let written = fs::read_to_string(cli.home().join("Modelfile")).unwrap();
    assert!(written.contains("\nNAME tiny\n") && written.contains("\nPARAMSIZE 8B\n"), "{written}");
    assert!(!model.join("Modelfile").exists());
    ok(&cli, "modelfile generate model -O elsewhere/deep");
    assert!(cli.home().join("elsewhere/deep/Modelfile").is_file());
}

#[test]
fn modctls_flags_are_accepted_and_its_hub_flags_are_refused_with_a_reason() {
    let (cli, _) = cli_with_model();
    let flags =
        "--name n --arch cnn --family f --format onnx --param-size 1.5M --precision bf16 --quantization awq --output out --overwrite";
    ok(&cli, &format!("modelfile generate {flags} model"));
    let written = fs::read_to_string(cli.home().join("out/Modelfile")).unwrap();
    for line in ["NAME n", "ARCH cnn", "FAMILY f", "FORMAT onnx", "PARAMSIZE 1.5M", "PRECISION bfloat16", "QUANTIZATION awq"] {
        assert!(written.lines().any(|written| written == line), "{line} not in {written}");
    }
    for flag in ["--model-url meta-llama/Llama-2-7b-hf", "-p huggingface", "--provider modelscope", "--download-dir models"] {
        let refused = run(&cli, &format!("modelfile generate {flag}")).expect_code(2);
        assert!(refused.stderr.contains("not fetched from a hub") && refused.stderr.contains("directory"), "{}", refused.stderr);
    }
}
