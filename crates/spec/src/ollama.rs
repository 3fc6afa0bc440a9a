//! Reads the config of an Ollama model into a ModelPack [`Config`]. Such configs are never written.

use crate::{
    Config, annotation,
    translate::{self, Fields, at},
};
use serde_json::Value;
use std::collections::BTreeMap;

/// Ollama's `architecture` and `os` are those of a container image and do not describe the model.
const FIELDS: &Fields = &[
    ("model_family", "descriptor.family"),
    ("base_name", "descriptor.name"),
    ("model_format", "config.format"),
    ("model_type", "config.paramSize"),
    ("file_type", "config.quantization"),
];

/// Fields that are kept unchanged: the families of the model's parts, and the Ollama components
/// that the model needs.
const KEPT: [&str; 4] = ["model_families", "renderer", "parser", "requires"];

/// The config of an Ollama model. It has the media type of a container image's config:
/// `application/vnd.docker.container.image.v1+json`.
///
/// Reading is lenient: unknown fields and values of the wrong type are ignored.
#[derive(Clone, Debug, PartialEq)]
pub struct OllamaModel(Value);

impl OllamaModel {
    /// Reads a config blob, which must be a JSON object.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        translate::parse(bytes).map(Self)
    }

    /// The description of the model. `modelfs` stays empty.
    pub fn config(&self) -> Config {
        translate::config(&self.0, FIELDS, "", &KEPT)
    }

    /// The values for which [`Config`] has no field, as annotations of a manifest.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let tokens = at(&self.0, "context_length").into_iter().find_map(translate::count);
        tokens.map(|tokens| (annotation::CONTEXT_LENGTH.to_owned(), tokens.to_string())).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: &Value) -> OllamaModel {
        OllamaModel::parse(value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn fields_are_translated_to_a_modelpack_config() {
        let ollama = read(&json!({
            "model_format": "gguf", "model_family": "llama", "model_families": ["llama", "clip"], "model_type": "8.0B", "file_type": "Q4_K_M",
            "context_length": 131_072, "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [] },
        }));
        let expected = json!({
            "descriptor": { "family": "llama" },
            "config": { "format": "gguf", "paramSize": "8.0B", "quantization": "Q4_K_M", "model_families": ["llama", "clip"] },
            "modelfs": { "type": "layers", "diffIds": [] },
        });
        assert_eq!(serde_json::to_value(ollama.config()).unwrap(), expected);
        assert_eq!(ollama.annotations()[annotation::CONTEXT_LENGTH], "131072");
    }

    #[test]
    fn unusable_values_give_an_empty_config() {
        let odd = json!({
            "model_format": [], "model_family": {}, "model_type": null, "file_type": true, "context_length": "", "model_families": [["llama"]],
            "config": { "format": "gguf" }, "descriptor": { "name": "x" },
        });
        for nothing in [json!({}), odd] {
            assert_eq!((read(&nothing).config(), read(&nothing).annotations()), (Config::default(), BTreeMap::new()), "{nothing}");
        }
        for bad in ["", "[]", "null", "7"] {
            assert!(OllamaModel::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
