//! The values found so far, with their sources.

use super::Inferred;
use crate::ModelFile;
use modelpack_spec::{Config, ModelConfig, ModelDescriptor};
use serde_json::Value;
use std::{collections::BTreeMap, fmt::Display};

/// A field of the config with its value and the source of the value.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The field as the specification names it: `descriptor.family`,
    /// `config.capabilities.languages`.
    pub field: &'static str,
    /// Its value: a string, a list of strings or a boolean.
    pub value: Value,
    /// The file and the part of it, such as ``config.json: `model_type` ``.
    pub source: String,
}

/// The fields that can be inferred.
pub(super) mod field {
    pub(crate) const NAME: &str = "descriptor.name";
    pub(crate) const VERSION: &str = "descriptor.version";
    pub(crate) const FAMILY: &str = "descriptor.family";
    pub(crate) const AUTHORS: &str = "descriptor.authors";
    pub(crate) const VENDOR: &str = "descriptor.vendor";
    pub(crate) const TITLE: &str = "descriptor.title";
    pub(crate) const DESCRIPTION: &str = "descriptor.description";
    pub(crate) const DOC_URL: &str = "descriptor.docURL";
    pub(crate) const SOURCE_URL: &str = "descriptor.sourceURL";
    pub(crate) const REVISION: &str = "descriptor.revision";
    pub(crate) const DATASETS: &str = "descriptor.datasetsURL";
    pub(crate) const LICENSES: &str = "descriptor.licenses";
    pub(crate) const ARCHITECTURE: &str = "config.architecture";
    pub(crate) const FORMAT: &str = "config.format";
    pub(crate) const PARAM_SIZE: &str = "config.paramSize";
    pub(crate) const PRECISION: &str = "config.precision";
    pub(crate) const QUANTIZATION: &str = "config.quantization";
    pub(crate) const INPUT_TYPES: &str = "config.capabilities.inputTypes";
    pub(crate) const OUTPUT_TYPES: &str = "config.capabilities.outputTypes";
    pub(crate) const REASONING: &str = "config.capabilities.reasoning";
    pub(crate) const TOOL_USAGE: &str = "config.capabilities.toolUsage";
    pub(crate) const REWARD: &str = "config.capabilities.reward";
    /// Annotations of the manifest, which also have a name among the fields.
    pub(crate) const ANNOTATIONS: &str = "annotations";
    pub(crate) const LANGUAGES: &str = "config.capabilities.languages";
}

/// Longer texts are not recorded, because no field needs them.
const MAX_TEXT_BYTES: usize = 4096;

/// At most one finding for each field or annotation, in the order of their discovery.
#[derive(Default)]
pub(super) struct Findings {
    values: Vec<Finding>,
    annotations: BTreeMap<String, Finding>,
    notes: Vec<String>,
    warnings: Vec<String>,
}

impl Findings {
    /// Records `value`, unless it is `None` or an earlier source has already set the field.
    pub(super) fn say(&mut self, field: &'static str, value: Option<impl Into<Value>>, source: impl Into<String>) {
        let Some(value) = value.map(Into::into).and_then(presentable) else { return };
        if self.values.iter().all(|finding| finding.field != field) {
            self.values.push(Finding { field, value, source: source.into() });
        }
    }

    /// The value recorded for `field`.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.values.iter().find(|finding| finding.field == field)?.value.as_str()
    }

    /// Records an annotation of the manifest under the same conditions.
    pub(super) fn annotate(&mut self, key: &str, value: Option<String>, source: impl Into<String>) {
        let Some(value) = value.map(Value::from).and_then(presentable) else { return };
        self.annotations.entry(key.to_owned()).or_insert_with(|| Finding { field: field::ANNOTATIONS, value, source: source.into() });
    }

    /// Records why a file gives no metadata.
    pub(super) fn note(&mut self, file: &ModelFile, why: impl Display) {
        self.notes.push(format!("{} gives no metadata: {why}", file.path));
    }

    /// Records a sentence about a probable mistake of the author.
    pub(super) fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// Records that a program refuses a valid file, and why.
    pub(super) fn note_refused(&mut self, file: &ModelFile, by: &str, why: impl Display) {
        self.notes.push(format!("{} cannot be loaded by {by}: {why}", file.path));
    }

    /// The findings together with the config objects that they fill.
    pub(super) fn into_inferred(self) -> Inferred {
        let (descriptor, config) = config_of(&self.values);
        let Self { values: findings, annotations, notes, warnings } = self;
        Inferred { descriptor, config, findings, annotations, notes, warnings }
    }
}

/// The config objects that `findings` fill.
pub(crate) fn config_of(findings: &[Finding]) -> (ModelDescriptor, ModelConfig) {
    let mut tree = Value::Object(Default::default());
    for finding in findings {
        *finding.field.split('.').fold(&mut tree, |object, key| &mut object[key]) = finding.value.clone();
    }
    let config = Config::deserialize(tree).expect("a finding has the type of its field");
    (config.descriptor, config.config)
}

/// Trims texts. Returns `None` for texts that are empty or too long.
fn presentable(value: Value) -> Option<Value> {
    match value {
        Value::String(text) => {
            let text = text.trim();
            (!text.is_empty() && text.len() <= MAX_TEXT_BYTES).then(|| text.into())
        }
        Value::Array(texts) => {
            let texts: Vec<Value> = texts.into_iter().filter_map(presentable).collect();
            (!texts.is_empty()).then_some(Value::Array(texts))
        }
        other => Some(other),
    }
}
