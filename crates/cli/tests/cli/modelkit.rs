//! Conversion of other tools' artifacts to artifacts of the specification.

use crate::harness::{Registry, cli, expect_nothing_visible, fails, json, ok, run};
use modelpack_testkit::{assert_same_tree, fixture};
use serde_json::{Value, json};
use std::{fs, path::Path};

const FIXTURES: [&str; 6] = ["kit-none", "kit-gzip", "modctl-raw", "modctl-tar", "modctl-cnai", "oras"];
const MODELPACK: &str = "application/vnd.cncf.model.manifest.v1+json";

fn digests(inspected: &Value) -> Vec<&Value> {
    inspected["layers"].as_array().unwrap().iter().map(|layer| &layer["digest"]).collect()
}

#[test]
fn inspect_shows_a_modelkit_with_the_fields_of_the_specification() {
    let cli = cli();
    for (name, encoding) in [("kit-none", "tar"), ("kit-gzip", "tar+gzip")] {
        let inspected = json(&cli, &format!("inspect oci:{}", fixture(name).display()));
        assert_eq!(inspected["artifactType"], "application/vnd.kitops.modelkit.manifest.v1+json");
        let expected = json!({
            "authors": ["somebody"], "name": "tiny", "title": "tiny", "version": "1.0.0", "description": "A tiny model for tests",
            "licenses": ["Apache-2.0"],
        });
        assert_eq!(inspected["config"]["descriptor"], expected);
        let layers = inspected["layers"].as_array().unwrap().iter();
        let layers: Vec<_> = layers.map(|layer| (layer["kind"].as_str().unwrap(), layer["path"].as_str().unwrap())).collect();
        let expected = [
            ("weight", "model-00001-of-00002.safetensors"),
            ("weight", "model-00002-of-00002.safetensors"),
            ("weight.config", "config.json"),
            ("weight.config", "tokenizer.json"),
            ("weight.config", "model.safetensors.index.json"),
            ("code", "src"),
            ("doc", "README.md"),
            ("doc", "LICENSE"),
        ];
        assert_eq!(layers, expected);
        assert_eq!(inspected["layers"][0]["mediaType"], format!("application/vnd.kitops.modelkit.model.v1.{encoding}"));
        let shown = ok(&cli, &format!("inspect oci:{}", fixture(name).display()));
        assert!(shown.contains("Licences:") && shown.contains("src (archive)"), "{shown}");
    }
}

#[test]
fn any_artifact_can_be_converted_with_unchanged_layers() {
    let cli = cli();
    for name in FIXTURES {
        let layout = format!("oci:{}:v1", fixture(name).display());
        let converted = json(&cli, &format!("cp --to modelpack {layout} store:{name}:one"));
        assert_eq!(ok(&cli, &format!("cp --to modelpack {layout} store:{name}:two")), converted["digest"], "{name} twice");
        let (before, after) = (json(&cli, &format!("inspect {layout}")), json(&cli, &format!("inspect store:{name}:one")));
        assert_eq!(after["artifactType"], MODELPACK, "{name}");
        assert_eq!(digests(&before), digests(&after), "{name}");
        for layer in after["layers"].as_array().unwrap() {
            let media_type = layer["mediaType"].as_str().unwrap();
            assert!(media_type.starts_with("application/vnd.cncf.model.") && layer["path"].is_string(), "{name}: {layer}");
        }
        assert_eq!(after["config"]["config"]["format"], "safetensors", "{name}");
        let diff_ids = after["config"]["modelfs"]["diffIds"].as_array().unwrap();
        assert_eq!(diff_ids.len(), after["layers"].as_array().unwrap().len(), "{name}");
        ok(&cli, &format!("verify store:{name}:one"));
        ok(&cli, &format!("unpack {layout} -o {name}-before"));
        ok(&cli, &format!("unpack store:{name}:one -o {name}-after"));
        assert_same_tree(&cli.home().join(format!("{name}-before")), &cli.home().join(format!("{name}-after")));
        let again = json(&cli, &format!("cp --to modelpack store:{name}:one store:{name}:again"));
        assert_eq!(again["digest"], converted["digest"], "{name}: a converted artifact is not changed again");
    }
}

#[test]
fn a_modelkit_is_compared_by_its_metadata() {
    let cli = cli();
    let (kit, pushed) = (fixture("kit-none"), fixture("oras"));
    let compared = run(&cli, &format!("diff oci:{} oci:{} --json", pushed.display(), kit.display()));
    assert!(compared.stdout.contains("Apache-2.0") && compared.stdout.contains("A tiny model for tests"), "{}", compared.stdout);
}

#[test]
fn files_can_be_attached_to_a_converted_artifact() {
    let cli = cli();
    fs::write(cli.home().join("NOTES.md"), "notes").unwrap();
    let layout = format!("oci:{}:v1", fixture("kit-gzip").display());
    fails(&cli, &format!("attach NOTES.md -s {layout} -t attached"), 5, &["`modelpack cp --to modelpack`"]);
    ok(&cli, &format!("cp --to modelpack {layout} store:converted"));
    ok(&cli, "attach NOTES.md -s converted -t attached");
    ok(&cli, "unpack attached -o out");
    assert_eq!(fs::read_to_string(cli.home().join("out/NOTES.md")).unwrap(), "notes");
    assert!(cli.home().join("out/src/run.py").is_file());
}

#[test]
fn diff_ids_of_compressed_layers_are_digests_of_the_uncompressed_content() {
    let cli = cli();
    let diff_ids = |name: &str| {
        ok(&cli, &format!("cp --to modelpack oci:{} store:{name}:v1", fixture(name).display()));
        json(&cli, &format!("inspect store:{name}:v1"))["config"]["modelfs"]["diffIds"].clone()
    };
    // Both were packed from the same files, one compressed and one not.
    assert_eq!(diff_ids("kit-gzip"), diff_ids("kit-none"));
    let plain = json(&cli, "inspect store:kit-none:v1");
    assert_eq!(plain["config"]["modelfs"]["diffIds"], json!(digests(&plain)));
}

#[test]
fn existing_blobs_are_not_transferred() {
    let (cli, registry) = (cli(), Registry::start());
    for name in ["kit-none", "kit-gzip"] {
        let reference = registry.reference(&format!("{name}:kit"));
        let copied = json(&cli, &format!("cp oci:{} {reference}", fixture(name).display()));
        let size: u64 = json(&cli, &format!("inspect docker://{reference}"))["layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|layer| layer["size"].as_u64().unwrap())
            .sum();
        assert!(copied["moved"].as_u64().unwrap() >= size);
        for target in [format!("{name}:modelpack"), format!("{name}-elsewhere:v1")] {
            let target = registry.reference(&target);
            let converted = json(&cli, &format!("cp --to modelpack docker://{reference} {target}"));
            assert_eq!((&converted["moved"], &converted["present"]), (&json!(0), &json!(size)), "{target}");
            ok(&cli, &format!("verify docker://{target}"));
        }
        ok(&cli, &format!("pull {reference}"));
        let converted = json(&cli, &format!("cp --to modelpack store:{reference} store:{name}:stored"));
        assert_eq!((&converted["moved"], &converted["present"]), (&json!(0), &json!(size)));
        let from_registry = json(&cli, &format!("cp --to modelpack docker://{reference} store:fresh-{name}:v1"));
        assert_eq!(from_registry["digest"], converted["digest"]);
    }
}

#[test]
fn incomplete_or_damaged_artifacts_are_not_converted() {
    let cli = cli();
    let copy = |name: &str| {
        ok(&cli, &format!("cp oci:{}:v1 oci:{name}:v1", fixture("kit-gzip").display()));
        cli.home().join(name)
    };
    let damaged = copy("damaged");
    let inspected = json(&cli, "inspect oci:damaged:v1");
    let digest = inspected["layers"][1]["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let mut bytes = fs::read(damaged.join("blobs/sha256").join(&digest)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    replace(&damaged.join("blobs/sha256").join(&digest), &bytes);
    fails(&cli, "cp --to modelpack oci:damaged:v1 store:x:v1", 5, &[&digest]);
    expect_nothing_visible(&cli);

    // A layer without a name, as oras writes it for content from a pipe.
    let unnamed = copy("unnamed");
    edit_manifest(&unnamed, |manifest| manifest["layers"][0]["mediaType"] = json!("application/octet-stream"));
    fails(&cli, "cp --to modelpack oci:unnamed store:x:v1", 5, &["layer sha256:", "it has no file name"]);
    expect_nothing_visible(&cli);
    fails(&cli, "cp --to modelkit oci:damaged:v1 store:x:v1", 2, &["modelpack"]);
}

#[test]
fn invalid_values_are_left_out_with_a_warning() {
    let cli = cli();
    ok(&cli, &format!("cp oci:{}:v1 oci:odd:v1", fixture("modctl-cnai").display()));
    let odd = cli.home().join("odd");
    let config = br#"{"descriptor":{"name":"odd"},"config":{"paramSize":"8x7B","precision":"bf16"}}"#;
    edit_manifest(&odd, |manifest| {
        let digest = digest_of(config);
        fs::write(odd.join("blobs/sha256").join(digest.trim_start_matches("sha256:")), config).unwrap();
        manifest["config"]["digest"] = json!(digest);
        manifest["config"]["size"] = json!(config.len());
    });
    let output = cli.run(["cp", "--to", "modelpack", "oci:odd", "store:odd:v1"]).expect_code(0);
    assert!(output.stderr.contains("left out: \"8x7B\" is not a value of `config.paramSize`"), "{}", output.stderr);
    let config = json(&cli, "inspect store:odd:v1")["config"].clone();
    assert_eq!(
        (&config["descriptor"], &config["config"]),
        (&json!({ "name": "odd" }), &json!({ "format": "safetensors", "precision": "bfloat16" }))
    );
}

/// Replaces a file by a new one, because the old one may be hard-linked.
fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn digest_of(bytes: &[u8]) -> String {
    modelpack::spec::Digest::of(bytes).to_string()
}

/// Changes the only manifest of a layout.
fn edit_manifest(layout: &Path, edit: impl FnOnce(&mut Value)) {
    let mut index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let blob = |digest: &Value| layout.join("blobs/sha256").join(digest.as_str().unwrap().trim_start_matches("sha256:"));
    let mut manifest: Value = serde_json::from_slice(&fs::read(blob(&index["manifests"][0]["digest"])).unwrap()).unwrap();
    edit(&mut manifest);
    let bytes = manifest.to_string().into_bytes();
    let digest = json!(digest_of(&bytes));
    fs::write(blob(&digest), &bytes).unwrap();
    index["manifests"][0]["digest"] = digest;
    index["manifests"][0]["size"] = json!(bytes.len());
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
}
