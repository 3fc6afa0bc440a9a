//! Tests of the rules that a schema cannot express, with documents that each accepts and rejects.

use super::{broken, config, manifest, with};
use crate::{RULES, Report, validate_artifact, validate_config, validate_manifest};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

fn in_config(pointer: &str, value: Value) -> Report {
    validate_config(with(config(), pointer, Some(value)).to_string().as_bytes())
}

/// The report on the manifest with this annotation of its raw layer.
fn annotated(key: &str, value: &str) -> Report {
    validate_manifest(with(manifest(), &format!("/layers/0/annotations/{key}"), Some(json!(value))).to_string().as_bytes())
}

fn at(key: &str) -> String {
    format!("/layers/0/annotations/{key}")
}

const FILEPATH: &str = "org.cncf.model.filepath";
const TITLE: &str = "org.opencontainers.image.title";
const METADATA: &str = "org.cncf.model.file.metadata+json";
const UNTESTED: &str = "org.cncf.model.file.mediatype.untested";

#[test]
fn the_syntax_of_values_is_checked() {
    for (pointer, rule, good, bad) in [
        ("/config/paramSize", "param-size", &["8b", "6.7B", "1.0t", "100m"][..], &["8x7B", "", "7", "7000000000", "1.25B"][..]),
        ("/config/precision", "precision", &["float16", "float16,float8_e4m3", "bool"], &["bf16", "", "float16, int8", "int8,int8"]),
        ("/descriptor/licenses/0", "spdx-expression", &["MIT OR Apache-2.0", "LicenseRef-x", "mit"], &["llama3.1", "", "MIT OR"]),
    ] {
        for good in good {
            let report = in_config(pointer, json!(good));
            assert!(report.is_valid(), "{good}: {report:#?}");
        }
        for bad in bad {
            assert_eq!(broken(&in_config(pointer, json!(bad))), [(pointer, rule)], "{bad}");
        }
    }
}

#[test]
fn a_raw_layer_has_a_path_that_does_not_clash_with_other_paths() {
    let missing = validate_manifest(with(manifest(), &at(FILEPATH), None).to_string().as_bytes());
    assert_eq!(broken(&missing), [(at(FILEPATH).as_str(), "filepath-missing")]);
    assert!(validate_manifest(with(manifest(), "/layers/1/annotations", Some(json!({}))).to_string().as_bytes()).is_valid(), "an archive");
    for bad in ["../a.bin", "/a.bin", "", "sub\\a.bin", "C:/a.bin"] {
        let report =
            validate_manifest(with(with(manifest(), &at(FILEPATH), Some(json!(bad))), &at(TITLE), Some(json!(bad))).to_string().as_bytes());
        assert_eq!(broken(&report), [(at(FILEPATH).as_str(), "filepath-invalid")], "{bad}");
    }
    let second = |path: &str, media_type: &str| {
        let layer = json!({
            "mediaType": media_type, "digest": modelpack_spec::Digest::of(b"b"), "size": 1, "annotations": { FILEPATH: path },
        });
        validate_manifest(with(manifest(), "/layers/1", Some(layer)).to_string().as_bytes())
    };
    let raw = "application/vnd.cncf.model.doc.v1.raw";
    assert!(second("sub/b.bin", raw).is_valid());
    for bad in ["sub/a.bin", "sub/A.bin", "sub/a.bin/b", "sub", "SUB/b", "./sub//a.bin"] {
        let clash = format!("/layers/1/annotations/{FILEPATH}");
        assert_eq!(broken(&second(bad, raw)), [(clash.as_str(), "filepath-clash")], "{bad}");
    }
    let archive = "application/vnd.cncf.model.doc.v1.tar";
    assert!(second("sub", archive).is_valid(), "the files of an archive have paths of their own");
    assert_eq!(second("sub/a.bin", archive).problems[0].rule, "filepath-clash");
}

#[test]
fn annotations_match_their_layer() {
    assert_eq!(broken(&annotated(TITLE, "a.bin")), [(at(TITLE).as_str(), "title")]);
    assert!(validate_manifest(with(manifest(), &at(TITLE), None).to_string().as_bytes()).is_valid());
    assert!(annotated(UNTESTED, "false").is_valid());
    for bad in ["True", "", "yes"] {
        assert_eq!(broken(&annotated(UNTESTED, bad)), [(at(UNTESTED).as_str(), "untested")], "{bad}");
    }
    assert!(validate_manifest(with(manifest(), &at(METADATA), None).to_string().as_bytes()).is_valid());
    let metadata = |pointer: &str, value: Option<Value>| {
        let changed = with(with(super::metadata(), "/name", Some(json!("a.bin"))), pointer, value);
        annotated(METADATA, &changed.to_string())
    };
    for (field, good) in [("/name", json!("sub/a.bin")), ("/typeflag", json!(48)), ("/mode", json!(33188)), ("/uid", json!(1000))] {
        let report = metadata(field, Some(good));
        assert!(report.is_valid(), "{field}: {report:#?}");
    }
    for (field, bad, rule) in [
        ("/name", json!("b.bin"), "metadata-name"),
        ("/size", json!(2), "metadata-size"),
        ("/typeflag", json!(53), "metadata-typeflag"),
        ("/mtime", json!("yesterday"), "metadata"),
        ("/mode", json!("0644"), "metadata"),
        ("/mode", json!(4_294_967_296_u64), "metadata"),
        ("/uid", json!(-1), "metadata"),
        ("/owner", json!("me"), "metadata"),
    ] {
        assert_eq!(broken(&metadata(field, Some(bad.clone()))), [(at(METADATA).as_str(), rule)], "{field} {bad}");
    }
    for field in ["/name", "/mode", "/uid", "/gid", "/size", "/mtime", "/typeflag"] {
        let report = metadata(field, None);
        assert_eq!(broken(&report), [(at(METADATA).as_str(), "metadata")], "{field}");
        assert!(report.problems[0].found.contains(field), "{report:#?}");
    }
    for bad in ["", "{", "[]", "null", r#"{"name":"a.bin","name":"a.bin"}"#] {
        let report = annotated(METADATA, bad);
        assert!(!report.is_valid() && report.problems.iter().all(|problem| problem.rule == "metadata"), "{bad}: {report:#?}");
    }
}

#[test]
fn rules_for_the_file_of_a_raw_layer_do_not_apply_to_an_archive() {
    let layer = json!({
        "mediaType": "application/vnd.cncf.model.doc.v1.tar", "digest": modelpack_spec::Digest::of(b"b"), "size": 2048,
        "annotations": { FILEPATH: "doc", TITLE: "doc.tar", METADATA: with(with(super::metadata(), "/name", Some(json!("doc"))), "/typeflag", Some(json!(53))).to_string() },
    });
    let report = validate_manifest(with(manifest(), "/layers/1", Some(layer)).to_string().as_bytes());
    assert!(report.is_valid(), "{report:#?}");
}

#[test]
fn layers_and_manifests_exclude_each_other() {
    let both = with(manifest(), "/manifests", Some(json!([])));
    assert_eq!(broken(&validate_manifest(both.to_string().as_bytes())), [("/manifests", "layers-or-manifests")]);
    let empty = with(manifest(), "/layers", Some(json!([])));
    assert_eq!(broken(&validate_manifest(empty.to_string().as_bytes())), [("/layers", "minItems")]);
}

#[test]
fn older_names_are_reported_with_the_current_names() {
    let older = manifest().to_string().replace("vnd.cncf.model", "vnd.cnai.model").replace("org.cncf.model", "org.cnai.model");
    let report = validate_manifest(older.as_bytes());
    let expected = BTreeSet::from([
        "/artifactType",
        "/config/mediaType",
        "/layers/0/mediaType",
        "/layers/0/annotations/org.cnai.model.filepath",
        "/layers/0/annotations/org.cnai.model.file.metadata+json",
        "/layers/0/annotations/org.cnai.model.file.mediatype.untested",
        "/layers/1/mediaType",
    ]);
    assert_eq!(report.problems.iter().map(|problem| problem.pointer.as_str()).collect::<BTreeSet<_>>(), expected);
    for problem in &report.problems {
        assert!(problem.rule == "older-name" && problem.allowed.contains("cncf"), "{problem}");
    }
    let unknown = manifest().to_string().replace("vnd.cncf.model.doc.v1.tar+gzip", "vnd.cnai.model.doc.v1.zip");
    assert_eq!(broken(&validate_manifest(unknown.as_bytes())), [("/layers/1/mediaType", "enum")], "not a name of any version");
    let mut fields = Vec::new();
    for (pointer, older, current) in [
        ("/modelfs", "diff_ids", "diffIds"),
        ("/descriptor", "createTime", "createdAt"),
        ("/config/capabilities", "input_types", "inputTypes"),
        ("/config", "puantization", "quantization"),
    ] {
        let report = in_config(&format!("{pointer}/{older}"), json!([]));
        assert_eq!(broken(&report), [(format!("{pointer}/{older}").as_str(), "older-name")]);
        assert_eq!(report.problems[0].allowed, current);
        fields.push(report);
    }
    assert_eq!(
        broken(&in_config("/descriptor/diff_ids", json!([])))[0].1,
        "additionalProperties",
        "no version had this name in this object"
    );
}

#[test]
fn every_rule_has_a_unique_name_and_a_test_that_breaks_it() {
    let names: BTreeSet<&str> = RULES.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), RULES.len());
    let sources = [include_str!("artifact.rs"), include_str!("hostile.rs"), include_str!("rules.rs")];
    for name in names {
        assert!(sources.iter().any(|source| source.contains(&format!("\"{name}\""))), "{name}");
    }
    let none = BTreeMap::new();
    assert!(validate_artifact(manifest().to_string().as_bytes(), None, &none).is_valid(), "a manifest alone");
}
