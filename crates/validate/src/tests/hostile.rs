//! Tests of documents that are not JSON, and of the limits.

use super::{broken, config};
use crate::{
    Document, MAX_BYTES, MAX_DEPTH, MAX_PROBLEMS, MAX_VALUES, validate_artifact, validate_config, validate_document, validate_manifest,
};
use std::collections::BTreeMap;

#[test]
fn text_that_is_not_json_is_rejected_with_its_line() {
    for (text, at) in [
        ("", "line 1, column 0"),
        ("{\n  \"descriptor\": {},\n  \"config\" {}\n}", "line 3, column 12"),
        ("{}\n{}", "line 2, column 1"),
        ("[1,]", "line 1, column 4"),
        ("{'a':1}", "line 1, column 2"),
        ("\u{feff}{}", "line 1, column 1"),
        ("{\"a\":1e999}", "line 1, column"),
        ("{\"a\":NaN}", "line 1, column 6"),
    ] {
        let report = validate_config(text.as_bytes());
        assert_eq!(broken(&report), [("", "json")], "{text}");
        assert!(report.problems[0].found.contains(at), "{text}: {}", report.problems[0]);
    }
    assert_eq!(broken(&validate_config(b"{\"a\":\"\xff\"}")), [("", "json")]);
}

#[test]
fn duplicate_fields_are_rejected_at_every_level() {
    let text = config().to_string();
    let twice = text.replace("\"name\":", "\"name\":\"other\",\"name\":").replace("\"type\":", "\"type\":\"layers\",\"type\":");
    assert_eq!(broken(&validate_config(twice.as_bytes())), [("/descriptor/name", "duplicate-key"), ("/modelfs/type", "duplicate-key")]);
    let escaped = text.replace("\"name\":", "\"n\\u0061me\":\"other\",\"name\":");
    assert_eq!(broken(&validate_config(escaped.as_bytes())), [("/descriptor/name", "duplicate-key")]);
    let manifest = super::manifest().to_string().replace("\"urls\":", "\"urls\":[{\"a\":1,\"a\":2}],\"urls\":");
    let report = validate_manifest(manifest.as_bytes());
    assert_eq!(broken(&report)[..2], [("/layers/0/urls/0/a", "duplicate-key"), ("/layers/0/urls", "duplicate-key")]);
}

#[test]
fn the_limits_of_depth_size_and_values_are_enforced() {
    let nested = |depth: usize| format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(broken(&validate_config(nested(MAX_DEPTH + 1).as_bytes()))[0].1, "depth");
    assert!(broken(&validate_config(nested(MAX_DEPTH).as_bytes())).iter().all(|(_, rule)| *rule != "depth"));
    assert_eq!(validate_config("[".repeat(MAX_BYTES).as_bytes()).problems[0].rule, "depth");
    assert_eq!(broken(&validate_config(&vec![b' '; MAX_BYTES + 1])), [("", "size")]);
    let many = format!("[{}0]", "0,".repeat(MAX_VALUES));
    assert_eq!(validate_config(many.as_bytes()).problems[0].rule, "size");
}

#[test]
fn the_first_problems_are_kept_and_the_others_counted() {
    let text = format!(r#"{{"descriptor":{{"authors":[{}0]}},"config":{{}},"modelfs":{{}}}}"#, "0,".repeat(20_000));
    let report = validate_config(text.as_bytes());
    assert_eq!((report.problems.len(), report.omitted), (MAX_PROBLEMS, 20_003 - MAX_PROBLEMS));
    assert!(!report.is_valid());
}

#[test]
fn a_long_name_is_shortened() {
    let long = "x".repeat(1 << 20);
    let twice = format!(r#"{{"{long}":{{{}"a":1}}}}"#, "\"a\":1,".repeat(2000));
    let report = validate_config(twice.as_bytes());
    let size: usize = report.problems.iter().map(|problem| problem.to_string().len()).sum();
    assert!(size < 1 << 20, "{size}");
    assert_eq!(report.problems[0].rule, "duplicate-key");
}

#[test]
fn the_type_of_a_document_is_determined_by_its_content() {
    let is = |text: &str| validate_document(text.as_bytes(), None).map(|(document, _)| document);
    assert_eq!(is(&config().to_string()), Some(Document::Config));
    assert_eq!(is(&super::manifest().to_string()), Some(Document::Manifest));
    assert_eq!(is(&super::metadata().to_string()), Some(Document::FileMetadata));
    assert_eq!(is(r#"{"layers":[],"layers":[]}"#), Some(Document::Manifest));
    assert_eq!(is(r#"{"modelfs":1}"#), Some(Document::Config));
    // A field of another type is a problem, but the document is still recognized and checked.
    let faulty = super::with(config(), "/layers", Some(serde_json::json!([]))).to_string();
    assert_eq!(is(&faulty), Some(Document::Config));
    assert_eq!(broken(&validate_document(faulty.as_bytes(), None).unwrap().1), [("/layers", "additionalProperties")]);
    assert_eq!(is(r#"{"config":{"format":"gguf"}}"#), Some(Document::Config));
    for both in [r#"{"layers":[],"manifests":[]}"#, r#"{"mediaType":"application/vnd.oci.image.index.v1+json","layers":[],"manifests":[]}"#]
    {
        let (document, report) = validate_document(both.as_bytes(), None).unwrap();
        assert_eq!(document, Document::Manifest, "{both}");
        assert!(broken(&report).contains(&("/manifests", "layers-or-manifests")), "{report:#?}");
    }
    for unclear in ["{}", "[]", "7", r#"{"layers":[],"modelfs":{}}"#, r#"{"schemaVersion":2,"manifests":[]}"#] {
        assert_eq!(is(unclear), None, "{unclear}");
        assert_eq!(validate_document(unclear.as_bytes(), Some(Document::Config)).unwrap().0, Document::Config);
    }
    let (document, report) = validate_document(b"{\"layers\":", None).unwrap();
    assert_eq!((document, broken(&report)), (Document::Json, vec![("", "json")]));
}

#[test]
fn any_bytes_give_a_report() {
    for bytes in [&b"\0"[..], b"null", b"{\"layers\":{}}", b"{\"layers\":[null,1,{\"annotations\":[]},{\"annotations\":{\"a\":1}}]}"] {
        assert!(!validate_artifact(bytes, Some(bytes), &BTreeMap::new()).is_valid());
    }
}
