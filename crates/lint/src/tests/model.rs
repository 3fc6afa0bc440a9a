//! Whether the model is complete, by the names and sizes of its layers.

use super::{Sample, flat};
use crate::{Location, MODEL_RULES};
use modelpack_spec::annotation;

/// The broken rules, each with the path of the layer and the value found.
fn findings(sample: &Sample) -> Vec<(&'static str, String, String)> {
    let finding = |finding: crate::Finding| match finding.location {
        Location::Layer { path, .. } => (finding.rule.name, path.unwrap_or_default(), finding.found),
        _ => (finding.rule.name, String::new(), finding.found),
    };
    sample.report().model.into_iter().map(finding).collect()
}

fn with(paths: &[(&str, &str)]) -> Sample {
    let mut sample = flat();
    paths.iter().for_each(|(kind, path)| sample.add(kind, path));
    sample
}

#[test]
fn missing_shards_are_found() {
    let (first, second) = ("m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors");
    assert!(findings(&with(&[("weight", first), ("weight", second)])).is_empty());
    let half = with(&[("weight", second)]);
    let missing = vec![("not-whole", second.to_owned(), format!("{second} is one of 2 files, of which 1 is missing: number 1"))];
    assert_eq!(findings(&half), missing);
    assert_eq!(findings(&half.clone().in_older_names()), missing);
    // Other tools have their own media types for weights, and titles instead of paths.
    let mut foreign = half.clone();
    foreign.layer(second).media_type = "application/vnd.docker.ai.safetensors".to_owned();
    foreign.annotate(second, annotation::FILEPATH, None);
    assert_eq!(findings(&foreign), missing);
    // An archive with one file counts as that file. The content of an archive with several files is
    // not known.
    let mut archive = half.clone();
    archive.layer(second).media_type = "application/vnd.cncf.model.weight.v1.tar".to_owned();
    assert_eq!(findings(&archive), missing);
    archive.annotate(second, annotation::FILE_METADATA, None);
    assert!(findings(&archive).is_empty());
    // Shards of a data set are not part of the model.
    assert!(findings(&with(&[("dataset", second), ("code", "x-1-of-2.bin"), ("weight", "train-1-of-2.parquet")])).is_empty());
}

#[test]
fn too_small_weights_are_found() {
    let sized = |size, kind: &str| {
        let mut sample = with(&[(kind, "a.bin")]);
        sample.layer("a.bin").size = size;
        findings(&sample)
    };
    let found = |rule, found: &str| vec![(rule, "a.bin".to_owned(), found.to_owned())];
    assert_eq!(sized(0, "weight"), found("not-whole", "weights of 0 bytes"));
    for size in [126, 132, 138] {
        assert_eq!(sized(size, "weight"), found("pointer-size", &format!("{size} bytes")));
    }
    for (size, kind) in [(125, "weight"), (139, "weight"), (132, "doc"), (0, "code")] {
        assert!(sized(size, kind).is_empty(), "{size} {kind}");
    }
}

#[test]
fn findings_from_the_files_replace_those_from_names() {
    let sample = with(&[("weight", "m-1-of-2.gguf")]);
    let missing = [("m-1-of-2.gguf", "one"), ("gone", "two")].map(|(path, found)| (path.to_owned(), found.to_owned()));
    let report = sample.report().with_missing(&sample.manifest, missing);
    assert_eq!(report.model.iter().map(|finding| finding.found.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    assert!(matches!(&report.model[0].location, Location::Layer { index: 4, .. }));
    assert_eq!(report.model[1].location, Location::Manifest("/layers"));
}

#[test]
fn the_documented_table_has_the_rules_for_every_model() {
    let documented = include_str!("../../../../docs/reference/compatibility.md");
    for rule in &MODEL_RULES {
        let row = format!("| `{}` | {} | {} | {} |", rule.name, rule.severity, rule.reason, rule.change);
        assert!(documented.contains(&row), "docs/reference/compatibility.md lacks this row:\n{row}");
    }
}
