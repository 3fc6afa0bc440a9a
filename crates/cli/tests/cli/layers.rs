//! Files become layers: encodings, bundles, and the plan of `--dry-run`.

use crate::harness::{Registry, cli, cli_with_model, count_files, expect_sound, fails, json, ok, run, store};
use modelpack_testkit::{assert_same_tree, write_odd_names};
use serde_json::Value;
use std::fs;

const ENCODINGS: [&str; 4] = ["raw", "tar", "tar+gzip", "tar+zstd"];

/// The encodings of an artifact's layers by path.
fn encodings(inspected: &Value) -> Vec<(String, String)> {
    let layer = |layer: &Value| {
        let encoding = layer["mediaType"].as_str().unwrap().rsplit_once(".v1.").unwrap().1;
        (layer["path"].as_str().unwrap().to_owned(), encoding.to_owned())
    };
    inspected["layers"].as_array().unwrap().iter().map(layer).collect()
}

#[test]
fn files_in_every_encoding_are_the_same_after_a_push_and_a_pull() {
    let (cli, model) = cli_with_model();
    let odd = cli.home().join("odd");
    write_odd_names(&odd);
    fs::write(cli.home().join("all"), "MODEL **/*\n").unwrap();
    let registry = Registry::start();
    for (number, encoding) in ENCODINGS.into_iter().enumerate() {
        for (directory, flags) in [(&model, ""), (&odd, "-f all")] {
            let name = directory.file_name().unwrap().to_str().unwrap();
            let (tag, reference) = (format!("{name}:{number}"), registry.reference(&format!("{name}:{number}")));
            let packed = ok(&cli, &format!("pack {name} {flags} -t {tag} --layer {encoding}"));
            assert_eq!(ok(&cli, &format!("push {name} {flags} {reference} --layer {encoding}")), packed, "a registry gets the same");
            assert_eq!(ok(&cli, &format!("push {name} {flags} {reference} --layer {encoding}")), packed, "again, when all blobs exist");
            ok(&cli, &format!("verify {reference}"));
            assert_eq!(ok(&cli, &format!("cp {reference} oci:layout:{name}-{number}")), packed);
            for (place, out) in [(reference.clone(), "out"), (format!("oci:layout:{name}-{number}"), "again")] {
                let out = format!("{out}-{name}-{number}");
                ok(&cli, &format!("unpack {place} -o {out}"));
                assert_same_tree(directory, &cli.home().join(&out));
            }
            let found = encodings(&json(&cli, &format!("inspect {reference}")));
            assert!(found.iter().all(|(_, found)| found == encoding), "{found:?}");
            expect_sound(&cli, &tag);
        }
    }
}

#[test]
fn the_last_rule_that_matches_a_file_applies() {
    let (cli, model) = cli_with_model();
    ok(&cli, "pack model -t tiny --layer tar --layer weight=raw --layer doc=tar+gzip --layer config.json=tar+zstd");
    for (path, encoding) in encodings(&json(&cli, "inspect tiny")) {
        let expected = match path.as_str() {
            "config.json" => "tar+zstd",
            path if path.ends_with(".safetensors") => "raw",
            path if [".md", ".txt"].iter().any(|end| path.ends_with(end)) || path == "LICENSE" => "tar+gzip",
            _ => "tar",
        };
        assert_eq!(encoding, expected, "{path}");
    }
    assert!(ok(&cli, "inspect tiny").contains("config.json (archive)"));
    ok(&cli, "unpack tiny -o out");
    assert_same_tree(&model, &cli.home().join("out"));
    let lint = json(&cli, "lint tiny");
    let modctl = lint["consumers"].as_array().unwrap().iter().find(|consumer| consumer["id"] == "modctl").unwrap();
    assert_eq!(modctl["verdict"], "cannot", "it supports neither gzip nor zstd");
}

#[test]
fn an_invalid_rule_is_reported_with_its_reason() {
    let (cli, _) = cli_with_model();
    fails(&cli, "pack model -t tiny --layer zip", 2, &["--layer", "zip", "tar+zstd"]);
    fails(&cli, "pack model -t tiny --layer code,doc=tar", 2, &["one kind"]);
    fails(&cli, "pack model -t tiny --max-layers 0", 2, &["--max-layers"]);
    for rule in ["weights", "examples/missing", "[", "a=b"] {
        fails(&cli, &format!("pack model -t tiny --layer {rule}=tar"), 9, &[rule, "no file", "hint: a kind is weight"]);
    }
    for rule in ["examples", "examples/", "./README.md", "*.none"] {
        ok(&cli, &format!("pack model --dry-run --layer {rule}=tar"));
    }
    let reference = "registry.example.com/tiny";
    fails(&cli, &format!("push {reference} --layer tar"), 2, &["artifact in the store"]);
}

#[test]
fn too_many_layers_are_refused_with_a_hint() {
    let (cli, _) = cli_with_model();
    fails(&cli, "pack model -t tiny --max-layers 2", 9, &["2 are allowed", "--max-layers"]);
    fails(&cli, "pack model -t tiny --max-layers 5 --layer raw", 9, &["5 are allowed", "raw because of `--layer`"]);
    assert!(!store(&cli).exists());
}

#[test]
fn a_dry_run_shows_the_plan_and_writes_nothing() {
    let (cli, model) = cli_with_model();
    let before = count_files(cli.home());
    for line in ["pack model", "pack model -t tiny", "push model", "push model registry.invalid/tiny", "build model"] {
        let planned = json(&cli, &format!("{line} --dry-run --layer doc=tar --max-layers 12"));
        assert_eq!(planned["files"], count_files(&model), "{line}");
        assert_eq!(count_files(cli.home()), before, "{line} wrote something");
        assert!(!store(&cli).exists());
    }
    let shown = ok(&cli, "pack model --dry-run --layer doc=tar");
    assert!(shown.lines().next().unwrap().split_whitespace().eq(["SIZE", "KIND", "ENCODING", "PATH"]), "{shown}");
    assert!(shown.lines().any(|line| line.split_whitespace().eq(["556", "B", "weight.config", "raw", "config.json"])), "{shown}");
    assert!(shown.lines().any(|line| line.ends_with("doc            tar       README.md")), "{shown}");
    let explained = run(&cli, "pack model --dry-run --explain").expect_code(0);
    assert!(explained.stderr.contains("descriptor.family"), "{}", explained.stderr);
    assert_eq!(json(&cli, "pack model --dry-run --explain")["metadata"][0]["field"], "descriptor.family");
    fails(&cli, "pack nowhere --dry-run", 3, &["nowhere"]);
    fails(&cli, "pack model --dry-run --max-layers 1", 9, &["1 are allowed"]);
}

#[test]
fn the_packed_artifact_matches_the_plan() {
    let (cli, _) = cli_with_model();
    let flags = "--layer code=tar --layer doc=tar+zstd --max-layers 9";
    let planned = json(&cli, &format!("pack model --dry-run {flags}"));
    let packed = json(&cli, &format!("pack model -t tiny {flags}"));
    assert_eq!([&packed["files"], &packed["bytes"]], [&planned["files"], &planned["bytes"]]);
    let inspected = json(&cli, "inspect tiny");
    let (planned, inspected) = (planned["layers"].as_array().unwrap(), inspected["layers"].as_array().unwrap());
    assert_eq!((packed["layers"].as_u64().unwrap() as usize, planned.len()), (inspected.len(), inspected.len()));
    assert!(planned.iter().any(|layer| layer["files"].as_array().unwrap().len() > 1), "something is bundled");
    for (planned, inspected) in planned.iter().zip(inspected) {
        for field in ["path", "kind", "mediaType"] {
            assert_eq!(planned[field], inspected[field]);
        }
        assert!(planned["size"] == inspected["size"] || planned["encoding"] == "tar+zstd", "{planned}");
    }
}

#[test]
fn more_small_files_than_a_registry_accepts_layers_are_bundled() {
    let cli = cli();
    let model = cli.home().join("model");
    for folder in 0..30 {
        fs::create_dir_all(model.join(format!("docs/{folder}"))).unwrap();
        for file in 0..100 {
            fs::write(model.join(format!("docs/{folder}/{file}.md")), format!("{folder} {file}")).unwrap();
        }
    }
    fs::write(model.join("config.json"), "{}").unwrap();
    fs::write(model.join("model.gguf"), "GGUF").unwrap();
    let registry = Registry::start();
    let reference = registry.reference("many:v1");
    let packed = json(&cli, &format!("push model {reference}"));
    assert_eq!((packed["layers"].as_u64(), packed["files"].as_u64()), (Some(3), Some(3002)));
    let found = encodings(&json(&cli, &format!("inspect {reference}")));
    let expected = [("config.json", "raw"), ("model.gguf", "raw"), ("doc.bundle-1.tar", "tar")];
    assert_eq!(found, expected.map(|(path, encoding)| (path.to_owned(), encoding.to_owned())));
    ok(&cli, &format!("pull {reference} -o out"));
    assert_same_tree(&model, &cli.home().join("out"));
    assert_eq!(json(&cli, &format!("pull {reference} -o out"))["digest"], packed["digest"], "and again over the existing files");
}
