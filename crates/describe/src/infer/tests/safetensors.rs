//! Parameters and precision from safetensors headers.

use super::{inferred, safetensors_file, safetensors_of, source, value};
use serde_json::{Value, json};

type Tensors<'a> = &'a [(&'a str, &'a str, usize, &'a [usize])];

/// `paramSize` and `precision` of a model with these tensors and this `quantization_config`.
fn numbers(tensors: Tensors<'_>, quantization: Value) -> (Value, Value) {
    let config = json!({"model_type": "x", "quantization_config": quantization}).to_string();
    let inferred = inferred(&[("config.json", config.as_bytes()), ("model.safetensors", &safetensors_of(tensors))]);
    (value(&inferred, "config.paramSize"), value(&inferred, "config.precision"))
}

#[test]
fn all_shards_are_counted() {
    let inferred = inferred(&[
        ("model-00001-of-00002.safetensors", &safetensors_of(&[("a", "F16", 16, &[64, 32]), ("b", "F16", 16, &[32, 32])])),
        ("model-00002-of-00002.safetensors", &safetensors_of(&[("c", "F16", 16, &[64, 32]), ("d", "F16", 16, &[32])])),
    ]);
    assert_eq!(value(&inferred, "config.paramSize"), "5.2K");
    assert_eq!(source(&inferred, "config.paramSize"), "model-00001-of-00002.safetensors and 1 more: tensor shapes");
}

#[test]
fn a_missing_shard_leaves_the_size_out() {
    let inferred = inferred(&[("model-00001-of-00002.safetensors", &safetensors_of(&[("a", "F16", 16, &[64, 32])]))]);
    assert_eq!(value(&inferred, "config.paramSize"), Value::Null);
}

#[test]
fn the_same_weights_under_older_names_are_not_counted_twice() {
    let weights = safetensors_of(&[("a", "F16", 16, &[1000])]);
    let inferred = inferred(&[("consolidated.safetensors", &weights), ("model.safetensors", &weights)]);
    assert_eq!(value(&inferred, "config.paramSize"), "1K");
}

#[test]
fn alternatives_give_only_their_common_values() {
    let alternatives =
        |second: &[u8]| inferred(&[("a.safetensors", &safetensors_of(&[("w", "F16", 16, &[1000])])), ("b.safetensors", second)]);
    let other_precision = alternatives(&safetensors_of(&[("w", "F32", 32, &[1000])]));
    assert_eq!(value(&other_precision, "config.paramSize"), "1K");
    assert_eq!(value(&other_precision, "config.precision"), Value::Null);
    assert_eq!(value(&alternatives(b"broken"), "config.paramSize"), Value::Null);
}

#[test]
fn precision_is_ordered_by_bytes_with_the_specifications_names() {
    for (dtype, bits, word) in [
        ("F64", 64, json!("float64")),
        ("F32", 32, json!("float32")),
        ("F16", 16, json!("float16")),
        ("BF16", 16, json!("bfloat16")),
        ("F8_E4M3", 8, json!("float8_e4m3")),
        ("F8_E5M2", 8, json!("float8_e5m2")),
        ("I8", 8, json!("int8")),
        ("U8", 8, json!("uint8")),
        ("C64", 64, json!("complex64")),
        ("F8_E4M3FNUZ", 8, Value::Null),
        ("F8_E5M2FNUZ", 8, Value::Null),
        ("F6_E2M3", 6, Value::Null),
        ("F6_E3M2", 6, Value::Null),
        ("F4", 4, Value::Null),
    ] {
        assert_eq!(numbers(&[("a", dtype, bits, &[1000])], Value::Null), (json!("1K"), word), "{dtype}");
    }
    let mixed = numbers(&[("a", "F32", 32, &[10]), ("b", "F8_E4M3", 8, &[1000]), ("c", "BF16", 16, &[30])], Value::Null);
    assert_eq!(mixed.1, "float8_e4m3,bfloat16,float32");
}

#[test]
fn positions_counters_and_masks_are_not_parameters() {
    let tensors: Tensors<'_> =
        &[("w", "F32", 32, &[1000]), ("position_ids", "I64", 64, &[512]), ("mask", "BOOL", 8, &[900]), ("table", "I32", 32, &[900])];
    assert_eq!(numbers(tensors, Value::Null), (json!("1K"), json!("float32")));
}

#[test]
fn packed_weights_are_counted_unpacked() {
    let gptq: Tensors<'_> = &[
        ("l.qweight", "I32", 32, &[1000]),
        ("l.qzeros", "I32", 32, &[10]),
        ("l.g_idx", "I32", 32, &[10]),
        ("l.scales", "F16", 16, &[500]),
        ("norm.weight", "F16", 16, &[1000]),
    ];
    assert_eq!(numbers(gptq, json!({"quant_method": "gptq", "bits": 4})), (json!("9K"), json!("float16")));
    assert_eq!(numbers(gptq, json!({"quant_method": "gptq", "bits": 8})), (json!("5K"), json!("float16")));
    assert_eq!(numbers(gptq, json!({"quant_method": "gptq"})), (Value::Null, json!("float16")));

    let bitsandbytes: Tensors<'_> = &[
        ("l.weight", "U8", 8, &[4000, 1]),
        ("l.weight.absmax", "F32", 32, &[600]),
        ("l.weight.quant_map", "F32", 32, &[16]),
        ("l.weight.quant_state.bitsandbytes__nf4", "U8", 8, &[100]),
        ("norm.weight", "BF16", 16, &[1000]),
    ];
    let four = json!({"quant_method": "bitsandbytes", "load_in_4bit": true});
    assert_eq!(numbers(bitsandbytes, four), (json!("9K"), json!("bfloat16")));

    let mxfp4: Tensors<'_> = &[("up_proj_blocks", "U8", 8, &[1000]), ("up_proj_scales", "U8", 8, &[100])];
    assert_eq!(numbers(mxfp4, json!({"quant_method": "mxfp4"})), (json!("2K"), Value::Null));

    let fp8: Tensors<'_> = &[("w", "F8_E4M3", 8, &[1000]), ("w_scale_inv", "F32", 32, &[600]), ("n", "BF16", 16, &[100])];
    assert_eq!(numbers(fp8, json!({"quant_method": "fp8"})), (json!("1.1K"), json!("float8_e4m3,bfloat16")));
}

#[test]
fn scales_of_any_type_are_not_parameters() {
    let four: Tensors<'_> = &[
        ("l.weight", "F4", 4, &[1000, 10]),
        ("l.weight_scale", "F8_E8M0", 8, &[400]),
        ("l.other", "F8_E8M0", 8, &[400]),
        ("l.input_scale", "F32", 32, &[400]),
        ("l.weight_zero_point", "I8", 8, &[400]),
        ("l.weight_scale_inv", "F32", 32, &[400]),
        ("l.input_quantizer._amax", "F32", 32, &[400]),
        ("norm.weight", "BF16", 16, &[100]),
    ];
    assert_eq!(numbers(four, Value::Null), (json!("10.1K"), json!("bfloat16")));
    let fp8: Tensors<'_> = &[("l.weight", "F8_E4M3", 8, &[1000]), ("l.scale", "F32", 32, &[600])];
    assert_eq!(numbers(fp8, json!({"quant_method": "fp8"})), (json!("1K"), json!("float8_e4m3")));
    let norm: Tensors<'_> = &[("l.weight", "F16", 16, &[1000]), ("norm.scale", "F16", 16, &[600])];
    assert_eq!(numbers(norm, Value::Null), (json!("1.6K"), json!("float16")));
}

#[test]
fn bytes_beside_scales_may_hold_several_parameters_each() {
    let unknown = (Value::Null, Value::Null);
    let bytes: Tensors<'_> = &[("l.weight", "U8", 8, &[1000]), ("l.weight_scale", "F8_E4M3", 8, &[125])];
    assert_eq!(numbers(bytes, Value::Null), unknown);
    let signed: Tensors<'_> = &[("l.weight", "I8", 8, &[1000]), ("l.scale", "F8_E8M0", 8, &[62])];
    assert_eq!(numbers(signed, json!({"quant_method": "fp8"})), unknown);
    let eight: Tensors<'_> = &[("l.weight", "I8", 8, &[1000]), ("l.weight_scale", "F32", 32, &[10])];
    assert_eq!(numbers(eight, Value::Null), (json!("1K"), json!("int8")));
}

#[test]
fn encoded_weights_cannot_be_counted() {
    for (name, dtype, bits) in [("l.q_weight", "I32", 32), ("l.codes", "I16", 16), ("l.indices", "U16", 16), ("l.trellis", "I16", 16)] {
        let tensors: Tensors<'_> = &[(name, dtype, bits, &[1000]), ("norm.weight", "F16", 16, &[1000])];
        assert_eq!(numbers(tensors, json!({"quant_method": "x"})), (Value::Null, json!("float16")), "{name}");
        assert_eq!(numbers(tensors, Value::Null), (json!("1K"), json!("float16")), "{name}");
    }
    let words: Tensors<'_> = &[("l.weight", "U16", 16, &[1000])];
    assert_eq!(numbers(words, json!({"bits": 4})).0, "4K");
}

#[test]
fn an_unknown_type_leaves_the_numbers_out() {
    let tensors: Tensors<'_> = &[("a", "F3_E1M1", 3, &[1000]), ("b", "F16", 16, &[1000])];
    let inferred = inferred(&[("config.json", br#"{"model_type":"llama"}"#), ("model.safetensors", &safetensors_of(tensors))]);
    assert_eq!([value(&inferred, "config.paramSize"), value(&inferred, "config.precision")], [Value::Null, Value::Null]);
    assert_eq!(value(&inferred, "descriptor.family"), "llama");
    assert_eq!(inferred.notes, [""; 0]);
}

#[test]
fn a_quantizers_separate_file_supplements_the_config() {
    let weights = safetensors_of(&[("l.qweight", "I32", 32, &[1000])]);
    for (file, content, technique) in [
        ("quantize_config.json", &br#"{"bits":4,"group_size":128}"#[..], "gptq"),
        ("quant_config.json", br#"{"w_bit":4,"zero_point":true}"#, "awq"),
    ] {
        let inferred = inferred(&[(file, content), ("model.safetensors", &weights)]);
        assert_eq!(value(&inferred, "config.quantization"), technique);
        assert_eq!(value(&inferred, "config.paramSize"), "8K");
        assert_eq!(source(&inferred, "config.quantization"), file);
    }
}

#[test]
fn nvidias_optimizer_gives_an_algorithm_in_a_separate_file() {
    let weights = safetensors_of(&[("l.weight", "U8", 8, &[1000]), ("l.weight_scale", "F8_E4M3", 8, &[125])]);
    let of = |algorithm: &str| {
        let config = json!({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": algorithm}}).to_string();
        let inferred = inferred(&[("hf_quant_config.json", config.as_bytes()), ("model.safetensors", &weights)]);
        (value(&inferred, "config.paramSize"), value(&inferred, "config.quantization"))
    };
    assert_eq!(of("NVFP4"), (json!("2K"), json!("modelopt")));
    assert_eq!(of("MIXED_PRECISION"), (Value::Null, json!("modelopt")));
}

#[test]
fn copies_of_the_weights_for_other_programs_are_ignored() {
    let weights = safetensors_of(&[("w", "F16", 16, &[1000])]);
    let copy: &[u8] = &[0; 9000];
    let names = ["tf_model.h5", "flax_model.msgpack", "pytorch_model.bin", "original/consolidated.00.pth", "onnx/model_fp16.onnx"];
    for name in names {
        let inferred = inferred(&[("model.safetensors", &weights), (name, copy)]);
        assert_eq!(
            (value(&inferred, "config.format"), value(&inferred, "config.paramSize")),
            (json!("safetensors"), json!("1K")),
            "{name}"
        );
    }
    for name in ["model.gguf", "gguf/model.gguf"] {
        assert_eq!(value(&inferred(&[("model.safetensors", &weights), (name, copy)]), "config.format"), "gguf", "{name}");
    }
    assert_eq!(value(&inferred(&[("other.safetensors", &weights), ("tf_model.h5", copy)]), "config.format"), "h5");
}

#[test]
fn the_index_is_used_if_shapes_are_not_sufficient() {
    let index = br#"{"metadata":{"total_parameters":7000,"total_size":1},"weight_map":{}}"#;
    let of = |tensors: Tensors<'_>| {
        let inferred = inferred(&[("model.safetensors.index.json", index), ("model.safetensors", &safetensors_of(tensors))]);
        (value(&inferred, "config.paramSize"), source(&inferred, "config.paramSize").to_owned())
    };
    assert_eq!(
        of(&[("l.qweight", "I32", 32, &[1000])]),
        (json!("7K"), "model.safetensors.index.json: `metadata.total_parameters`".to_owned())
    );
    assert_eq!(of(&[("l.weight", "F16", 16, &[1000])]).0, "1K");
}

#[test]
fn a_hundred_thousand_tensors_are_counted() {
    let entry = |i: usize| format!(r#""layer.{i}.weight":{{"dtype":"U8","shape":[1],"data_offsets":[{i},{}]}}"#, i + 1);
    let header = format!("{{{}}}", (0..100_000).map(entry).collect::<Vec<_>>().join(","));
    let inferred = inferred(&[("model.safetensors", &safetensors_file(&header, 100_000))]);
    assert_eq!(value(&inferred, "config.paramSize"), "100K");
}
