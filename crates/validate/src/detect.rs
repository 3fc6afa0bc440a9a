//! Determines the type of a document.

use crate::{Document, Report, json, validate_config, validate_file_metadata, validate_manifest};
use modelpack_spec::media_type;
use serde_json::Value;

/// Checks a document against the specification. Also returns the type of the document: `document`
/// if it is given, or else the type that the document's `mediaType` or its fields show.
///
/// Returns `None` if the type cannot be determined. This includes indexes, because the manifests
/// that an index lists are separate documents. Text that is not JSON is [`Document::Json`].
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
        // A document with layers is not an index, even if its media type says so.
        Some(media_type::IMAGE_INDEX | media_type::DOCKER_LIST) if value.get("layers").is_none() => return None,
        _ => {}
    }
    let has = |fields: &[&str]| fields.iter().filter(|field| value.get(field).is_some()).count();
    // The type is the one of which the document has most fields, so a single field of another type
    // does not change it.
    let config = has(&["descriptor", "modelfs"]) + usize::from(value["config"].is_object() && value["config"].get("digest").is_none());
    let counted = [
        (has(&["schemaVersion", "mediaType", "artifactType", "layers", "subject"]), Some(Document::Manifest)),
        (config, Some(Document::Config)),
        (has(&["name", "mode", "uid", "gid", "size", "mtime", "typeflag"]), Some(Document::FileMetadata)),
        (has(&["schemaVersion", "mediaType", "artifactType", "manifests", "subject"]), None),
    ];
    let most = counted.iter().map(|(count, _)| *count).max().filter(|most| *most > 0)?;
    let mut candidates = counted.iter().filter(|(count, _)| *count == most).map(|(_, document)| *document);
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => only,
        // A document with both layers and manifests is an invalid manifest.
        _ if value.get("layers").is_some() && value.get("manifests").is_some() => Some(Document::Manifest),
        _ => None,
    }
}
