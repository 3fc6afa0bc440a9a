//! Reads the config of a Docker Model Runner artifact into a ModelPack [`Config`]. Such configs are
//! never written.

use crate::{
    Config, annotation,
    translate::{self, Fields, at},
};
use serde_json::Value;
use std::collections::BTreeMap;

/// When Docker writes ModelPack, it uses the GGUF architecture, such as `llama`, for both family
/// and architecture.
const FIELDS: &Fields = &[
    ("descriptor/created", "descriptor.createdAt"),
    ("config/architecture", "descriptor.family"),
    ("config/gguf/general.architecture", "descriptor.family"),
    ("config/gguf/general.name", "descriptor.name"),
    ("config/gguf/general.version", "descriptor.version"),
    ("config/gguf/general.author", "descriptor.authors"),
    ("config/gguf/general.organization", "descriptor.vendor"),
    ("config/gguf/general.description", "descriptor.description"),
    ("config/gguf/general.license", "descriptor.licenses"),
    ("config/gguf/general.url", "descriptor.docURL"),
    ("config/gguf/general.repo_url", "descriptor.sourceURL"),
    ("config/architecture", "config.architecture"),
    ("config/gguf/general.architecture", "config.architecture"),
    ("config/format", "config.format"),
    ("config/parameters", "config.paramSize"),
    ("config/gguf/general.size_label", "config.paramSize"),
    ("config/quantization", "config.quantization"),
];

/// Fields of Docker's `config` that are kept unchanged: the metadata of the weights, their size,
/// and the context length in tokens.
const KEPT: [&str; 5] = ["gguf", "safetensors", "diffusers", "size", "context_size"];

/// The config of an artifact of Docker Model Runner, `application/vnd.docker.ai.model.config.v0.1+json` or `v0.2`.
///
/// Reading is lenient: unknown fields and values of the wrong type are ignored.
#[derive(Clone, Debug, PartialEq)]
pub struct DockerModel(Value);

impl DockerModel {
    /// Reads a config blob, which must be a JSON object.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        translate::parse(bytes).map(Self)
    }

    /// The description of the model. `modelfs` stays empty.
    pub fn config(&self) -> Config {
        translate::config(&self.0, FIELDS, "config", &KEPT)
    }

    /// The values for which [`Config`] has no field, as annotations of a manifest.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let first = |path: &str| at(&self.0, path).into_iter().find_map(translate::count);
        let architecture = at(&self.0, "config/gguf/general.architecture").into_iter().find_map(Value::as_str);
        let of_weights = || first(&format!("config/gguf/{}.context_length", architecture?));
        let tokens = first("config/context_size").or_else(of_weights);
        tokens.map(|tokens| (annotation::CONTEXT_LENGTH.to_owned(), tokens.to_string())).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: &Value) -> DockerModel {
        DockerModel::parse(value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn fields_are_translated_to_a_modelpack_config() {
        let gguf = json!({
            "general.name": "Smol", "general.license": "apache-2.0", "general.organization": "HF", "general.size_label": "360M",
            "general.architecture": "llama", "llama.context_length": "8192",
        });
        let docker = read(&json!({
            "config": {
                "format": "gguf", "quantization": "IQ2_XXS/Q4_K_M", "parameters": "361.82 M", "architecture": "llama", "size": "256.35 MiB",
                "gguf": gguf,
            },
            "descriptor": { "created": "2025-04-01T12:00:00.5Z" },
            "rootfs": { "type": "rootfs", "diff_ids": ["sha256:nonsense"] },
        }));
        let expected = json!({
            "descriptor": { "createdAt": "2025-04-01T12:00:00.5Z", "vendor": "HF", "family": "llama", "name": "Smol", "licenses": ["apache-2.0"] },
            "config": {
                "architecture": "llama", "format": "gguf", "paramSize": "361.82 M", "quantization": "IQ2_XXS/Q4_K_M", "gguf": gguf,
                "size": "256.35 MiB",
            },
            "modelfs": { "type": "layers", "diffIds": [] },
        });
        assert_eq!(serde_json::to_value(docker.config()).unwrap(), expected);
        assert_eq!(docker.annotations()[annotation::CONTEXT_LENGTH], "8192");
        let model = read(&json!({ "config": { "context_size": 4096, "gguf": gguf } }));
        assert_eq!(model.annotations()[annotation::CONTEXT_LENGTH], "4096");
        assert_eq!(model.config().config.param_size.as_deref(), Some("360M"));
    }

    #[test]
    fn unusable_values_give_an_empty_config() {
        let odd = [
            json!({}),
            json!({ "config": [], "descriptor": 7 }),
            json!({ "config": { "format": ["gguf"], "parameters": {}, "architecture": null, "param_size": "1B", "paramSize": "2B" } }),
            json!({ "config": { "gguf": null }, "descriptor": { "created": [] }, "modelfs": { "diffIds": ["x"] } }),
        ];
        for nothing in odd {
            assert_eq!((read(&nothing).config(), read(&nothing).annotations()), (Config::default(), BTreeMap::new()), "{nothing}");
        }
        for context in [json!(0), json!(-1), json!(1.5), json!("many"), json!([1]), json!(true)] {
            assert_eq!(read(&json!({ "config": { "context_size": context } })).annotations(), BTreeMap::new(), "{context}");
        }
        for bad in ["", "[]", "null", "7"] {
            assert!(DockerModel::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
