//! Side files that Python accepts but the standard does not, and invalid ones.

use super::{annotation, inferred, safetensors_of, value};
use serde_json::{Value, json};

/// A file of Mamba's library, in which the time step has no upper limit.
const ENDLESS: &str = r#"{"model_type":"mamba2","time_step_limit":[0.0,Infinity],"transformers_version":"4.40.0",
    "quantization_config":{"quant_method":"bitsandbytes","load_in_4bit":true}}"#;

#[test]
fn non_finite_numbers_do_not_affect_other_fields() {
    let packed = safetensors_of(&[("layer.weight", "U8", 8, &[475_000, 1]), ("norm.weight", "F16", 16, &[50_000])]);
    let inferred = inferred(&[("config.json", ENDLESS.as_bytes()), ("model.safetensors", &packed)]);
    assert_eq!(value(&inferred, "descriptor.family"), "mamba2");
    assert_eq!(value(&inferred, "config.architecture"), "mamba");
    assert_eq!(value(&inferred, "config.quantization"), "bitsandbytes");
    assert_eq!(value(&inferred, "config.paramSize"), "1M");
    assert_eq!(inferred.warnings, [""; 0]);
}

#[test]
fn everything_that_python_accepts_is_read() {
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    let deep = format!(r#"{{"x":{}{},"model_type":"bert"}}"#, "[".repeat(50_000), "]".repeat(50_000));
    for config in [
        "\u{feff}{\"model_type\":\"bert\"}".as_bytes(),
        &utf16("\u{feff}{\"model_type\":\"bert\"}"),
        &utf16("{\"model_type\":\"bert\"}"),
        br#"{"a":"\ud800","b":[1e999,NaN,-Infinity],"model_type":"bert"}"#,
        format!(r#"{{"a":{},"model_type":"bert"}}"#, "1".repeat(400)).as_bytes(),
        br#"{"model_type":"llama","model_type":"bert"}"#,
        deep.as_bytes(),
    ] {
        let inferred = inferred(&[("config.json", config)]);
        assert_eq!(value(&inferred, "descriptor.family"), "bert", "{}", String::from_utf8_lossy(&config[..config.len().min(99)]));
        assert_eq!(inferred.warnings, [""; 0]);
    }
}

#[test]
fn a_value_that_cannot_be_represented_is_absent() {
    for config in [r#"{"model_type":"\ud800bert"}"#, r#"{"model_type":NaN}"#, r#"{"model_type":["bert"]}"#] {
        assert_eq!(value(&inferred(&[("config.json", config.as_bytes())]), "descriptor.family"), Value::Null, "{config}");
    }
    for length in ["Infinity", "1e999", "\"512\"", "-1", "123456789012345678901234567890", "512.5"] {
        let config = format!(r#"{{"max_position_embeddings":{length},"n_ctx":2048}}"#);
        let inferred = inferred(&[("config.json", config.as_bytes())]);
        assert_eq!(annotation(&inferred, "dev.modelpack.context-length").map(|(tokens, _)| tokens), Some("2048"), "{length}");
    }
}

#[test]
fn a_field_of_the_wrong_type_does_not_affect_others() {
    let tokenizer = br#"{"chat_template":{"default":"{{ tools }}"},"model_max_length":512}"#;
    let inferred_of = |tokenizer: &[u8]| inferred(&[("tokenizer_config.json", tokenizer)]);
    let inferred = inferred_of(tokenizer);
    assert_eq!(annotation(&inferred, "dev.modelpack.context-length").map(|(tokens, _)| tokens), Some("512"));
    let named = br#"{"chat_template":[7,{"name":"a"},{"name":"b","template":"{{ tools }}"}],"model_max_length":"long"}"#;
    assert_eq!(value(&inferred_of(named), "config.capabilities.toolUsage"), json!(true));
}

#[test]
fn an_unreadable_side_file_is_reported_once() {
    let broken = inferred(&[
        ("config.json", b"{\n  \"model_type\": \"bert\",\n}"),
        ("generation_config.json", b""),
        ("tokenizer_config.json", br#"{"model_max_length":512,"chat_template":"x"#),
        ("model.safetensors", &safetensors_of(&[("a", "F32", 32, &[1000])])),
    ]);
    assert_eq!(value(&broken, "descriptor.family"), Value::Null);
    assert_eq!(value(&broken, "config.paramSize"), "1K");
    assert_eq!(
        broken.warnings,
        [
            "config.json gives no metadata: line 3, column 1: expected a key in double quotes",
            "generation_config.json gives no metadata: line 1, column 1: the file ends before the end of the document",
            "tokenizer_config.json gives no metadata: line 1, column 43: the file ends inside a text",
        ]
    );
}

#[test]
fn only_the_needed_fields_of_a_large_index_are_kept() {
    let tensors: Vec<String> =
        (0..100_000).map(|n| format!(r#""model.layers.{n}.mlp.weight":"model-00001-of-00002.safetensors""#)).collect();
    let index = format!(r#"{{"weight_map":{{{}}},"metadata":{{"total_parameters":7000000000}}}}"#, tensors.join(","));
    assert!(index.len() > 4 << 20);
    // A tensor whose number of parameters is unknown.
    let packed = safetensors_of(&[("a.qweight", "I32", 32, &[100])]);
    let inferred = inferred(&[("model.safetensors", &packed), ("model.safetensors.index.json", index.as_bytes())]);
    assert_eq!(value(&inferred, "config.paramSize"), "7B");
}
