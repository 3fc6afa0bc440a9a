//! Parts of an artifact: files that are not selected are not transferred.

use crate::harness::{Registry, cli, cli_with_model, count_files, fails, json, ok, run};
use modelpack_testkit::{Cli, FaultProxy, fixture};
use serde_json::json as value;
use std::{fs, path::Path};

/// The model in a registry behind a proxy, and a new home directory.
fn pushed() -> (Registry, FaultProxy, Cli) {
    let (packer, _) = cli_with_model();
    let registry = Registry::start();
    ok(&packer, &format!("push model {}", registry.reference("tiny:v1")));
    let proxy = registry.behind(vec![]);
    (registry, proxy, cli())
}

/// The number of requested blobs.
fn blobs(proxy: &FaultProxy) -> usize {
    proxy.requests().iter().filter(|request| request.method == "GET" && request.path.contains("/blobs/")).count()
}

#[test]
fn only_selected_files_are_fetched() {
    for (flags, expected) in [
        ("--preset tokenizer", value!(["tokenizer.json", "tokenizer_config.json"])),
        ("--preset weights --exclude *2-of*", value!(["model-00001-of-00002.safetensors"])),
        ("--preset docs,tokenizer --exclude *.json", value!(["LICENSE", "README.md", "examples/prompts/greeting.txt"])),
        ("--include examples/ --exclude *.py", value!(["examples/prompts/greeting.txt"])),
        (
            "--preset config",
            value!(["config.json", "generation_config.json", "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json"]),
        ),
    ] {
        let (_registry, proxy, cli) = pushed();
        let unpacked = json(&cli, &format!("pull {}/tiny:v1 -o out {flags}", proxy.address()));
        assert_eq!(unpacked["written"], expected, "{flags}");
        let count = expected.as_array().unwrap().len();
        assert_eq!(count_files(&cli.home().join("out")), count, "{flags}");
        assert_eq!(blobs(&proxy), count, "{flags}: {:?}", proxy.requests());
        assert_eq!(unpacked["leftOut"]["files"], 12 - count, "{flags}");
        let again = json(&cli, &format!("pull {}/tiny:v1 -o out {flags}", proxy.address()));
        assert_eq!((again["unchanged"].clone(), blobs(&proxy)), (expected, count), "{flags}");
    }
}

#[test]
fn files_left_out_are_counted() {
    let (_registry, proxy, cli) = pushed();
    let reference = format!("{}/tiny:v1", proxy.address());
    let layers = json(&cli, &format!("inspect {reference}"))["layers"].as_array().unwrap().clone();
    let all: u64 = layers.iter().map(|layer| layer["size"].as_u64().unwrap()).sum();
    let unpacked = json(&cli, &format!("unpack {reference} -o out --include config.json"));
    assert_eq!(unpacked["bytes"].as_u64().unwrap() + unpacked["leftOut"]["bytes"].as_u64().unwrap(), all);
    let note = run(&cli, &format!("unpack {reference} -o other --include config.json")).expect_code(0).stderr;
    assert!(note.contains("unpacked 1 file") && note.contains("left out 11 files, 1."), "{note}");
}

#[test]
fn a_part_is_verified_like_a_complete_artifact() {
    use modelpack_testkit::{Failure, Fault};
    let (registry, _, cli) = pushed();
    let proxy = registry.behind(vec![Fault::on("GET", "/blobs/", Failure::FlipByte(3))]);
    fails(&cli, &format!("fetch {}/tiny:v1 -o out --patterns config.json", proxy.address()), 5, &["config.json"]);
    assert_eq!(count_files(&cli.home().join("out")), 0);
}

#[test]
fn fetch_accepts_modctls_patterns() {
    let (registry, _, cli) = pushed();
    let fetched = json(&cli, &format!("fetch {} --output out --patterns *.md,/config.json", registry.reference("tiny:v1")));
    assert_eq!(fetched["written"], value!(["README.md", "config.json"]));
    fails(&cli, "fetch oci:layout -o out --patterns x", 2, &["oci:layout"]);
}

#[test]
fn an_empty_selection_reports_the_available_files() {
    let (registry, _, cli) = pushed();
    let line = format!("pull {} -o out --include *.onnx --preset tokenizer --exclude tokenizer*", registry.reference("tiny:v1"));
    let words = ["--include \"*.onnx\", preset tokenizer, --exclude \"tokenizer*\"", "config.json", "and 2 more", "hint: "];
    fails(&cli, &line, 3, &words);
    assert_eq!(count_files(&cli.home().join("out")), 0);
}

#[test]
fn the_store_accepts_only_complete_artifacts() {
    let (registry, _, cli) = pushed();
    let line = format!("pull {} --include *.json", registry.reference("tiny:v1"));
    fails(&cli, &line, 2, &["--output", "hint: modelpack pull"]);
    fails(&cli, &format!("pull {} -o x --preset wights", registry.reference("tiny:v1")), 2, &["wights", "weights"]);
}

#[test]
fn archives_that_cannot_contain_a_selected_file_are_not_fetched() {
    let cli = cli();
    // modctl packs each file into an archive with the same name.
    let place = format!("oci:{}", fixture("modctl-tar").display());
    let part = json(&cli, &format!("unpack {place} -o modctl --preset config"));
    assert_eq!((part["leftOut"]["files"].clone(), part["written"].as_array().unwrap().is_empty()), (0.into(), false), "{part}");
    assert!(part["leftOut"]["archives"].as_u64().unwrap() > 0);
}

#[test]
fn parts_of_modelkits_and_bundles_are_unpacked() {
    let (cli, model) = cli_with_model();
    let names = |directory: &str| {
        let (top, mut names, mut pending) = (cli.home().join(directory), Vec::new(), vec![cli.home().join(directory)]);
        while let Some(directory) = pending.pop() {
            for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() { pending.push(path) } else { names.push(path.strip_prefix(&top).unwrap().to_owned()) }
            }
        }
        names
    };
    for name in ["kit-none", "kit-gzip"] {
        let kit = format!("oci:{}:v1", fixture(name).display());
        ok(&cli, &format!("unpack {kit} -o {name}-all"));
        for (line, part) in [("--preset docs", "docs"), ("--preset weights", "weights"), ("--include *.json", "json")] {
            let part = format!("{name}-{part}");
            ok(&cli, &format!("unpack {kit} -o {part} {line}"));
            assert!(!names(&part).is_empty() && names(&part).len() < names(&format!("{name}-all")).len(), "{part}: {:?}", names(&part));
            for file in names(&part) {
                let read = |directory: &str| fs::read(cli.home().join(directory).join(&file)).unwrap();
                assert_eq!(read(&part), read(&format!("{name}-all")), "{file:?}");
            }
        }
    }
    for encoding in ["tar", "tar+gzip", "tar+zstd"] {
        ok(&cli, &format!("pack model -t bundled --max-layers 4 --layer {encoding}"));
        let out = format!("out-{encoding}");
        ok(&cli, &format!("unpack bundled -o {out} --include config.json"));
        assert_eq!(names(&out), [Path::new("config.json")]);
        assert_eq!(fs::read(cli.home().join(out).join("config.json")).unwrap(), fs::read(model.join("config.json")).unwrap());
    }
}
