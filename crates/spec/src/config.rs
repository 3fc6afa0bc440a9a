//! The model config, `application/vnd.cncf.model.config.v1+json` (specification, `docs/config.md`).
//!
//! Reading is lenient. Every field may be absent. Older spellings (`diff_ids`, `input_types`) are
//! accepted. A value of the wrong type is converted if it has an obvious text form and treated as
//! absent otherwise. Unknown fields are kept. Text that is not a JSON object, and a field given
//! twice, are refused.
//!
//! Writing is strict: only today's names, absent fields left out, and the three required objects
//! always present.

use crate::{Digest, UnknownFields, lenient, unknown::keeps_unknown_fields};
use serde::{Deserialize, Deserializer, Serialize};

/// The largest config that is read, in bytes: 4 MiB, the same limit as for a manifest.
pub const MAX_CONFIG_BYTES: usize = 4 << 20;

/// The largest number of values in a config. Each value may cost some hundred bytes of memory,
/// however short it is. A config with a digest for each of ten thousand layers has a tenth of this
/// number.
pub const MAX_CONFIG_VALUES: usize = 100_000;

/// The approximate number of values in a JSON document: one for each comma, and one for each list
/// and object.
pub fn count_values(json: &[u8]) -> usize {
    let (mut count, mut in_text, mut is_escaped) = (0, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' if !in_text => count += 1,
            _ => {}
        }
    }
    count
}

/// The only valid type of a [`ModelFs`].
pub(crate) const LAYERS: &str = "layers";

/// The config of a model artifact.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, remote = "Self")]
pub struct Config {
    /// General information.
    #[serde(deserialize_with = "lenient::object")]
    pub descriptor: ModelDescriptor,
    /// Technical metadata.
    #[serde(deserialize_with = "lenient::object")]
    pub config: ModelConfig,
    /// The content of the layers.
    #[serde(deserialize_with = "lenient::object")]
    pub modelfs: ModelFs,
    /// Fields that the specification does not name.
    #[serde(flatten, skip_deserializing)]
    pub other: UnknownFields,
}

impl Config {
    /// Reads a config blob. `{}` is an empty config.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The config as a blob: JSON whose bytes depend on the values alone.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a config has string keys only, so it always serialises")
    }
}

/// `descriptor`: general information about the model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", remote = "Self")]
pub struct ModelDescriptor {
    /// The creation time of the model, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", alias = "created_at", alias = "createTime", deserialize_with = "lenient::text")]
    pub created_at: Option<String>,
    /// Contact details of the authors.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::texts")]
    pub authors: Vec<String>,
    /// The organisation that distributes the model.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::text")]
    pub vendor: Option<String>,
    /// The lineage, such as `llama3`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::text")]
    pub family: Option<String>,
    /// The model's name.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::text")]
    pub name: Option<String>,
    /// The model's version.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::text")]
    pub version: Option<String>,
    /// A title for display.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::text")]
    pub title: Option<String>,
    /// A description for display.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::text")]
    pub description: Option<String>,
    /// The URL of the documentation.
    #[serde(rename = "docURL", alias = "doc_url", skip_serializing_if = "Option::is_none", deserialize_with = "lenient::text")]
    pub doc_url: Option<String>,
    /// The URL of the source.
    #[serde(rename = "sourceURL", alias = "source_url", skip_serializing_if = "Option::is_none", deserialize_with = "lenient::text")]
    pub source_url: Option<String>,
    /// URLs of the data sets that the model was trained on.
    #[serde(rename = "datasetsURL", alias = "datasets_url", skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::texts")]
    pub datasets_url: Vec<String>,
    /// The revision in source control.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::text")]
    pub revision: Option<String>,
    /// SPDX licence expressions.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::texts")]
    pub licenses: Vec<String>,
    /// Fields that the specification does not name.
    #[serde(flatten, skip_deserializing)]
    pub other: UnknownFields,
}

/// `config`: technical metadata of the model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", remote = "Self")]
pub struct ModelConfig {
    /// The architecture, such as `transformer`, `cnn` or `rnn`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::text")]
    pub architecture: Option<String>,
    /// The file format, such as `safetensors`, `gguf`, `onnx` or `pt`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::text")]
    pub format: Option<String>,
    /// The number of parameters: a number with at most one decimal, followed by K, M, B, T or Q,
    /// such as `6.7B`.
    #[serde(skip_serializing_if = "Option::is_none", alias = "param_size", alias = "parameterSize", deserialize_with = "lenient::text")]
    pub param_size: Option<String>,
    /// Numeric types, separated by commas, such as `bfloat16`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::text")]
    pub precision: Option<String>,
    /// The quantization technique, such as `awq`.
    #[serde(alias = "puantization", skip_serializing_if = "Option::is_none", deserialize_with = "lenient::text")]
    pub quantization: Option<String>,
    /// The capabilities of the model.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::optional_object")]
    pub capabilities: Option<Capabilities>,
    /// Fields that the specification does not name.
    #[serde(flatten, skip_deserializing)]
    pub other: UnknownFields,
}

/// `config.capabilities`: the capabilities of the model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", remote = "Self")]
pub struct Capabilities {
    /// Input modalities: `text`, `image`, `audio`, `video`, `embedding` or `other`.
    #[serde(alias = "input_types", skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::texts")]
    pub input_types: Vec<String>,
    /// Output modalities, from the same list.
    #[serde(alias = "output_types", skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::texts")]
    pub output_types: Vec<String>,
    /// The date of the newest training data, RFC 3339.
    #[serde(alias = "knowledge_cutoff", skip_serializing_if = "Option::is_none", deserialize_with = "lenient::text")]
    pub knowledge_cutoff: Option<String>,
    /// Whether the model reasons.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::flag")]
    pub reasoning: Option<bool>,
    /// Whether the model calls tools.
    #[serde(alias = "tool_usage", skip_serializing_if = "Option::is_none", deserialize_with = "lenient::flag")]
    pub tool_usage: Option<bool>,
    /// Whether it is a reward model.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "lenient::flag")]
    pub reward: Option<bool>,
    /// The languages that the model supports, as two-letter ISO 639 codes.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "lenient::texts")]
    pub languages: Vec<String>,
    /// Fields that the specification does not name.
    #[serde(flatten, skip_deserializing)]
    pub other: UnknownFields,
}

/// `modelfs`: the content of the layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, remote = "Self")]
pub struct ModelFs {
    /// Always `layers`.
    #[serde(rename = "type", deserialize_with = "layers")]
    pub kind: String,
    /// For each layer in order, the digest of its uncompressed content.
    #[serde(rename = "diffIds", alias = "diff_ids", deserialize_with = "lenient::digests")]
    pub diff_ids: Vec<Digest>,
    /// Fields that the specification does not name.
    #[serde(flatten, skip_deserializing)]
    pub other: UnknownFields,
}

keeps_unknown_fields!(Config, ModelDescriptor, ModelConfig, Capabilities, ModelFs);

/// The type of a [`ModelFs`]. A value that is not a text is read as the only valid type.
fn layers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(lenient::text(deserializer)?.unwrap_or_else(|| LAYERS.to_owned()))
}

impl Default for ModelFs {
    fn default() -> Self {
        Self { kind: LAYERS.to_owned(), diff_ids: Vec::new(), other: UnknownFields::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_config_is_read_and_written_with_its_required_objects() {
        let config = Config::parse(b"{}").unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(
            String::from_utf8(config.to_bytes()).unwrap(),
            r#"{"descriptor":{},"config":{},"modelfs":{"type":"layers","diffIds":[]}}"#
        );
    }

    #[test]
    fn values_are_counted_outside_strings() {
        for (json, count) in [("{}", 1), ("7", 0), (r#"{"a":[1,2],"b":{}}"#, 5), (r#"{"a,[{":"\",[{","b":"\\"}"#, 2), ("[[[", 3)] {
            assert_eq!(count_values(json.as_bytes()), count, "{json}");
        }
    }

    #[test]
    fn older_spellings_are_read_todays_are_written_and_unknown_fields_are_kept() {
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

    fn parse(text: &str) -> Config {
        Config::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    #[test]
    fn the_spellings_of_every_release_are_read() {
        let camel = r#"{"descriptor":{"createdAt":"c","docURL":"d","sourceURL":"s","datasetsURL":["x"]},
            "config":{"paramSize":"8b","quantization":"awq","capabilities":{"inputTypes":["text"],"outputTypes":["text"],
            "knowledgeCutoff":"k","toolUsage":true}},"modelfs":{"type":"layers","diffIds":[]}}"#;
        let snake = r#"{"descriptor":{"created_at":"c","doc_url":"d","source_url":"s","datasets_url":["x"]},
            "config":{"param_size":"8b","quantization":"awq","capabilities":{"input_types":["text"],"output_types":["text"],
            "knowledge_cutoff":"k","tool_usage":true}},"modelfs":{"type":"layers","diff_ids":[]}}"#;
        assert_eq!(parse(snake), parse(camel));
        assert_eq!(parse(snake).config.capabilities.unwrap().tool_usage, Some(true));
        // The first release of the specification.
        let first = parse(r#"{"descriptor":{"createTime":"c"},"config":{"parameterSize":8000000000,"puantization":"awq"}}"#);
        assert_eq!(first.descriptor.created_at.as_deref(), Some("c"));
        assert_eq!((first.config.param_size.as_deref(), first.config.quantization.as_deref()), (Some("8000000000"), Some("awq")));
    }

    #[test]
    fn a_value_of_the_wrong_type_is_converted_or_dropped() {
        let digest = Digest::of(b"");
        let odd = parse(&format!(
            r#"{{"descriptor":{{"name":7,"version":1.5,"authors":"me","datasetsURL":"http://x","licenses":[1,{{}},null],"title":["t"],"family":{{}}}},
                "config":{{"precision":null,"capabilities":{{"reasoning":"yes","languages":"en"}}}},
                "modelfs":{{"type":3,"diffIds":["{digest}","nonsense"],"colour":"red"}}}}"#
        ));
        let model = &odd.descriptor;
        assert_eq!((model.name.as_deref(), model.version.as_deref()), (Some("7"), Some("1.5")));
        assert_eq!((&model.authors[..], &model.datasets_url[..]), (&["me".to_owned()][..], &["http://x".to_owned()][..]));
        assert_eq!((&model.licenses[..], &model.title, &model.family), (&["1".to_owned()][..], &None, &None));
        let capabilities = odd.config.capabilities.as_ref().unwrap();
        assert_eq!((capabilities.reasoning, &capabilities.languages[..]), (None, &["en".to_owned()][..]));
        assert!(odd.modelfs.diff_ids.is_empty(), "diffIds are positional, so one invalid diffId invalidates the list");
        assert_eq!((odd.modelfs.kind.as_str(), odd.modelfs.other.get("colour")), ("3", Some("red".into())));
        assert_eq!(parse(&String::from_utf8(odd.to_bytes()).unwrap()), odd);
        assert_eq!(parse(r#"{"descriptor":[],"config":"x","modelfs":null}"#), Config::default());
        assert_eq!(parse(r#"{"config":{"capabilities":["text"]}}"#), Config::default());
    }

    #[test]
    fn documents_that_are_no_object_or_have_a_field_twice_are_refused() {
        for bad in [
            "",
            "7",
            "null",
            "[]",
            r#"{"descriptor":{},"descriptor":{}}"#,
            r#"{"descriptor":{"name":"a","name":"b"}}"#,
            r#"{"modelfs":{"diffIds":[],"diff_ids":[]}}"#,
            r#"{"config":{"capabilities":{"inputTypes":[],"input_types":[]}}}"#,
        ] {
            assert!(Config::parse(bad.as_bytes()).is_err(), "{bad} is accepted");
        }
    }
}
