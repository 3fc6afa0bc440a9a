//! Unusual but valid GGUF files, which llama.cpp or another program accepts.

use super::{
    gguf::{F16, F32, Gguf, Q4_K, Q8_0},
    inferred, value,
};
use serde_json::{Value, json};

fn named() -> Gguf {
    Gguf::new().text("general.architecture", "llama").text("general.name", "Tiny")
}

/// The size of the model in this file, after checking the other metadata, and the notes.
fn size(file: Gguf) -> (Value, Vec<String>) {
    let inferred = inferred(&[("a.gguf", &file.file())]);
    assert_eq!((value(&inferred, "descriptor.family"), value(&inferred, "descriptor.name")), (json!("llama"), json!("Tiny")));
    (value(&inferred, "config.paramSize"), inferred.notes)
}

#[test]
fn files_that_llama_cpp_accepts_are_read() {
    let thousand = || named().tensor(F32, &[1000], 4000);
    let text = |bytes: &[u8]| [&(bytes.len() as u64).to_le_bytes(), bytes].concat();
    for (file, why) in [
        (thousand().tensor(F32, &[], 4), "no dimension: one element"),
        (thousand().tensor(F32, &[0], 0).tensor(F16, &[1], 2), "a dimension of length 0"),
        (thousand().tensor(F32, &[1 << 40, 1 << 40, 0], 0), "lengths whose product overflows without the length 0"),
        (thousand().tensor(Q8_0, &[0, 7], 0), "no blocks"),
        (thousand().scalars(&[b""]), "a tensor without a name"),
        (thousand().scalars(&[&[b'x'; 63]]), "the longest name"),
        (thousand().scalars(&[&[0xff, 0xfe]]), "a name that is not UTF-8"),
        (named().aligned(4096).tensor(F32, &[1000], 4000), "an alignment larger than the usual"),
        (thousand().raw("general.languages", 9, &[&8u32.to_le_bytes()[..], &1u64.to_le_bytes(), &text(&[0xff])].concat()), "no language"),
        (thousand().raw_key(&[0xff, 0xfe], 8, &text(b"x")), "a key that is not UTF-8"),
        (thousand().raw_key(&[b'k'; 70_000], 8, &text(b"x")), "a long key"),
        (thousand().text("tokenizer.chat_template", &"x".repeat(2 << 20)), "a long chat template"),
        (thousand().raw("general.author", 8, &text(&[0xff])), "a text that is not UTF-8"),
        (thousand().text("general.author", "a\0b"), "a text with a NUL"),
    ] {
        assert_eq!(size(file), (json!("1K"), Vec::new()), "{why}");
    }
    for name in [&[0xff][..], b"a\0b"] {
        let file = Gguf::new().raw("general.name", 8, &text(name)).tensor(F32, &[1000], 4000);
        let inferred = inferred(&[("a.gguf", &file.file())]);
        assert_eq!((value(&inferred, "descriptor.name"), value(&inferred, "config.paramSize")), (Value::Null, json!("1K")));
    }
}

#[test]
fn files_that_only_other_programs_accept_are_read_with_a_note() {
    let assert_note = |file: Gguf, why: &str| {
        let (size, notes) = size(file);
        assert_eq!((size, notes.len()), (json!("1K"), 1), "{why}");
        assert!(notes[0].starts_with("a.gguf cannot be loaded by llama.cpp: it has a tensor ") && notes[0].contains(why), "{notes:?}");
    };
    assert_note(named().tensor(F32, &[1000], 4000).scalars(&[&[b'x'; 64]]), "longer than 63 bytes");
    assert_note(named().tensor(F32, &[5, 5, 5, 2, 4], 4000), "with 5 dimensions");
    assert_note(named().tensor(31, &[1024], 576), "of the type Q4_0_4_4");
    assert_note(named().tensor(4, &[1024], 576), "of the type 4");
}

#[test]
fn an_unknown_type_leaves_only_the_precision_out() {
    let of = |file: Gguf| {
        let inferred = inferred(&[("a.gguf", &file.file())]);
        ["config.paramSize", "config.precision", "config.quantization"].map(|field| value(&inferred, field))
    };
    assert_eq!(of(named().tensor(1000, &[1000], 400)), [json!("1K"), Value::Null, Value::Null]);
    assert_eq!(of(named().tensor(F16, &[512], 1024).tensor(1000, &[512], 400)), [json!("1K"), Value::Null, Value::Null]);
    assert_eq!(of(named().tensor(Q4_K, &[512], 288).tensor(1000, &[512], 400)), [json!("1K"), Value::Null, Value::Null]);
    let mix = named().number("general.file_type", 15).tensor(Q4_K, &[512], 288).tensor(1000, &[512], 400);
    assert_eq!(of(mix), [json!("1K"), Value::Null, json!("Q4_K_M")]);
}

#[test]
fn the_newest_types_are_known() {
    for (kind, elements, bytes, name) in
        [(40, 1024, 576, "NVFP4"), (41, 1024, 144, "Q1_0"), (42, 1024, 288, "Q2_0"), (39, 1024, 544, "MXFP4")]
    {
        let inferred = inferred(&[("a.gguf", &named().tensor(kind, &[elements], bytes).file())]);
        assert_eq!((value(&inferred, "config.paramSize"), value(&inferred, "config.quantization")), (json!("1K"), json!(name)));
    }
}
