//! Ollama models. Their manifests have the type of Docker image manifests, and their layers have
//! Ollama's own media types.

use crate::{
    harness::{Registry, cli, fails, json, ok, run},
    layout::{DOCKER_MANIFEST, Layout},
};
use modelpack_testkit::{Cli, assert_same_tree};
use serde_json::{Value, json};
use std::fs;

const CONFIG: &str = "application/vnd.docker.container.image.v1+json";

fn of_ollama(what: &str) -> String {
    format!("application/vnd.ollama.image.{what}")
}

/// Writes a model with every layer type that a model of one GGUF file can have.
fn write_model(cli: &Cli, name: &str) {
    let config = json!({
        "model_format": "gguf", "model_family": "llama", "model_families": ["llama"], "model_type": "134.52M", "file_type": "Q4_K_M",
        "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [] },
    });
    let layers = [
        ("model", "weights"),
        ("template", "{{ .Prompt }}"),
        ("params", r#"{"stop":["x"]}"#),
        ("system", "Be kind."),
        ("messages", "[]"),
        ("license", "first"),
        ("license", "second"),
        ("adapter", "adapter"),
        ("projector", "projector"),
    ];
    let layout = layers.iter().fold(Layout::new(cli, name), |layout, (what, bytes)| layout.layer(&of_ollama(what), bytes));
    layout.write(DOCKER_MANIFEST, CONFIG, config.to_string());
}

const FILES: [&str; 9] =
    ["LICENSE", "LICENSE.2", "adapter.gguf", "messages.json", "model.gguf", "params.json", "projector.gguf", "system", "template"];

#[test]
fn they_are_unpacked_to_their_files_from_every_place() {
    let (cli, registry) = (cli(), Registry::start());
    write_model(&cli, "ollama");
    let unpacked = json(&cli, "unpack oci:ollama -o direct");
    assert_eq!(unpacked["written"], json!(FILES));
    assert_eq!(fs::read(cli.home().join("direct/LICENSE.2")).unwrap(), b"second");
    let reference = registry.reference("library/smol:135m");
    assert_eq!(json(&cli, &format!("cp oci:ollama {reference}"))["digest"], unpacked["digest"]);
    assert_eq!(ok(&cli, &format!("pull {reference}")), unpacked["digest"]);
    ok(&cli, &format!("verify store:{reference}"));
    ok(&cli, &format!("push {reference}"));
    ok(&cli, &format!("unpack store:{reference} -o stored"));
    ok(&cli, &format!("pull {reference} -o pulled"));
    ok(&cli, &format!("fetch {reference} -o fetched"));
    for how in ["stored", "pulled", "fetched"] {
        assert_same_tree(&cli.home().join("direct"), &cli.home().join(how));
    }
}

#[test]
fn their_configs_are_shown() {
    let cli = cli();
    write_model(&cli, "ollama");
    let inspected = json(&cli, "inspect oci:ollama");
    let config = json!({ "format": "gguf", "paramSize": "134.52M", "quantization": "Q4_K_M", "model_families": ["llama"] });
    assert_eq!((&inspected["config"]["config"], &inspected["config"]["descriptor"]), (&config, &json!({ "family": "llama" })));
    let shown = ok(&cli, "inspect oci:ollama");
    let lines = ["llama", "134.52M", "Q4_K_M", "gguf", "weight.config", "messages.json"];
    assert!(lines.iter().all(|line| shown.contains(line)) && !shown.contains("amd64"), "{shown}");
}

#[test]
fn they_are_converted_to_modelpack_artifacts() {
    let cli = cli();
    write_model(&cli, "ollama");
    ok(&cli, "cp --to modelpack oci:ollama store:smol:v1");
    ok(&cli, "validate store:smol:v1 --read-layers");
    ok(&cli, "lint store:smol:v1 --for kitops");
    ok(&cli, "verify store:smol:v1");
    let inspected = json(&cli, "inspect store:smol:v1");
    assert_eq!(inspected["config"]["config"], json!({ "format": "gguf", "paramSize": "134.5M", "quantization": "Q4_K_M" }));
    assert_eq!(inspected["config"]["descriptor"], json!({ "family": "llama" }));
    let layers: Vec<_> = inspected["layers"].as_array().unwrap().iter().map(|layer| (&layer["path"], &layer["kind"])).collect();
    let expected = [
        ("model.gguf", "weight"),
        ("template", "weight.config"),
        ("params.json", "weight.config"),
        ("system", "weight.config"),
        ("messages.json", "weight.config"),
        ("LICENSE", "doc"),
        ("LICENSE.2", "doc"),
        ("adapter.gguf", "weight"),
        ("projector.gguf", "weight"),
    ];
    let expected = expected.map(|(path, kind)| (Value::from(path), Value::from(kind)));
    assert_eq!(layers, expected.iter().map(|(path, kind)| (path, kind)).collect::<Vec<_>>());
    ok(&cli, "unpack oci:ollama -o before");
    ok(&cli, "unpack store:smol:v1 -o after");
    assert_same_tree(&cli.home().join("before"), &cli.home().join("after"));
    assert!(run(&cli, "diff oci:ollama store:smol:v1").expect_code(1).stdout.contains("134.5M"));
}

#[test]
fn tensor_layers_are_named_by_their_descriptors() {
    let cli = cli();
    let named = |name: &str| json!({ "name": name });
    let layout = Layout::new(&cli, "tensors")
        .layer_with(&of_ollama("tensor"), "a", &named("vae/conv.weight"))
        .layer_with(&of_ollama("tensor"), "b", &named("model.embed_tokens.weight"))
        .layer_with(&of_ollama("json"), "{}", &named("vae/config.json"));
    layout.write(DOCKER_MANIFEST, CONFIG, json!({ "model_format": "safetensors" }).to_string());
    let files = json!(["model.embed_tokens.weight.safetensors", "vae/config.json", "vae/conv.weight.safetensors"]);
    assert_eq!(json(&cli, "unpack oci:tensors -o out")["written"], files);
    let layout = Layout::new(&cli, "outside").layer_with(&of_ollama("json"), "{}", &named("../x"));
    layout.write(DOCKER_MANIFEST, CONFIG, "{}");
    fails(&cli, "unpack oci:outside -o out", 5, &["../x"]);
}

#[test]
fn a_container_image_is_not_an_ollama_model() {
    let cli = cli();
    let layer = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    let layout = Layout::new(&cli, "image").layer(layer, "layer");
    layout.write(DOCKER_MANIFEST, CONFIG, json!({ "model_family": "llama", "architecture": "amd64" }).to_string());
    assert!(json(&cli, "inspect oci:image")["config"].is_null());
    fails(&cli, "unpack oci:image -o out", 5, &[layer]);
    fails(&cli, "cp --to modelpack oci:image store:x:v1", 5, &[layer]);
}
