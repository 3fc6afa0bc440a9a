//! The cases of the specification's own tests of the config: a small config, a change to it, and
//! the expected problem.

use super::{broken, with};
use crate::validate_config;
use serde_json::{Value, json};

fn small() -> Value {
    json!({
        "descriptor": { "name": "xyz-3-8B-Instruct", "version": "3.1" },
        "config": { "paramSize": "8b" },
        "modelfs": { "type": "layers", "diffIds": ["sha256:1234567890abcdef1234567890abcdef1234567890abcdef1234567890abcdef"] },
    })
}

#[test]
fn configs_that_the_official_tests_reject_are_rejected() {
    let capabilities = |field: &str, value: Value| ("/config/capabilities".to_owned(), Some(json!({ field: value })));
    let field = |pointer: &str, value: Value| (pointer.to_owned(), Some(value));
    let cases = [
        (("/config".to_owned(), None), "/config", "required"),
        (field("/descriptor/version", json!(3.1)), "/descriptor/version", "type"),
        (field("/descriptor/revision", json!(1_234_567_890)), "/descriptor/revision", "type"),
        (field("/descriptor/createdAt", json!("2025/01/01T00:00:00Z")), "/descriptor/createdAt", "format"),
        (field("/descriptor/authors", json!("John Doe")), "/descriptor/authors", "type"),
        (field("/descriptor/licenses", json!("Apache-2.0")), "/descriptor/licenses", "type"),
        (field("/descriptor/docURL", json!(["https://example.com/doc"])), "/descriptor/docURL", "type"),
        (field("/descriptor/sourceURL", json!(["https://github.com/xyz/xyz3"])), "/descriptor/sourceURL", "type"),
        (field("/descriptor/datasetsURL", json!("https://example.com/dataset")), "/descriptor/datasetsURL", "type"),
        (field("/config/paramSize", json!(8_000_000)), "/config/paramSize", "type"),
        (field("/config/precision", json!(16)), "/config/precision", "type"),
        (field("/modelfs/type", json!("layer")), "/modelfs/type", "const"),
        (field("/modelfs/diffIds", json!("sha256:1234")), "/modelfs/diffIds", "type"),
        (field("/modelfs/diffIds", json!([])), "/modelfs/diffIds", "minItems"),
        (capabilities("inputTypes", json!("text")), "/config/capabilities/inputTypes", "type"),
        (capabilities("outputTypes", json!("text")), "/config/capabilities/outputTypes", "type"),
        (capabilities("inputTypes", json!(["img"])), "/config/capabilities/inputTypes/0", "enum"),
        (capabilities("knowledgeCutoff", json!("2025-01-01")), "/config/capabilities/knowledgeCutoff", "format"),
        (capabilities("reasoning", json!("true")), "/config/capabilities/reasoning", "type"),
        (capabilities("toolUsage", json!("true")), "/config/capabilities/toolUsage", "type"),
        (capabilities("reward", json!("true")), "/config/capabilities/reward", "type"),
        (capabilities("languages", json!("en")), "/config/capabilities/languages", "type"),
        (capabilities("languages", json!(["fra"])), "/config/capabilities/languages/0", "pattern"),
        (capabilities("unknownField", json!(true)), "/config/capabilities/unknownField", "additionalProperties"),
        // Further cases that a strict validator rejects.
        (("/descriptor".to_owned(), None), "/descriptor", "required"),
        (("/modelfs".to_owned(), None), "/modelfs", "required"),
        (("/modelfs/diffIds".to_owned(), None), "/modelfs/diffIds", "required"),
        (field("/modelfs/diffIds", json!(["sha256:1234"])), "/modelfs/diffIds/0", "pattern"),
        (field("/descriptor/name", json!("")), "/descriptor/name", "minLength"),
        (capabilities("languages", json!(["EN"])), "/config/capabilities/languages/0", "pattern"),
        (capabilities("knowledgeCutoff", json!("2025-02-30T00:00:00Z")), "/config/capabilities/knowledgeCutoff", "format"),
    ];
    for ((pointer, value), at, rule) in cases {
        let document = with(small(), &pointer, value);
        assert_eq!(broken(&validate_config(document.to_string().as_bytes())), [(at, rule)], "{document}");
    }
}

#[test]
fn configs_that_the_official_tests_accept_are_accepted() {
    let minimal = with(small(), "/descriptor/version", None);
    let multimodal = json!({ "inputTypes": ["text", "image"], "outputTypes": ["text", "image", "embedding"] });
    let multimodal = with(with(small(), "/config/architecture", Some(json!("transformer"))), "/config/capabilities", Some(multimodal));
    let full = with(super::config(), "/config/format", Some(json!("safetensors")));
    for document in [minimal, full, multimodal, with(small(), "/descriptor", Some(json!({}))), with(small(), "/config", Some(json!({})))] {
        let report = validate_config(document.to_string().as_bytes());
        assert!(report.is_valid(), "{document}: {report:#?}");
    }
}
