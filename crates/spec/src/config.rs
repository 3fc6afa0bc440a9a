//! The model config, `application/vnd.cncf.model.config.v1+json` (specification, `docs/config.md`).
//!
//! Reading is lenient: every field may be absent, older spellings (`diff_ids`, `input_types`) are taken, unknown fields are kept.
//! Writing is strict: today's names only, absent fields left out, the three required objects always there.

use crate::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

type Other = BTreeMap<String, Value>;

/// What an artifact says of its model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// General information.
    pub descriptor: ModelDescriptor,
    /// Technical metadata.
    pub config: ModelConfig,
    /// The content of the layers.
    pub modelfs: ModelFs,
    /// Fields that the specification does not name.
    #[serde(flatten)]
    pub other: Other,
}

impl Config {
    /// Reads a config blob; `{}` is a config that says nothing.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The blob to store: JSON whose bytes depend on the values alone.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a config has string keys only, so it always serialises")
    }
}

/// `descriptor`: general information about the model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ModelDescriptor {
    /// When the model was created, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", alias = "created_at")]
    pub created_at: Option<String>,
    /// Contact details of those responsible.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "crate::manifest::null_is_empty")]
    pub authors: Vec<String>,
    /// The organisation that distributes the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// The lineage, such as `llama3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// The model's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The model's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// A title for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// A description for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where to read more.
    #[serde(rename = "docURL", alias = "doc_url", skip_serializing_if = "Option::is_none")]
    pub doc_url: Option<String>,
    /// Where the source is.
    #[serde(rename = "sourceURL", alias = "source_url", skip_serializing_if = "Option::is_none")]
    pub source_url: Option<String>,
    /// The data sets it was trained on.
    #[serde(
        rename = "datasetsURL",
        alias = "datasets_url",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "crate::manifest::null_is_empty"
    )]
    pub datasets_url: Vec<String>,
    /// The revision in source control.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// SPDX licence expressions.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "crate::manifest::null_is_empty")]
    pub licenses: Vec<String>,
    /// Fields that the specification does not name.
    #[serde(flatten)]
    pub other: Other,
}

/// `config`: technical metadata of the model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ModelConfig {
    /// Such as `transformer`, `cnn` or `rnn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Such as `safetensors`, `gguf`, `onnx` or `pt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The number of parameters: at most one decimal and one of K, M, B, T, Q, such as `6.7B`.
    #[serde(skip_serializing_if = "Option::is_none", alias = "param_size")]
    pub param_size: Option<String>,
    /// Numeric types, comma separated, such as `bfloat16`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<String>,
    /// Quantization technique, such as `awq`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantization: Option<String>,
    /// What the model can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Fields that the specification does not name.
    #[serde(flatten)]
    pub other: Other,
}

/// `config.capabilities`: what the model can do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Capabilities {
    /// What it takes: `text`, `image`, `audio`, `video`, `embedding` or `other`.
    #[serde(alias = "input_types", skip_serializing_if = "Vec::is_empty", deserialize_with = "crate::manifest::null_is_empty")]
    pub input_types: Vec<String>,
    /// What it gives, in the same words.
    #[serde(alias = "output_types", skip_serializing_if = "Vec::is_empty", deserialize_with = "crate::manifest::null_is_empty")]
    pub output_types: Vec<String>,
    /// The date of its newest training data, RFC 3339.
    #[serde(alias = "knowledge_cutoff", skip_serializing_if = "Option::is_none")]
    pub knowledge_cutoff: Option<String>,
    /// Whether it reasons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<bool>,
    /// Whether it calls tools.
    #[serde(alias = "tool_usage", skip_serializing_if = "Option::is_none")]
    pub tool_usage: Option<bool>,
    /// Whether it is a reward model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward: Option<bool>,
    /// Languages it speaks, two-letter codes of ISO 639.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "crate::manifest::null_is_empty")]
    pub languages: Vec<String>,
    /// Fields that the specification does not name.
    #[serde(flatten)]
    pub other: Other,
}

/// `modelfs`: the content of the layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// For each layer in order, the digest of its uncompressed content.
    #[serde(rename = "diffIds", alias = "diff_ids", deserialize_with = "crate::manifest::null_is_empty")]
    pub diff_ids: Vec<Digest>,
}

impl Default for ModelFs {
    fn default() -> Self {
        Self { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_config_says_nothing_and_is_written_whole() {
        let config = Config::parse(b"{}").unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(
            String::from_utf8(config.to_bytes()).unwrap(),
            r#"{"descriptor":{},"config":{},"modelfs":{"type":"layers","diffIds":[]}}"#
        );
    }

    #[test]
    fn older_spellings_are_read_and_todays_written_and_unknown_fields_kept() {
        let digest = Digest::of(b"");
        let old = format!(
            r#"{{"descriptor":{{"created_at":"2025-01-01T00:00:00Z","authors":null,"colour":"red"}},"config":{{"param_size":"8b","capabilities":{{"input_types":["text"]}}}},"modelfs":{{"type":"layers","diff_ids":["{digest}"]}},"more":1}}"#
        );
        let config = Config::parse(old.as_bytes()).unwrap();
        assert_eq!(config.modelfs.diff_ids, [digest]);
        let written = String::from_utf8(config.to_bytes()).unwrap();
        for expected in
            [r#""createdAt""#, r#""paramSize":"8b""#, r#""inputTypes":["text"]"#, r#""diffIds""#, r#""colour":"red""#, r#""more":1"#]
        {
            assert!(written.contains(expected), "{expected} not in {written}");
        }
        assert_eq!(Config::parse(written.as_bytes()).unwrap(), config);
    }
}
