//! Telling documents apart.

use crate::{Document, Report, json, validate_config, validate_file_metadata, validate_manifest};
use modelpack_spec::media_type;
use serde_json::Value;

/// Holds a document to the specification, and says which it was: `document`, or what its own `mediaType` or fields that only one kind has tell.
///
/// `None` if that does not tell. An index is none of them, since what it lists is not in it. What is no JSON is [`Document::Json`].
pub fn validate_document(bytes: &[u8], document: Option<Document>) -> Option<(Document, Report)> {
    let mut report = Report::default();
    let document = match (document, json::parse(Document::Json, bytes, &mut report)) {
        (Some(document), _) => document,
        (None, Some(value)) => detect(&value)?,
        (None, None) => Document::Json,
    };
    let report = match document {
        Document::Config => validate_config(bytes),
        Document::Manifest => validate_manifest(bytes),
        Document::FileMetadata => validate_file_metadata(bytes),
        Document::Json => report,
    };
    Some((document, report))
}

fn detect(value: &Value) -> Option<Document> {
    match value["mediaType"].as_str() {
        Some(media_type::IMAGE_MANIFEST | media_type::DOCKER_MANIFEST) => return Some(Document::Manifest),
        Some(media_type::IMAGE_INDEX | media_type::DOCKER_LIST) => return None,
        _ => {}
    }
    let has = |fields: &[&str]| fields.iter().any(|field| value.get(field).is_some());
    match (has(&["layers", "artifactType"]), has(&["descriptor", "modelfs"]), has(&["mtime", "typeflag"]), has(&["manifests"])) {
        (true, false, false, false) => Some(Document::Manifest),
        (false, true, false, false) => Some(Document::Config),
        (false, false, true, false) => Some(Document::FileMetadata),
        _ => None,
    }
}
