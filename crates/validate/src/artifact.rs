//! An artifact: manifest and config together, and what its layers are known to hold.

use crate::{
    Document, Report, config, layers,
    rule::{CONFIG_DIGEST, DIFF_ID, DIFF_ID_COUNT, READABLE},
};
use modelpack_spec::{Algorithm, Descriptor, Digest, Encoding, LayerType};
use serde_json::Value;
use std::collections::BTreeMap;

/// A layer that has to be read before anybody can say whether its diffId is true.
#[derive(Clone, Debug, PartialEq)]
pub struct Unread {
    /// Which layer, counted from 0.
    pub index: usize,
    /// Its descriptor.
    pub layer: Descriptor,
    /// How it is encoded: the diffId is over its bytes before they were compressed.
    pub encoding: Encoding,
    /// The algorithm of its diffId.
    pub algorithm: Algorithm,
}

/// Holds the manifest and the config of an artifact to their schemas and rules, and to each other.
///
/// Without a config, because it is none of the specification or cannot be read, the manifest is judged alone. `contents` has what
/// somebody who read layers found, by the index of the layer: the digest of its bytes before they were compressed, or why they cannot be
/// decoded. Which layers need it [`unread`] says; those of them that are not there are in [`Report::unread`].
pub fn validate_artifact(manifest: &[u8], config: Option<&[u8]>, contents: &BTreeMap<usize, Result<Digest, String>>) -> Report {
    let mut report = Report::default();
    let read = layers::check_manifest(manifest, &mut report);
    let Some(bytes) = config else { return report };
    if let Some(manifest) = &read {
        check_descriptor(&manifest["config"], bytes, &mut report);
    }
    let config = config::check(bytes, &mut report);
    if let (Some(manifest), Some(config)) = (read, config)
        && let (Some(layers), Some(diff_ids)) = (manifest["layers"].as_array(), config["modelfs"]["diffIds"].as_array())
    {
        check_diff_ids(layers, diff_ids, contents, &mut report);
    }
    report
}

/// The layers of an artifact that have to be read to tell whether their diffIds are true.
///
/// These are compressed ones, and those whose diffId is of another algorithm than their digest. What cannot be read as manifest or config
/// names none.
pub fn unread(manifest: &[u8], config: &[u8]) -> Vec<Unread> {
    let parse = |bytes| serde_json::from_slice::<Value>(bytes).unwrap_or_default();
    let (manifest, config) = (parse(manifest), parse(config));
    let (Some(layers), Some(diff_ids)) = (manifest["layers"].as_array(), config["modelfs"]["diffIds"].as_array()) else {
        return Vec::new();
    };
    let unread = layers.iter().zip(diff_ids).enumerate().filter_map(|(index, (layer, diff_id))| {
        let layer: Descriptor = serde_json::from_value(layer.clone()).ok()?;
        let encoding = layer.media_type.parse::<LayerType>().ok()?.encoding;
        let algorithm = digest(diff_id)?.algorithm();
        let is_known = is_stored_as_it_is(encoding) && layer.digest.algorithm() == algorithm;
        (!is_known).then_some(Unread { index, layer, encoding, algorithm })
    });
    unread.collect()
}

fn check_descriptor(descriptor: &Value, config: &[u8], report: &mut Report) {
    if let Some(expected) = digest(&descriptor["digest"]) {
        let found = expected.algorithm().digest(config);
        if found != expected {
            let found = format!("{expected}, but the config has {found}");
            report.add(Document::Manifest, "/config/digest", found, "the digest of the config", CONFIG_DIGEST);
        }
    }
    if let Some(expected) = descriptor["size"].as_u64().filter(|size| *size != config.len() as u64) {
        let found = format!("{expected}, but the config has {} bytes", config.len());
        report.add(Document::Manifest, "/config/size", found, "the size of the config in bytes", CONFIG_DIGEST);
    }
}

fn check_diff_ids(layers: &[Value], diff_ids: &[Value], contents: &BTreeMap<usize, Result<Digest, String>>, report: &mut Report) {
    if layers.len() != diff_ids.len() {
        let allowed = format!("{}, one for each layer", layers.len());
        report.add(Document::Config, "/modelfs/diffIds", format!("an array of {}", diff_ids.len()), allowed, DIFF_ID_COUNT);
    }
    for (index, (layer, diff_id)) in layers.iter().zip(diff_ids).enumerate() {
        let (Some(stored), Some(found)) = (digest(&layer["digest"]), digest(diff_id)) else { continue };
        let Some(layer_type) = layer["mediaType"].as_str().and_then(|text| text.parse::<LayerType>().ok()) else { continue };
        let at = format!("/modelfs/diffIds/{index}");
        let is_uncompressed = is_stored_as_it_is(layer_type.encoding) && stored.algorithm() == found.algorithm();
        let fault = match contents.get(&index) {
            Some(Err(why)) => {
                let allowed = format!("a layer in the encoding {}, which its type names", layer_type.encoding.name());
                report.add(Document::Manifest, format!("/layers/{index}"), why, allowed, READABLE);
                None
            }
            Some(Ok(content)) if content.algorithm() == found.algorithm() => {
                (*content != found).then(|| format!("{content}, the digest of what layer {index} holds"))
            }
            _ if is_uncompressed => (stored != found).then(|| format!("{stored}, the digest of layer {index}, which is not compressed")),
            _ if stored == found => Some(format!("the digest of layer {index} before it was compressed")),
            _ => {
                report.unread.push(index);
                None
            }
        };
        if let Some(allowed) = fault {
            report.add(Document::Config, at, found.to_string(), allowed, DIFF_ID);
        }
    }
}

fn is_stored_as_it_is(encoding: Encoding) -> bool {
    matches!(encoding, Encoding::Raw | Encoding::Tar)
}

fn digest(value: &Value) -> Option<Digest> {
    value.as_str()?.parse().ok()
}
