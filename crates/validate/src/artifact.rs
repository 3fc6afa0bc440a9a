//! Checks an artifact: the manifest and the config together, and the content of its layers, as far
//! as it is known.

use crate::{
    Document, Report, config, layers,
    report::items,
    rule::{CONFIG_DIGEST, DIFF_ID, DIFF_ID_COUNT, READABLE},
};
use modelpack_spec::{Algorithm, Descriptor, Digest, Encoding, LayerType};
use serde_json::Value;
use std::collections::BTreeMap;

/// A layer whose content has to be read to check its diffId.
#[derive(Clone, Debug, PartialEq)]
pub struct Unread {
    /// The index of the layer, from 0.
    pub index: usize,
    /// Its descriptor.
    pub layer: Descriptor,
    /// Its encoding. The diffId is the digest of the uncompressed content.
    pub encoding: Encoding,
    /// The algorithm of its diffId.
    pub algorithm: Algorithm,
}

/// Checks the manifest and the config of an artifact against their schemas and rules, and against
/// each other.
///
/// Without a config, only the manifest is checked. The caller passes no config if it cannot be read
/// or is of a type that the specification does not define. `contents` has the results for layers
/// that the caller has read, by the index of the layer: the digest of the uncompressed content, or
/// the reason why it cannot be decoded. [`unread`] returns the layers for which a result is needed.
/// Layers without a result are listed in [`Report::unread`].
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

/// The layers of an artifact whose content has to be read to check their diffIds.
///
/// These are the compressed layers, and the layers whose diffId and digest have different
/// algorithms. If the manifest or the config cannot be parsed, there are none.
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
            let found = format!("{expected}, but the digest of the config is {found}");
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
        let allowed = format!("{}, one for each layer", items(layers.len()));
        report.add(Document::Config, "/modelfs/diffIds", format!("an array of {}", items(diff_ids.len())), allowed, DIFF_ID_COUNT);
    }
    for (index, (layer, diff_id)) in layers.iter().zip(diff_ids).enumerate() {
        let (Some(stored), Some(found)) = (digest(&layer["digest"]), digest(diff_id)) else { continue };
        let Some(layer_type) = layer["mediaType"].as_str().and_then(|text| text.parse::<LayerType>().ok()) else { continue };
        let at = format!("/modelfs/diffIds/{index}");
        let is_uncompressed = is_stored_as_it_is(layer_type.encoding) && stored.algorithm() == found.algorithm();
        let fault = match contents.get(&index) {
            Some(Err(why)) => {
                let allowed = format!("a layer with the encoding {}, which its media type names", layer_type.encoding.name());
                report.add(Document::Manifest, format!("/layers/{index}"), why, allowed, READABLE);
                None
            }
            Some(Ok(content)) if content.algorithm() == found.algorithm() => {
                (*content != found).then(|| format!("{content}, the digest of the content of layer {index}"))
            }
            _ if is_uncompressed => (stored != found).then(|| format!("{stored}, the digest of layer {index}, which is not compressed")),
            _ if stored == found => Some(format!("the digest of the uncompressed content of layer {index}")),
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
