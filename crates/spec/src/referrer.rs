//! Manifests as entries of a referrers list.

use crate::{Descriptor, Digest, InvalidManifest, media_type};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::value::RawValue;

/// An entry of a referrers list (OCI distribution specification, "Listing Referrers"). Its
/// annotations are kept as JSON text, so they use no more memory than their bytes.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    /// The media type of the manifest.
    pub media_type: String,
    /// The manifest's digest.
    pub digest: Digest,
    /// The manifest's size in bytes.
    pub size: u64,
    /// The artifact type or, if the manifest has none, the media type of its config.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Box<RawValue>>,
    /// The manifest that this one refers to.
    #[serde(skip)]
    pub subject: Option<Digest>,
}

impl Referrer {
    /// Reads the bytes of a manifest. The caller gives the digest, and the media type if it is
    /// known; an empty `media_type` means unknown.
    pub fn read(bytes: &[u8], media_type: &str, digest: Digest) -> Result<Self, InvalidManifest> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Manifest<'a> {
            media_type: Option<String>,
            artifact_type: Option<String>,
            config: Option<Config>,
            layers: Option<IgnoredAny>,
            manifests: Option<IgnoredAny>,
            subject: Option<Subject>,
            #[serde(borrow)]
            annotations: Option<&'a RawValue>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Config {
            media_type: Option<String>,
        }
        #[derive(Deserialize)]
        struct Subject {
            digest: Digest,
        }
        let Manifest { media_type: inner, artifact_type, config, layers, manifests, subject, annotations } =
            serde_json::from_slice(bytes).map_err(InvalidManifest::Json)?;
        if config.is_none() && layers.is_none() && manifests.is_none() {
            return Err(InvalidManifest::Unknown(media_type.to_owned()));
        }
        let default = if manifests.is_some() { media_type::IMAGE_INDEX } else { media_type::IMAGE_MANIFEST };
        let is_present = |text: &String| !text.is_empty();
        Ok(Self {
            media_type: Some(media_type.to_owned()).filter(is_present).or(inner.filter(is_present)).unwrap_or_else(|| default.to_owned()),
            digest,
            size: bytes.len() as u64,
            artifact_type: artifact_type.filter(is_present).or_else(|| config?.media_type),
            annotations: annotations.filter(|annotations| annotations.get() != "{}").map(ToOwned::to_owned),
            subject: subject.map(|subject| subject.digest),
        })
    }

    /// The descriptor of the manifest, without its annotations.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor { artifact_type: self.artifact_type.clone(), ..Descriptor::new(self.media_type.clone(), self.digest.clone(), self.size) }
    }

    /// The approximate number of bytes of this entry in a list.
    pub fn listed_len(&self) -> usize {
        let rest = self.media_type.len() + self.artifact_type.as_ref().map_or(0, String::len) + 2 * self.digest.hex().len();
        self.annotations.as_ref().map_or(0, |annotations| annotations.get().len()) + rest + 128
    }
}
