//! Runs every property with all seeds of its fuzz target: real documents, hostile ones, and inputs
//! that once broke the property.

use modelpack_properties::PROPERTIES;
use std::{fs, path::Path};

#[test]
fn every_property_holds_for_its_seeds() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    for (name, property) in PROPERTIES {
        let mut files: Vec<_> = fs::read_dir(seeds.join(name)).unwrap_or_else(|e| panic!("seeds of {name}: {e}")).collect();
        files.sort_by_key(|entry| entry.as_ref().unwrap().file_name());
        assert!(files.len() >= 3, "{name} has {} seeds", files.len());
        for file in files {
            let path = file.unwrap().path();
            println!("{}", path.display());
            property(&fs::read(&path).unwrap());
        }
    }
}

#[test]
fn every_property_has_a_fuzz_target_and_every_target_a_property() {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    let mut found: Vec<_> = fs::read_dir(targets).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    found.sort();
    let expected: Vec<_> = PROPERTIES.iter().map(|(name, _)| format!("{name}.rs")).collect();
    assert_eq!(found, expected);
}
