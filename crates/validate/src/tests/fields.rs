//! Tests of every field: each wrong type, missing fields and unknown fields.

use super::{broken, config, manifest, metadata, pointers, with};
use crate::{CONFIG_SCHEMA, FILE_METADATA_SCHEMA, MANIFEST_SCHEMA, Report, validate_config, validate_file_metadata, validate_manifest};
use serde_json::{Value, json};

type Validate = fn(&[u8]) -> Report;

/// The type of a value for a schema.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "fraction",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Replaces each field by a value of every other type, and expects a problem at this field.
fn expect_types(document: &Value, schema: &str, validate: Validate) {
    let valid = validate(document.to_string().as_bytes());
    assert!(valid.is_valid(), "{valid:#?}");
    let mut all = Vec::new();
    pointers(document, "", &mut all);
    let mut named = Vec::new();
    properties(&serde_json::from_str(schema).unwrap(), &mut named);
    for name in &named {
        assert!(all.iter().any(|pointer| pointer.ends_with(&format!("/{name}"))), "the tested document does not have {name}");
    }
    for pointer in &all {
        let right = document.pointer(pointer).unwrap();
        let values = [Value::Null, json!(true), json!(7), json!(1.5), json!("text"), json!([{}]), json!({ "x": 1 })];
        for wrong in values.into_iter().filter(|value| kind(value) != kind(right)) {
            let report = validate(with(document.clone(), pointer, Some(wrong.clone())).to_string().as_bytes());
            let problem = report.problems.iter().find(|problem| problem.pointer == *pointer);
            let problem = problem.unwrap_or_else(|| panic!("{wrong} at {pointer} is accepted: {report:#?}"));
            assert!(["type", "enum", "const"].contains(&problem.rule.as_str()), "{problem}");
            assert!(!problem.allowed.is_empty() && problem.allowed != "any value", "{problem}");
        }
    }
    for wrong in [json!(null), json!([]), json!("text"), json!(7), json!(false)] {
        assert_eq!(broken(&validate(wrong.to_string().as_bytes())), [("", "type")], "{wrong}");
    }
}

/// Adds the names of all fields in a schema to `names`.
fn properties(schema: &Value, names: &mut Vec<String>) {
    for (keyword, value) in schema.as_object().into_iter().flatten() {
        for (name, field) in value.as_object().into_iter().flatten() {
            if keyword == "properties" && *field != Value::Bool(false) {
                names.push(name.clone());
            }
        }
        properties(value, names);
    }
}

#[test]
fn a_value_of_another_type_is_rejected_at_its_field() {
    expect_types(&config(), CONFIG_SCHEMA, validate_config);
    expect_types(&manifest(), MANIFEST_SCHEMA, validate_manifest);
    expect_types(&metadata(), FILE_METADATA_SCHEMA, validate_file_metadata);
}

#[test]
fn a_missing_required_field_is_a_problem() {
    let expect = |document: &Value, validate: Validate, fields: &[&str]| {
        let mut all = Vec::new();
        pointers(document, "", &mut all);
        for pointer in all.iter().filter(|pointer| !pointer.rsplit('/').next().unwrap().chars().all(|c| c.is_ascii_digit())) {
            let report = validate(with(document.clone(), pointer, None).to_string().as_bytes());
            let is_required = report.problems.iter().any(|problem| problem.pointer == *pointer && problem.rule == "required");
            assert_eq!(is_required, fields.contains(&pointer.as_str()), "{pointer}: {report:#?}");
        }
    };
    expect(&config(), validate_config, &["/descriptor", "/config", "/modelfs", "/modelfs/type", "/modelfs/diffIds"]);
    let descriptor = |at: &str| ["mediaType", "digest", "size"].map(|field| format!("{at}/{field}"));
    let mut fields = ["/schemaVersion", "/mediaType", "/artifactType", "/config", "/layers"].map(str::to_owned).to_vec();
    fields.extend(["/layers/0/platform/architecture", "/layers/0/platform/os"].map(str::to_owned));
    fields.extend(["/config", "/layers/0", "/layers/1", "/subject"].iter().flat_map(|at| descriptor(at)));
    expect(&manifest(), validate_manifest, &fields.iter().map(String::as_str).collect::<Vec<_>>());
    expect(&metadata(), validate_file_metadata, &["/name", "/mode", "/uid", "/gid", "/size", "/mtime", "/typeflag"]);
}

#[test]
fn an_unknown_field_is_rejected_if_the_specification_lists_all_fields() {
    for at in ["", "/descriptor", "/config", "/config/capabilities", "/modelfs"] {
        for field in ["colour", "a/b~c", "Name", ""] {
            let pointer = format!("{at}/{}", crate::report::escape(field));
            let report = validate_config(with(config(), &pointer, Some(json!(1))).to_string().as_bytes());
            assert_eq!(broken(&report), [(pointer.as_str(), "additionalProperties")]);
        }
    }
    let report = validate_file_metadata(with(metadata(), "/owner", Some(json!("me"))).to_string().as_bytes());
    assert_eq!(broken(&report), [("/owner", "additionalProperties")]);
    // OCI documents may have other fields.
    for at in ["/odd", "/config/odd", "/layers/0/odd", "/layers/0/annotations/odd"] {
        let report = validate_manifest(with(manifest(), at, Some(json!("x"))).to_string().as_bytes());
        assert!(report.is_valid(), "{at}: {report:#?}");
    }
}

#[test]
fn a_problem_names_what_was_found_and_what_is_allowed() {
    let messages = |pointer: &str, value: Value| {
        let report = validate_config(with(config(), pointer, Some(value)).to_string().as_bytes());
        report.problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(messages("/descriptor/version", json!(3.1)), ["config /descriptor/version: found a number, 3.1; allowed: a string (type)"]);
    assert_eq!(
        messages("/config/capabilities/inputTypes/0", json!("img")),
        [
            "config /config/capabilities/inputTypes/0: found a string, \"img\"; allowed: text, image, audio, video, embedding or other (enum)"
        ]
    );
    assert_eq!(messages("/modelfs/type", json!("layer")), ["config /modelfs/type: found a string, \"layer\"; allowed: \"layers\" (const)"]);
    assert_eq!(
        messages("/modelfs/kind", json!(1)),
        ["config /modelfs/kind: found an unknown field; allowed: diffIds or type (additionalProperties)"]
    );
    let report = validate_config(with(config(), "/modelfs", None).to_string().as_bytes());
    assert_eq!(report.problems[0].to_string(), "config /modelfs: found nothing; allowed: an object (required)");
    assert_eq!(report.problems.len(), 1);
}
