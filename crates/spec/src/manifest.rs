//! Manifests: OCI image manifests and image indexes, together with the bytes they were read from.

use crate::{Descriptor, Digest, UnknownFields, media_type, unknown::keeps_unknown_fields};
use serde::{Deserialize, Deserializer, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// The largest manifest that is read or written, in bytes: 4 MiB, the size that the OCI
/// distribution specification asks registries to accept.
pub const MAX_MANIFEST_BYTES: usize = 4 << 20;

/// Go programs write an absent list or map as `null`.
pub(crate) fn null_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// An image manifest (OCI image specification, `manifest.md`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct ImageManifest {
    /// Always 2.
    pub schema_version: u32,
    /// The type of the manifest itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The artifact type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The config.
    pub config: Descriptor,
    /// The layers.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub layers: Vec<Descriptor>,
    /// The manifest that this one refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations of the manifest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Unknown fields, kept so that they are written again.
    #[serde(flatten, skip_deserializing)]
    pub other: UnknownFields,
}

/// An image index (OCI image specification, `image-index.md`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct ImageIndex {
    /// Always 2.
    pub schema_version: u32,
    /// The type of the index itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The artifact type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifests.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub manifests: Vec<Descriptor>,
    /// The manifest that this index refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Annotations of the index.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Unknown fields, kept so that they are written again.
    #[serde(flatten, skip_deserializing)]
    pub other: UnknownFields,
}

keeps_unknown_fields!(ImageManifest, ImageIndex);

impl ImageIndex {
    /// An index of `manifests`.
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type::IMAGE_INDEX.to_owned()),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
            other: UnknownFields::default(),
        }
    }
}

/// The parsed content of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// An image manifest: one artifact or image.
    Image(ImageManifest),
    /// An index of several manifests.
    Index(ImageIndex),
}

/// A manifest as it was read or will be written: its bytes and their parsed content. Cloning is
/// cheap.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    bytes: Arc<Vec<u8>>,
    media_type: String,
    digest: Digest,
    document: Arc<Document>,
}

impl Manifest {
    /// Parses `bytes` and computes their SHA-256 digest.
    ///
    /// `media_type` is the media type that the sender gave. Without it, the document's own
    /// `mediaType` decides, and without that the document's structure. Refused are documents larger
    /// than [`MAX_MANIFEST_BYTES`], documents with both `layers` and `manifests`, documents whose
    /// own media type differs from the sender's, and documents that are neither manifest nor index.
    pub fn parse(bytes: Vec<u8>, media_type: Option<&str>) -> Result<Self, InvalidManifest> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(InvalidManifest::TooLarge(bytes.len() as u64));
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Shape {
            #[serde(default)]
            media_type: Option<String>,
            config: Option<serde::de::IgnoredAny>,
            layers: Option<serde::de::IgnoredAny>,
            manifests: Option<serde::de::IgnoredAny>,
        }
        let shape: Shape = serde_json::from_slice(&bytes).map_err(InvalidManifest::Json)?;
        if shape.manifests.is_some() && (shape.layers.is_some() || shape.config.is_some()) {
            return Err(InvalidManifest::Ambiguous);
        }
        let inner = shape.media_type.as_deref().filter(|t| !t.is_empty());
        if let (Some(outer), Some(inner)) = (media_type, inner)
            && outer != inner
        {
            return Err(InvalidManifest::MediaType { outer: outer.to_owned(), inner: inner.to_owned() });
        }
        let is_index = match media_type.or(inner) {
            Some(media_type::IMAGE_INDEX | media_type::DOCKER_LIST) => true,
            Some(media_type::IMAGE_MANIFEST | media_type::DOCKER_MANIFEST) => false,
            Some(other) if media_type.is_some() => return Err(InvalidManifest::Unknown(other.to_owned())),
            _ => shape.manifests.is_some(),
        };
        let document = if is_index {
            Document::Index(serde_json::from_slice(&bytes).map_err(InvalidManifest::Json)?)
        } else {
            Document::Image(serde_json::from_slice(&bytes).map_err(InvalidManifest::Json)?)
        };
        let default = if is_index { media_type::IMAGE_INDEX } else { media_type::IMAGE_MANIFEST };
        let media_type = media_type.or(inner).unwrap_or(default).to_owned();
        Ok(Self { digest: Digest::of(&bytes), bytes: Arc::new(bytes), media_type, document: Arc::new(document) })
    }

    /// Serializes `image` and keeps the bytes.
    pub fn from_image(image: ImageManifest) -> Result<Self, InvalidManifest> {
        let bytes = serde_json::to_vec(&image).map_err(InvalidManifest::Json)?;
        Self::parse(bytes, None)
    }

    /// Serializes `index` and keeps the bytes.
    pub fn from_index(index: ImageIndex) -> Result<Self, InvalidManifest> {
        let bytes = serde_json::to_vec(&index).map_err(InvalidManifest::Json)?;
        Self::parse(bytes, None)
    }

    /// Replaces the digest by one of another algorithm, which the caller computed over the same
    /// bytes.
    pub fn with_digest(self, digest: Digest) -> Self {
        Self { digest, ..self }
    }

    /// The bytes that the digest is computed over.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The media type.
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// The digest of the bytes.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The parsed content.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The image manifest, unless this is an index.
    pub fn image(&self) -> Option<&ImageManifest> {
        match &*self.document {
            Document::Image(image) => Some(image),
            Document::Index(_) => None,
        }
    }

    /// The manifest that this one refers to.
    pub fn subject(&self) -> Option<&Descriptor> {
        match &*self.document {
            Document::Image(image) => image.subject.as_ref(),
            Document::Index(index) => index.subject.as_ref(),
        }
    }

    /// The blobs that this manifest needs: the config, then the layers. An index has none.
    ///
    /// Layers that registries do not distribute are left out
    /// (`application/vnd.oci.image.layer.nondistributable.*` and Docker's foreign layers).
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let distributable = |layer: &&Descriptor| media_type::is_distributable(&layer.media_type);
        self.image().into_iter().flat_map(move |image| std::iter::once(&image.config).chain(image.layers.iter().filter(distributable)))
    }

    /// The manifests that this index lists. An image manifest has none.
    pub fn manifests(&self) -> &[Descriptor] {
        match &*self.document {
            Document::Image(_) => &[],
            Document::Index(index) => &index.manifests,
        }
    }

    /// A descriptor of this manifest with its artifact type (or, if it has none, its config's media
    /// type) and its annotations, as the referrers list of the OCI distribution specification
    /// requires.
    pub fn descriptor(&self) -> Descriptor {
        let mut descriptor = Descriptor::new(self.media_type.clone(), self.digest.clone(), self.bytes.len() as u64);
        match &*self.document {
            Document::Image(image) => {
                let declared = image.artifact_type.clone().filter(|t| !t.is_empty());
                descriptor.artifact_type = declared.or_else(|| Some(image.config.media_type.clone()));
                descriptor.annotations = image.annotations.clone();
            }
            Document::Index(index) => {
                descriptor.artifact_type = index.artifact_type.clone().filter(|t| !t.is_empty());
                descriptor.annotations = index.annotations.clone();
            }
        }
        descriptor
    }
}

/// The bytes are not a valid manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidManifest {
    /// More bytes than [`MAX_MANIFEST_BYTES`].
    #[error("the manifest has {0} bytes; at most {MAX_MANIFEST_BYTES} (4 MiB) are accepted")]
    TooLarge(u64),
    /// Not JSON, or not of the right shape.
    #[error("the manifest is not valid: {0}")]
    Json(#[source] serde_json::Error),
    /// The document is both a manifest and an index.
    #[error("the manifest has both `manifests` and `layers` or `config`, so readers would disagree on what it is")]
    Ambiguous,
    /// The sender's media type and the document's media type differ.
    #[error("the manifest was sent as {outer:?} but its own media type is {inner:?}")]
    MediaType {
        /// The sender's media type.
        outer: String,
        /// The document's media type.
        inner: String,
    },
    /// The document is neither a manifest nor an index.
    #[error("{0:?} is not the media type of a manifest or index")]
    Unknown(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> String {
        let empty = Digest::of(b"{}");
        format!(
            r#"{{ "schemaVersion": 2, "config": {{"mediaType":"application/x","digest":"{empty}","size":2,"data":"e30="}}, "layers": null, "odd": [1] }}"#
        )
    }

    #[test]
    fn bytes_are_kept_and_digested_as_they_are() {
        let manifest = Manifest::parse(image().into_bytes(), None).unwrap();
        assert_eq!(manifest.bytes(), image().as_bytes());
        assert_eq!(manifest.digest(), &Digest::of(image().as_bytes()));
        assert_eq!(manifest.media_type(), media_type::IMAGE_MANIFEST);
        assert_eq!(manifest.descriptor().artifact_type.as_deref(), Some("application/x"));
        let printed = serde_json::to_string(manifest.image().unwrap()).unwrap();
        assert!(printed.contains(r#""odd":[1]"#) && printed.contains(r#""data":"e30=""#), "{printed}");
    }

    #[test]
    fn ambiguous_documents_are_refused() {
        let both = image().replace("\"odd\": [1]", "\"manifests\": []");
        assert!(matches!(Manifest::parse(both.into_bytes(), None), Err(InvalidManifest::Ambiguous)));
        assert!(matches!(Manifest::parse(image().into_bytes(), Some("text/plain")), Err(InvalidManifest::Unknown(_))));
        let named =
            image().replace("\"schemaVersion\": 2", &format!("\"schemaVersion\": 2, \"mediaType\": {:?}", media_type::IMAGE_MANIFEST));
        assert!(Manifest::parse(named.clone().into_bytes(), Some(media_type::IMAGE_MANIFEST)).is_ok());
        assert!(matches!(Manifest::parse(named.into_bytes(), Some(media_type::IMAGE_INDEX)), Err(InvalidManifest::MediaType { .. })));
        assert!(matches!(Manifest::parse(vec![b' '; MAX_MANIFEST_BYTES + 1], None), Err(InvalidManifest::TooLarge(_))));
        assert!(matches!(Manifest::parse(b"{}".to_vec(), None), Err(InvalidManifest::Json(_))));
    }
}
