//! Which tools can use an artifact, asked of the real program.

use crate::harness::{Registry, cli, cli_with_model, fails, json, ok, run};
use modelpack_testkit::fixture;
use serde_json::Value;
use std::fs;

/// What `lint` says of one consumer.
fn verdict(report: &Value, id: &str) -> String {
    consumer(report, id)["verdict"].as_str().unwrap().to_owned()
}

fn consumer<'a>(report: &'a Value, id: &str) -> &'a Value {
    report["consumers"].as_array().unwrap().iter().find(|consumer| consumer["id"] == id).expect(id)
}

#[test]
fn nested_files_are_too_much_for_podman_and_flat_ones_are_not() {
    let (cli, model) = cli_with_model();
    let nested = json(&cli, "lint model");
    assert_eq!((verdict(&nested, "podman"), verdict(&nested, "oras")), ("cannot".to_owned(), "works".to_owned()));
    let finding = &consumer(&nested, "podman")["findings"][0];
    assert_eq!((finding["rule"].as_str(), finding["at"]["path"].as_str()), (Some("title-has-directory"), Some("examples/__init__.py")));
    assert!(finding["at"]["digest"].is_null(), "a directory is not hashed");
    fs::remove_dir_all(model.join("examples")).unwrap();
    assert_eq!(verdict(&json(&cli, "lint model"), "podman"), "works");
}

#[test]
fn a_directory_is_judged_as_the_artifact_that_it_becomes() {
    let cli = cli_with_model().0;
    let directory = json(&cli, "lint model");
    ok(&cli, "pack model -t tiny");
    let registry = Registry::start();
    ok(&cli, &format!("cp tiny {}", registry.reference("tiny")));
    for place in ["store:tiny".to_owned(), format!("docker://{}", registry.reference("tiny"))] {
        let mut artifact = json(&cli, &format!("lint {place}"));
        for consumer in artifact["consumers"].as_array_mut().unwrap() {
            for finding in consumer["findings"].as_array_mut().unwrap() {
                if finding["at"].get("layer").is_some() {
                    assert!(finding["at"]["digest"].as_str().unwrap().starts_with("sha256:"));
                    finding["at"]["digest"] = Value::Null;
                }
            }
        }
        assert_eq!(artifact["consumers"], directory["consumers"], "{place}");
    }
}

#[test]
fn a_modelfile_says_what_is_judged() {
    let (cli, model) = cli_with_model();
    fs::write(cli.home().join("flat"), "MODEL *.safetensors\nCONFIG *.json\n").unwrap();
    assert_eq!(verdict(&json(&cli, "lint model -f flat"), "podman"), "works");
    fs::copy(cli.home().join("flat"), model.join("Modelfile")).unwrap();
    assert_eq!(verdict(&json(&cli, "lint model"), "podman"), "works");
    fails(&cli, "lint store:x -f flat", 2, &["--file", "directory"]);
}

#[test]
fn only_who_names_a_tool_is_failed() {
    let cli = cli_with_model().0;
    let shown = ok(&cli, "lint model");
    for expected in ["podman", "title-has-directory (fatal)", "examples/__init__.py", "change: ", "containerd#11381"] {
        assert!(shown.contains(expected), "{expected} not in:\n{shown}");
    }
    let shown = ok(&cli, "lint model --for oras --for harbor-2.13");
    assert!(!shown.contains("podman") && shown.contains("in part"), "{shown}");
    let output = run(&cli, "lint model --for podman --for oras").expect_code(1);
    assert!(output.stdout.contains("title-has-directory"), "the findings are the result all the same");
    assert!(output.stderr.contains("podman cannot use model") && !output.stderr.contains("oras"), "{}", output.stderr);
    fails(&cli, "lint model --for floppy", 2, &["floppy"]);
}

#[test]
fn what_others_wrote_is_judged_by_the_names_that_stand_there() {
    let cli = cli();
    let lint = |name: &str| json(&cli, &format!("lint oci:{}", fixture(name).display()));
    let report = lint("modctl-raw");
    assert_eq!([verdict(&report, "modctl"), verdict(&report, "modctl-0.0"), verdict(&report, "oras")], ["works", "cannot", "in part"]);
    let report = lint("modctl-cnai");
    assert_eq!([verdict(&report, "modctl"), verdict(&report, "modctl-0.0"), verdict(&report, "harbor-2.13")], ["works"; 3]);
    assert_eq!([verdict(&report, "docker-model-runner"), verdict(&report, "harbor")], ["cannot", "in part"]);
    let report = lint("modctl-tar");
    assert_eq!([verdict(&report, "kitops-1.10"), verdict(&report, "docker-model-runner")], ["works", "cannot"]);
    let report = lint("oras");
    assert_eq!([verdict(&report, "oras"), verdict(&report, "kitops"), verdict(&report, "cri-o")], ["works", "cannot", "works"]);
    let report = lint("kit-none");
    assert_eq!([verdict(&report, "kitops"), verdict(&report, "modctl")], ["works", "cannot"]);
}

#[test]
fn what_is_not_there_cannot_be_judged() {
    let cli = cli();
    fails(&cli, "lint tiny", 3, &["tiny"]);
    fails(&cli, "lint ./tiny", 2, &["no directory"]);
}
