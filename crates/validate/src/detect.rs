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
        // With layers it is no index, whatever it calls itself.
        Some(media_type::IMAGE_INDEX | media_type::DOCKER_LIST) if value.get("layers").is_none() => return None,
        _ => {}
    }
    let has = |fields: &[&str]| fields.iter().filter(|field| value.get(field).is_some()).count();
    // A field that is none of the document's own does not make it another: that is what has more of its fields.
    let config = has(&["descriptor", "modelfs"]) + usize::from(value["config"].is_object() && value["config"].get("digest").is_none());
    let counted = [
        (has(&["schemaVersion", "mediaType", "artifactType", "layers", "subject"]), Some(Document::Manifest)),
        (config, Some(Document::Config)),
        (has(&["name", "mode", "uid", "gid", "size", "mtime", "typeflag"]), Some(Document::FileMetadata)),
        (has(&["schemaVersion", "mediaType", "artifactType", "manifests", "subject"]), None),
    ];
    let most = counted.iter().map(|(count, _)| *count).max().filter(|most| *most > 0)?;
    let mut those = counted.iter().filter(|(count, _)| *count == most).map(|(_, document)| *document);
    match (those.next(), those.next()) {
        (Some(only), None) => only,
        // Layers and manifests in one document are a manifest with a fault.
        _ if value.get("layers").is_some() && value.get("manifests").is_some() => Some(Document::Manifest),
        _ => None,
    }
}
