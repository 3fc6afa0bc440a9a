//! Whether documents of the ModelPack specification are valid: its JSON Schemas, and rules that no schema can say.
//!
//! No I/O: documents are bytes. A [`Report`] has every [`Problem`]: where it is, what was found, what is allowed, and which keyword of the
//! schema or which of [`RULES`] says so. Reading elsewhere is lenient and takes older names and other tools' habits; here they are
//! what they are.
//!
//! ```
//! let report = modelpack_validate::validate_config(br#"{"descriptor":{"version":3.1},"config":{},"modelfs":{"type":"layers","diffIds":[]}}"#);
//! let said: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
//! assert_eq!(said[0], "config /descriptor/version: found a number, 3.1; allowed: a string (type)");
//! assert_eq!(said[1], "config /modelfs/diffIds: found an empty array; allowed: at least 1 item (minItems)");
//! ```

mod artifact;
mod config;
mod detect;
mod json;
mod keyword;
mod layers;
mod report;
mod rule;
mod schema;
#[cfg(test)]
mod tests;

pub use artifact::{Unread, unread, validate_artifact};
pub use detect::validate_document;
pub use json::{MAX_BYTES, MAX_DEPTH, MAX_VALUES};
pub use report::{Document, MAX_PROBLEMS, Problem, Report};
pub use rule::RULES;
pub use schema::{CONFIG_SCHEMA, FILE_METADATA_SCHEMA, MANIFEST_SCHEMA};

/// Holds a config to `schema/config.schema.json`, and to the rules about its values.
pub fn validate_config(bytes: &[u8]) -> Report {
    let mut report = Report::default();
    config::check(bytes, &mut report);
    report
}

/// Holds a manifest to `schema/manifest.schema.json`, and to the rules about its layers.
pub fn validate_manifest(bytes: &[u8]) -> Report {
    let mut report = Report::default();
    layers::check_manifest(bytes, &mut report);
    report
}

/// Holds the value of the layer annotation `org.cncf.model.file.metadata+json` to `schema/file-metadata.schema.json`.
pub fn validate_file_metadata(bytes: &[u8]) -> Report {
    let mut report = Report::default();
    if let Some(value) = json::parse(Document::FileMetadata, bytes, &mut report) {
        schema::FILE_METADATA.check(Document::FileMetadata, &value, &mut report);
    }
    report
}
