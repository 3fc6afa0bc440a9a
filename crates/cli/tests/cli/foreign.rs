//! Artifacts of other tools.

use crate::{
    harness::{Registry, cli, fails, json, ok},
    layout::{IMAGE_MANIFEST, Layout},
};
use modelpack_testkit::{assert_same_tree, fixture};
use std::fs;

/// The files that the Kitfile of the fixtures names.
const IN_MODELKITS: [&str; 8] = [
    "config.json",
    "LICENSE",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
    "README.md",
    "src/run.py",
    "tokenizer.json",
];

#[test]
fn artifacts_of_other_tools_are_unpacked_from_their_layouts_and_through_our_registry() {
    let (cli, registry) = (cli(), Registry::start());
    let tiny = fixture("tiny");
    let in_modelkits = cli.home().join("in-modelkits");
    fs::create_dir_all(in_modelkits.join("src")).unwrap();
    for file in IN_MODELKITS {
        fs::copy(tiny.join(file), in_modelkits.join(file)).unwrap();
    }
    for name in ["modctl-raw", "modctl-tar", "modctl-cnai", "oras", "kit-none", "kit-gzip"] {
        let original = if name.starts_with("kit-") { &in_modelkits } else { &tiny };
        let layout = format!("oci:{}:v1", fixture(name).display());
        let direct = ok(&cli, &format!("unpack {layout} -o {name}-direct"));
        assert_same_tree(original, &cli.home().join(format!("{name}-direct")));
        let verified = json(&cli, &format!("verify {layout}"));
        assert_eq!(verified["digest"], direct, "{name}");
        assert_eq!(json(&cli, &format!("inspect {layout}"))["digest"], direct, "{name}");
        let reference = registry.reference(&format!("{name}:v1"));
        assert_eq!(ok(&cli, &format!("cp {layout} {reference}")), direct, "{name}");
        assert_eq!(ok(&cli, &format!("pull {reference}")), direct, "{name}");
        assert_eq!(ok(&cli, &format!("unpack store:{reference} -o {name}-pulled")), direct, "{name}");
        assert_same_tree(original, &cli.home().join(format!("{name}-pulled")));
    }
    assert_eq!(json(&cli, "ls").as_array().unwrap().len(), 6);
}

#[test]
fn the_older_names_of_the_specification_are_read_like_todays() {
    let cli = cli();
    let inspect = |name: &str| json(&cli, &format!("inspect oci:{}", fixture(name).display()));
    let (old, new) = (inspect("modctl-cnai"), inspect("modctl-raw"));
    let names = |inspected: &serde_json::Value| {
        let layers = inspected["layers"].as_array().unwrap();
        layers.iter().map(|layer| (layer["path"].clone(), layer["kind"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(names(&old), names(&new));
    assert_eq!(old["artifactType"], new["artifactType"]);
    assert_eq!(old["config"]["descriptor"]["family"], new["config"]["descriptor"]["family"]);
}

#[test]
fn an_artifact_without_a_model_config_is_shown_without_it() {
    let cli = cli();
    let layout = format!("oci:{}", fixture("oras").display());
    let inspected = json(&cli, &format!("inspect {layout}"));
    assert!(inspected["config"].is_null());
    assert_eq!(inspected["layers"].as_array().unwrap().len(), 10);
    let shown = ok(&cli, &format!("inspect {layout}"));
    assert!(shown.contains("config.json") && shown.contains("10 layers"), "{shown}");
}

#[test]
fn an_endlessly_nested_config_is_refused() {
    let cli = cli();
    let config = format!(r#"{{"config":{{"x":{}{}}}}}"#, "[".repeat(5000), "]".repeat(5000));
    let named = serde_json::json!({ "annotations": { "org.cncf.model.filepath": "a" } });
    let layout = Layout::new(&cli, "deep").layer_with("application/vnd.cncf.model.doc.v1.raw", "a", &named);
    layout.write(IMAGE_MANIFEST, "application/vnd.cncf.model.config.v1+json", config);
    for line in ["inspect oci:deep", "diff oci:deep oci:deep", "cp --to modelpack oci:deep store:x:v1"] {
        fails(&cli, line, 5, &["config sha256:", "nested more than 100 deep"]);
    }
    ok(&cli, "unpack oci:deep -o out");
}
