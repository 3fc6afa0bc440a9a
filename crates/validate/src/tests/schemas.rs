//! Tests of the schemas.

use crate::{CONFIG_SCHEMA, FILE_METADATA_SCHEMA, MANIFEST_SCHEMA};
use modelpack_spec::{Encoding, LayerKind, LayerType, value::MODALITIES};
use serde_json::Value;
use std::collections::BTreeSet;

fn schemas() -> [Value; 3] {
    [CONFIG_SCHEMA, MANIFEST_SCHEMA, FILE_METADATA_SCHEMA].map(|text| serde_json::from_str(text).unwrap())
}

#[test]
fn schemas_are_valid_and_have_unique_ids() {
    let mut ids = BTreeSet::new();
    for schema in schemas() {
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        jsonschema::meta::validate(&schema).unwrap();
        assert!(ids.insert(schema["$id"].as_str().unwrap().to_owned()));
    }
}

#[test]
fn schemas_list_the_same_values_as_the_types() {
    let [config, manifest, _] = schemas();
    let listed = |schema: &Value, pointer: &str| -> BTreeSet<String> {
        schema.pointer(pointer).unwrap().as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned()).collect()
    };
    let types = LayerKind::ALL.into_iter().flat_map(|kind| Encoding::ALL.map(|encoding| LayerType { kind, encoding }.to_string()));
    assert_eq!(listed(&manifest, "/$defs/layer/properties/mediaType/enum"), types.collect());
    assert_eq!(listed(&config, "/$defs/modality/enum"), MODALITIES.map(str::to_owned).into());
}
