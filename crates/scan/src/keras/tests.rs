use crate::{FileReport, Severity, scan_file};
use modelpack_testkit::zip_of;
use std::io::Cursor;

fn scan(path: &str, bytes: &[u8]) -> FileReport {
    scan_file(path, bytes.len() as u64, Cursor::new(bytes), None)
}

/// The findings in a config with this object as a layer, both in a Keras archive and as a separate
/// JSON file, which must agree.
#[track_caller]
fn found(layer: &str) -> Vec<(Severity, String)> {
    let model =
        format!(r#"{{"module":"keras","class_name":"Functional","config":{{"name":"m","layers":[{layer}]}},"registered_name":null}}"#);
    let of = |report: FileReport| report.findings.into_iter().map(|found| (found.severity, found.message)).collect::<Vec<_>>();
    let alone = of(scan("config.json", model.as_bytes()));
    let saved = zip_of(&[("metadata.json", br#"{"keras_version":"3.8.0"}"#), ("config.json", model.as_bytes())]);
    assert_eq!(of(scan("model.keras", &saved)), alone);
    alone
}

#[track_caller]
fn finds(layer: &str, severity: Severity, words: &str) {
    let found = found(layer);
    assert!(found.iter().any(|(of, message)| *of == severity && message.contains(words)), "{layer}: {found:?}");
}

/// A Keras object as JSON. `config` is JSON too.
fn object(module: &str, class: &str, config: &str, registered: &str) -> String {
    format!(r#"{{"module":{module:?},"class_name":{class:?},"config":{config},"registered_name":{registered}}}"#)
}

fn function(module: &str, name: &str) -> String {
    object(module, "function", &format!("{name:?}"), r#""function""#)
}

#[test]
fn each_known_attack_on_the_loader_is_found() {
    let legacy =
        r#"{"class_name":"Lambda","config":{"name":"l","function":["4wEAAAA=",null,null],"function_type":"lambda","module":"__main__"}}"#;
    let lambda = object("builtins", "__lambda__", r#"{"code":"4wEAAAA=","defaults":null,"closure":null}"#, "null");
    let vocabulary = r#"{"max_tokens":null,"vocabulary":"/etc/passwd"}"#;
    for (layer, words) in [
        // CVE-2024-3660, CVE-2025-9905: code in a Lambda layer, in older and newer formats.
        (legacy.to_owned(), "Lambda layer"),
        (object("keras.layers", "Lambda", &format!(r#"{{"function":{lambda}}}"#), "null"), "Lambda layer"),
        (object("keras.layers", "Activation", &format!(r#"{{"activation":{lambda}}}"#), "null"), "Python code"),
        (legacy.replace("\"Lambda\"", "\"Special\""), "Python code"),
        // CVE-2025-1550: a function of any module.
        (function("os", "system"), "take the function os.system"),
        (function("subprocess", "run"), "subprocess.run"),
        (function("_posixsubprocess", "fork_exec"), "_posixsubprocess.fork_exec"),
        (function("builtins", "exec"), "builtins.exec"),
        (function("builtins", "eval"), "builtins.eval"),
        (function("builtins", "__import__"), "builtins.__import__"),
        (object("builtins", "exec", "{}", "null"), "builtins.exec"),
        (object("runpy", "_run_code", "{}", "null"), "import runpy._run_code"),
        (object("os", "Harmless", "{}", r#""system""#), "import os.Harmless"),
        // CVE-2025-8747, CVE-2025-12060: a Keras function that fetches and unpacks files.
        (function("keras.utils", "get_file"), "keras.utils.get_file"),
        (object("keras.utils", "get_file", "{}", "null"), "keras.utils.get_file"),
        (function("keras.src.utils.file_utils", "get_file"), "get_file"),
        (object("keras.utils", "Harmless", "{}", r#""get_file""#), "get_file"),
        // CVE-2025-9906: a function that disables the protection, and one that loads without it.
        (function("keras.config", "enable_unsafe_deserialization"), "enable_unsafe_deserialization"),
        (function("keras.models", "load_model"), "load_model"),
        (function("keras.saving", "load_model"), "load_model"),
        (function("tf_keras.models", "model_from_json"), "model_from_json"),
        // CVE-2025-12058: a layer whose vocabulary is in a file or at a URL.
        (object("keras.layers", "StringLookup", vocabulary, "null"), "/etc/passwd"),
        (object("keras.layers", "TextVectorization", vocabulary, "null"), "/etc/passwd"),
        (format!(r#"{{"class_name":"IntegerLookup","config":{vocabulary}}}"#), "/etc/passwd"),
        // CVE-2025-49655, CVE-2026-1462: layers that unpickle, or load another model.
        (object("keras.layers", "TorchModuleWrapper", r#"{"module":"gAJ9Lg=="}"#, "null"), "unpickles"),
        (object("keras.layers", "TFSMLayer", r#"{"filepath":"/tmp/x"}"#, "null"), "loads another model"),
        (object("keras.src.export.tfsm_layer", "Harmless", "{}", r#""TFSMLayer""#), "TFSMLayer"),
        // TensorFlow functions that layers of older versions call.
        (r#"{"class_name":"TFOpLambda","config":{"name":"w","function":"io.write_file"}}"#.to_owned(), "io.write_file"),
        (r#"{"class_name":"TFOpLambda","config":{"function":"compat.v1.py_func"}}"#.to_owned(), "py_func"),
        (r#"{"class_name":"TensorFlowOpLayer","config":{"node_def":"{\"name\": \"a\", \"op\": \"WriteFile\"}"}}"#.to_owned(), "WriteFile"),
        (r#"{"class_name":"InstanceProperty","config":{"attr_name":"__class__"}}"#.to_owned(), "__class__"),
        // Modules that Keras modules import.
        (function("keras.src.utils.file_utils", "os.system"), "os.system"),
    ] {
        finds(&layer, Severity::Dangerous, words);
    }
    for (layer, words) in [
        (object("somebodys.layers", "Special", "{}", r#""Special""#), "import somebodys.layers.Special"),
        (function("keras.applications", "ResNet50"), "keras.applications.ResNet50"),
        (function("keras.src.utils.io_utils", "ask_to_proceed"), "ask_to_proceed"),
        (function("keras.layers", "_private"), "_private"),
        (function("builtins", "sorted"), "builtins.sorted"),
        (object("keras.layers", "Dense.from_config", "{}", "null"), "Dense.from_config"),
        (object("kerasx.layers", "Dense", "{}", "null"), "kerasx"),
        (
            r#"{"class_name":"__typespec__","spec_name":"Spec","module":"somebodys","config":[],"registered_name":null}"#.to_owned(),
            "somebodys.Spec",
        ),
        (r#"{"class_name":"TFOpLambda","config":{"function":"keras.utils.get_file"}}"#.to_owned(), "get_file"),
    ] {
        finds(&layer, Severity::Unknown, words);
    }
}

#[test]
fn configs_of_harmless_models_have_no_findings() {
    let layer = |class: &str, config: &str| object("keras.layers", class, config, "null");
    let initializer = object("keras.initializers", "GlorotUniform", r#"{"seed":null}"#, "null");
    for object in [
        layer("InputLayer", r#"{"batch_shape":[null,8,8,1],"dtype":"float32"}"#),
        layer("Dense", &format!(r#"{{"units":3,"activation":"relu","kernel_initializer":{initializer}}}"#)),
        layer("Conv2D", r#"{"activation":{"module":"builtins","class_name":"function","config":"relu","registered_name":"function"}}"#),
        layer("Dropout", r#"{"rate":0.5}"#),
        layer("StringLookup", r#"{"vocabulary":["a","b"]}"#),
        layer("TextVectorization", r#"{"vocabulary":null,"standardize":"lower_and_strip_punctuation"}"#),
        object("keras", "Sequential", r#"{"layers":[]}"#, "null"),
        object("keras", "DTypePolicy", r#"{"name":"float32"}"#, "null"),
        object("keras.src.models.functional", "Functional", "{}", r#""Functional""#),
        object("keras.src.ops.numpy", "Add", r#"{"name":"add"}"#, r#""Add""#),
        object("keras.optimizers", "Adam", r#"{"learning_rate":0.001}"#, "null"),
        object("keras.optimizers.schedules", "ExponentialDecay", "{}", "null"),
        object("keras.losses", "SparseCategoricalCrossentropy", r#"{"from_logits":true}"#, "null"),
        object("keras.metrics", "MeanMetricWrapper", &format!(r#"{{"fn":{}}}"#, function("keras.metrics", "sparse_categorical_accuracy")), "null"),
        object("keras_hub.models", "BertBackbone", r#"{"vocabulary_size":30522}"#, r#""keras_hub>BertBackbone""#),
        object("keras_hub.src.utils.keras_utils", "function", r#""gelu_approximate""#, r#""keras_hub>gelu_approximate""#),
        function("keras.activations", "softmax"),
        function("keras.ops", "silu"),
        function("keras.ops.numpy", "add"),
        // A function of the author, which only the loading program can have.
        function("builtins", "my_loss"),
        r#"{"module":null,"class_name":"Mine","config":{},"registered_name":"Custom>Mine"}"#.to_owned(),
        r#"{"class_name":"__keras_tensor__","config":{"shape":[null,4],"dtype":"float32","keras_history":["dense",0,0]}}"#.to_owned(),
        r#"{"class_name":"__tensor__","config":{"value":[1.0],"dtype":"float32"}}"#.to_owned(),
        object("builtins", "slice", "{}", "null"),
        object("builtins", "type", r#""int""#, "null"),
        // Objects as tf.keras writes them.
        r#"{"class_name":"Dense","config":{"kernel_initializer":{"class_name":"GlorotUniform","config":{}},"activation":"relu"}}"#.to_owned(),
        r#"{"class_name":"TensorShape","items":[null,4]}"#.to_owned(),
        r#"{"class_name":"TFOpLambda","config":{"name":"tf.math.add","function":"math.add"}}"#.to_owned(),
        r#"{"class_name":"TFOpLambda","config":{"function":"reshape"}}"#.to_owned(),
        r#"{"class_name":"SlicingOpLambda","config":{"function":"__operators__.getitem"}}"#.to_owned(),
        r#"{"class_name":"TensorFlowOpLayer","config":{"node_def":"{\"name\": \"a\", \"op\": \"AddV2\"}"}}"#.to_owned(),
        r#"{"class_name":"__typespec__","spec_name":"TensorSpec","module":"tensorflow.python.framework.tensor","config":[],"registered_name":null}"#
            .to_owned(),
    ] {
        assert_eq!(found(&object), [], "{object}");
    }
}

/// A config with `something` before a Lambda layer.
fn behind(something: &str) -> String {
    format!(
        r#"{{"a":{something},"class_name":"Sequential","config":{{"layers":[{{"module":"keras.layers","class_name":"Lambda","config":{{}}}}]}}}}"#
    )
}

#[test]
fn no_json_that_python_accepts_hides_a_layer() {
    let nested = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    let plain = behind("0");
    let escaped = plain.replace("class_name", "class\\u005fname").replace("Lambda", "\\u004cambda");
    let twice = plain.replace(r#""class_name":"Lambda""#, r#""class_name":"Dense","class_name":"Lambda""#);
    let padded = format!("{}{plain}", " ".repeat(10_000));
    let mut configs: Vec<Vec<u8>> =
        ["Infinity", "[NaN,-Infinity]", "1e999", &"9".repeat(5000), "\"\\ud800\"", &nested, &format!("\"{}\"", "x".repeat(100_000))]
            .iter()
            .map(|odd| behind(odd).into_bytes())
            .collect();
    configs.extend([escaped, twice, padded, format!("\u{feff}{plain}")].map(String::into_bytes));
    configs.push([br#"{"a":""#, &b"\xed\xa0\x80"[..], br#"","#, &plain.as_bytes()[1..]].concat());
    for mark in ["", "\u{feff}"] {
        let text = format!("{mark}{plain}");
        configs.push(text.encode_utf16().flat_map(u16::to_le_bytes).collect());
        configs.push(text.encode_utf16().flat_map(u16::to_be_bytes).collect());
        configs.push(text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect());
        configs.push(text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect());
    }
    for config in configs {
        let saved = zip_of(&[("config.json", &config), ("model.weights.h5", b"\x89HDF\r\n\x1a\n")]);
        for report in [scan("config.json", &config), scan("model.keras", &saved)] {
            let shown = String::from_utf8_lossy(&config[..config.len().min(60)]);
            assert!(report.findings.iter().any(|found| found.message.contains("Lambda layer")), "{shown}: {report:?}");
        }
    }
}

#[test]
fn a_config_that_is_also_an_archive_is_judged_as_both() {
    let mut config = behind("\"                    \"").into_bytes();
    config.resize(1024, b' ');
    config[257..262].copy_from_slice(b"ustar");
    let report = scan("config.json", &config);
    assert!(report.findings.iter().any(|found| found.message.contains("Lambda layer")), "{report:?}");
    assert!(report.findings.iter().any(|found| found.message.contains("tar archive")), "{report:?}");
}

#[test]
fn content_beyond_our_limits_is_a_finding() {
    let deeper = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let report = scan("config.json", behind(&deeper).as_bytes());
    assert_eq!(report.findings.len(), 1, "{report:?}");
    assert!(report.findings[0].severity == Severity::Unread && report.findings[0].message.contains("nested more than"), "{report:?}");
    let begin = format!(r#"{{"class_name":"{}","config":"#, "x".repeat(4000));
    let held = format!("{}0{}", begin.repeat(5000), "}".repeat(5000));
    let report = scan("config.json", held.as_bytes());
    assert!(report.findings.len() == 1 && report.findings[0].message.contains("nested classes exceed"), "{report:?}");
    // A malformed Keras config, with a finding before the error.
    let broken = behind("0").replace("}]", "},,]");
    let report = scan("config.json", broken.as_bytes());
    let messages: Vec<&str> = report.findings.iter().map(|found| found.message.as_str()).collect();
    assert!(messages.len() == 2 && messages[0].contains("line 1, column") && messages[1].contains("Lambda layer"), "{report:?}");
    assert!(report.looked_at.is_empty() && report.not_judged.is_empty(), "{report:?}");
    // In a Keras archive the loader opens this file, whatever it contains.
    for config in [&b"{\"a\":1,}"[..], b"", b"text", b"\xff\xff\xff\xff", b"version https://git-lfs.github.com/spec/v1"] {
        let report = scan("model.keras", &zip_of(&[("config.json", config)]));
        assert!(report.findings.iter().any(|found| found.severity == Severity::Malformed), "{report:?}");
        assert_eq!(report.findings[0].within.as_deref(), Some("config.json"));
    }
}

#[test]
fn json_that_no_loader_accepts_is_listed_without_findings() {
    for text in [
        "{\"a\":1,}",
        "{// a comment\n}",
        "{'a': 1}",
        "{\"a\":\"\u{1}\"}",
        "[1",
        "{\"a\":1} {\"a\":2}",
        "{\"class_name\":\"dog\"}\n{\"class_name\":\"cat\"}",
    ] {
        let report = scan("settings.json", text.as_bytes());
        assert!(report.findings.is_empty() && report.looked_at.is_empty(), "{text}: {report:?}");
        assert!(report.not_judged[0].contains(", column "), "{report:?}");
    }
}
