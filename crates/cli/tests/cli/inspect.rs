//! The description of an artifact, as text and as JSON.

use crate::harness::{cli, cli_with_model, fails, json, ok, store};
use std::fs;

#[test]
fn the_text_shows_the_model_and_its_files() {
    let (cli, _) = cli_with_model();
    let digest = ok(&cli, "pack model -t team/tiny:v1");
    let shown = ok(&cli, "inspect team/tiny:v1");
    let fields: Vec<(&str, &str)> = shown.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split_once(':')).collect();
    let field = |name: &str| fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value.trim());
    assert_eq!(field("Reference"), Some("store:team/tiny:v1"));
    assert_eq!(field("Digest"), Some(digest.as_str()));
    assert_eq!(field("Name"), Some("tiny"), "a model without a name gets the name of its repository");
    assert_eq!((field("Family"), field("Architecture"), field("Format")), (Some("llama"), Some("transformer"), Some("safetensors")));
    assert_eq!((field("Parameters"), field("Precision"), field("Licences")), (Some("869.5K"), Some("bfloat16"), Some("Apache-2.0")));
    assert_eq!(field("Quantization"), None, "absent values are left out");
    let files: Vec<Vec<&str>> =
        shown.lines().skip_while(|line| !line.is_empty()).skip(2).map(|line| line.split_whitespace().collect()).collect();
    assert!(files.contains(&vec!["556", "B", "weight.config", "config.json"]), "{shown}");
    assert_eq!(*files.last().unwrap(), ["1.8", "MB", "12", "layers"]);
}

#[test]
fn the_json_has_the_same_values_and_the_unchanged_manifest() {
    let (cli, model) = cli_with_model();
    let digest = ok(&cli, "pack model -t tiny");
    let inspected = json(&cli, "inspect tiny");
    assert_eq!(inspected["digest"], digest);
    assert_eq!(inspected["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(inspected["artifactType"], "application/vnd.cncf.model.manifest.v1+json");
    assert_eq!(inspected["config"]["config"]["precision"], "bfloat16");
    let layer = inspected["layers"].as_array().unwrap().iter().find(|layer| layer["path"] == "config.json").unwrap();
    assert_eq!(layer["size"], fs::metadata(model.join("config.json")).unwrap().len());
    assert_eq!((layer["kind"].as_str(), layer["archive"].as_bool()), (Some("weight.config"), Some(false)));
    let raw = ok(&cli, "inspect tiny --raw");
    let blob = store(&cli).join("blobs/sha256").join(&digest[7..]);
    assert_eq!(raw.as_bytes(), fs::read(blob).unwrap());
}

#[test]
fn text_from_an_artifact_cannot_affect_the_terminal() {
    let (cli, model) = cli_with_model();
    fs::write(model.join("with\u{1b}[2Jescape\nand line.txt"), "x").unwrap();
    fs::write(model.join("Modelfile"), "NAME \"evil\u{1b}]0;title\u{7}\"\nDOC *.txt\n").unwrap();
    ok(&cli, "pack model -t tiny");
    let shown = ok(&cli, "inspect tiny");
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
    assert!(shown.contains("with\\u{1b}[2Jescape\\nand line.txt") && shown.contains("evil\\u{1b}]0;title\\u{7}"), "{shown}");
}

#[test]
fn the_text_shows_every_field_of_the_config() {
    let (cli, model) = cli_with_model();
    let modelfile = "TOOLUSAGE true\nREASONING false\nREWARD false\nKNOWLEDGECUTOFF 2024-06-01\nDOCURL https://doc\nDATASETURL https://one\nDATASETURL https://two\nMODEL *.safetensors\nCONFIG *.json\n";
    fs::write(model.join("Modelfile"), modelfile).unwrap();
    ok(&cli, "pack model -t tiny");
    let shown = ok(&cli, "inspect tiny");
    for (field, value) in [
        ("Tool usage", "yes"),
        ("Reasoning", "no"),
        ("Reward model", "no"),
        ("Knowledge cutoff", "2024-06-01T00:00:00Z"),
        ("Documentation", "https://doc"),
        ("Data sets", "https://one, https://two"),
    ] {
        let is_shown = shown.lines().filter_map(|line| line.split_once(':')).any(|(name, shown)| name == field && shown.trim() == value);
        assert!(is_shown, "{field}: {shown}");
    }
}

#[test]
fn an_index_lists_its_manifests() {
    let cli = cli();
    fs::create_dir(cli.home().join("model")).unwrap();
    fs::write(cli.home().join("model/a.bin"), "x").unwrap();
    let digest = ok(&cli, "pack model -t oci:layout:v1");
    let layout = cli.home().join("layout");
    let manifest = fs::read(layout.join("blobs/sha256").join(&digest[7..])).unwrap();
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type,
        "manifests": [{ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": manifest.len() }],
    });
    // Packing the index as a file is the simplest way to put its bytes into the layout.
    let scratch = cli.home().join("index");
    fs::create_dir(&scratch).unwrap();
    fs::write(scratch.join("index.bin"), index.to_string()).unwrap();
    ok(&cli, "pack index -t oci:layout:scratch");
    let blob = &json(&cli, "inspect oci:layout:scratch")["layers"][0]["digest"];
    let own = layout.join("index.json");
    let mut of_layout: serde_json::Value = serde_json::from_slice(&fs::read(&own).unwrap()).unwrap();
    let entry = serde_json::json!({
        "mediaType": media_type, "digest": blob, "size": index.to_string().len(),
        "annotations": { "org.opencontainers.image.ref.name": "all" },
    });
    of_layout["manifests"].as_array_mut().unwrap().push(entry);
    fs::write(&own, of_layout.to_string()).unwrap();
    assert_eq!(json(&cli, "inspect oci:layout:all")["manifests"][0]["digest"], digest);
    assert!(ok(&cli, "inspect oci:layout:all").contains(&digest));
    assert_eq!(ok(&cli, "cp oci:layout:all oci:other:all"), *blob.as_str().unwrap());
    fails(&cli, "unpack oci:layout:all -o out", 5, &["index"]);
}
