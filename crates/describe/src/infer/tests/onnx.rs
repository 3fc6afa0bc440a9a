//! Metadata from ONNX models.

use super::{inferred, source, value};
use serde_json::{Value, json};

const FLOAT: u64 = 1;
const UINT8: u64 = 2;
const INT8: u64 = 3;
const INT64: u64 = 7;
const FLOAT16: u64 = 10;

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [&varint(field << 3 | 2), &varint(value.len() as u64), value].concat()
}

/// A tensor without its bytes.
fn shape(name: &str, kind: u64, dimensions: &[u64]) -> Vec<u8> {
    let dimensions: Vec<u8> = dimensions.iter().flat_map(|length| number(1, *length)).collect();
    [dimensions, number(2, kind), bytes(8, name.as_bytes())].concat()
}

fn tensor(name: &str, kind: u64, dimensions: &[u64]) -> Vec<u8> {
    let size = match kind {
        FLOAT => 4,
        INT64 => 8,
        FLOAT16 => 2,
        _ => 1,
    };
    [shape(name, kind, dimensions), bytes(9, &vec![0; (dimensions.iter().product::<u64>() * size) as usize])].concat()
}

fn external(name: &str, dimensions: &[u64], places: &[(&str, &str)]) -> Vec<u8> {
    let entry = |(key, value): &(&str, &str)| bytes(13, &[bytes(1, key.as_bytes()), bytes(2, value.as_bytes())].concat());
    [shape(name, FLOAT, dimensions), number(14, 1), places.iter().flat_map(entry).collect()].concat()
}

fn node(operator: &str, inputs: &[&str], numbers: &[(&str, u64)]) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|name| bytes(1, name.as_bytes())).collect();
    let attribute = |(name, value): &(&str, u64)| bytes(5, &[bytes(1, name.as_bytes()), number(3, *value)].concat());
    [inputs, bytes(4, operator.as_bytes()), numbers.iter().flat_map(attribute).collect()].concat()
}

fn model(nodes: &[Vec<u8>], tensors: &[Vec<u8>]) -> Vec<u8> {
    let graph: Vec<u8> = nodes.iter().flat_map(|node| bytes(1, node)).chain(tensors.iter().flat_map(|tensor| bytes(5, tensor))).collect();
    [number(1, 9), bytes(2, b"tests"), bytes(7, &graph)].concat()
}

fn numbers(nodes: &[Vec<u8>], tensors: &[Vec<u8>]) -> [Value; 3] {
    let inferred = inferred(&[("model.onnx", &model(nodes, tensors))]);
    ["config.paramSize", "config.precision", "config.quantization"].map(|field| value(&inferred, field))
}

fn says_nothing(file: &[u8], why: &str) {
    let inferred = inferred(&[("model.onnx", file)]);
    assert_eq!(inferred.findings.iter().map(|f| f.field).collect::<Vec<_>>(), ["config.format"], "{why}");
}

#[test]
fn the_floats_of_a_graph_are_its_parameters() {
    let tensors = [tensor("w", FLOAT16, &[30, 100]), tensor("b", FLOAT, &[100]), tensor("shape", INT64, &[400])];
    assert_eq!(numbers(&[node("MatMul", &["x", "w"], &[])], &tensors), [json!("3.1K"), json!("float16,float32"), Value::Null]);
    let inferred = inferred(&[("model.onnx", &model(&[], &tensors))]);
    assert_eq!(source(&inferred, "config.paramSize"), "model.onnx: tensor shapes");
}

#[test]
fn constants_and_the_bodies_of_loops_count_too() {
    let constant = [bytes(4, b"Constant"), bytes(5, &[bytes(1, b"value"), bytes(5, &tensor("", FLOAT, &[1000]))].concat())].concat();
    let body = bytes(5, &tensor("w", FLOAT, &[500]));
    let looped = [bytes(4, b"Loop"), bytes(5, &[bytes(1, b"body"), bytes(6, &body)].concat())].concat();
    assert_eq!(numbers(&[constant, looped], &[])[0], "1.5K");
}

#[test]
fn integers_that_are_converted_to_floats_are_parameters_and_their_scales_are_not() {
    let tensors = [tensor("q", INT8, &[30, 100]), tensor("s", FLOAT, &[100]), tensor("z", INT8, &[100]), tensor("b", FLOAT, &[100])];
    let qdq = [node("DequantizeLinear", &["q", "s", "z"], &[])];
    assert_eq!(numbers(&qdq, &tensors), [json!("3.1K"), json!("int8,float32"), json!("qdq")]);
    let dynamic = [node("MatMulInteger", &["x", "q", "", "z"], &[])];
    assert_eq!(numbers(&dynamic, &tensors)[2], "dynamic");
}

#[test]
fn the_number_of_packed_weights_comes_from_their_operation() {
    let tensors = [tensor("q", UINT8, &[32, 1, 32]), tensor("s", FLOAT, &[32]), tensor("z", UINT8, &[16]), tensor("b", FLOAT, &[1000])];
    let nodes = [node("MatMulNBits", &["x", "q", "s", "z"], &[("K", 64), ("N", 32), ("bits", 4)])];
    assert_eq!(numbers(&nodes, &tensors), [json!("3K"), json!("float32"), json!("matmulnbits")]);
    let untold = [node("MatMulNBits", &["x", "q", "s"], &[])];
    assert_eq!(numbers(&untold, &tensors)[0], Value::Null);
    let rows = [node("GatherBlockQuantized", &["q", "i", "s"], &[("bits", 4)])];
    assert_eq!(numbers(&rows, &tensors)[0], "3K");
}

#[test]
fn external_files_must_exist() {
    let size = |places: &[(&str, &str)], data: usize| {
        let file = model(&[], &[external("w", &[1000], places)]);
        value(&inferred(&[("onnx/model.onnx", &file), ("onnx/model.onnx_data", &vec![0; data])]), "config.paramSize")
    };
    let place = [("location", "model.onnx_data"), ("offset", "96"), ("length", "4000")];
    assert_eq!(size(&place, 4096), "1K");
    assert_eq!(size(&[("location", "./model.onnx_data")], 4000), "1K");
    assert_eq!(size(&place, 4095), Value::Null);
    for broken in [
        &[("location", "other")][..],
        &[("location", "../onnx/model.onnx_data")],
        &[("location", "/model.onnx_data")],
        &[("location", "a\\b")],
        &[("location", "")],
        &[],
        &[("location", "model.onnx_data"), ("offset", "18446744073709551615")],
        &[("location", "model.onnx_data"), ("offset", "-1")],
        &[("location", "model.onnx_data"), ("length", "3999")],
    ] {
        assert_eq!(size(broken, 10_000), Value::Null, "{broken:?}");
    }
}

#[test]
fn the_bytes_of_the_weights_decide_the_format_in_external_files_too() {
    let file = model(&[], &[external("w", &[1000], &[("location", "model.onnx.data")])]);
    let inferred = inferred(&[("model.onnx", &file), ("model.onnx.data", &[0; 4000]), ("other.safetensors", &[0; 2000])]);
    assert_eq!(value(&inferred, "config.format"), "onnx");
    assert_eq!(value(&inferred, "config.paramSize"), "1K");
}

#[test]
fn metadata_of_the_author_is_recorded() {
    let property = |key: &str, value: &str| bytes(14, &[bytes(1, key.as_bytes()), bytes(2, value.as_bytes())].concat());
    let properties = [property("author", "Me"), property("license", "AGPL-3.0"), property("description", "It sees.")].concat();
    let inferred = inferred(&[("model.onnx", &[model(&[], &[]), properties].concat())]);
    let descriptor = json!({"authors": ["Me"], "licenses": ["AGPL-3.0-only"], "description": "It sees."});
    assert_eq!(serde_json::to_value(&inferred.descriptor).unwrap(), descriptor);
}

#[test]
fn the_config_of_the_original_model_gives_no_numbers() {
    let config = br#"{"model_type":"bert","torch_dtype":"bfloat16"}"#;
    let inferred = inferred(&[("model.onnx", &model(&[], &[tensor("w", FLOAT, &[1000])])), ("config.json", config)]);
    assert_eq!(value(&inferred, "descriptor.family"), "bert");
    assert_eq!(value(&inferred, "config.precision"), "float32");
}

#[test]
fn malformed_models_give_no_metadata() {
    let sound = model(&[], &[tensor("w", FLOAT, &[1000])]);
    says_nothing(b"", "empty");
    says_nothing(b"\x08\x09", "no graph");
    says_nothing(&sound[..sound.len() - 1], "cut");
    says_nothing(&[sound.as_slice(), &[0]].concat(), "one byte too many");
    says_nothing(&model(&[], &[shape("w", FLOAT, &[1000])]), "a shape without bytes");
    says_nothing(&model(&[], &[[shape("w", FLOAT, &[1000]), bytes(9, &[0; 3999])].concat()]), "fewer bytes than the shape requires");
    says_nothing(&model(&[], &[shape("w", FLOAT, &[1 << 62, 1 << 62])]), "a shape that overflows");
    says_nothing(&model(&[], &[shape("w", FLOAT, &[u64::MAX])]), "a length below zero");
    says_nothing(&[number(1, 9), vec![0x3a], varint(u64::MAX), vec![0]].concat(), "a graph longer than any file");
    says_nothing(&[number(1, 9), vec![0x3a, 0xff, 0xff]].concat(), "a length that does not end");
    says_nothing(&[number(1, 9), vec![0x3b, 0x3c], bytes(7, b"")].concat(), "a group, which older protobuf versions have");
    says_nothing(&[vec![0x08], vec![0xff; 10], bytes(7, b"")].concat(), "a number with more than 64 bits");
    let deep = (0..20).fold(Vec::new(), |graph, _| bytes(1, &bytes(5, &bytes(6, &graph))));
    says_nothing(&bytes(7, &deep), "endlessly nested graphs");
    says_nothing(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a pointer file");
}

#[test]
fn a_too_long_text_is_skipped() {
    let name = "x".repeat(1 << 20);
    assert_eq!(numbers(&[node("MatMul", &[&name], &[])], &[tensor(&name, FLOAT, &[1000])])[0], "1K");
}
