//! The layers of files, without a disk.

use super::{LayerPolicy, LayerRule, PlannedLayer, layers};
use crate::{Error, Plan, PlannedFile, classify};
use modelpack_spec::{Encoding, LayerKind};
use modelpack_transfer::MemoryFiles;
use std::sync::Arc;

fn plan(files: impl IntoIterator<Item = (String, u64)>) -> Plan {
    let file = |(path, size): (String, u64)| {
        let path = path.parse().unwrap();
        let kind = classify(&path, size).0;
        PlannedFile { path, kind, inferred: true, size, executable: false, content: Arc::new(MemoryFiles::default()) }
    };
    let mut files: Vec<PlannedFile> = files.into_iter().map(file).collect();
    files.sort_by(PlannedFile::order);
    Plan::new(files, Vec::new(), Arc::new(MemoryFiles::default()))
}

fn policy(rules: &[&str], max_layers: usize) -> LayerPolicy {
    LayerPolicy { rules: rules.iter().map(|rule| rule.parse().unwrap()).collect(), max_layers }
}

fn many(pattern: &str, count: usize, size: u64) -> impl Iterator<Item = (String, u64)> {
    (0..count).map(move |number| (pattern.replace('#', &number.to_string()), size))
}

/// The name, encoding and number of files of each layer.
fn shown(layers: &[PlannedLayer]) -> Vec<(&str, &str, usize)> {
    layers.iter().map(|layer| (layer.path.as_str(), layer.encoding.name(), layer.files.len())).collect()
}

/// Checks that every file is in exactly one layer, in order, and that the number of layers is
/// within the limit.
fn check(plan: &Plan, layers: &[PlannedLayer], limit: usize) {
    assert!(layers.len() <= limit, "{} layers", layers.len());
    let mut files: Vec<_> = layers.iter().flat_map(|layer| &layer.files).collect();
    files.sort_by_key(|file| &file.path);
    let mut expected: Vec<_> = plan.files.iter().collect();
    expected.sort_by_key(|file| &file.path);
    assert_eq!(files, expected);
    for layer in layers {
        assert!(layer.files.iter().all(|file| file.kind == layer.kind));
        assert!(layer.files.is_sorted_by(|a, b| a.order(b).is_lt()));
        assert!(layer.files.len() == 1 || layer.encoding != Encoding::Raw);
    }
    let firsts: Vec<usize> = layers.iter().map(|layer| plan.files.iter().position(|file| *file == layer.files[0]).unwrap()).collect();
    assert!(firsts.is_sorted(), "layers are in the order of their files");
}

#[test]
fn each_file_is_a_layer_with_the_policys_encoding_within_the_limit() {
    let plan = plan([("model.safetensors".to_owned(), 9), ("README.md".to_owned(), 9), ("run.py".to_owned(), 9)]);
    let raw = layers(&plan, &LayerPolicy::default()).unwrap();
    assert_eq!(shown(&raw), [("model.safetensors", "raw", 1), ("run.py", "raw", 1), ("README.md", "raw", 1)]);
    let chosen = layers(&plan, &policy(&["tar", "code=tar+zstd", "weight=raw"], 3)).unwrap();
    assert_eq!(shown(&chosen), [("model.safetensors", "raw", 1), ("run.py", "tar+zstd", 1), ("README.md", "tar", 1)]);
    assert_eq!((raw[0].size(), chosen[1].size(), chosen[2].size()), (Some(9), None, Some(512 * 4)));
}

#[test]
fn documents_and_code_are_bundled_first_and_files_that_tools_read_are_not() {
    let names = ["config.json", "tokenizer.json", "README.md", "LICENSE", "model.safetensors", "extra.json"];
    let plan = plan(many("docs/#.md", 30, 9).chain(many("src/#.py", 20, 9)).chain(names.map(|name| (name.to_owned(), 9))));
    let bundled = layers(&plan, &policy(&[], 20)).unwrap();
    check(&plan, &bundled, 20);
    let expected = [
        ("config.json", "raw", 1),
        ("extra.json", "raw", 1),
        ("tokenizer.json", "raw", 1),
        ("model.safetensors", "raw", 1),
        ("code.bundle-1.tar", "tar", 20),
        ("LICENSE", "raw", 1),
        ("README.md", "raw", 1),
        ("doc.bundle-1.tar", "tar", 30),
    ];
    assert_eq!(shown(&bundled), expected);
}

#[test]
fn configs_are_bundled_next_then_files_that_engines_read_and_weights_last() {
    let named = |configs, read, weights| {
        let files = many("x/#.json", configs, 9).chain(many("#/config.json", read, 9)).chain(many("#.bin", weights, 9));
        let plan = plan(files);
        let bundled = layers(&plan, &policy(&[], 10)).unwrap();
        check(&plan, &bundled, 10);
        shown(&bundled).into_iter().filter(|(.., files)| *files > 1).map(|(name, _, files)| (name.to_owned(), files)).collect::<Vec<_>>()
    };
    assert_eq!(named(20, 3, 3), [("weight.config.bundle-1.tar".to_owned(), 20)]);
    assert_eq!(named(20, 20, 3), [("weight.config.bundle-1.tar".to_owned(), 40)]);
    assert_eq!(named(5, 3, 20), [("weight.config.bundle-1.tar".to_owned(), 5), ("weight.bundle-1.tar".to_owned(), 20)]);
    assert_eq!(named(5, 20, 20), [("weight.config.bundle-1.tar".to_owned(), 25), ("weight.bundle-1.tar".to_owned(), 20)]);
}

#[test]
fn a_bundle_has_the_encoding_of_its_files_and_raw_rules_prevent_bundling() {
    let plan = plan(many("a/#.py", 10, 9).chain(many("b/#.py", 10, 9)).chain(many("c/#.py", 3, 9)));
    let bundled = layers(&plan, &policy(&["a=tar+gzip", "c=raw"], 5)).unwrap();
    check(&plan, &bundled, 5);
    let expected = [
        ("code.bundle-1.tar.gz", "tar+gzip", 10),
        ("code.bundle-2.tar", "tar", 10),
        ("c/0.py", "raw", 1),
        ("c/1.py", "raw", 1),
        ("c/2.py", "raw", 1),
    ];
    assert_eq!(shown(&bundled), expected);
    let error = layers(&plan, &policy(&["raw"], 22)).unwrap_err();
    assert!(matches!(error, Error::TooManyLayers { needed: 23, limit: 22, raw: 23 }), "{error}");
}

#[test]
fn large_files_are_never_bundled() {
    let plan = plan(many("#.bin", 20, 65 << 20).chain(many("#.md", 20, 9)));
    let bundled = layers(&plan, &policy(&[], 21)).unwrap();
    assert_eq!(bundled.iter().filter(|layer| layer.encoding == Encoding::Raw).count(), 20);
    assert!(matches!(layers(&plan, &policy(&[], 20)), Err(Error::TooManyLayers { needed: 21, limit: 20, raw: 0 })));
}

#[test]
fn a_bundle_has_a_unique_name() {
    let plan = plan(many("docs/#.md", 10, 9).chain([("DOC.Bundle-1.TAR".to_owned(), 9), ("doc.bundle-2.tar/x".to_owned(), 9)]));
    let bundled = layers(&plan, &policy(&[], 4)).unwrap();
    assert!(shown(&bundled).contains(&("doc.bundle-3.tar", "tar", 10)), "{:?}", shown(&bundled));
}

#[test]
fn bundles_are_bounded_and_an_added_file_changes_few() {
    let files: Vec<_> = many("data/#.txt", 4000, 1 << 20).collect();
    let without = layers(&plan(files.clone()), &LayerPolicy::default()).unwrap();
    check(&plan(files.clone()), &without, 512);
    assert!(without.len() > 10 && without.iter().all(|layer| layer.size().unwrap() <= 256 << 20), "{}", without.len());
    let added = plan(files.into_iter().chain([("data/2000x.txt".to_owned(), 5)]));
    let with = layers(&added, &LayerPolicy::default()).unwrap();
    let same = with.iter().filter(|layer| without.iter().any(|other| other.files == layer.files)).count();
    assert!(same + 2 >= with.len(), "{same} of {} stay", with.len());
}

#[test]
fn bundles_grow_if_there_would_be_too_many() {
    let plan = plan(many("data/#.txt", 400, 60 << 20).chain(many("#.safetensors", 10, 1 << 30)));
    let bundled = layers(&plan, &policy(&[], 40)).unwrap();
    check(&plan, &bundled, 40);
    assert!(bundled.iter().all(|layer| layer.kind != LayerKind::Weight || layer.encoding == Encoding::Raw));
}

#[test]
fn a_rule_for_all_files_has_no_selector() {
    assert_eq!("tar+zstd".parse(), Ok(LayerRule::all(Encoding::TarZstd)));
}
