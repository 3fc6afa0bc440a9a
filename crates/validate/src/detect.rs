//! Telling documents apart.

use crate::Document;
use modelpack_spec::media_type;
use serde::{Deserialize, de::IgnoredAny};

impl Document {
    /// What a JSON document is, by its own `mediaType` or by fields that only one kind has; `None` if that does not tell.
    ///
    /// An index is none of them, and what it lists is not in it.
    pub fn detect(bytes: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Shape {
            media_type: Option<String>,
            schema_version: Option<IgnoredAny>,
            layers: Option<IgnoredAny>,
            artifact_type: Option<IgnoredAny>,
            manifests: Option<IgnoredAny>,
            descriptor: Option<IgnoredAny>,
            modelfs: Option<IgnoredAny>,
            typeflag: Option<IgnoredAny>,
            mtime: Option<IgnoredAny>,
        }
        let shape: Shape = serde_json::from_slice(bytes).ok()?;
        match shape.media_type.as_deref() {
            Some(media_type::IMAGE_MANIFEST | media_type::DOCKER_MANIFEST) => return Some(Self::Manifest),
            Some(media_type::IMAGE_INDEX | media_type::DOCKER_LIST) => return None,
            _ => {}
        }
        let is_manifest = shape.layers.is_some() || shape.artifact_type.is_some();
        let is_config = shape.descriptor.is_some() || shape.modelfs.is_some();
        let is_metadata = shape.typeflag.is_some() || shape.mtime.is_some();
        match (is_manifest, is_config, is_metadata) {
            (true, false, false) => Some(Self::Manifest),
            (false, true, false) if shape.schema_version.is_none() && shape.manifests.is_none() => Some(Self::Config),
            (false, false, true) => Some(Self::FileMetadata),
            _ => None,
        }
    }
}
