//! Tests of the problems: what is rejected, where, and by which rule.

mod artifact;
mod evaluator;
mod fields;
mod hostile;
mod official;
mod rules;
mod schemas;

use crate::Report;
use modelpack_spec::{Descriptor, Digest, media_type};
use serde_json::{Value, json};

/// A config with every field, for an artifact with these diffIds.
fn config_of(diff_ids: &[Digest]) -> Value {
    let diff_ids: Vec<String> = diff_ids.iter().map(Digest::to_string).collect();
    json!({
        "descriptor": {
            "createdAt": "2025-01-01T00:00:00Z", "authors": ["xyz@xyz.com"], "vendor": "XYZ Corp.", "family": "xyz3", "name": "xyz-3-8B-Instruct",
            "version": "3.1", "title": "XYZ 3 8B Instruct", "description": "xyz is a large language model.", "docURL": "https://www.xyz.com/",
            "sourceURL": "https://github.com/xyz/xyz3", "datasetsURL": ["https://www.xyz.com/datasets/"], "revision": "1234567890",
            "licenses": ["Apache-2.0"],
        },
        "config": {
            "architecture": "transformer", "format": "pt", "paramSize": "8b", "precision": "float16", "quantization": "gptq",
            "capabilities": {
                "inputTypes": ["text"], "outputTypes": ["text", "image"], "knowledgeCutoff": "2024-05-21T00:00:00Z", "reasoning": true,
                "toolUsage": false, "reward": false, "languages": ["en", "zh"],
            },
        },
        "modelfs": { "type": "layers", "diffIds": diff_ids },
    })
}

fn config() -> Value {
    config_of(&[Digest::of(b"a"), Digest::of(b"b")])
}

/// A manifest with every field. It has a raw layer with the bytes `a`, and a gzip archive with the
/// bytes `gz`.
fn manifest_of(config: &[u8]) -> Value {
    let metadata = r#"{"name":"a.bin","mode":420,"uid":0,"gid":0,"size":1,"mtime":"1970-01-01T00:00:00Z","typeflag":0}"#;
    json!({
        "schemaVersion": 2,
        "mediaType": media_type::IMAGE_MANIFEST,
        "artifactType": media_type::ARTIFACT,
        "config": Descriptor::of(media_type::CONFIG, config),
        "layers": [
            {
                "mediaType": "application/vnd.cncf.model.weight.v1.raw", "digest": Digest::of(b"a"), "size": 1, "urls": ["https://x/a"],
                "data": "YQ==", "artifactType": "application/x", "platform": { "architecture": "arm64", "os": "linux", "os.version": "1", "os.features": ["x"], "variant": "v8" },
                "annotations": {
                    "org.cncf.model.filepath": "sub/a.bin",
                    "org.opencontainers.image.title": "sub/a.bin",
                    "org.cncf.model.file.mediatype.untested": "true",
                    "org.cncf.model.file.metadata+json": metadata,
                },
            },
            { "mediaType": "application/vnd.cncf.model.doc.v1.tar+gzip", "digest": Digest::of(b"gz"), "size": 2 },
        ],
        "subject": Descriptor::of(media_type::IMAGE_MANIFEST, b"{}"),
        "annotations": { "key": "value" },
    })
}

fn manifest() -> Value {
    manifest_of(config().to_string().as_bytes())
}

fn metadata() -> Value {
    json!({ "name": "a", "mode": 420, "uid": 0, "gid": 0, "size": 1, "mtime": "1970-01-01T00:00:00Z", "typeflag": 0 })
}

/// `document` with the field at `pointer` set to `value`, or removed if there is no value.
fn with(mut document: Value, pointer: &str, value: Option<Value>) -> Value {
    let (parent, field) = pointer.rsplit_once('/').expect("a field");
    let field = field.replace("~1", "/").replace("~0", "~");
    match (document.pointer_mut(parent).expect(pointer), value) {
        (Value::Object(fields), Some(value)) => drop(fields.insert(field, value)),
        (Value::Object(fields), None) => drop(fields.remove(&field).expect(pointer)),
        (Value::Array(items), Some(value)) => items[field.parse::<usize>().unwrap()] = value,
        (Value::Array(items), None) => drop(items.remove(field.parse().unwrap())),
        (other, _) => panic!("{pointer}: {other}"),
    }
    document
}

/// The pointer and the rule of each problem.
fn broken(report: &Report) -> Vec<(&str, &str)> {
    report.problems.iter().map(|problem| (problem.pointer.as_str(), problem.rule.as_str())).collect()
}

/// Adds the pointers of all fields and items of `value`, which is at the pointer `at`, to `all`.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(key, child)| (crate::report::escape(key), child)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(index, child)| (index.to_string(), child)).collect(),
        _ => Vec::new(),
    };
    for (key, child) in children {
        let pointer = format!("{at}/{key}");
        pointers(child, &pointer, all);
        all.push(pointer);
    }
}
