//! `validate` with the real program: whether documents and artifacts are valid.

use crate::harness::{Registry, cli, cli_with_model, fails, json, ok, run};
use modelpack::spec::{Descriptor, Digest, ImageIndex, Manifest, media_type};
use modelpack_testkit::{Cli, Output, fixture};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const DIGEST: &str = "sha256:1234567890abcdef1234567890abcdef1234567890abcdef1234567890abcdef";

/// 1024 zero bytes (an archive without entries) compressed with gzip.
#[rustfmt::skip]
const EMPTY_TAR_GZIP: [u8; 29] = [
    31, 139, 8, 0, 0, 0, 0, 0, 2, 255, 99, 96, 24, 5, 163, 96, 20, 140, 84, 0, 0, 46, 175, 181, 239, 0, 4, 0, 0,
];

/// Expects that a target is not valid, and returns the output.
#[track_caller]
fn not_valid(cli: &Cli, line: &str) -> Output {
    let output = run(cli, line).expect_code(5);
    assert!(output.stderr.contains("not valid") && output.stderr.contains("hint: "), "{}", output.stderr);
    output
}

/// The JSON results for the only target.
#[track_caller]
fn results(cli: &Cli, line: &str, code: i32) -> Vec<Value> {
    let output = run(cli, &format!("{line} --json")).expect_code(code);
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(report["valid"], code == 0, "{report}");
    report["targets"][0]["results"].as_array().unwrap().clone()
}

fn rules(result: &Value) -> BTreeSet<&str> {
    result["problems"].as_array().unwrap().iter().map(|problem| problem["rule"].as_str().unwrap()).collect()
}

fn write(cli: &Cli, name: &str, document: &Value) -> PathBuf {
    let path = cli.home().join(name);
    fs::write(&path, document.to_string()).unwrap();
    path
}

/// Writes a layout with these blobs and an index that lists `manifest`.
fn write_layout(directory: &Path, manifest: &Descriptor, blobs: &[&[u8]]) {
    fs::create_dir_all(directory.join("blobs/sha256")).unwrap();
    for blob in blobs {
        fs::write(directory.join("blobs/sha256").join(Digest::of(blob).hex()), blob).unwrap();
    }
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    fs::write(directory.join("index.json"), serde_json::to_vec(&ImageIndex::new(vec![manifest.clone()])).unwrap()).unwrap();
}

#[test]
fn every_problem_of_a_file_is_a_line_with_its_pointer() {
    let cli = cli();
    let mut config = json!({
        "descriptor": { "name": "tiny" }, "config": { "paramSize": "8b" }, "modelfs": { "type": "layers", "diffIds": [DIGEST] },
    });
    write(&cli, "config.json", &config);
    assert_eq!(ok(&cli, "validate config.json"), "config.json: config: valid");
    config["descriptor"]["version"] = json!(3.1);
    config["config"]["precision"] = json!("bf16");
    config["colour"] = json!("red");
    write(&cli, "config.json", &config);
    let shown = not_valid(&cli, "validate config.json").stdout;
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!((lines[0], lines.len()), ("config.json: config: not valid, 3 problems", 4), "{shown}");
    for line in [
        "  config /descriptor/version: found a number, 3.1; allowed: a string (type)",
        "  config /colour: found an unknown field; allowed: config, descriptor or modelfs (additionalProperties)",
    ] {
        assert!(lines.contains(&line), "{line} not in:\n{shown}");
    }
    assert!(lines[3].starts_with("  config /config/precision: found a string, \"bf16\"; allowed: one or more of these types"), "{shown}");
    let result = &results(&cli, "validate config.json", 5)[0];
    assert_eq!((&result["subject"], &result["valid"], &result["digest"]), (&json!("config"), &json!(false), &Value::Null));
    let problem = json!({
        "document": "config", "pointer": "/descriptor/version", "found": "a number, 3.1", "allowed": "a string", "rule": "type",
    });
    assert!(result["problems"].as_array().unwrap().contains(&problem), "{result}");
}

#[test]
fn the_type_of_a_document_is_detected_or_given() {
    let cli = cli();
    write(&cli, "empty", &json!({}));
    fails(&cli, "validate empty", 2, &["empty", "--type"]);
    let shown = not_valid(&cli, "validate empty --type config").stdout;
    assert!(shown.contains("config /descriptor: found nothing; allowed: an object (required)"), "{shown}");
    assert!(not_valid(&cli, "validate empty --type manifest").stdout.contains("manifest /layers: found nothing"));
    fs::write(cli.home().join("broken"), "{\n  \"modelfs\": }").unwrap();
    assert!(not_valid(&cli, "validate broken").stdout.contains("document: found at line 2, column 14: "));
    let index = fixture("modctl-raw").join("index.json");
    fails(&cli, &format!("validate {}", index.display()), 2, &["layout"]);
}

#[test]
fn packed_artifacts_are_valid_in_every_place() {
    let cli = cli_with_model().0;
    assert_eq!(ok(&cli, "validate model"), "model: artifact to be packed: valid");
    let digest = ok(&cli, "pack model -t tiny");
    let registry = Registry::start();
    let remote = registry.reference("tiny");
    for place in [format!("docker://{remote}"), "oci:layout:v1".to_owned(), "oci-archive:file.tar:v1".to_owned()] {
        ok(&cli, &format!("cp tiny {place}"));
        assert_eq!(ok(&cli, &format!("validate {place}")), format!("{place}: artifact {digest}: valid"));
        assert_eq!(ok(&cli, &format!("validate {place} --read-layers")), format!("{place}: artifact {digest}: valid"));
    }
    fails(&cli, "validate file.tar", 5, &["file.tar", "tar archive", "`oci-archive:`"]);
    let several = json(&cli, "validate tiny layout model");
    let verdicts: Vec<&Value> = several["targets"].as_array().unwrap().iter().map(|target| &target["valid"]).collect();
    assert_eq!(verdicts, [true, true, true]);
}

#[test]
fn artifacts_of_other_tools_are_validated_unchanged() {
    let cli = cli();
    let judge = |name: &str, code| results(&cli, &format!("validate {}", fixture(name).display()), code).remove(0);
    for valid in ["modctl-raw", "modctl-tar"] {
        assert_eq!(judge(valid, 0)["problems"], json!([]), "{valid}");
    }
    assert_eq!(rules(&judge("modctl-cnai", 5)), BTreeSet::from(["older-name"]));
    assert_eq!(rules(&judge("oras", 5)), BTreeSet::from(["const", "enum"]));
    let kit = judge("kit-none", 5);
    let pointers: Vec<&str> = kit["problems"].as_array().unwrap().iter().map(|problem| problem["pointer"].as_str().unwrap()).collect();
    assert!(pointers.contains(&"/config/mediaType") && pointers.contains(&"/layers/0/mediaType"), "{pointers:?}");
}

#[test]
fn all_targets_are_reported_before_the_command_fails() {
    let (cli, _) = cli_with_model();
    write(&cli, "empty", &json!({}));
    let cnai = fixture("modctl-cnai");
    let output = run(&cli, &format!("validate model missing:v1 {} --json", cnai.display())).expect_code(5);
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    let verdicts: Vec<&Value> = report["targets"].as_array().unwrap().iter().map(|target| &target["valid"]).collect();
    assert_eq!(verdicts, [&json!(true), &Value::Null, &json!(false)]);
    assert!(report["targets"][1]["error"].as_str().unwrap().contains("missing"));
    let output = run(&cli, "validate model missing:v1").expect_code(3);
    assert!(output.stdout.contains("model: artifact to be packed: valid") && output.stdout.contains("missing:v1: not read"));
    fails(&cli, "validate missing:v1", 3, &["missing"]);
    fails(&cli, "validate ./missing", 2, &["is not a directory"]);
    fails(&cli, "validate", 2, &["FILE"]);
    fails(&cli, "validate empty -f Modelfile", 2, &["--file", "directory"]);
    fails(&cli, "validate empty --exclude x", 2, &["--exclude", "directory"]);
    fails(&cli, "validate model --type config", 2, &["--type", "JSON file"]);
    assert_eq!(ok(&cli, "validate model --exclude examples"), "model: artifact to be packed: valid");
}

#[test]
fn the_diff_id_of_a_compressed_layer_is_compared_with_its_content() {
    let cli = cli();
    let layer_type = "application/vnd.cncf.model.doc.v1.tar+gzip";
    let artifact = |name: &str, layer: &[u8], content: &Digest| {
        let modelfs = json!({ "type": "layers", "diffIds": [content] });
        let config = json!({ "descriptor": {}, "config": {}, "modelfs": modelfs }).to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::IMAGE_MANIFEST, "artifactType": media_type::ARTIFACT,
            "config": Descriptor::of(media_type::CONFIG, &config), "layers": [Descriptor::of(layer_type, layer)],
        });
        let manifest = manifest.to_string().into_bytes();
        write_layout(&cli.home().join(name), &Descriptor::of(media_type::IMAGE_MANIFEST, &manifest), &[layer, &config, &manifest]);
    };
    let content = Digest::of(&[0; 1024]);
    artifact("true", &EMPTY_TAR_GZIP, &content);
    artifact("false", &EMPTY_TAR_GZIP, &Digest::of(b"other"));
    artifact("plain", &[0; 1024], &Digest::of(b"other"));
    for unread in ["true", "false", "plain"] {
        assert!(ok(&cli, &format!("validate {unread}")).contains("not checked: the content of 1 layer"));
        assert_eq!(results(&cli, &format!("validate {unread}"), 0)[0]["unreadLayers"], json!([0]));
    }
    let shown = ok(&cli, "validate true --read-layers");
    assert!(shown.ends_with(": valid"), "{shown}");
    let shown = not_valid(&cli, "validate false --read-layers").stdout;
    assert!(shown.contains("/modelfs/diffIds/0") && shown.contains(&content.to_string()) && shown.contains("(diff-id)"), "{shown}");
    let shown = not_valid(&cli, "validate plain --read-layers").stdout;
    assert!(shown.contains("manifest /layers/0: found ") && shown.contains("tar+gzip") && shown.contains("(readable)"), "{shown}");
    let blob = cli.home().join("true/blobs/sha256").join(Digest::of(&EMPTY_TAR_GZIP).hex());
    // Another time in the gzip header: the content is the same, but the layer is not the one in the
    // manifest.
    let mut changed = EMPTY_TAR_GZIP;
    changed[4] = 1;
    fs::write(blob, changed).unwrap();
    fails(&cli, "validate true --read-layers", 5, &["layer", "digest"]);
}

#[test]
fn an_index_is_validated_with_its_manifests() {
    let cli = cli_with_model().0;
    let digest = ok(&cli, "pack model -t tiny");
    ok(&cli, "cp tiny oci:layout:v1");
    let layout = cli.home().join("layout");
    let manifest = fs::read(layout.join("blobs/sha256").join(digest.trim_start_matches("sha256:"))).unwrap();
    let wrong =
        String::from_utf8(manifest.clone()).unwrap().replacen("vnd.cncf.model.doc.v1.raw", "vnd.cncf.model.doc.v1.zip", 1).into_bytes();
    let inner =
        ImageIndex::new(vec![Descriptor::of(media_type::IMAGE_MANIFEST, &manifest), Descriptor::of(media_type::IMAGE_MANIFEST, &wrong)]);
    let inner = serde_json::to_vec(&inner).unwrap();
    let outer = serde_json::to_vec(&ImageIndex::new(vec![Descriptor::of(media_type::IMAGE_INDEX, &inner)])).unwrap();
    let named = Manifest::parse(outer.clone(), None).unwrap().descriptor();
    write_layout(&layout, &named, &[&wrong, &inner, &outer]);
    for target in ["layout", "oci:layout"] {
        let results = results(&cli, &format!("validate {target}"), 5);
        let verdicts: Vec<_> =
            results.iter().map(|result| (result["digest"].as_str().unwrap(), result["valid"].as_bool().unwrap())).collect();
        assert_eq!(verdicts, [(digest.as_str(), true), (Digest::of(&wrong).to_string().as_str(), false)], "{target}");
    }
}

#[test]
fn an_unreadable_manifest_in_a_layout_is_reported() {
    let cli = cli();
    let manifest = br#"{"schemaVersion":2,"layers":[{"size":-1}]}"#;
    write_layout(&cli.home().join("layout"), &Descriptor::of(media_type::IMAGE_MANIFEST, manifest), &[manifest]);
    let shown = not_valid(&cli, "validate layout").stdout;
    assert!(shown.contains("manifest /layers/0/size: found a number, -1; allowed: at least 0 (minimum)"), "{shown}");
    assert!(shown.contains("manifest /config: found nothing"), "{shown}");
}

#[test]
fn a_packed_licence_is_valid() {
    let cli = cli_with_model().0;
    fails(&cli, "pack model -t tiny --license other", 2, &["descriptor.licenses", "\"other\"", "LicenseRef-"]);
    for (given, packed) in [("llama3.1", "LicenseRef-llama3.1"), ("LicenseRef-Ours", "LicenseRef-Ours"), ("apache-2.0", "Apache-2.0")] {
        ok(&cli, &format!("pack model -t tiny --license {given}"));
        assert_eq!(json(&cli, "inspect tiny")["config"]["descriptor"]["licenses"], json!([packed]));
        ok(&cli, "validate tiny");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn anything_that_is_not_a_directory_is_read_as_a_file() {
    let shown = not_valid(&cli(), "validate /dev/null").stdout;
    assert!(shown.contains("the text ends too early"), "{shown}");
    // An endless file is read up to the size limit of a document.
    let shown = not_valid(&cli(), "validate /dev/zero").stdout;
    assert!(shown.contains("more than 4194304 bytes"), "{shown}");
}
