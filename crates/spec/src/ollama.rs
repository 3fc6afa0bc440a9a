//! What the config of an Ollama model says, in the words of a model's config: read and never written.

use crate::{
    Config, annotation,
    translate::{self, Fields, at},
};
use serde_json::Value;
use std::collections::BTreeMap;

/// Its `architecture` and `os` are those of a container image, and say nothing of the model.
const FIELDS: &Fields = &[
    ("model_family", "descriptor.family"),
    ("base_name", "descriptor.name"),
    ("model_format", "config.format"),
    ("model_type", "config.paramSize"),
    ("file_type", "config.quantization"),
];

/// Fields that are shown as they are: other families that parts of the model are of, and what of Ollama runs it.
const KEPT: [&str; 4] = ["model_families", "renderer", "parser", "requires"];

/// The config of an Ollama model, which has the media type of a container image's: `application/vnd.docker.container.image.v1+json`.
///
/// Reading is lenient: a value of another type says nothing, as do fields that are not known.
#[derive(Clone, Debug, PartialEq)]
pub struct OllamaModel(Value);

impl OllamaModel {
    /// Reads a config blob, which must be a JSON object.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        translate::parse(bytes).map(Self)
    }

    /// What it says of the model; nothing of `modelfs`.
    pub fn config(&self) -> Config {
        translate::config(&self.0, FIELDS, "", &KEPT)
    }

    /// What it says that no field holds, as annotations of a manifest.
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
    fn what_it_says_is_said_in_our_words() {
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
    fn what_says_nothing_is_a_config_that_says_nothing() {
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
