//! Tests of [`infer`] with directories of real files.

use super::{Inferred, infer};
use crate::model_files::{with_absent_files, with_model};
use serde_json::{Value, json};

mod adapters;
mod broken_gguf;
mod broken_safetensors;
mod gguf;
mod gguf_oddities;
mod json;
mod onnx;
mod pipelines;
mod pytorch;
mod safetensors;
mod side_files;

/// The metadata inferred from these files.
fn inferred(files: &[(&str, &[u8])]) -> Inferred {
    let mut files: Vec<(&str, Vec<u8>)> = files.iter().map(|(path, bytes)| (*path, bytes.to_vec())).collect();
    let inferred = with_model(&files, infer);
    if files.len() > 1 {
        files.reverse();
        assert_eq!(with_model(&files, infer), inferred, "the order of the files changes the metadata");
    }
    assert!(inferred.descriptor.other.is_empty() && inferred.config.other.is_empty(), "a field that the specification does not have");
    inferred
}

/// The value of `field`, or null.
fn value(inferred: &Inferred, field: &str) -> Value {
    inferred.findings.iter().find(|finding| finding.field == field).map_or(Value::Null, |finding| finding.value.clone())
}

/// The annotation with this key, and its source.
fn annotation<'a>(inferred: &'a Inferred, key: &str) -> Option<(&'a str, &'a str)> {
    inferred.annotations.get(key).map(|said| (said.value.as_str().unwrap(), said.source.as_str()))
}

fn source<'a>(inferred: &'a Inferred, field: &str) -> &'a str {
    &inferred.findings.iter().find(|finding| finding.field == field).unwrap().source
}

/// A safetensors file with this header, filled up to `data` bytes of tensors.
fn safetensors_file(header: &str, data: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.resize(file.len() + data, 0);
    file
}

/// A safetensors file with these tensors: name, type, bits per element, shape.
fn safetensors_of(tensors: &[(&str, &str, usize, &[usize])]) -> Vec<u8> {
    let mut at = 0;
    let mut header = json!({"__metadata__": {"format": "pt"}});
    for (name, dtype, bits, shape) in tensors {
        let end = at + shape.iter().product::<usize>() * bits / 8;
        header[name] = json!({"dtype": dtype, "shape": shape, "data_offsets": [at, end]});
        at = end;
    }
    safetensors_file(&header.to_string(), at)
}

#[test]
fn a_complete_model_directory_fills_the_config() {
    let inferred = inferred(&[
        ("README.md", b"---\nlicense: apache-2.0\nlanguage:\n- en\n- code\npipeline_tag: text-generation\ndatasets:\n- org/set\nmodel-index:\n- name: Tiny\n---\n# Tiny\n\nA tiny model for tests.\n"),
        ("config.json", br#"{"architectures":["LlamaForCausalLM"],"model_type":"llama","torch_dtype":"bfloat16","transformers_version":"4.40.0"}"#),
        ("model.safetensors", &safetensors_of(&[("a.weight", "F16", 16, &[64, 100]), ("ids", "I64", 64, &[512])])),
        ("1_Pooling/config.json", br#"{"model_type":"other"}"#),
        ("LICENSE", b"Gemma Terms of Use"),
    ]);
    let descriptor = json!({
        "family": "llama", "name": "Tiny", "title": "Tiny", "description": "A tiny model for tests.", "datasetsURL": ["org/set"], "licenses": ["Apache-2.0"],
    });
    let config = json!({
        "architecture": "transformer", "format": "safetensors", "paramSize": "6.4K", "precision": "float16",
        "capabilities": {"inputTypes": ["text"], "outputTypes": ["text"], "languages": ["en"]},
    });
    assert_eq!(serde_json::to_value(&inferred.descriptor).unwrap(), descriptor);
    assert_eq!(serde_json::to_value(&inferred.config).unwrap(), config);
    assert_eq!(source(&inferred, "descriptor.family"), "config.json: `model_type`");
    assert_eq!(source(&inferred, "config.precision"), "model.safetensors: tensor types");
    assert_eq!(inferred.findings.len(), 13);
}

#[test]
fn no_files_give_no_metadata() {
    assert_eq!(inferred(&[]), Inferred::default());
}

#[test]
fn files_that_cannot_be_opened_give_no_metadata() {
    let paths = ["README.md", "config.json", "model.safetensors", "LICENSE", "chat_template.jinja", "modules.json"];
    let inferred = with_absent_files(&paths, infer);
    assert_eq!(inferred.findings.iter().map(|f| f.field).collect::<Vec<_>>(), ["config.format"]);
}

#[test]
fn a_malformed_weight_file_gives_a_note_with_the_reason() {
    let broken = inferred(&[("model.safetensors", &[9, 0, 0, 0, 0, 0, 0, 0]), ("README.md", b"")]);
    assert_eq!(broken.notes, ["model.safetensors gives no metadata: it declares a header of 9 bytes, but the file has 8 bytes"]);
    let broken = inferred(&[("a.gguf", b"GGUX")]);
    assert_eq!(broken.notes, ["a.gguf gives no metadata: it does not begin with `GGUF`"]);
    let broken = inferred(&[("model.onnx", b"")]);
    assert_eq!(broken.notes, ["model.onnx gives no metadata: it has no graph"]);
    let sound = inferred(&[("model.safetensors", &safetensors_of(&[("a", "F32", 32, &[100])]))]);
    assert_eq!(sound.notes, [""; 0]);
}

#[test]
fn the_name_and_location_of_the_directory_change_nothing() {
    let files: [(&str, &[u8]); 2] =
        [("config.json", br#"{"model_type":"bert"}"#), ("model.safetensors", &safetensors_of(&[("a", "F32", 32, &[100])]))];
    assert_eq!(inferred(&files), inferred(&files));
}

#[test]
fn a_model_below_the_root_is_read_there_with_the_card_above() {
    let inferred = inferred(&[
        ("README.md", b"---\nlicense: mit\n---\n"),
        ("weights/config.json", br#"{"model_type":"bert"}"#),
        ("weights/model.safetensors", &safetensors_of(&[("a", "F32", 32, &[1000])])),
    ]);
    assert_eq!(value(&inferred, "descriptor.family"), "bert");
    assert_eq!(value(&inferred, "descriptor.licenses"), json!(["MIT"]));
    assert_eq!(value(&inferred, "config.paramSize"), "1K");
}

#[test]
fn a_pipeline_is_not_mistaken_for_one_of_its_parts() {
    let inferred = inferred(&[
        ("text_encoder/config.json", br#"{"model_type":"clip"}"#),
        ("text_encoder/model.safetensors", &safetensors_of(&[("a", "F32", 32, &[1000])])),
        ("vae/config.json", br#"{"model_type":"vae"}"#),
        ("vae/model.safetensors", &safetensors_of(&[("a", "F32", 32, &[1000])])),
    ]);
    assert_eq!(inferred.findings.iter().map(|f| f.field).collect::<Vec<_>>(), ["config.format"]);
}

#[test]
fn the_format_is_the_one_with_the_most_bytes() {
    for (files, expected) in [
        (&[("a.safetensors", 10), ("b.onnx", 20)][..], json!("onnx")),
        (&[("a.safetensors", 15), ("b.safetensors", 15), ("b.onnx", 20)], json!("safetensors")),
        (&[("pytorch_model.bin", 10)], json!("pt")),
        (&[("x.PTH", 10)], json!("pt")),
        (&[("openvino_model.bin", 10)], Value::Null),
        (&[("model.onnx", 1), ("model.onnx_data", 10)], json!("onnx")),
        (&[("README.md", 10)], Value::Null),
    ] {
        let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(path, size)| (*path, vec![0; *size])).collect();
        let files: Vec<(&str, &[u8])> = files.iter().map(|(path, content)| (*path, content.as_slice())).collect();
        assert_eq!(value(&inferred(&files), "config.format"), expected, "{files:?}");
    }
}
