//! The quantization of a model, from `quantization_config` in its `config.json`.

use super::folder::Folder;
use serde_json::Value;

/// The technique, and the data needed to count parameters that are packed in wider integers.
pub(super) struct Quantization {
    /// The technique, such as `gptq`.
    pub(super) method: Option<String>,
    /// Bits per packed weight; `None` if unknown or not the same for all weights.
    pub(super) bits: Option<u64>,
}

impl Quantization {
    /// Reads `quantization_config`.
    pub(super) fn new(config: &Value) -> Self {
        let method = config["quant_method"].as_str().map(str::to_ascii_lowercase);
        let is_true = |key: &str| config[key] == Value::Bool(true);
        let bits = if is_true("load_in_4bit") || method.as_deref() == Some("mxfp4") {
            Some(4)
        } else if is_true("load_in_8bit") {
            Some(8)
        } else {
            let mut found = Vec::new();
            collect_bits(config, &mut found);
            found.sort_unstable();
            found.dedup();
            <[u64; 1]>::try_from(found).ok().map(|[bits]| bits).filter(|bits| (1..=8).contains(bits))
        };
        Self { method, bits }
    }
}

/// Separate files in which quantizers store what others store in `config.json`, with their
/// techniques.
const BESIDE: [(&str, &str); 3] = [("quantize_config.json", "gptq"), ("quant_config.json", "awq"), ("hf_quant_config.json", "modelopt")];

/// The quantization according to a separate file, and the file's path.
pub(super) fn beside(folder: &Folder<'_>) -> Option<(Quantization, String)> {
    BESIDE.iter().find_map(|(name, technique)| {
        let (config, path) = folder.json(name)?;
        let quantization = if *technique == "modelopt" { of_modelopt(&config)? } else { Quantization::new(&config) };
        // Other files have these names too.
        if quantization.bits.is_none() && *technique != "modelopt" {
            return None;
        }
        let method = quantization.method.or_else(|| Some((*technique).to_owned()));
        Some((Quantization { method, ..quantization }, path))
    })
}

/// The quantization by NVIDIA's optimizer, which gives an algorithm and no number of bits.
fn of_modelopt(config: &Value) -> Option<Quantization> {
    let algorithm = config["quantization"]["quant_algo"].as_str()?;
    let bits = match algorithm {
        "NVFP4" | "NVFP4_AWQ" | "W4A16_AWQ" | "W4A8_AWQ" | "INT4_AWQ" => Some(4),
        "FP8" | "INT8" | "W8A8_SQ_PER_CHANNEL" | "W8A16" => Some(8),
        _ => None,
    };
    Some(Quantization { method: None, bits })
}

/// Collects every number of bits per weight in `config`. Configs give it once for all weights, once
/// for each group of layers, or once with exceptions.
fn collect_bits(config: &Value, found: &mut Vec<u64>) {
    let Value::Object(entries) = config else { return };
    for (key, value) in entries {
        match key.as_str() {
            "bits" | "num_bits" | "w_bit" => found.extend(value.as_u64()),
            // The bits of activations and caches, not of weights.
            "input_activations" | "output_activations" | "kv_cache_scheme" => {}
            _ => collect_bits(value, found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bits_are_known_only_if_they_are_the_same_for_all_weights() {
        for (config, expected) in [
            (json!({"quant_method": "gptq", "bits": 4}), Some(4)),
            (json!({"quant_method": "awq", "w_bit": 4}), Some(4)),
            (json!({"quant_method": "bitsandbytes", "load_in_4bit": true, "load_in_8bit": false}), Some(4)),
            (json!({"quant_method": "bitsandbytes", "load_in_4bit": false, "load_in_8bit": true}), Some(8)),
            (json!({"quant_method": "mxfp4"}), Some(4)),
            (json!({"group_size": 64, "bits": 4}), Some(4)),
            (json!({"group_size": 64, "bits": 4, "lm_head": {"bits": 6}}), None),
            (json!({"bits": 4, "dynamic": {"layer": {"bits": 8}}}), None),
            (json!({"bits": 0}), None),
            (json!({"bits": 64}), None),
            (json!({"quant_method": "fp8"}), None),
        ] {
            assert_eq!(Quantization::new(&config).bits, expected, "{config}");
        }
        let groups = json!({"config_groups": {"a": {"weights": {"num_bits": 4}, "input_activations": {"num_bits": 8}}, "b": {"weights": {"num_bits": 4}}}});
        assert_eq!(Quantization::new(&groups).bits, Some(4));
    }
}
