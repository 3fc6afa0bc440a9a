//! Complete outputs: a change of any output appears as a change of a file in `snapshots/`.
//!
//! After an intended change, update the files with `INSTA_UPDATE=always cargo test -p modelpack-cli
//! snapshots`.

use crate::harness::{cli, cli_with_model, ok, run};
use std::fmt::Write;

/// The output of the program for each command line: stdout unchanged, stderr and exit code marked.
fn transcript(cli: &modelpack_testkit::Cli, lines: &[&str]) -> String {
    let home = cli.home().to_string_lossy().into_owned();
    let mut shown = String::new();
    for line in lines {
        let output = run(cli, line);
        writeln!(shown, "$ modelpack {line}").unwrap();
        shown.push_str(&output.stdout.replace(&home, "~"));
        for line in output.stderr.replace(&home, "~").lines() {
            writeln!(shown, "stderr: {line}").unwrap();
        }
        if output.code != 0 {
            writeln!(shown, "exit code: {}", output.code).unwrap();
        }
        shown.push('\n');
    }
    shown
}

#[test]
fn the_way_of_a_model() {
    let (cli, _) = cli_with_model();
    insta::assert_snapshot!(transcript(
        &cli,
        &[
            "pack model -t team/tiny:v1",
            "inspect team/tiny:v1",
            "inspect team/tiny:v1 --json",
            "verify team/tiny:v1",
            "unpack team/tiny:v1 -o out",
            "unpack team/tiny:v1 -o out --json",
            "cp team/tiny:v1 oci:layout:v1",
            "tag team/tiny:v1 other",
            "rm team/tiny:v1 --json",
            "prune",
        ],
    ));
}

#[test]
fn explanations() {
    // Each has its own model and store, because the report on existing blobs depends on the clock.
    let explained = |line: &str| transcript(&cli_with_model().0, &[line]);
    let with_flags = "pack model -t tiny --explain --family mine --language de --annotation dev.modelpack.context-length=128";
    let mut shown: String = ["pack model -t tiny --explain", with_flags, &format!("{with_flags} --json")].map(explained).concat();
    let (cli, model) = cli_with_model();
    std::fs::write(model.join("Modelfile"), "NAME tiny\nFAMILY other\nMODEL *.safetensors\n").unwrap();
    std::fs::write(model.join("model-00002-of-00002.safetensors"), "not one").unwrap();
    shown += &transcript(&cli, &["pack model -t tiny --explain --family mine"]);
    insta::assert_snapshot!(shown);
}

#[test]
fn judgements() {
    let (cli, model) = cli_with_model();
    std::fs::write(cli.home().join("config.json"), r#"{"descriptor":{"authors":"me","colour":1},"config":{"paramSize":"8x7B"}}"#).unwrap();
    std::fs::write(cli.home().join("NOTES.md"), "Notes.").unwrap();
    // A pickle that imports `os.system`.
    std::fs::write(model.join("loader.pkl"), b"cos\nsystem\n(S'true'\ntR.").unwrap();
    insta::assert_snapshot!(transcript(
        &cli,
        &[
            "pack model --dry-run --layer code=tar+gzip --max-layers 9",
            "pack model -t tiny:v1",
            "pack model -t tiny:v1 --require-safe",
            "scan tiny:v1",
            "validate tiny:v1 config.json",
            "validate config.json --json",
            "lint tiny:v1 --for oras --for podman",
            "attach NOTES.md -s tiny:v1 -t tiny:v2",
            "diff tiny:v1 tiny:v2",
            "diff tiny:v1 tiny:v2 --json",
            "unpack tiny:v2 -o out --preset tokenizer --include *.md",
        ],
    ));
}

#[test]
fn errors() {
    let (cli, model) = cli_with_model();
    std::fs::write(model.join("Modelfile"), "NAME tiny\nMODEL  \"missing.bin\"\n").unwrap();
    insta::assert_snapshot!(transcript(
        &cli,
        &["pack model -t tiny", "pack nowhere -t tiny", "inspect tiny", "inspect tiny --json", "pack model -t UPPER", "pack model"],
    ));
}

#[test]
fn help() {
    let cli = cli();
    let top = ok(&cli, "--help");
    // The commands are in groups, between the usage and the options.
    let commands = top.lines().skip_while(|line| !line.starts_with("Usage:")).skip(1).take_while(|line| *line != "Options:");
    let commands = commands.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.contains(&"pack") && names.contains(&"version"), "{top}");
    let lines: Vec<String> = names.iter().map(|name| format!("{name} --help")).collect();
    let lines: Vec<&str> = ["--help"].into_iter().chain(lines.iter().map(String::as_str)).collect();
    insta::assert_snapshot!(transcript(&cli, &lines));
}
