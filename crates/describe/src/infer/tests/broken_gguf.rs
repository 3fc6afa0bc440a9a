//! Malformed GGUF headers.

use super::{
    gguf::{F32, Gguf, Q4_K},
    inferred,
};

fn says_nothing(file: &[u8], why: &str) {
    let inferred = inferred(&[("a.gguf", file)]);
    let fields: Vec<_> = inferred.findings.iter().map(|finding| finding.field).collect();
    assert_eq!(fields, ["config.format"], "{why}");
}

fn named() -> Gguf {
    Gguf::new().text("general.architecture", "llama")
}

#[test]
fn files_that_are_not_gguf_of_a_known_version() {
    says_nothing(b"GGML", "another magic");
    says_nothing(b"GGUF", "no data after the magic");
    for version in [0, 1, 4, 0x0400_0000, u32::MAX] {
        says_nothing(&named().file_with(version, 0, 1), "version");
    }
}

#[test]
fn every_truncation_is_harmless() {
    let content = named().texts("general.languages", &["en"]).tensor(F32, &[100], 400).file();
    for length in (0..content.len()).rev() {
        let inferred = inferred(&[("a.gguf", &content[..length])]);
        assert_eq!(inferred.findings.len(), 1, "truncated to {length} bytes: {inferred:?}");
    }
}

#[test]
fn counts_and_lengths_larger_than_the_file() {
    for count in [1u64 << 20, 1 << 32, 1 << 63, u64::MAX] {
        says_nothing(&named().file_with(3, 0, count), "pairs");
        says_nothing(&named().file_with(3, count, 1), "tensors");
        says_nothing(&named().raw("x", 8, &count.to_le_bytes()).file(), "a string");
        for kind in [0u32, 8, 10, 12] {
            let array = [&kind.to_le_bytes()[..], &count.to_le_bytes()].concat();
            says_nothing(&named().raw("x", 9, &array).file(), "an array");
            says_nothing(&named().raw("general.languages", 9, &array).file(), "languages");
        }
    }
    let long_key = [b"GGUF", &3u32.to_le_bytes()[..], &0u64.to_le_bytes(), &1u64.to_le_bytes(), &(1u64 << 63).to_le_bytes()].concat();
    says_nothing(&long_key, "a key");
}

#[test]
fn values_of_unknown_types() {
    says_nothing(&named().raw("x", 13, &[0; 8]).file(), "a type that does not exist");
    says_nothing(&named().raw("x", 9, &[&9u32.to_le_bytes()[..], &1u64.to_le_bytes()].concat()).file(), "an array of arrays");
    for alignment in [0, 3, 48] {
        says_nothing(&named().number("general.alignment", alignment).tensor(F32, &[100], 400).file(), "alignment");
    }
    says_nothing(&named().raw("general.alignment", 10, &32u64.to_le_bytes()).file(), "an alignment of 64 bits");
    says_nothing(&named().text("general.alignment", "32").file(), "an alignment that is a text");
}

#[test]
fn names_that_llama_cpp_refuses() {
    says_nothing(&named().text("general.name", "a").text("general.name", "b").file(), "a duplicate key");
    says_nothing(&named().number("x", 1).number("x", 1).file(), "a duplicate key that is not used");
    says_nothing(&named().text("", "a").file(), "an empty key");
    says_nothing(&named().scalars(&[b"a", b"b", b"a"]).file(), "a duplicate tensor");
    says_nothing(&named().scalars(&[b"a", b"a\0b"]).file(), "two names that are equal as C strings");
    says_nothing(&named().scalars(&[b"", b""]).file(), "two tensors without names");
}

#[test]
fn tensors_with_wrong_locations_in_the_file() {
    let mut short = named().tensor(F32, &[100], 400).file();
    short.pop();
    says_nothing(&short, "the last byte is missing");
    says_nothing(&named().tensor_at(F32, &[100], 32).file(), "a gap at the beginning");
    says_nothing(&named().tensor(F32, &[100], 400).tensor_at(F32, &[10], 0).file(), "overlap");
    says_nothing(&named().tensor_at(F32, &[100], u64::MAX).file(), "an offset beyond the file");
    says_nothing(&named().tensor(F32, &[1 << 32, 1 << 32], 400).file(), "a shape with too many elements");
    says_nothing(&named().tensor(F32, &[u64::MAX], 400).file(), "a length of too many bytes");
    says_nothing(&named().tensor(F32, &[1 << 40], 400).file(), "more than the file holds");
    says_nothing(&named().tensor(F32, &[1; 9], 4).file(), "too many dimensions");
    says_nothing(&named().tensor(Q4_K, &[100], 400).file(), "a row that is not a whole number of blocks");
    says_nothing(&named().tensor(1000, &[1 << 40, 1 << 40], 400).file(), "more elements than can be counted, of an unknown type");
    says_nothing(&named().tensor(1000, &[1 << 63, 0], 0).file(), "a negative length");
}
