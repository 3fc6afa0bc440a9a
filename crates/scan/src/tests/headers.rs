//! Weight headers: which faults are findings, and which are only notes.

use super::{finds_nothing, scan};
use crate::Severity;

/// A GGUF file with these keys, and with a one-number tensor for each of these names, with this
/// type and number of dimensions.
fn gguf(keys: &[&str], names: &[&str], kind: u32, dimensions: u32) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let pair = |key: &&str| [text(key), 4u32.to_le_bytes().to_vec(), 32u32.to_le_bytes().to_vec()].concat();
    let shape = [1u64.to_le_bytes().as_slice()].concat().repeat(dimensions as usize);
    let info = |(at, name): (usize, &&str)| {
        [text(name), dimensions.to_le_bytes().to_vec(), shape.clone(), kind.to_le_bytes().to_vec(), (at as u64 * 32).to_le_bytes().to_vec()]
            .concat()
    };
    let counts = [(names.len() as u64).to_le_bytes(), (keys.len() as u64).to_le_bytes()].concat();
    let infos = names.iter().enumerate().flat_map(info).collect();
    let mut file = [b"GGUF\x03\0\0\0".to_vec(), counts, keys.iter().flat_map(pair).collect(), infos].concat();
    file.resize(file.len().next_multiple_of(32) + 32 * names.len(), 0);
    file
}

#[test]
fn a_gguf_file_that_programs_read_differently_is_malformed() {
    for (file, why) in [
        (gguf(&["a", "a"], &["t"], 0, 1), "the duplicate key \"a\""),
        (gguf(&[""], &["t"], 0, 1), "a pair without a key"),
        (gguf(&[], &["t", "t"], 0, 1), "the duplicate tensor \"t\""),
        (gguf(&[], &["t"], 0, 9), "a tensor with 9 dimensions"),
    ] {
        let report = scan("model.gguf", &file);
        let [finding] = report.findings.as_slice() else { panic!("{why}: {report:?}") };
        assert!(finding.severity == Severity::Malformed && finding.message.contains(why), "{finding:?}");
    }
}

#[test]
fn a_gguf_file_that_only_llama_cpp_refuses_has_a_note() {
    let long = "x".repeat(64);
    for (file, why) in [
        (gguf(&[], &[&long], 0, 1), "a tensor whose name is longer than 63 bytes"),
        (gguf(&[], &["t"], 0, 5), "a tensor with 5 dimensions"),
        (gguf(&[], &["t"], 4, 1), "a tensor of the type 4, which was removed"),
    ] {
        let notes = finds_nothing("model.gguf", &file).notes;
        assert!(notes.len() == 1 && notes[0].starts_with("llama.cpp cannot load it") && notes[0].contains(why), "{notes:?}");
    }
    for file in [gguf(&["general.alignment"], &["", "t"], 0, 0), gguf(&[], &["t"], 1000, 1), gguf(&[], &[], 0, 0)] {
        assert!(finds_nothing("model.gguf", &file).notes.is_empty());
    }
}

#[test]
fn an_unknown_gguf_version_is_not_a_finding() {
    let of = |version: u32| [b"GGUF".as_slice(), &version.to_le_bytes(), &[0; 16]].concat();
    for version in [1, 4, 4u32.swap_bytes()] {
        let report = scan("model.gguf", &of(version));
        assert!(report.findings.is_empty() && report.not_judged[0].contains("its version is"), "{report:?}");
    }
    for version in [0, 0x0101_0101, u32::MAX] {
        assert_eq!(scan("model.gguf", &of(version)).findings.len(), 1);
    }
}

#[test]
fn an_unknown_safetensors_type_is_not_a_finding() {
    let of = |dtype: &str, end: usize| {
        let header = format!(r#"{{"a":{{"dtype":"{dtype}","shape":[2],"data_offsets":[0,{end}]}}}}"#);
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 4]].concat()
    };
    for dtype in ["U16", "F16", "F9_NEW"] {
        finds_nothing("model.safetensors", &of(dtype, 4));
    }
    // Its bytes must still be in the file.
    for file in [of("F9_NEW", 3), of("F9_NEW", 5), of("F16", 3), of("F8_E4M3FNUZ", 4)] {
        assert_eq!(scan("model.safetensors", &file).findings.len(), 1);
    }
}
