//! Compares our evaluator of schemas with a general one: both find the same faults in any changed
//! document.

use super::{config, manifest, metadata, pointers, with};
use crate::{
    CONFIG_SCHEMA, Document, FILE_METADATA_SCHEMA, MANIFEST_SCHEMA, Report,
    keyword::Keywords,
    report::escape,
    rule::{LAYERS_OR_MANIFESTS, OLDER_NAME},
    schema,
};
use jsonschema::{PatternOptions, Validator, error::ValidationErrorKind as Kind};
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::LazyLock};

/// A type of document: an example with every field, and its schema for both evaluators.
struct Subject {
    document: Value,
    schema: &'static schema::Schema,
    validator: Validator,
}

static SUBJECTS: LazyLock<[Subject; 3]> = LazyLock::new(|| {
    [
        (config(), &*schema::CONFIG, CONFIG_SCHEMA),
        (manifest(), &*schema::MANIFEST, MANIFEST_SCHEMA),
        (metadata(), &*schema::FILE_METADATA, FILE_METADATA_SCHEMA),
    ]
    .map(|(document, schema, text)| {
        let validator = jsonschema::draft202012::options()
            .should_validate_formats(true)
            .with_format("date-time", modelpack_spec::value::is_date_time)
            .with_pattern_options(PatternOptions::regex())
            .build(&serde_json::from_str(text).unwrap())
            .unwrap();
        Subject { document, schema, validator }
    })
});

/// The pointer of a fault, and the keyword that is broken.
type Fault = (String, String);

/// The faults that the general evaluator finds.
fn expected(validator: &Validator, value: &Value) -> BTreeSet<Fault> {
    let faults = validator.iter_errors(value).flat_map(|error| {
        let at = error.instance_path().as_str();
        let inside = |field: &str| format!("{at}/{}", escape(field));
        let pointers = match error.kind() {
            Kind::AdditionalProperties { unexpected } => unexpected.iter().map(|field| inside(field)).collect(),
            Kind::Required { property } => vec![inside(property.as_str().unwrap())],
            _ => vec![at.to_owned()],
        };
        let keyword = error.kind().keyword().to_owned();
        pointers.into_iter().map(move |pointer| (pointer, keyword.clone())).collect::<Vec<_>>()
    });
    faults.collect()
}

/// The faults that our evaluator finds. If it names a rule instead of a keyword, the keyword is the
/// one that the general evaluator names at the same pointer.
fn found(schema: &schema::Schema, value: &Value, expected: &BTreeSet<Fault>) -> BTreeSet<Fault> {
    let mut report = Report::default();
    schema.check(Document::Json, value, &mut report);
    let faults = report.problems.into_iter().map(|problem| {
        let keywords: &[&str] = match problem.rule.as_str() {
            OLDER_NAME => &["const", "enum", "additionalProperties"],
            LAYERS_OR_MANIFESTS => &["falseSchema"],
            _ => &[],
        };
        let same = expected.iter().find(|(pointer, keyword)| *pointer == problem.pointer && keywords.contains(&keyword.as_str()));
        same.cloned().unwrap_or((problem.pointer, problem.rule))
    });
    faults.collect()
}

fn value() -> impl Strategy<Value = Value> {
    let texts = [
        "",
        "text",
        "en",
        "EN",
        "en\n",
        "ßß",
        "layers",
        "2025-02-28T00:00:00Z",
        "2025-02-30T00:00:00Z",
        "YQ==",
        "YQ=",
        "a/b",
        "a/b\n",
        "/",
        "application/vnd.cnai.model.doc.v1.raw",
        "sha256:1234",
    ];
    let digest = (select(vec!["sha256", "sha512"]), select(vec!["a", "A", "0"]), select(vec![63_usize, 64, 65, 128]));
    let numbers = [
        json!(0),
        json!(-1),
        json!(2),
        json!(2.0),
        json!(2.5),
        json!(-0.0),
        json!(-0.5),
        json!(255),
        json!(255.5),
        json!(256),
        json!(4_294_967_295_u64),
        json!(4_294_967_296_u64),
        json!(4_294_967_295.5),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(9_223_372_036_854_775_808_u64),
        json!(9_223_372_036_854_775_808.0),
        json!(1e300),
        json!(-1e300),
    ];
    let long = prop_oneof![Just("a".repeat(127)), Just("a".repeat(128))].prop_map(|part| format!("{part}/{part}"));
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        select(numbers.to_vec()),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        select(texts.to_vec()).prop_map(Value::from),
        digest.prop_map(|(algorithm, digit, length)| Value::from(format!("{algorithm}:{}", digit.repeat(length)))),
        long.prop_map(Value::from),
        "\\PC{0,4}".prop_map(Value::from),
    ];
    let names = ["x", "", "a/b~c", "name", "mediaType", "digest", "diff_ids", "manifests", "os"];
    leaf.prop_recursive(2, 8, 3, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            vec((select(names.to_vec()), inner), 0..3).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

/// Changes one place of `document`: sets it to `value`, or removes it if there is no value. If
/// `new` is not empty and the place is an object, adds a field of this name instead.
fn changed(document: Value, place: usize, new: &str, value: Option<Value>) -> Value {
    let mut places = vec![String::new()];
    pointers(&document, "", &mut places);
    let at = &places[place % places.len()];
    match value {
        Some(value) if !new.is_empty() && document.pointer(at).is_some_and(Value::is_object) => {
            with(document, &format!("{at}/{new}"), Some(value))
        }
        Some(value) if at.is_empty() => value,
        None if at.is_empty() => document,
        value => with(document, at, value),
    }
}

fn change() -> impl Strategy<Value = (usize, &'static str, Option<Value>)> {
    let names = ["", "", "x", "diff_ids", "createTime", "manifests", "platform", "data", "typeflag"];
    (any::<usize>(), select(names.to_vec()), option::weighted(0.8, value()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn a_general_evaluator_finds_the_same_faults(which in 0..3_usize, changes in vec(change(), 1..4)) {
        let Subject { document, schema, validator } = &SUBJECTS[which];
        let document = changes.into_iter().fold(document.clone(), |document, (place, new, value)| changed(document, place, new, value));
        let expected = expected(validator, &document);
        prop_assert_eq!(found(schema, &document, &expected), expected, "{}", document);
    }
}

#[test]
fn a_schema_with_an_unsupported_keyword_is_rejected() {
    let read = |schema: Value| serde_json::from_value::<Keywords>(schema).is_ok();
    assert!(read(json!({ "$id": "urn:x", "type": "object", "properties": { "a": { "minLength": 1 }, "b": true } })));
    for unknown in [
        json!({ "maxLength": 1 }),
        json!({ "properties": { "a": { "anyOf": [] } } }),
        json!({ "items": { "not": {} } }),
        json!({ "type": ["string", "null"] }),
        json!({ "type": "number" }),
        json!({ "format": "uri" }),
        json!({ "pattern": "(" }),
        json!({ "const": null }),
        json!({ "minimum": 0.5 }),
        json!({ "$ref": "other.json" }),
        json!({ "$ref": "#/properties/a" }),
    ] {
        assert!(!read(unknown.clone()), "{unknown}");
    }
}
