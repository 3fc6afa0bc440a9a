//! Real files, and ones made to slip through.

mod headers;

use crate::{FileReport, Severity, scan_file};
use flate2::{Compression, read::GzEncoder};
use modelpack_testkit::{TorchTensor, tar_of, torch_archive, torch_pickle, zip_of};
use std::io::{Cursor, Read};

/// Files that Python, NumPy and joblib wrote; those with `canary` in their name run `touch modelpack-canary` when they are loaded.
macro_rules! data {
    ($name:literal) => {
        include_bytes!(concat!("tests/data/", $name)).as_slice()
    };
}

/// A pickle that runs a program, of protocol 2.
const CANARY: &[u8] = b"\x80\x02cposix\nsystem\nX\x16\x00\x00\x00touch modelpack-canary\x85R.";

fn scan(path: &str, bytes: &[u8]) -> FileReport {
    let scratch = std::env::temp_dir();
    scan_file(path, bytes.len() as u64, Cursor::new(bytes), Some(&scratch))
}

/// The imports that are found, and how bad they are.
fn imports(path: &str, bytes: &[u8]) -> Vec<(Severity, String)> {
    scan(path, bytes).findings.into_iter().filter_map(|finding| Some((finding.severity, finding.global?))).collect()
}

#[track_caller]
fn finds_canary(path: &str, bytes: &[u8]) {
    let found = imports(path, bytes);
    assert!(found.contains(&(Severity::Dangerous, "posix.system".to_owned())), "{path}: {:?}", scan(path, bytes));
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
fn pickles_of_every_protocol_are_found_out() {
    for (name, bytes) in [
        ("0.pkl", data!("canary-0.pkl")),
        ("1.pkl", data!("canary-1.pkl")),
        ("2.pkl", data!("canary-2.pkl")),
        ("3.pkl", data!("canary-3.pkl")),
        ("4.pkl", data!("canary-4.pkl")),
        ("5.pkl", data!("canary-5.pkl")),
        // Whatever they are called.
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
fn a_finding_names_the_entry_the_pickle_and_the_place() {
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
fn arrays_in_the_middle_of_joblibs_pickles_hide_nothing_behind_them() {
    let report = finds_nothing("a.joblib", data!("good.joblib"));
    assert!(report.not_looked_at.is_empty(), "{report:?}");
    finds_canary("a.joblib", data!("canary.joblib"));
    finds_canary("a.joblib", data!("canary-object.joblib"));
    finds_canary("a.joblib.gz", data!("canary.joblib.gz"));
    finds_canary("a.joblib", data!("canary-zlib.joblib"));
    let closed = scan("a.joblib", data!("canary-xz.joblib"));
    assert!(closed.looked_at.is_empty() && closed.not_looked_at == ["compressed with xz"], "{closed:?}");
}

#[test]
fn a_pytorch_archive_is_looked_at_by_its_pickle() {
    let tensor = TorchTensor { name: "a", storage_class: "FloatStorage", storage: 0, storage_elements: 6, offset: 0, shape: &[2, 3] };
    let report = finds_nothing("pytorch_model.bin", &torch_archive(&torch_pickle(&[tensor]), &[(0, 24)]));
    assert_eq!(report.looked_at.len(), 1);
    assert!(report.looked_at[0].contains("archive/data.pkl; 1 holds the numbers"), "{report:?}");
    assert!(report.not_looked_at.is_empty(), "{report:?}");
}

#[test]
fn a_payload_beside_the_pickle_of_an_archive_is_found_whatever_its_name() {
    for name in ["archive/data/0", "archive/extra", "notes.txt", "config.p"] {
        finds_canary("model.pt", &zip_of(&[("archive/data.pkl", b"\x80\x02}."), (name, CANARY)]));
    }
    finds_canary("model.bin", &zip_of(&[("config.p", data!("canary-0.pkl"))]));
}

#[test]
fn archives_that_scanners_refuse_and_loaders_do_not_are_looked_at() {
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
fn a_pickle_that_breaks_behind_its_payload_is_found() {
    let broken = [&CANARY[..CANARY.len() - 1], b"\xff\xff"].concat();
    finds_canary("model.pkl", &broken);
    let report = scan("model.pkl", &broken);
    assert!(report.findings.iter().any(|finding| finding.message.contains("breaks off")), "{report:?}");
    assert_eq!(report.not_looked_at, [format!("1 bytes behind where its pickle breaks off, from byte {} on", broken.len() - 1)]);
    assert_eq!(imports("model.pkl", b"csomebody.s\nclass\n\xff").len(), 1);
    finds_canary("notes.bin", &data!("canary-0.pkl")[..data!("canary-0.pkl").len() - 4]);
}

#[test]
fn what_stands_behind_the_last_pickle_is_not_called_looked_at() {
    let report = finds_nothing("model.pt", b"\x80\x02K\x01.\x80\x02].\x01\x02\x03\x04\x05");
    assert_eq!(report.looked_at, ["2 pickles, each opcode"]);
    assert_eq!(report.not_looked_at, ["5 bytes behind the last pickle, from byte 9 on"]);
    finds_canary("model.pt", &[&b"\x80\x02K\x01."[..], CANARY].concat());
}

#[test]
fn what_is_two_things_is_looked_at_as_both() {
    finds_canary("model.pt", &[b"\x80\x02N.", zip_of(&[("archive/data.pkl", CANARY)]).as_slice()].concat());
    // A sound header of safetensors. As opcodes, its length is a text of 60 bytes, behind which an extension is called.
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
    assert!(report.findings.is_empty() && report.looked_at.is_empty(), "{report:?}");
    assert!(report.not_looked_at[0].ends_with("within too many others"), "{report:?}");
}

#[test]
fn what_is_not_opened_is_not_called_looked_at() {
    for (name, bytes) in [
        ("model.bin", &b"7z\xbc\xaf\x27\x1c rest"[..]),
        ("model.h5", b"\x89HDF\r\n\x1a\n rest"),
        ("model.bz2", b"BZh9 rest"),
        ("weights.bin", b"\xf0\x9f\x00\x00\xff"),
    ] {
        let report = scan(name, bytes);
        assert!(report.looked_at.is_empty() && report.not_looked_at.len() == 1 && report.findings.is_empty(), "{report:?}");
    }
}

#[test]
fn weights_that_are_not_what_they_are_called_are_found() {
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

/// An ONNX model whose one tensor, of two bytes, lies in a file of this name.
fn onnx_with(location: &str) -> Vec<u8> {
    let place = [message(1, b"location"), message(2, location.as_bytes())].concat();
    let tensor = [&[0x08, 2, 0x10, 3][..], &message(13, &place), &[0x70, 1]].concat();
    [&[0x08, 9][..], &message(7, &message(5, &tensor))].concat()
}

#[test]
fn tensors_of_onnx_lie_beside_the_model_or_are_found() {
    let report = finds_nothing("model.onnx", &onnx_with("weights/model.onnx_data"));
    assert_eq!((&report.looked_at[..], report.not_looked_at.len()), (&["ONNX: its header, against the file".to_owned()][..], 0));
    for location in ["/etc/passwd", "../../.ssh/id_rsa", "a/../../b", "C:\\x", "*/_ORT_MEM_ADDR_/*"] {
        // Whatever it is called, and within an archive.
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
    // In the body of a function that the model defines, and with what breaks behind it.
    let node = onnx_with("/etc/passwd")[4..].to_vec();
    let constant = message(7, &message(5, &[&[0x2a][..], &node[1..]].concat()));
    let in_function = [&[0x08, 9, 0x3a, 0, 0xca, 1, constant.len() as u8][..], &constant].concat();
    assert_eq!(scan("model.onnx", &in_function).findings.len(), 1);
    assert_eq!(scan("model.onnx", &[onnx_with("/etc/passwd"), vec![0]].concat()).findings.len(), 2);
}

#[test]
fn operators_that_onnx_runtimes_do_not_have_are_noted() {
    let model = |domain: &str| [&[0x08, 9, 0x3a, 0][..], &message(8, &message(1, domain.as_bytes()))].concat();
    assert_eq!(finds_nothing("model.onnx", &model("com.example.ops")).notes.len(), 1);
    for domain in ["", "ai.onnx.ml", "com.microsoft"] {
        assert_eq!(finds_nothing("model.onnx", &model(domain)).notes, Vec::<String>::new());
    }
    let defined = [model("local"), vec![0xca, 1, 7], message(10, b"local")].concat();
    assert_eq!(finds_nothing("model.onnx", &defined).notes, Vec::<String>::new());
}

#[test]
fn scripts_templates_and_code_that_a_config_names_are_noted() {
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
fn a_lambda_layer_of_keras_is_found() {
    let config = br#"{"module":"keras","class_name":"Functional","config":{"layers":[{"module":"keras.layers","class_name":"Lambda"}]}}"#;
    let report = scan("model.keras", &zip_of(&[("config.json", config), ("model.weights.h5", b"\x89HDF\r\n\x1a\n")]));
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].severity, Severity::Dangerous);
    assert_eq!(report.not_looked_at.len(), 1);
}

#[test]
fn what_keras_imports_or_runs_is_found() {
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
fn arrays_that_say_in_another_way_that_they_hold_objects_are_looked_at() {
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
fn a_pickles_name_on_what_is_not_opened_is_found() {
    for name in ["model.pth", "model.pkl", "data.joblib"] {
        assert_eq!(scan(name, b"7z\xbc\xaf\x27\x1c rest").findings.len(), 1, "{name}");
    }
}

#[test]
fn texts_are_not_mistaken_for_pickles() {
    for text in ["cat\ndog\nbird\nred\n", "I am a text.\n", "Version 1\nNone\n", "c\n(s)\n", "# A model card\n", "(lp0\nhello", "[]", ""] {
        let report = scan("vocab.txt", text.as_bytes());
        assert!(report.findings.is_empty() && report.not_looked_at.is_empty() && report.pickles == 0, "{text:?}: {report:?}");
    }
}

#[test]
fn what_is_not_on_the_list_is_found_and_said_once() {
    let bytes = b"\x80\x02(csklearn.linear_model._base\nLinearRegression\n)\x81csklearn.linear_model._base\nLinearRegression\n)\x81l.";
    assert_eq!(imports("a.pkl", bytes), [(Severity::Unknown, "sklearn.linear_model._base.LinearRegression".to_owned())]);
    let report = scan("a.pkl", b"\x80\x02\x82\x05)R.");
    assert!(report.findings.iter().any(|finding| finding.message.contains("extension 5")), "{report:?}");
    let report = scan("a.pkl", b"\x80\x02ccollections\nOrderedDict\n}b.");
    assert_eq!(report.findings[0].severity, Severity::Dangerous);
}
