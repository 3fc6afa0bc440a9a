//! Real files, and files that try to evade the scan.

mod headers;

use crate::{FileReport, Severity, scan_file};
use flate2::{
    Compression,
    read::{GzEncoder, ZlibEncoder},
};
use modelpack_testkit::{TorchTensor, tar_of, torch_archive, torch_pickle, zip_of};
use std::io::{Cursor, Read};

/// Files that Python, NumPy and joblib wrote. Files with `canary` in their name run `touch
/// modelpack-canary` when they are loaded.
macro_rules! data {
    ($name:literal) => {
        include_bytes!(concat!("tests/data/", $name)).as_slice()
    };
}

/// A pickle of protocol 2 that runs a program.
const CANARY: &[u8] = b"\x80\x02cposix\nsystem\nX\x16\x00\x00\x00touch modelpack-canary\x85R.";

fn scan(path: &str, bytes: &[u8]) -> FileReport {
    let scratch = std::env::temp_dir();
    scan_file(path, bytes.len() as u64, Cursor::new(bytes), Some(&scratch))
}

/// The imports that were found, with their severities.
fn imports(path: &str, bytes: &[u8]) -> Vec<(Severity, String)> {
    scan(path, bytes).findings.into_iter().filter_map(|finding| Some((finding.severity, finding.global?))).collect()
}

#[track_caller]
fn finds_canary(path: &str, bytes: &[u8]) {
    let found = imports(path, bytes);
    assert!(found.contains(&(Severity::Dangerous, "posix.system".to_owned())), "{path}: {:?}", scan(path, bytes));
}

fn severities(report: &FileReport) -> Vec<Severity> {
    report.findings.iter().map(|finding| finding.severity).collect()
}

#[track_caller]
fn finds_nothing(path: &str, bytes: &[u8]) -> FileReport {
    let report = scan(path, bytes);
    assert!(report.findings.is_empty() && !report.looked_at.is_empty(), "{report:?}");
    report
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::new();
    GzEncoder::new(bytes, Compression::default()).read_to_end(&mut compressed).unwrap();
    compressed
}

#[test]
fn pickles_of_every_protocol_are_detected() {
    for (name, bytes) in [
        ("0.pkl", data!("canary-0.pkl")),
        ("1.pkl", data!("canary-1.pkl")),
        ("2.pkl", data!("canary-2.pkl")),
        ("3.pkl", data!("canary-3.pkl")),
        ("4.pkl", data!("canary-4.pkl")),
        ("5.pkl", data!("canary-5.pkl")),
        // With any name.
        ("weights.dat", data!("canary-0.pkl")),
        ("README.md", data!("canary-0.pkl")),
        ("model.safetensors", data!("canary-4.pkl")),
        ("model.gguf", data!("canary-4.pkl")),
    ] {
        finds_canary(name, bytes);
    }
    for bytes in [data!("plain-0.pkl"), data!("plain-2.pkl"), data!("plain-5.pkl")] {
        assert_eq!(finds_nothing("plain.pkl", bytes).pickles, 1);
    }
}

#[test]
fn a_finding_has_the_entry_the_pickle_and_the_position() {
    let archive = torch_archive(&[&b"\x80\x02N."[..], CANARY].concat(), &[(0, 8)]);
    let report = scan("model.pt", &archive);
    let finding = &report.findings[0];
    assert_eq!(finding.within.as_deref(), Some("archive/data.pkl"));
    assert_eq!((finding.pickle, finding.position), (Some(2), Some(6)));
    assert_eq!(finding.to_string(), "archive/data.pkl: pickle 2, byte 6: imports posix.system");
}

#[test]
fn arrays_of_numbers_are_harmless_and_those_of_objects_are_pickles() {
    finds_nothing("a.npy", data!("numbers.npy"));
    finds_canary("a.npy", data!("objects.npy"));
    finds_canary("a.npy", data!("records.npy"));
    finds_canary("a.npz", data!("arrays.npz"));
}

#[test]
fn arrays_inside_joblib_pickles_hide_nothing_after_them() {
    let report = finds_nothing("a.joblib", data!("good.joblib"));
    assert!(report.not_judged.is_empty(), "{report:?}");
    finds_canary("a.joblib", data!("canary.joblib"));
    finds_canary("a.joblib", data!("canary-object.joblib"));
    finds_canary("a.joblib.gz", data!("canary.joblib.gz"));
    finds_canary("a.joblib", data!("canary-zlib.joblib"));
    finds_canary("a.joblib", data!("canary-xz.joblib"));
}

#[test]
fn a_pytorch_archive_is_scanned_by_its_pickle() {
    let tensor = TorchTensor { name: "a", storage_class: "FloatStorage", storage: 0, storage_elements: 6, offset: 0, shape: &[2, 3] };
    let report = finds_nothing("pytorch_model.bin", &torch_archive(&torch_pickle(&[tensor]), &[(0, 24)]));
    assert_eq!(report.looked_at.len(), 1);
    assert!(report.looked_at[0].contains("archive/data.pkl; 1 entry has tensor data"), "{report:?}");
    assert!(report.not_judged.is_empty(), "{report:?}");
}

#[test]
fn a_payload_beside_the_pickle_of_an_archive_is_found_under_any_name() {
    for name in ["archive/data/0", "archive/extra", "notes.txt", "config.p"] {
        finds_canary("model.pt", &zip_of(&[("archive/data.pkl", b"\x80\x02}."), (name, CANARY)]));
    }
    finds_canary("model.bin", &zip_of(&[("config.p", data!("canary-0.pkl"))]));
}

#[test]
fn archives_that_loaders_accept_and_other_scanners_refuse_are_scanned() {
    let whole = torch_archive(CANARY, &[(0, 8)]);
    let is_malformed = |report: &FileReport| report.findings.iter().any(|finding| finding.severity == Severity::Malformed);
    let flagged = {
        let mut bytes = whole.clone();
        bytes[6] = 1;
        bytes
    };
    let wrong_checksum = {
        let mut bytes = whole.clone();
        bytes[14] ^= 0xff;
        bytes
    };
    let other_name = {
        let mut bytes = whole.clone();
        bytes[30] = b'X';
        bytes
    };
    for (bytes, says_so) in [(&flagged, true), (&wrong_checksum, false), (&other_name, true)] {
        finds_canary("model.pt", bytes);
        assert_eq!(is_malformed(&scan("model.pt", bytes)), says_so);
    }
}

#[test]
fn a_pickle_that_is_broken_after_its_payload_is_found() {
    let broken = [&CANARY[..CANARY.len() - 1], b"\xff\xff"].concat();
    finds_canary("model.pkl", &broken);
    let report = scan("model.pkl", &broken);
    assert!(report.findings.iter().any(|finding| finding.message.contains("is broken")), "{report:?}");
    assert_eq!(report.not_judged, [format!("1 bytes after the broken end of its pickle, from byte {} on", broken.len() - 1)]);
    assert_eq!(imports("model.pkl", b"csomebody.s\nclass\n\xff").len(), 1);
    finds_canary("notes.bin", &data!("canary-0.pkl")[..data!("canary-0.pkl").len() - 4]);
}

#[test]
fn content_after_the_last_pickle_is_not_reported_as_scanned() {
    let report = finds_nothing("model.pt", b"\x80\x02K\x01.\x80\x02].\x01\x02\x03\x04\x05");
    assert_eq!(report.looked_at, ["2 pickles, each opcode"]);
    assert_eq!(report.not_judged, ["5 bytes after the last pickle, from byte 9 on"]);
    finds_canary("model.pt", &[&b"\x80\x02K\x01."[..], CANARY].concat());
}

#[test]
fn files_of_two_formats_are_scanned_as_both() {
    finds_canary("model.pt", &[b"\x80\x02N.", zip_of(&[("archive/data.pkl", CANARY)]).as_slice()].concat());
    // A valid safetensors header. As opcodes, its length is a text of 60 bytes, after which an
    // extension is called.
    let header = format!("{:<57}K\u{82}A)R.\"}}}}", r#"{"__metadata__":{"p":""#);
    let length = u64::from(b'X') | 60 << 8;
    let padding = " ".repeat(length as usize - header.len());
    let report = scan("model.safetensors", &[&length.to_le_bytes()[..], header.as_bytes(), padding.as_bytes()].concat());
    assert!(report.looked_at[0].contains("safetensors"), "{report:?}");
    assert!(report.findings.iter().any(|finding| finding.message.contains("extension 65")), "{report:?}");
}

#[test]
fn archives_and_compression_hide_nothing() {
    let torch = torch_archive(CANARY, &[(0, 8)]);
    finds_canary("model.tar", &tar_of(&[("a.txt", b"text"), ("m/model.pt", &torch)]));
    finds_canary("model.tar.gz", &gzip(&tar_of(&[("m/x.pkl", CANARY)])));
    finds_canary("model.tar.zst", &zstd::encode_all(&tar_of(&[("m/x.pkl", CANARY)])[..], 1).unwrap());
    finds_canary("model.zip", &zip_of(&[("inner.zip", &torch)]));
    finds_canary("x.pkl.gz", &gzip(CANARY));
    let deep = (0..6).fold(CANARY.to_vec(), |bytes, _| gzip(&bytes));
    let report = scan("x", &deep);
    assert_eq!(severities(&report), [Severity::Unread], "{report:?}");
    assert!(report.findings[0].message.contains("nested too deep") && report.looked_at.is_empty(), "{report:?}");
}

#[test]
fn formats_that_loaders_decompress_are_decompressed() {
    for (name, bytes) in [
        ("model.pkl.bz2", data!("canary.pkl.bz2")),
        ("model.pkl.xz", data!("canary.pkl.xz")),
        ("model.pkl.lzma", data!("canary.pkl.lzma")),
        ("model.pkl.lz4", data!("canary.pkl.lz4")),
        // With other names, because joblib detects the format by the bytes.
        ("model.joblib", data!("canary.pkl.bz2")),
        ("model.bin", data!("canary.pkl.lzma")),
        ("weights", data!("canary.pkl.lz4")),
        // Recognised by its name alone, as in pandas.
        ("model.pkl.xz", data!("canary-odd.pkl.xz")),
        // Entries of NumPy archives, which Python decompresses.
        ("model.npz", data!("canary-bzip2.npz")),
        ("model.npz", data!("canary-lzma.npz")),
    ] {
        finds_canary(name, bytes);
        let cut = scan(name, &bytes[..bytes.len() - 40]);
        assert!(!cut.findings.is_empty(), "{cut:?}");
    }
    finds_canary("model.tar.xz", &tar_of(&[("model.pkl.bz2", data!("canary.pkl.bz2"))]));
    // After a skippable zstd frame, and after the header of joblib's first versions.
    let zstd = zstd::encode_all(CANARY, 1).unwrap();
    finds_canary("model.pkl.zst", &[b"\x50\x2a\x4d\x18\x02\0\0\0..", &zstd[..]].concat());
    let mut zlib = Vec::new();
    ZlibEncoder::new(CANARY, Compression::default()).read_to_end(&mut zlib).unwrap();
    for header in ["ZF0x3a               ", "ZF0x3a                "] {
        finds_canary("model.joblib", &[header.as_bytes(), &zlib].concat());
    }
}

#[test]
fn an_archive_recognised_only_by_its_checksum_is_scanned() {
    let mut tar = tar_of(&[("model.pkl", CANARY)]);
    tar[257..265].fill(0);
    let sum: u32 = tar[..512].iter().enumerate().map(|(at, b)| if (148..156).contains(&at) { 32 } else { u32::from(*b) }).sum();
    tar[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    assert_eq!(severities(&scan("model.bin", &tar)), [Severity::Malformed]);
    assert!(scan("model.bin", &[0; 1024]).findings.is_empty());
}

#[test]
fn unreadable_files_that_a_loader_opens_are_findings() {
    for (name, bytes) in [
        ("model.pkl.bz2", &b"BZh9 rest"[..]),
        ("model.pkl.gz", b"\x1f\x8b\x08\0 rest"),
        ("model.pkl.xz", b"\xfd7zXZ\0 rest"),
        ("model.pkl.lz4", b"\x04\x22\x4d\x18 rest"),
        ("model.pkl.zst", b"\x28\xb5\x2f\xfd rest"),
        // A dictionary of 4 GiB.
        ("model.pkl", b"\x5d\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0 rest"),
    ] {
        assert_eq!(severities(&scan(name, bytes)), [Severity::Unread], "{:?}", scan(name, bytes));
    }
    // An archive entry with an unknown method, and one that is compressed twice without a scratch
    // directory.
    let mut archive = zip_of(&[("a.npy", b"1")]);
    let directory = archive.len() - 22 - 46 - 5;
    archive[8] = 77;
    archive[directory + 10] = 77;
    let report = scan("model.npz", &archive);
    assert_eq!((severities(&report), report.findings[0].within.as_deref()), (vec![Severity::Unread], Some("a.npy")));
    let packed = tar_of(&[("arrays.npz", data!("arrays.npz"))]);
    let report = scan_file("model.tar", packed.len() as u64, Cursor::new(&packed), None);
    assert_eq!(severities(&report), [Severity::Unread], "{report:?}");
}

#[test]
fn texts_and_numbers_that_begin_like_compressed_files_are_not_mistaken_for_them() {
    for text in ["x = 1\nprint(x)\n", "x^2 + y^2\n", "x}\n", "x?", "x ", "x^"] {
        let report = finds_nothing("code.py", text.as_bytes());
        assert_eq!(report.looked_at, ["a text that is not a pickle"], "{text:?}");
    }
    let numbers = [&[0x78, 0x9c][..], &[0xff; 5000]].concat();
    let report = scan("weights.bin", &numbers);
    assert!(report.findings.is_empty() && report.not_judged.len() == 1, "{report:?}");
    assert!(scan("weights.bin", &[0; 5000]).findings.is_empty());
    // A stream that consists of letters only is still decompressed: its content is a pickle.
    assert!(!scan("model.joblib", &data!("canary-zlib.joblib")[..290]).findings.is_empty());
}

#[test]
fn formats_that_no_loader_runs_are_not_judged_and_not_findings() {
    for (name, bytes) in [
        ("model.bin", &b"7z\xbc\xaf\x27\x1c rest"[..]),
        ("model.tflite", b"\x1c\0\0\0TFL3 rest\0"),
        ("model.mlmodel", b"\x08\x01\x12\x00\xff"),
        ("saved_model.pb", b"\x08\x01\x12\x00\xff"),
        ("picture.png", b"\x89PNG\r\n\x1a\n\0"),
        ("model.so", b"\x7fELF\x02\x01"),
        ("weights.bin", b"\xf0\x9f\x00\x00\xff"),
    ] {
        let report = scan(name, bytes);
        assert!(report.looked_at.is_empty() && report.not_judged.len() == 1 && report.findings.is_empty(), "{report:?}");
    }
}

#[test]
fn weights_with_the_name_of_another_format_are_findings() {
    for (name, bytes) in [
        ("model.safetensors", &b"\x08\0\0\0\0\0\0\0{\"a\": 1}"[..]),
        ("model.safetensors", b"short"),
        (
            "model.safetensors",
            b"\x69\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}\0\0",
        ),
        ("model.gguf", b"GGUF\xff\xff\xff\xff"),
        ("model.gguf", b"text"),
        ("model.onnx", b"\x08\x07\x12\x00"),
        ("model.onnx", b"\x08\x07\x3a\x02"),
        ("model.onnx", b"version https://git-lfs.github.com/spec/v1"),
    ] {
        let report = scan(name, bytes);
        assert_eq!(report.findings.first().map(|finding| finding.severity), Some(Severity::Malformed), "{report:?}");
    }
    finds_nothing("model.safetensors", b"\x02\0\0\0\0\0\0\0{}");
}

/// A field of a protobuf message, shorter than 128 bytes.
fn message(field: u8, content: &[u8]) -> Vec<u8> {
    [&[field << 3 | 2, content.len() as u8][..], content].concat()
}

/// An ONNX model with one tensor of two bytes in an external file with this name.
fn onnx_with(location: &str) -> Vec<u8> {
    let place = [message(1, b"location"), message(2, location.as_bytes())].concat();
    let tensor = [&[0x08, 2, 0x10, 3][..], &message(13, &place), &[0x70, 1]].concat();
    [&[0x08, 9][..], &message(7, &message(5, &tensor))].concat()
}

#[test]
fn onnx_tensors_outside_the_model_are_findings() {
    let report = finds_nothing("model.onnx", &onnx_with("weights/model.onnx_data"));
    assert_eq!((&report.looked_at[..], report.not_judged.len()), (&["ONNX: the header, checked against the file".to_owned()][..], 0));
    for location in ["/etc/passwd", "../../.ssh/id_rsa", "a/../../b", "C:\\x", "*/_ORT_MEM_ADDR_/*"] {
        // With any name, and in an archive.
        for (name, bytes) in [
            ("model.onnx", onnx_with(location)),
            ("model.bin", onnx_with(location)),
            ("model.tar", tar_of(&[("model.onnx", &onnx_with(location))])),
        ] {
            let report = scan(name, &bytes);
            assert_eq!(report.findings.len(), 1, "{report:?}");
            assert_eq!(report.findings[0].severity, Severity::Dangerous);
            assert!(report.findings[0].message.contains(&format!("{location:?}")), "{report:?}");
        }
    }
    // In the body of a function that the model defines, and before malformed content.
    let node = onnx_with("/etc/passwd")[4..].to_vec();
    let constant = message(7, &message(5, &[&[0x2a][..], &node[1..]].concat()));
    let in_function = [&[0x08, 9, 0x3a, 0, 0xca, 1, constant.len() as u8][..], &constant].concat();
    assert_eq!(scan("model.onnx", &in_function).findings.len(), 1);
    assert_eq!(scan("model.onnx", &[onnx_with("/etc/passwd"), vec![0]].concat()).findings.len(), 2);
}

#[test]
fn operators_outside_the_onnx_runtimes_are_noted() {
    let model = |domain: &str| [&[0x08, 9, 0x3a, 0][..], &message(8, &message(1, domain.as_bytes()))].concat();
    assert_eq!(finds_nothing("model.onnx", &model("com.example.ops")).notes.len(), 1);
    for domain in ["", "ai.onnx.ml", "com.microsoft"] {
        assert_eq!(finds_nothing("model.onnx", &model(domain)).notes, Vec::<String>::new());
    }
    let defined = [model("local"), vec![0xca, 1, 7], message(10, b"local")].concat();
    assert_eq!(finds_nothing("model.onnx", &defined).notes, Vec::<String>::new());
}

#[test]
fn scripts_templates_and_code_in_configs_are_noted() {
    assert_eq!(scan("modeling.py", b"import os\n").notes.len(), 1);
    assert_eq!(scan("chat_template.jinja", b"{{ x }}").notes.len(), 1);
    let pair = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let gguf =
        [&b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0"[..], &pair("tokenizer.chat_template"), &[8, 0, 0, 0], &pair("{{ x }}")];
    assert_eq!(finds_nothing("model.gguf", &gguf.concat()).notes.len(), 1);
    let config = finds_nothing("config.json", br#"{"auto_map": {"AutoModel": "modeling.Model"}, "chat_template": "x"}"#);
    assert_eq!(config.notes.len(), 2);
    assert_eq!(scan("config.json", br#"{"nested": {"auto_map": 1}}"#).notes, Vec::<String>::new());
}

#[test]
fn a_keras_lambda_layer_is_found() {
    let config = br#"{"module":"keras","class_name":"Functional","config":{"layers":[{"module":"keras.layers","class_name":"Lambda"}]}}"#;
    let report = scan("model.keras", &zip_of(&[("config.json", config), ("model.weights.h5", b"\x89HDF\r\n\x1a\n")]));
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].severity, Severity::Dangerous);
}

#[test]
fn python_code_is_not_a_pickle() {
    for text in [
        "import os\nimport logging\n\nclass Model:\n    pass\n",
        "import logging\n",
        "import sys\nsys.modules.pop(__package__, None)\n",
        "import argparse\r\nimport os\r\n",
        "initialized = True\n\ndef main():\n",
        "from os import system\n",
        "class Model:\n    x = 1\n",
        "Copyright (c) 2018, Somebody, Somebody Else, and a long line of others who are named here for no other reason than to be 111 bytes.\nAll.",
    ] {
        for name in ["modeling_tiny.py", "LICENSE"] {
            let report = finds_nothing(name, text.as_bytes());
            assert!(report.pickles == 0 && report.not_judged.is_empty(), "{report:?}");
        }
    }
    // Files that call something are pickles: they have the magic bytes or a call.
    finds_canary("modeling_tiny.py", data!("canary-0.pkl"));
    finds_canary("modeling_tiny.py", b"(S'touch modelpack-canary'\niposix\nsystem\n.");
    finds_canary("modeling_tiny.py", b"(S'touch modelpack-canary'\niposix\nsystem\nimport os\n");
    finds_canary("modeling_tiny.py", b"cposix\nsystem\n(S'touch modelpack-canary'\ntRimport os\n");
    assert_eq!(imports("code.py", b"(S'x'\nimport os\nsystem\n."), [(Severity::Unknown, "mport os.system".to_owned())]);
}

#[test]
fn a_torchscript_archive_has_its_own_classes() {
    let pickle = b"\x80\x02c__torch__.model.Net\nNet\n)\x81}(X\x01\x00\x00\x00actorch.jit._pickle\nbuild_intlist\n](K\x01e\x85Rub.";
    let archive = |pickle: &[u8], others: &[&'static str]| {
        let mut entries = vec![("net/data.pkl", pickle)];
        entries.extend(others.iter().map(|name| (*name, &b"\x80\x02)."[..])));
        zip_of(&entries)
    };
    let script = ["net/constants.pkl", "net/code/__torch__/model/Net.py"];
    let report = finds_nothing("model.jit", &archive(pickle, &script));
    assert!(report.looked_at[0].starts_with("a TorchScript archive"), "{report:?}");
    // Without one of these entries, or outside the archive, the classes are imported from Python.
    for (name, bytes) in [
        ("model.pt", archive(pickle, &[])),
        ("model.pt", archive(pickle, &script[..1])),
        ("model.pt", archive(pickle, &script[1..])),
        ("model.pt", archive(pickle, &["net/constants.pkl", "other/code/__torch__/model/Net.py"])),
        ("model.pkl", pickle.to_vec()),
    ] {
        assert_eq!(imports(name, &bytes), [(Severity::Unknown, "__torch__.model.Net.Net".to_owned())]);
    }
    // Other content of a TorchScript archive is judged as usual.
    finds_canary("model.pt", &archive(CANARY, &script));
    let inner = archive(pickle, &[]);
    let outer = zip_of(&[("constants.pkl", b"\x80\x02)."), ("code/a.py", b""), ("inner.pt", &inner)]);
    assert_eq!(imports("model.pt", &outer).len(), 1);
}

/// A legacy PyTorch file, with a storage of two floats after these bytes.
fn legacy_torch(pickle: &[u8], storages: &[u8]) -> Vec<u8> {
    let preface = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}q\x00.";
    [preface, pickle, b"\x80\x02]q\x00X\x01\x00\x00\x000q\x01a.", storages].concat()
}

#[test]
fn tensors_of_legacy_files_are_recognised_and_content_after_them_is_reported() {
    let tensor = TorchTensor { name: "a", storage_class: "FloatStorage", storage: 0, storage_elements: 2, offset: 0, shape: &[2] };
    let pickle = torch_pickle(&[tensor]);
    let storage = |count: u64, data: &[u8]| [&count.to_le_bytes()[..], data].concat();
    let report = finds_nothing("model.pth", &legacy_torch(&pickle, &storage(2, &[0x3f; 8])));
    assert_eq!(report.looked_at, ["5 pickles, each opcode", "1 storage of tensors, by their length"]);
    assert_eq!(report.not_judged, Vec::<String>::new());
    let report = finds_nothing("model.pth", &legacy_torch(&pickle, &[storage(2, &[0x3f; 8]), vec![1, 2, 3]].concat()));
    assert_eq!(report.not_judged.len(), 1, "{report:?}");
    assert!(report.not_judged[0].starts_with("3 bytes after the last tensor"), "{report:?}");
    for (count, data) in [(2, &[0; 7][..]), (u64::MAX, &[0; 8]), (1 << 40, &[0; 8])] {
        let report = scan("model.pth", &legacy_torch(&pickle, &storage(count, data)));
        assert_eq!(severities(&report), [Severity::Malformed], "{report:?}");
    }
    // A loader that continues to read takes the storage for a pickle.
    finds_canary("model.pth", &legacy_torch(&pickle, CANARY));
    let length = u64::from(b'X') | 3 << 8;
    finds_canary("model.pth", &legacy_torch(&pickle, &[&length.to_le_bytes()[..], b"0", &CANARY[2..], &[0; 4096]].concat()));
    finds_canary("model.pth", &legacy_torch(CANARY, &storage(2, &[0; 8])));
    let in_tar = tar_of(&[("model.pth", &legacy_torch(&pickle, &storage(2, &[0x3f; 8])))]);
    assert_eq!(finds_nothing("model.tar", &in_tar).not_judged, Vec::<String>::new());
}

#[test]
fn archive_links_are_findings_only_if_they_leave_the_archive() {
    let with_link = |kind: u8, target: &str| {
        let mut tar = tar_of(&[("m/link", b""), ("m/x.pkl", CANARY)]);
        tar[156] = kind;
        tar[157..157 + target.len()].copy_from_slice(target.as_bytes());
        let sum: u32 = tar[..512].iter().enumerate().map(|(at, b)| if (148..156).contains(&at) { 32 } else { u32::from(*b) }).sum();
        tar[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        scan("model.tar", &tar)
    };
    for (kind, target, leads_out) in [
        (b'2', "x.pkl", false),
        (b'2', "../a", false),
        (b'1', "m/x.pkl", false),
        (b'2', "../../a", true),
        (b'1', "../a", true),
        (b'2', "/etc/passwd", true),
    ] {
        let report = with_link(kind, target);
        let expected = if leads_out { vec![Severity::Malformed, Severity::Dangerous] } else { vec![Severity::Dangerous] };
        assert_eq!(severities(&report), expected, "{target}: {report:?}");
    }
}

#[test]
fn keras_imports_and_code_are_found() {
    let object = |module: &str, class: &str, config: &str| {
        format!(r#"{{"config":{{"layers":[{{"module":"{module}","class_name":"{class}","config":{config}}}]}}}}"#)
    };
    for (json, severity) in [
        (object("builtins", "__lambda__", r#"{"value":"4wE="}"#), Severity::Dangerous),
        (object("keras.layers", "TorchModuleWrapper", "{}"), Severity::Dangerous),
        (object("keras.layers", "TFSMLayer", "{}"), Severity::Dangerous),
        (object("os", "function", r#""system""#), Severity::Dangerous),
        (object("keras.models", "function", r#""load_model""#), Severity::Dangerous),
        (object("subprocess", "Popen", "{}"), Severity::Dangerous),
        (object("somebodys.layers", "Special", "{}"), Severity::Unknown),
    ] {
        let report = scan("config.json", json.as_bytes());
        assert_eq!(report.findings.iter().map(|found| found.severity).collect::<Vec<_>>(), [severity], "{json}: {report:?}");
    }
    finds_nothing("config.json", object("keras.layers", "Dense", r#"{"activation":"relu"}"#).as_bytes());
    finds_nothing("config.json", object("builtins", "slice", "{}").as_bytes());
}

#[test]
fn arrays_with_unusual_object_headers_are_scanned() {
    let array = |descr: &str| {
        let header = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), }}\n");
        [b"\x93NUMPY\x01\0".as_slice(), &(header.len() as u16).to_le_bytes(), header.as_bytes(), CANARY].concat()
    };
    for descr in [
        "'|O'",
        "'O'",
        "'object'",
        "'i4,O'",
        "'(2,)O'",
        "'2O'",
        "'\\x4f'",
        "'|' 'O'",
        "'obj' 'ect'",
        "\"|O\"",
        "u'|O'",
        "'<f4', 'descr': '|O'",
        "[('a', '<f4'), ('b', 'object_')]",
    ] {
        finds_canary("a.npy", &array(descr));
    }
    for descr in ["'<f4'", "'|b1'", "'<U12'", "'<M8[ns]'", "'|V3'"] {
        assert_eq!(finds_nothing("a.npy", &array(descr)).pickles, 0, "{descr}");
    }
    let mut records = array("[('Other', '<f4'), ('O', '<i4')]");
    records.truncate(records.len() - CANARY.len());
    records.extend([7; 64]);
    assert_eq!(finds_nothing("a.npy", &records).pickles, 0);
}

#[test]
fn unrecognised_files_with_the_name_of_a_pickle_are_findings() {
    for name in ["model.pth", "model.pkl", "data.joblib"] {
        assert_eq!(scan(name, b"7z\xbc\xaf\x27\x1c rest").findings.len(), 1, "{name}");
    }
}

#[test]
fn texts_are_not_mistaken_for_pickles() {
    for text in ["cat\ndog\nbird\nred\n", "I am a text.\n", "Version 1\nNone\n", "c\n(s)\n", "# A model card\n", "(lp0\nhello", "[]", ""] {
        let report = scan("vocab.txt", text.as_bytes());
        assert!(report.findings.is_empty() && report.not_judged.is_empty() && report.pickles == 0, "{text:?}: {report:?}");
    }
}

#[test]
fn unlisted_globals_are_found_and_reported_once() {
    let bytes = b"\x80\x02(csklearn.linear_model._base\nLinearRegression\n)\x81csklearn.linear_model._base\nLinearRegression\n)\x81l.";
    assert_eq!(imports("a.pkl", bytes), [(Severity::Unknown, "sklearn.linear_model._base.LinearRegression".to_owned())]);
    let report = scan("a.pkl", b"\x80\x02\x82\x05)R.");
    assert!(report.findings.iter().any(|finding| finding.message.contains("extension 5")), "{report:?}");
    let report = scan("a.pkl", b"\x80\x02ccollections\nOrderedDict\n}b.");
    assert_eq!(report.findings[0].severity, Severity::Dangerous);
}
