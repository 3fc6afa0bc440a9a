//! Checks documents of the ModelPack specification with JSON Schemas, and with rules that a schema
//! cannot express.
//!
//! There is no I/O: documents are bytes. A [`Report`] lists each [`Problem`]: its location, what
//! was found, what is allowed, and the keyword of the schema or the name of the rule in [`RULES`].
//! Other crates read documents leniently: they accept older names and the habits of other tools.
//! This crate reports these as problems.
//!
//! ```
//! let report = modelpack_validate::validate_config(br#"{"descriptor":{"version":3.1},"config":{},"modelfs":{"type":"layers","diffIds":[]}}"#);
//! let messages: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
//! assert_eq!(messages[0], "config /descriptor/version: found a number, 3.1; allowed: a string (type)");
//! assert_eq!(messages[1], "config /modelfs/diffIds: found an empty array; allowed: at least 1 item (minItems)");
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

/// Checks a config against `schema/config.schema.json` and the rules for its values.
pub fn validate_config(bytes: &[u8]) -> Report {
    let mut report = Report::default();
    config::check(bytes, &mut report);
    report
}

/// Checks a manifest against `schema/manifest.schema.json` and the rules for its layers.
pub fn validate_manifest(bytes: &[u8]) -> Report {
    let mut report = Report::default();
    layers::check_manifest(bytes, &mut report);
    report
}

/// Checks the value of the layer annotation `org.cncf.model.file.metadata+json` against
/// `schema/file-metadata.schema.json`.
pub fn validate_file_metadata(bytes: &[u8]) -> Report {
    let mut report = Report::default();
    if let Some(value) = json::parse(Document::FileMetadata, bytes, &mut report) {
        schema::FILE_METADATA.check(Document::FileMetadata, &value, &mut report);
    }
    report
}
