//! The digests that a manifest requires, read without parsing the rest of the manifest.

use crate::{Digest, InvalidManifest, media_type};
use serde::Deserialize;
use std::collections::BTreeSet;

/// The digests of everything that a manifest requires: the config and the
/// [layers](crate::Manifest::blobs) of an image manifest, the manifests of an index.
///
/// This uses at most twice the bytes of the manifest as memory, whatever it contains.
pub fn needed_by(manifest: &[u8]) -> Result<BTreeSet<Digest>, InvalidManifest> {
    #[derive(Deserialize)]
    struct Names {
        config: Option<Named>,
        layers: Option<Vec<Named>>,
        manifests: Option<Vec<Named>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        digest: Digest,
        media_type: Option<String>,
    }
    let Names { config, layers, manifests } = serde_json::from_slice(manifest).map_err(InvalidManifest::Json)?;
    let is_distributable = |layer: &Named| layer.media_type.as_deref().is_none_or(media_type::is_distributable);
    let layers = layers.into_iter().flatten().filter(is_distributable);
    Ok(config.into_iter().chain(layers).chain(manifests.into_iter().flatten()).map(|named| named.digest).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Descriptor, ImageIndex, ImageManifest, Manifest, UnknownFields};

    #[test]
    fn the_digests_equal_those_of_the_fully_parsed_manifest() {
        let descriptor = |media_type: &str| Descriptor::new(media_type, Digest::of(media_type.as_bytes()), 1);
        let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar";
        let image = ImageManifest {
            schema_version: 2,
            media_type: None,
            artifact_type: None,
            config: descriptor("x/config"),
            layers: ["x/one", foreign, "x/two", "x/one"].map(descriptor).into(),
            subject: Some(descriptor("x/subject")),
            annotations: [("digest".to_owned(), "layers".to_owned())].into(),
            other: UnknownFields::default(),
        };
        let image = Manifest::from_image(image).unwrap();
        let index = serde_json::to_vec(&ImageIndex::new(["x/one", foreign].map(descriptor).into())).unwrap();
        let index = Manifest::parse(index, None).unwrap();
        for (manifest, count) in [(image, 3), (index, 2)] {
            let named = manifest.blobs().chain(manifest.manifests()).map(|named| named.digest.clone());
            let needed = needed_by(manifest.bytes()).unwrap();
            assert_eq!((needed.len(), needed), (count, named.collect()));
        }
        assert_eq!(needed_by(br#"{"layers":null}"#).unwrap(), BTreeSet::new());
        assert!(needed_by(b"no json").is_err() && needed_by(br#"{"layers":[{"digest":"../x"}]}"#).is_err());
    }
}
