//! Manifests as the list of what refers to another one shows them.

use crate::{Digest, InvalidManifest, media_type};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::value::RawValue;

/// A manifest in a list of referrers (OCI distribution specification, "Listing Referrers"). Its annotations stay the text that they were, so
/// that it costs no more memory than its bytes.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    /// The media type of the manifest.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The type of the artifact; for want of one, the media type of its config.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Box<RawValue>>,
    /// The manifest that this one refers to.
    #[serde(skip)]
    pub subject: Option<Digest>,
}

impl Referrer {
    /// Reads the bytes of a manifest, of which the caller knows the digest, and the media type if it is not empty.
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
        let said = |text: &String| !text.is_empty();
        Ok(Self {
            media_type: Some(media_type.to_owned()).filter(said).or(inner.filter(said)).unwrap_or_else(|| default.to_owned()),
            digest,
            size: bytes.len() as u64,
            artifact_type: artifact_type.filter(said).or_else(|| config?.media_type),
            annotations: annotations.filter(|annotations| annotations.get() != "{}").map(ToOwned::to_owned),
            subject: subject.map(|subject| subject.digest),
        })
    }

    /// About how many bytes it has in a list.
    pub fn listed_len(&self) -> usize {
        let rest = self.media_type.len() + self.artifact_type.as_ref().map_or(0, String::len) + 2 * self.digest.hex().len();
        self.annotations.as_ref().map_or(0, |annotations| annotations.get().len()) + rest + 128
    }
}
