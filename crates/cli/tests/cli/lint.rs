//! `lint` with the real program: which tools can use an artifact.

use crate::harness::{Registry, cli, cli_with_model, fails, json, ok, run};
use modelpack::spec::{Digest, media_type};
use modelpack_testkit::{Cli, fixture};
use serde_json::{Value, json};
use std::fs;

/// The verdict of `lint` for one consumer.
fn verdict(report: &Value, id: &str) -> String {
    consumer(report, id)["verdict"].as_str().unwrap().to_owned()
}

fn consumer<'a>(report: &'a Value, id: &str) -> &'a Value {
    report["consumers"].as_array().unwrap().iter().find(|consumer| consumer["id"] == id).expect(id)
}

#[test]
fn podman_cannot_use_nested_files_and_can_use_flat_ones() {
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
fn a_directory_is_judged_like_the_artifact_packed_from_it() {
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
fn a_modelfile_determines_the_judged_files() {
    let (cli, model) = cli_with_model();
    fs::write(cli.home().join("flat"), "MODEL *.safetensors\nCONFIG *.json\n").unwrap();
    assert_eq!(verdict(&json(&cli, "lint model -f flat"), "podman"), "works");
    fs::copy(cli.home().join("flat"), model.join("Modelfile")).unwrap();
    assert_eq!(verdict(&json(&cli, "lint model"), "podman"), "works");
    fails(&cli, "lint store:x -f flat", 2, &["--file", "directory"]);
}

#[test]
fn the_exit_code_depends_only_on_the_selected_tools() {
    let cli = cli_with_model().0;
    let shown = ok(&cli, "lint model");
    for expected in ["podman", "title-has-directory (fatal)", "examples/__init__.py", "change: ", "containerd#11381"] {
        assert!(shown.contains(expected), "{expected} not in:\n{shown}");
    }
    let shown = ok(&cli, "lint model --for oras --for harbor-2.13");
    assert!(!shown.contains("podman") && shown.contains("in part"), "{shown}");
    let output = run(&cli, "lint model --for podman --for oras").expect_code(1);
    assert!(output.stdout.contains("title-has-directory"), "the findings are still printed");
    assert!(output.stderr.contains("podman cannot use model") && !output.stderr.contains("oras"), "{}", output.stderr);
    fails(&cli, "lint model --for floppy", 2, &["floppy"]);
}

#[test]
fn artifacts_of_other_tools_are_judged_without_normalising_names() {
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
    assert_eq!([verdict(&report, "kitops"), verdict(&report, "modctl")], ["works"; 2]);
    assert_eq!(verdict(&lint("kit-gzip"), "modctl"), "cannot");
}

#[test]
fn docker_model_runner_can_use_its_own_artifacts() {
    let cli = cli();
    for (version, path) in [("0.1", None), ("0.2", Some("org.cncf.model.filepath"))] {
        let config = json!({"config": {"format": "gguf"}, "rootfs": {"type": "rootfs", "diff_ids": [Digest::of(b"GGUF").to_string()]}});
        let annotations = path.map_or(json!({}), |path| json!({ path: "model.gguf" }));
        write_layout(
            &cli,
            (&format!("application/vnd.docker.ai.model.config.v{version}+json"), &config),
            &[("application/vnd.docker.ai.gguf.v3", b"GGUF", annotations)],
        );
        let report = json(&cli, "lint oci:layout");
        assert_eq!(consumer(&report, "docker-model-runner")["findings"], json!([]), "{version}");
        assert_eq!([verdict(&report, "llmman"), verdict(&report, "ramalama")], ["works", "cannot"], "{version}");
    }
}

#[test]
fn kserve_accepts_images_and_the_report_names_the_supported_layers() {
    let cli = cli();
    let of_image = |compression: &str| {
        let layer = format!("application/vnd.oci.image.layer.v1.tar{compression}");
        write_layout(&cli, ("application/vnd.oci.image.config.v1+json", &json!({})), &[(&layer, b"x", json!({}))]);
        json(&cli, "lint oci:layout")
    };
    for compression in ["", "+gzip"] {
        assert_eq!(verdict(&of_image(compression), "kserve"), "works");
    }
    let report = of_image("+zstd");
    assert_eq!(verdict(&report, "kserve"), "in part");
    assert_eq!(consumer(&report, "kserve")["findings"][0]["rule"], "layer-type");
    let (cli, _) = cli_with_model();
    let output = run(&cli, "lint model --for kserve").expect_code(1);
    assert!(output.stdout.contains("no-image-layer (fatal)"), "{}", output.stdout);
}

#[test]
fn the_started_file_of_a_gguf_model_is_checked() {
    let (cli, model) = cli_with_model();
    fs::remove_dir_all(&model).unwrap();
    fs::create_dir(&model).unwrap();
    fs::write(model.join("LICENSE"), "MIT").unwrap();
    fs::write(model.join("model.gguf"), [&b"GGUF\x03\0\0\0"[..], &[0; 16]].concat()).unwrap();
    let report = json(&cli, "lint model");
    let finding = &consumer(&report, "ramalama")["findings"][0];
    assert_eq!((finding["rule"].as_str(), finding["at"]["path"].as_str()), (Some("entry-point"), Some("LICENSE")));
    let works = ["docker-model-runner", "podman", "llmman", "oras"].map(|id| verdict(&report, id));
    assert_eq!([works.as_slice(), &[verdict(&report, "ramalama-docker")]].concat(), ["works", "works", "works", "works", "cannot"]);
    fs::rename(model.join("model.gguf"), model.join("0-model.gguf")).unwrap();
    assert_eq!(verdict(&json(&cli, "lint model"), "ramalama"), "works");
    fs::create_dir(model.join("docs")).unwrap();
    fs::write(model.join("docs/README.md"), "#").unwrap();
    let report = json(&cli, "lint model");
    assert_eq!(consumer(&report, "ramalama")["findings"][0]["rule"], "title-has-directory");
}

#[test]
fn llmman_uses_the_directory_of_the_first_config() {
    let cli = cli();
    let config = json!({"descriptor": {}, "config": {}});
    let layer = |kind: &str| format!("application/vnd.cncf.model.{kind}.v1.raw");
    let (weight, weight_config) = (layer("weight"), layer("weight.config"));
    let mut layers = vec![
        (weight_config.as_str(), &b"{}"[..], json!({"org.cncf.model.filepath": "1_Pooling/config.json"})),
        (weight_config.as_str(), b"{ }", json!({"org.cncf.model.filepath": "config.json"})),
        (weight.as_str(), b"x", json!({"org.cncf.model.filepath": "model.safetensors"})),
    ];
    write_layout(&cli, (media_type::CONFIG, &config), &layers);
    let report = json(&cli, "lint oci:layout");
    let finding = &consumer(&report, "llmman")["findings"][0];
    assert_eq!((finding["rule"].as_str(), finding["at"]["path"].as_str()), (Some("first-config"), Some("1_Pooling/config.json")));
    layers.swap(0, 1);
    write_layout(&cli, (media_type::CONFIG, &config), &layers);
    assert_eq!(verdict(&json(&cli, "lint oci:layout"), "llmman"), "works");
}

/// Writes a layout with one manifest to `layout`: the type and content of its config, and layers
/// with type, bytes and annotations.
fn write_layout(cli: &Cli, config: (&str, &Value), layers: &[(&str, &[u8], Value)]) {
    let layout = cli.home().join("layout");
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    let put = |media_type: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(layout.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    };
    let layers: Vec<Value> = layers
        .iter()
        .map(|(media_type, bytes, annotations)| {
            let mut layer = put(media_type, bytes);
            layer["annotations"] = annotations.clone();
            layer
        })
        .collect();
    let config = put(config.0, config.1.to_string().as_bytes());
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type::IMAGE_MANIFEST, "config": config, "layers": layers});
    let manifest = put(media_type::IMAGE_MANIFEST, manifest.to_string().as_bytes());
    fs::write(layout.join("index.json"), json!({"schemaVersion": 2, "manifests": [manifest]}).to_string()).unwrap();
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

#[test]
fn missing_targets_are_an_error() {
    let cli = cli();
    fails(&cli, "lint tiny", 3, &["tiny"]);
    fails(&cli, "lint ./tiny", 2, &["not a directory"]);
}
