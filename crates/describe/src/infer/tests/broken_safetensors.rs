//! Malformed headers: they must give no metadata, quickly and with little memory.

use super::{inferred, safetensors_file, value};
use serde_json::{Value, json};

fn says_nothing(file: &[u8], why: &str) {
    let inferred = inferred(&[("model.safetensors", file)]);
    for field in ["config.paramSize", "config.precision"] {
        assert_eq!(value(&inferred, field), Value::Null, "{why}");
    }
}

fn with_length(length: u64, rest: &[u8]) -> Vec<u8> {
    [&length.to_le_bytes(), rest].concat()
}

const SOUND: &str = r#"{"a":{"dtype":"F32","shape":[25,4],"data_offsets":[0,400]}}"#;

#[test]
fn the_valid_header_that_the_others_are_derived_from_is_read() {
    assert_eq!(value(&inferred(&[("model.safetensors", &safetensors_file(SOUND, 400))]), "config.paramSize"), "0.1K");
    let padded = safetensors_file(&format!("{SOUND}     "), 400);
    assert_eq!(value(&inferred(&[("model.safetensors", &padded)]), "config.paramSize"), "0.1K");
}

#[test]
fn header_lengths_beyond_the_limits_of_the_file_or_the_format() {
    says_nothing(b"", "empty");
    says_nothing(&[1, 0, 0], "shorter than a length");
    says_nothing(&with_length(u64::MAX, SOUND.as_bytes()), "2^64-1");
    says_nothing(&with_length(u64::MAX - 7, SOUND.as_bytes()), "the length and its own eight bytes overflow");
    says_nothing(&with_length(SOUND.len() as u64 + 1, SOUND.as_bytes()), "one byte over the file");
    says_nothing(&with_length(0, b""), "none");
    says_nothing(&with_length(10, SOUND.as_bytes()), "within the JSON");
}

#[test]
fn tensors_that_do_not_fill_the_file() {
    let two = |first: [u64; 2], second: [u64; 2]| {
        json!({"a": {"dtype": "U8", "shape": [first[1].wrapping_sub(first[0])], "data_offsets": first},
               "b": {"dtype": "U8", "shape": [second[1].wrapping_sub(second[0])], "data_offsets": second}})
        .to_string()
    };
    says_nothing(&safetensors_file(SOUND, 399), "the file ends too early");
    says_nothing(&safetensors_file(SOUND, 401), "bytes after the last tensor");
    says_nothing(&safetensors_file(&two([0, 300], [200, 500]), 500), "overlap");
    says_nothing(&safetensors_file(&two([0, 200], [300, 500]), 500), "a gap");
    says_nothing(&safetensors_file(&two([0, 500], [0, 500]), 500), "the same bytes twice");
    says_nothing(&safetensors_file(&two([100, 300], [300, 500]), 500), "a gap at the beginning");
    says_nothing(&safetensors_file(&two([0, 500], [500, u64::MAX]), 500), "an end beyond the file");
    says_nothing(&safetensors_file(&two([0, 500], [500, 400]), 500), "an end before the beginning");
    let swapped = two([300, 1000], [0, 300]);
    assert_eq!(value(&inferred(&[("model.safetensors", &safetensors_file(&swapped, 1000))]), "config.paramSize"), "1K");
}

#[test]
fn impossible_shapes_and_types() {
    for entry in [
        r#"{"dtype":"F32","shape":[100],"data_offsets":[0,399]}"#,
        r#"{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,400]}"#,
        r#"{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}"#,
        r#"{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,400]}"#,
        r#"{"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,400]}"#,
        r#"{"dtype":"F32","shape":[-100],"data_offsets":[0,400]}"#,
        r#"{"dtype":"F32","shape":[1e2],"data_offsets":[0,400]}"#,
        r#"{"dtype":"F31","shape":[100],"data_offsets":[0,400]}"#,
        r#"{"dtype":"F31","shape":[100],"data_offsets":[0,399]}"#,
        r#"{"dtype":"F31","shape":[100],"data_offsets":[400,0]}"#,
        r#"{"dtype":"F4","shape":[801],"data_offsets":[0,400]}"#,
        r#"{"dtype":"F32","shape":100,"data_offsets":[0,400]}"#,
        r#"{"dtype":"F32","shape":[100],"data_offsets":[0]}"#,
        r#"{"dtype":"F32","shape":[100]}"#,
        "[]",
        "null",
    ] {
        says_nothing(&safetensors_file(&format!(r#"{{"a":{entry}}}"#), 400), entry);
    }
}

#[test]
fn other_content_instead_of_a_header() {
    for header in ["", "{", "[]", "null", "{}{}", "\u{0}\u{0}", "{\"a\":", "{\"__metadata__\":"] {
        says_nothing(&safetensors_file(header, 0), header);
    }
    says_nothing(&safetensors_file(&format!("{{\"a\":{}", "[".repeat(100_000)), 0), "deep nesting where a tensor should be");
    says_nothing(&safetensors_file(&format!("{{\"__metadata__\":{}", "[".repeat(100_000)), 0), "deep nesting in the metadata");
    says_nothing(&safetensors_file(&format!("{{\"a\":{{\"shape\":[{}", "1,".repeat(100_000)), 0), "an endless shape");
    let tensor = r#""b":{"dtype":"F32","shape":[100],"data_offsets":[0,400]}"#;
    let name = "x".repeat(9 << 20);
    says_nothing(
        &safetensors_file(&format!(r#"{{"{name}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}},{tensor}}}"#), 400),
        "a name of 9 MiB",
    );
    let notes = format!(r#"{{"__metadata__":{{"a [[[[[[[[[[ note":"\\\"[[[[[[[[[[{{"}},{tensor}}}"#);
    assert_eq!(value(&inferred(&[("model.safetensors", &safetensors_file(&notes, 400))]), "config.paramSize"), "0.1K");
}
