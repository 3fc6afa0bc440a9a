//! Metadata of a model: the fields of its config, the allowed values of each, and the sources of
//! the values.

use crate::infer::{Finding, Inferred, licence};
use modelpack_spec::{ModelConfig, ModelDescriptor, value};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A field of the config that a source can fill (specification, `docs/config.md`).
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name with its parent objects: `config.capabilities.languages`.
    pub name: &'static str,
    /// Whether it is a list. Each value is added to a list.
    pub is_list: bool,
    read: fn(&str) -> Option<Value>,
    allowed: &'static str,
}

const fn text(name: &'static str) -> Field {
    Field { name, is_list: false, read: |text| Some(text.into()), allowed: "a text" }
}

const fn texts(name: &'static str) -> Field {
    Field { is_list: true, ..text(name) }
}

const fn flag(name: &'static str) -> Field {
    Field {
        name,
        is_list: false,
        read: |text| text.to_ascii_lowercase().parse::<bool>().ok().map(Value::Bool),
        allowed: "`true` or `false`",
    }
}

const fn date_time(name: &'static str) -> Field {
    Field { name, is_list: false, read: read_date_time, allowed: "a time of RFC 3339, such as `2025-01-31T00:00:00Z`, or its date alone" }
}

const fn modality(name: &'static str) -> Field {
    let read = |text: &str| Some(text.to_ascii_lowercase()).filter(|word| value::is_modality(word)).map(Value::String);
    Field { name, is_list: true, read, allowed: "one of text, image, audio, video, embedding, other" }
}

#[allow(missing_docs, reason = "each constant is the field with its name")]
impl Field {
    pub const CREATED_AT: Self = date_time("descriptor.createdAt");
    pub const AUTHORS: Self = texts("descriptor.authors");
    pub const VENDOR: Self = text("descriptor.vendor");
    pub const FAMILY: Self = text("descriptor.family");
    pub const NAME: Self = text("descriptor.name");
    pub const VERSION: Self = text("descriptor.version");
    pub const TITLE: Self = text("descriptor.title");
    pub const DESCRIPTION: Self = text("descriptor.description");
    pub const DOC_URL: Self = text("descriptor.docURL");
    pub const SOURCE_URL: Self = text("descriptor.sourceURL");
    pub const DATASETS: Self = texts("descriptor.datasetsURL");
    pub const REVISION: Self = text("descriptor.revision");
    pub const LICENSES: Self = Self {
        read: |text| licence::spdx(text).map(Value::String),
        allowed: "an SPDX expression, such as `Apache-2.0`, or another licence's name, which is written as `LicenseRef-NAME`",
        ..texts("descriptor.licenses")
    };
    pub const ARCHITECTURE: Self = text("config.architecture");
    pub const FORMAT: Self = text("config.format");
    pub const PARAM_SIZE: Self = Self {
        read: |text| value::is_param_size(text).then(|| text.into()),
        allowed: "a number with at most one decimal place, then K, M, B, T or Q, such as `6.7B`",
        ..text("config.paramSize")
    };
    pub const PRECISION: Self = Self {
        read: read_precision,
        allowed: "words of float64, float32, float16, bfloat16, float8_e4m3, float8_e5m2, complex128, complex64, complex32, int64, int32, \
                  int16, int8, uint64, uint32, uint16, uint8, bool, separated by commas (what has fewer bits is a quantization)",
        ..text("config.precision")
    };
    pub const QUANTIZATION: Self = text("config.quantization");
    pub const INPUT_TYPES: Self = modality("config.capabilities.inputTypes");
    pub const OUTPUT_TYPES: Self = modality("config.capabilities.outputTypes");
    pub const KNOWLEDGE_CUTOFF: Self = date_time("config.capabilities.knowledgeCutoff");
    pub const REASONING: Self = flag("config.capabilities.reasoning");
    pub const TOOL_USAGE: Self = flag("config.capabilities.toolUsage");
    pub const REWARD: Self = flag("config.capabilities.reward");
    pub const LANGUAGES: Self = Self {
        read: |text| Some(text.to_ascii_lowercase()).filter(|code| value::is_language(code)).map(Value::String),
        allowed: "a two-letter code of ISO 639, such as `en`",
        ..texts("config.capabilities.languages")
    };

    /// All fields, in the order of the specification.
    pub const ALL: [Self; 25] = [
        Self::CREATED_AT,
        Self::AUTHORS,
        Self::VENDOR,
        Self::FAMILY,
        Self::NAME,
        Self::VERSION,
        Self::TITLE,
        Self::DESCRIPTION,
        Self::DOC_URL,
        Self::SOURCE_URL,
        Self::DATASETS,
        Self::REVISION,
        Self::LICENSES,
        Self::ARCHITECTURE,
        Self::FORMAT,
        Self::PARAM_SIZE,
        Self::PRECISION,
        Self::QUANTIZATION,
        Self::INPUT_TYPES,
        Self::OUTPUT_TYPES,
        Self::KNOWLEDGE_CUTOFF,
        Self::REASONING,
        Self::TOOL_USAGE,
        Self::REWARD,
        Self::LANGUAGES,
    ];
}

/// A time, or a date alone, which means midnight UTC.
fn read_date_time(text: &str) -> Option<Value> {
    let midnight = || format!("{text}T00:00:00Z");
    let time = if text.len() == "2025-01-31".len() { midnight() } else { text.to_owned() };
    value::is_date_time(&time).then(|| time.into())
}

/// Converts common names of numeric types to the specification's names.
fn read_precision(text: &str) -> Option<Value> {
    let word = |text: &str| {
        let word = text.trim().to_ascii_lowercase();
        Some(match word.strip_prefix("torch.").unwrap_or(&word) {
            "fp64" | "f64" | "double" => "float64".to_owned(),
            "fp32" | "f32" | "float" => "float32".to_owned(),
            "fp16" | "f16" | "half" => "float16".to_owned(),
            "bf16" => "bfloat16".to_owned(),
            "fp8_e4m3" | "f8_e4m3" | "float8_e4m3fn" => "float8_e4m3".to_owned(),
            "fp8_e5m2" | "f8_e5m2" => "float8_e5m2".to_owned(),
            other => other.to_owned(),
        })
    };
    let words: Option<Vec<String>> = text.split(',').map(word).collect();
    words.map(|words| words.join(",")).filter(|words| value::is_precision(words)).map(Value::String)
}

/// A value that its field does not allow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{text:?} is not a value of `{field}`; expected {allowed}")]
pub struct InvalidValue {
    /// The field, or `annotations`.
    pub field: &'static str,
    /// The refused value.
    pub text: String,
    /// A description of the allowed values.
    pub allowed: &'static str,
}

/// The values of one source, each with its origin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    pub(crate) values: Vec<Finding>,
    pub(crate) annotations: BTreeMap<String, Finding>,
    pub(crate) notes: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

impl Metadata {
    /// Sets `field` to `text`, or adds `text` to a list. `source` is the origin of the value, such
    /// as `--name`.
    pub fn say(&mut self, field: Field, text: &str, source: &str) -> Result<(), InvalidValue> {
        let invalid = || InvalidValue { field: field.name, text: text.to_owned(), allowed: field.allowed };
        let value = Some(text.trim()).filter(|text| !text.is_empty()).and_then(field.read).ok_or_else(invalid)?;
        let existing = self.values.iter_mut().find(|existing| existing.field == field.name);
        match existing {
            Some(existing) => {
                match &mut existing.value {
                    Value::Array(values) if values.contains(&value) => return Ok(()),
                    Value::Array(values) => values.push(value),
                    other => *other = value,
                }
                if existing.source != source {
                    existing.source = format!("{}, {source}", existing.source);
                }
            }
            None => {
                let value = if field.is_list { Value::Array(vec![value]) } else { value };
                self.values.push(Finding { field: field.name, value, source: source.to_owned() });
            }
        }
        Ok(())
    }

    /// Adds an annotation of an existing artifact to the manifest, with any key.
    pub fn annotate_as(&mut self, key: &str, value: &str, source: &str) {
        let finding = Finding { field: ANNOTATIONS, value: value.into(), source: source.to_owned() };
        self.annotations.insert(key.to_owned(), finding);
    }

    /// Records a sentence about a probable mistake of the author.
    pub fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// The value of `field`.
    pub fn get(&self, field: Field) -> Option<&Value> {
        self.values.iter().find(|finding| finding.field == field.name).map(|finding| &finding.value)
    }

    /// Adds the annotation `text`, `KEY=VALUE`, to the manifest. Keys of the specification are
    /// refused.
    pub fn annotate(&mut self, text: &str, source: &str) -> Result<(), InvalidValue> {
        let reserved = ["org.cncf.model.", "org.cnai.model."];
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() && reserved.iter().all(|prefix| !key.starts_with(prefix)) => {
                let finding = Finding { field: ANNOTATIONS, value: value.into(), source: source.to_owned() };
                self.annotations.insert(key.to_owned(), finding);
                Ok(())
            }
            _ => Err(InvalidValue {
                field: ANNOTATIONS,
                text: text.to_owned(),
                allowed: "`KEY=VALUE`, with a key that does not begin with `org.cncf.model.`",
            }),
        }
    }
}

impl From<Inferred> for Metadata {
    fn from(inferred: Inferred) -> Self {
        let Inferred { findings: values, annotations, notes, warnings, .. } = inferred;
        Self { values, annotations, notes, warnings }
    }
}

/// The name of the manifest's annotations among the fields.
const ANNOTATIONS: &str = "annotations";

/// The description of a model, merged from all sources.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Description {
    /// General information.
    pub descriptor: ModelDescriptor,
    /// Technical metadata.
    pub config: ModelConfig,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
    /// Every value above with its source, in the order of the specification; annotations come last.
    pub findings: Vec<Finding>,
    /// Differing values of sources with lower priority, in the order of the sources.
    pub overruled: Vec<Finding>,
    /// Sentences about weight files without usable metadata.
    pub notes: Vec<String>,
    /// Sentences about side files that could not be read. Their values are missing above.
    pub warnings: Vec<String>,
}

impl Description {
    /// Merges `sources`, which are in order of priority: the first source with a value for a field
    /// wins.
    pub fn of(sources: impl IntoIterator<Item = Metadata>) -> Self {
        let mut values: Vec<Finding> = Vec::new();
        let mut annotations: BTreeMap<String, Finding> = BTreeMap::new();
        let mut overruled = Vec::new();
        let (mut notes, mut warnings) = (Vec::new(), Vec::new());
        for source in sources {
            for finding in source.values {
                match values.iter().find(|value| value.field == finding.field) {
                    None => values.push(finding),
                    Some(chosen) if chosen.value != finding.value => overruled.push(finding),
                    Some(_) => {}
                }
            }
            notes.extend(source.notes);
            warnings.extend(source.warnings);
            for (key, finding) in source.annotations {
                match annotations.get(&key) {
                    Some(chosen) if chosen.value != finding.value => overruled.push(as_pair(&key, finding)),
                    Some(_) => {}
                    None => _ = annotations.insert(key, finding),
                }
            }
        }
        values.sort_by_key(|finding| Field::ALL.iter().position(|field| field.name == finding.field));
        let inferred = crate::infer::config_of(&values);
        let texts = annotations.iter().map(|(key, finding)| (key.clone(), finding.value.as_str().unwrap_or_default().to_owned())).collect();
        values.extend(annotations.into_iter().map(|(key, finding)| as_pair(&key, finding)));
        Self { descriptor: inferred.0, config: inferred.1, annotations: texts, findings: values, overruled, notes, warnings }
    }
}

/// An annotation in the form of a field value: `KEY=VALUE`.
fn as_pair(key: &str, finding: Finding) -> Finding {
    let value = format!("{key}={}", finding.value.as_str().unwrap_or_default());
    Finding { value: value.into(), ..finding }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_one_of_the_config() {
        for field in Field::ALL {
            let mut metadata = Metadata::default();
            let text = match field.name {
                name if name.ends_with("At") || name.ends_with("Cutoff") => "2025-01-31",
                "config.paramSize" => "7B",
                "config.precision" => "bf16",
                name if name.ends_with("Types") => "text",
                "config.capabilities.languages" => "en",
                name if ["reasoning", "toolUsage", "reward"].iter().any(|flag| name.ends_with(flag)) => "true",
                _ => "x",
            };
            metadata.say(field, text, "here").unwrap();
            let Description { descriptor, config, findings, .. } = Description::of([metadata]);
            assert!(descriptor.other.is_empty() && config.other.is_empty(), "{}", field.name);
            assert!(config.capabilities.is_none_or(|capabilities| capabilities.other.is_empty()), "{}", field.name);
            assert_eq!(findings.len(), 1);
        }
    }

    #[test]
    fn the_first_source_with_a_value_wins() {
        let mut flags = Metadata::default();
        flags.say(Field::NAME, "flag", "--name").unwrap();
        flags.say(Field::LANGUAGES, "EN", "--language").unwrap();
        flags.say(Field::LANGUAGES, "de", "--language").unwrap();
        flags.annotate("a.b=c=d", "--annotation").unwrap();
        let mut file = Metadata::default();
        file.say(Field::NAME, "file", "Modelfile:1").unwrap();
        file.say(Field::FAMILY, "llama", "Modelfile:2").unwrap();
        file.say(Field::LANGUAGES, "fr", "Modelfile:3").unwrap();
        let mut files = Metadata::default();
        files.say(Field::FAMILY, "llama", "config.json").unwrap();
        files.say(Field::NAME, "model", "README.md").unwrap();
        files.annotate("a.b=d", "config.json").unwrap();
        let description = Description::of([flags, file, files]);
        let overruled: Vec<_> = description.overruled.iter().map(|finding| (finding.value.clone(), finding.source.as_str())).collect();
        assert_eq!(
            overruled,
            [
                ("file".into(), "Modelfile:1"),
                (serde_json::json!(["fr"]), "Modelfile:3"),
                ("model".into(), "README.md"),
                ("a.b=d".into(), "config.json"),
            ]
        );
        assert_eq!((description.descriptor.name.as_deref(), description.descriptor.family.as_deref()), (Some("flag"), Some("llama")));
        assert_eq!(description.config.capabilities.unwrap().languages, ["en", "de"]);
        assert_eq!(description.annotations["a.b"], "c=d");
        let sources: Vec<_> = description.findings.iter().map(|finding| (finding.field, finding.source.as_str())).collect();
        assert_eq!(
            sources,
            [
                ("descriptor.family", "Modelfile:2"),
                ("descriptor.name", "--name"),
                ("config.capabilities.languages", "--language"),
                ("annotations", "--annotation"),
            ]
        );
    }

    #[test]
    fn values_are_converted_to_the_specifications_form() {
        let normalised = |field: Field, text: &str| {
            let mut metadata = Metadata::default();
            metadata.say(field, text, "here").map(|()| metadata.values.remove(0).value)
        };
        assert_eq!(normalised(Field::PRECISION, "BF16, fp8_e4m3").unwrap(), "bfloat16,float8_e4m3");
        assert_eq!(normalised(Field::KNOWLEDGE_CUTOFF, "2024-05-21").unwrap(), "2024-05-21T00:00:00Z");
        assert_eq!(normalised(Field::REASONING, "True").unwrap(), true);
        assert_eq!(normalised(Field::LICENSES, "apache-2.0").unwrap(), serde_json::json!(["Apache-2.0"]));
        assert_eq!(normalised(Field::LICENSES, "Our Licence 1.0").unwrap(), serde_json::json!(["LicenseRef-our-licence-1.0"]));
        assert_eq!(normalised(Field::LICENSES, "MIT OR Apache-2.0").unwrap(), serde_json::json!(["MIT OR Apache-2.0"]));
        for (field, bad) in [
            (Field::PRECISION, "int4"),
            (Field::PARAM_SIZE, "8x7B"),
            (Field::INPUT_TYPES, "smell"),
            (Field::LANGUAGES, "eng"),
            (Field::CREATED_AT, "2024-13-01"),
            (Field::REWARD, "yes"),
            (Field::NAME, " "),
        ] {
            let error = normalised(field, bad).unwrap_err();
            assert!(error.to_string().contains(field.name), "{error}");
        }
        assert!(Metadata::default().annotate("org.cncf.model.filepath=x", "here").is_err());
        assert!(Metadata::default().annotate("no value", "here").is_err());
    }
}
