//! Content descriptors of the OCI image specification.

use crate::{Digest, UnknownFields, unknown::keeps_unknown_fields};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Describes a blob or manifest before it is fetched: type, digest and size (OCI image
/// specification, "descriptor").
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct Descriptor {
    /// The media type of the content.
    #[serde(default)]
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The size of the content in bytes.
    pub size: u64,
    /// The artifact type, if the content is an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The annotations of the content.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "crate::manifest::null_is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Fields that this reader does not use (`urls`, `data`, `platform`, unknown ones). They are
    /// kept and written again.
    #[serde(flatten, skip_deserializing)]
    pub other: UnknownFields,
}

keeps_unknown_fields!(Descriptor);

impl Descriptor {
    /// A descriptor without annotations; `size` in bytes.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            artifact_type: None,
            annotations: BTreeMap::new(),
            other: UnknownFields::default(),
        }
    }

    /// The same, as the entry of an image index for one platform, such as `linux` and `amd64`.
    pub fn for_platform(mut self, os: &str, architecture: &str) -> Self {
        #[derive(Serialize)]
        struct Platform<'a> {
            architecture: &'a str,
            os: &'a str,
        }
        self.other.add("platform", &Platform { architecture, os });
        self
    }

    /// The descriptor of `bytes`, digested with SHA-256.
    pub fn of(media_type: impl Into<String>, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }
}
