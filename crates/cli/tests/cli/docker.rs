//! Artifacts of Docker Model Runner, which have their own media types and often no file names.

use crate::{
    harness::{Registry, cli, expect_nothing_visible, fails, json, ok, run},
    layout::{IMAGE_MANIFEST, Layout},
};
use modelpack_testkit::{Cli, assert_same_tree, fixture};
use serde_json::{Value, json};
use std::fs;

const CONFIG: &str = "application/vnd.docker.ai.model.config.v0.1+json";
const LAYER_PER_FILE: &str = "application/vnd.docker.ai.model.config.v0.2+json";

fn of_docker(what: &str) -> String {
    format!("application/vnd.docker.ai.{what}")
}

/// A GGUF file without tensors.
fn gguf() -> Vec<u8> {
    [&b"GGUF"[..], &3_u32.to_le_bytes(), &0_u64.to_le_bytes(), &0_u64.to_le_bytes(), &[0; 8]].concat()
}

/// An artifact as older versions of `docker model package --gguf` write it: no layer has a title.
fn write_gguf_artifact(cli: &Cli, name: &str) {
    let config = json!({
        "config": {
            "format": "gguf", "quantization": "IQ2_XXS/Q4_K_M", "parameters": "361.82 M", "architecture": "llama", "size": "256.35 MiB",
            "gguf": { "general.name": "Smol", "general.license": "apache-2.0", "llama.context_length": "8192" }, "context_size": 4096,
        },
        "descriptor": { "created": "2025-04-01T12:00:00.5Z" },
        "rootfs": { "type": "rootfs", "diff_ids": [] },
    });
    Layout::new(cli, name)
        .layer(&of_docker("gguf.v3"), gguf())
        .layer(&of_docker("license"), "of the weights")
        .layer(&of_docker("license"), "of the rest")
        .layer(&of_docker("mmproj"), [gguf(), vec![0; 8]].concat())
        .layer(&of_docker("chat.template.jinja"), "{{ messages }}")
        .write(IMAGE_MANIFEST, CONFIG, config.to_string());
}

const GGUF_FILES: [&str; 5] = ["LICENSE", "LICENSE.2", "chat_template.jinja", "mmproj.gguf", "model.gguf"];

/// An artifact as `docker model package` writes a directory: every layer has its path.
fn write_safetensors_artifact(cli: &Cli, name: &str) {
    let titled = |path: &str, size: usize| {
        let file = path.rsplit('/').next().unwrap();
        let metadata =
            json!({ "name": file, "mode": 420, "uid": 0, "gid": 0, "size": size, "mtime": "2026-01-02T03:04:05.6Z", "typeflag": 0 });
        json!({ "annotations": {
            "org.cncf.model.filepath": path, "org.cncf.model.file.metadata+json": metadata.to_string(),
            "org.cncf.model.file.mediatype.untested": "false",
        } })
    };
    let weights = fs::read(fixture("tiny").join("model-00001-of-00002.safetensors")).unwrap();
    Layout::new(cli, name)
        .layer_with(&of_docker("safetensors"), &weights, &titled("text_encoder/model.safetensors", weights.len()))
        .layer_with(&of_docker("safetensors"), &weights, &titled("model.safetensors", weights.len()))
        .layer_with(&of_docker("model.file"), "{}", &titled("config.json", 2))
        .layer_with(&of_docker("model.file"), "# Tiny", &titled("README.md", 6))
        .write(IMAGE_MANIFEST, LAYER_PER_FILE, json!({ "config": { "format": "safetensors" } }).to_string());
}

#[test]
fn they_are_unpacked_to_their_files_from_every_place() {
    let (cli, registry) = (cli(), Registry::start());
    write_gguf_artifact(&cli, "gguf");
    write_safetensors_artifact(&cli, "safetensors");
    let titled = ["README.md", "config.json", "model.safetensors", "text_encoder/model.safetensors"];
    for (name, files) in [("gguf", &GGUF_FILES[..]), ("safetensors", &titled)] {
        let unpacked = json(&cli, &format!("unpack oci:{name} -o {name}-direct"));
        assert_eq!(unpacked["written"], json!(files), "{name}");
        let reference = registry.reference(&format!("{name}:v1"));
        assert_eq!(json(&cli, &format!("cp oci:{name} {reference}"))["digest"], unpacked["digest"]);
        ok(&cli, &format!("pull {reference}"));
        ok(&cli, &format!("verify store:{reference}"));
        ok(&cli, &format!("unpack store:{reference} -o {name}-stored"));
        ok(&cli, &format!("pull {reference} -o {name}-pulled"));
        ok(&cli, &format!("fetch {reference} -o {name}-fetched"));
        for how in ["stored", "pulled", "fetched"] {
            assert_same_tree(&cli.home().join(format!("{name}-direct")), &cli.home().join(format!("{name}-{how}")));
        }
    }
    let read = |file: &str| fs::read(cli.home().join("gguf-direct").join(file)).unwrap();
    assert_eq!((read("model.gguf"), read("LICENSE"), read("LICENSE.2")), (gguf(), b"of the weights".to_vec(), b"of the rest".to_vec()));
    let part = json(&cli, "unpack oci:gguf -o part --preset docs");
    assert_eq!(part["written"], json!(["LICENSE", "LICENSE.2"]));
}

#[test]
fn their_configs_are_shown() {
    let cli = cli();
    write_gguf_artifact(&cli, "gguf");
    let inspected = json(&cli, "inspect oci:gguf");
    let config = &inspected["config"];
    assert_eq!(config["descriptor"]["family"], "llama");
    let technical = ["format", "architecture", "paramSize", "quantization"].map(|field| config["config"][field].clone());
    assert_eq!(technical, ["gguf", "llama", "361.82 M", "IQ2_XXS/Q4_K_M"].map(Value::from));
    assert_eq!(config["config"]["gguf"]["llama.context_length"], "8192");
    assert_eq!(inspected["annotations"]["dev.modelpack.context-length"], "4096");
    let layers: Vec<_> = inspected["layers"].as_array().unwrap().iter().map(|layer| (&layer["path"], &layer["kind"])).collect();
    let [weight, doc, weight_config] = ["weight", "doc", "weight.config"].map(Value::from);
    let [license, second, template, projector, model] = GGUF_FILES.map(Value::from);
    assert_eq!(layers, [(&model, &weight), (&license, &doc), (&second, &doc), (&projector, &weight), (&template, &weight_config)]);
    let shown = ok(&cli, "inspect oci:gguf");
    for line in ["Name:", "Smol", "llama", "361.82 M", "IQ2_XXS/Q4_K_M", "4096", "2025-04-01T12:00:00.5Z", "model.gguf"] {
        assert!(shown.contains(line), "{line} not in:\n{shown}");
    }
}

#[test]
fn they_are_converted_to_modelpack_artifacts() {
    let cli = cli();
    write_gguf_artifact(&cli, "gguf");
    write_safetensors_artifact(&cli, "safetensors");
    for name in ["gguf", "safetensors"] {
        let converted = json(&cli, &format!("cp --to modelpack oci:{name} store:{name}:v1"));
        assert_eq!(
            ok(&cli, &format!("cp --to modelpack oci:{name} store:{name}:again")),
            converted["digest"],
            "the conversion is deterministic"
        );
        ok(&cli, &format!("validate store:{name}:v1 --read-layers"));
        ok(&cli, &format!("lint store:{name}:v1 --for docker-model-runner --for kitops"));
        ok(&cli, &format!("verify store:{name}:v1"));
        let inspected = json(&cli, &format!("inspect store:{name}:v1"));
        let digests: Vec<_> = inspected["layers"].as_array().unwrap().iter().map(|layer| layer["digest"].clone()).collect();
        assert_eq!(inspected["config"]["modelfs"]["diffIds"], json!(digests), "the diffId of a raw layer is its digest");
        ok(&cli, &format!("unpack oci:{name} -o {name}-before"));
        ok(&cli, &format!("unpack store:{name}:v1 -o {name}-after"));
        assert_same_tree(&cli.home().join(format!("{name}-before")), &cli.home().join(format!("{name}-after")));
    }
    let types = |name: &str| {
        let inspected = json(&cli, &format!("inspect store:{name}:v1"));
        let layers = inspected["layers"].as_array().unwrap().clone();
        layers
            .iter()
            .map(|l| l["mediaType"].as_str().unwrap().trim_start_matches("application/vnd.cncf.model.").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(types("gguf"), ["weight.v1.raw", "doc.v1.raw", "doc.v1.raw", "weight.v1.raw", "weight.config.v1.raw"]);
    assert_eq!(types("safetensors"), ["weight.v1.raw", "weight.v1.raw", "weight.config.v1.raw", "doc.v1.raw"]);
    let inspected = json(&cli, "inspect store:gguf:v1");
    let expected = json!({
        "descriptor": { "createdAt": "2025-04-01T12:00:00.5Z", "family": "llama", "name": "Smol", "licenses": ["Apache-2.0"] },
        "config": { "architecture": "llama", "format": "gguf", "paramSize": "361.8M", "quantization": "IQ2_XXS/Q4_K_M" },
    });
    let config = ["descriptor", "config"].map(|part| (part.to_owned(), inspected["config"][part].clone()));
    assert_eq!(Value::Object(config.into_iter().collect()), expected);
    assert_eq!(inspected["annotations"], json!({ "dev.modelpack.context-length": "4096" }));
}

#[test]
fn archives_of_configs_stay_archives() {
    let cli = cli();
    let mut tar = tar::Builder::new(Vec::new());
    for name in ["config.json", "tokenizer.json"] {
        let mut header = tar::Header::new_ustar();
        header.set_size(2);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &b"{}"[..]).unwrap();
    }
    let title = json!({ "annotations": { "org.cncf.model.filepath": "vllm-config-12.tar" } });
    let layout = Layout::new(&cli, "docker").layer(&of_docker("safetensors"), "weights");
    let layout = layout.layer_with(&of_docker("vllm.config.tar"), tar.into_inner().unwrap(), &title);
    layout.write(IMAGE_MANIFEST, CONFIG, json!({ "config": { "format": "safetensors" } }).to_string());
    ok(&cli, "cp --to modelpack oci:docker store:tiny:v1");
    let layer = json(&cli, "inspect store:tiny:v1")["layers"][1].clone();
    assert_eq!((&layer["mediaType"], &layer["archive"]), (&json!("application/vnd.cncf.model.weight.config.v1.tar"), &json!(true)));
    assert_eq!(layer["path"], "weight.config.bundle-1.tar");
    ok(&cli, "validate store:tiny:v1 --read-layers");
    for (place, to) in [("oci:docker", "before"), ("store:tiny:v1", "after")] {
        assert_eq!(
            json(&cli, &format!("unpack {place} -o {to}"))["written"],
            json!(["config.json", "model.safetensors", "tokenizer.json"])
        );
        let part = json(&cli, &format!("unpack {place} -o {to}-part --include tokenizer.json"));
        assert_eq!(part["written"], json!(["tokenizer.json"]), "{place}");
    }
}

#[test]
fn they_are_scanned_compared_and_validated() {
    let cli = cli();
    write_gguf_artifact(&cli, "gguf");
    write_safetensors_artifact(&cli, "safetensors");
    let scanned = ok(&cli, "scan oci:safetensors --json");
    assert!(scanned.contains("text_encoder/model.safetensors"), "{scanned}");
    ok(&cli, "diff oci:gguf oci:gguf");
    let compared = run(&cli, "diff oci:gguf oci:safetensors --json").expect_code(1).stdout;
    assert!(compared.contains("mmproj.gguf") && compared.contains("config.quantization"), "{compared}");
    ok(&cli, "lint oci:gguf");
    assert!(run(&cli, "validate oci:gguf").expect_code(5).stdout.contains("/artifactType"), "it is not an artifact of the specification");
}

#[test]
fn hostile_artifacts_are_refused() {
    let cli = cli();
    let outside = json!({ "annotations": { "org.opencontainers.image.title": "../../x" } });
    Layout::new(&cli, "outside").layer_with(&of_docker("gguf.v3"), gguf(), &outside).write(IMAGE_MANIFEST, CONFIG, "{}");
    for command in ["unpack oci:outside -o out", "cp --to modelpack oci:outside store:x:v1", "inspect oci:outside", "scan oci:outside"] {
        fails(&cli, command, 5, &["../../x"]);
    }
    for (name, config) in [("list", "[]"), ("text", "no JSON"), ("many", &format!("{{\"config\":[{}0]}}", "0,".repeat(200_000)))] {
        Layout::new(&cli, name).layer(&of_docker("gguf.v3"), gguf()).write(IMAGE_MANIFEST, CONFIG, config);
        fails(&cli, &format!("inspect oci:{name}"), 5, &["config sha256:"]);
        fails(&cli, &format!("cp --to modelpack oci:{name} store:x:v1"), 5, &["config sha256:"]);
        ok(&cli, &format!("unpack oci:{name} -o {name}-out"));
    }
    let odd = json!({ "config": {
        "format": ["gguf"], "parameters": "9".repeat(100) + "B", "architecture": { "a": 1 }, "context_size": "-1",
        "gguf": { "x": [[1]] }, "size": 7, "quantization": "Q".repeat(1000),
    } });
    Layout::new(&cli, "odd").layer(&of_docker("gguf.v3"), gguf()).write(IMAGE_MANIFEST, CONFIG, odd.to_string());
    ok(&cli, "inspect oci:odd");
    ok(&cli, "cp --to modelpack oci:odd store:odd:v1");
    ok(&cli, "validate store:odd:v1");
    fails(&cli, "unpack oci:odd -o out --include *.onnx", 3, &["model.gguf (weight)"]);
    assert!(!cli.home().join("out").exists());
}

#[test]
fn an_artifact_without_files_fails_with_a_reason() {
    let cli = cli();
    Layout::new(&cli, "empty").write(IMAGE_MANIFEST, CONFIG, "{}");
    let layout = Layout::new(&cli, "unknown").layer(&of_docker("of.tomorrow"), "x").layer(&of_docker("model.file"), "y");
    layout.write(IMAGE_MANIFEST, CONFIG, "{}");
    let registry = Registry::start();
    for (name, words) in [("empty", &["no layers"][..]), ("unknown", &[&of_docker("of.tomorrow"), &of_docker("model.file")])] {
        let reference = registry.reference(&format!("{name}:v1"));
        ok(&cli, &format!("cp oci:{name} {reference}"));
        for line in [format!("unpack oci:{name}"), format!("pull {reference}"), format!("fetch {reference}")] {
            fails(&cli, &format!("{line} -o out"), 5, words);
            fails(&cli, &format!("{line} -o out --preset weights"), 5, words);
        }
        assert!(!cli.home().join("out").exists(), "{name}");
        fails(&cli, &format!("cp --to modelpack oci:{name} store:x:v1"), 5, &[]);
    }
    expect_nothing_visible(&cli);
}
