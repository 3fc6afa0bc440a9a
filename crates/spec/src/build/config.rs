//! The builder of a config.

use super::BuildError;
use crate::{
    Capabilities, Config, Digest, ModelConfig, ModelDescriptor, ModelFs, UnknownFields,
    value::{is_date_time, is_language, is_licence_expression, is_modality, is_param_size, is_precision},
};

/// Builds a [`Config`] in which every value matches the grammar of its field.
///
/// Setters accept any value. [`build`](Self::build) and
/// [`ArtifactBuilder::build`](super::ArtifactBuilder::build) refuse the first value that the
/// specification does not allow. The setter of a list appends to the list.
///
/// ```
/// use modelpack_spec::{ConfigBuilder, Digest};
///
/// let config = ConfigBuilder::new().name("tiny").param_size("7B").language("en").build([Digest::of(b"weights")])?;
/// assert_eq!(config.config.param_size.as_deref(), Some("7B"));
/// assert!(ConfigBuilder::new().param_size("8x7B").build([Digest::of(b"weights")]).is_err());
/// # Ok::<(), modelpack_spec::BuildError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigBuilder {
    descriptor: ModelDescriptor,
    config: ModelConfig,
}

/// Setters of single text fields.
macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident => $($field:ident).+;)*) => {$(
        $(#[$doc])*
        pub fn $name(mut self, value: impl Into<String>) -> Self {
            self.$($field).+ = Some(value.into());
            self
        }
    )*};
}

/// Setters of fields that are lists of texts.
macro_rules! lists {
    ($($(#[$doc:meta])* $name:ident => $($field:ident).+;)*) => {$(
        $(#[$doc])*
        pub fn $name(mut self, value: impl Into<String>) -> Self {
            self.$($field).+.push(value.into());
            self
        }
    )*};
}

impl ConfigBuilder {
    /// An empty config.
    pub fn new() -> Self {
        Self::default()
    }

    texts! {
        /// The creation time of the model: `descriptor.createdAt`, RFC 3339.
        created_at => descriptor.created_at;
        /// The distributor of the model.
        vendor => descriptor.vendor;
        /// The lineage, such as `llama3`.
        family => descriptor.family;
        /// The model's name.
        name => descriptor.name;
        /// The model's version.
        version => descriptor.version;
        /// A title for display.
        title => descriptor.title;
        /// A description for display.
        description => descriptor.description;
        /// The URL of the documentation: `descriptor.docURL`.
        doc_url => descriptor.doc_url;
        /// The URL of the source: `descriptor.sourceURL`.
        source_url => descriptor.source_url;
        /// The revision in source control.
        revision => descriptor.revision;
        /// The architecture, such as `transformer`.
        architecture => config.architecture;
        /// The file format, such as `safetensors` or `gguf`.
        format => config.format;
        /// The number of parameters, such as `6.7B`: see [`is_param_size`].
        param_size => config.param_size;
        /// Numeric types, separated by commas: see [`is_precision`].
        precision => config.precision;
        /// The quantization technique, such as `awq`.
        quantization => config.quantization;
    }

    lists! {
        /// Adds the contact details of an author.
        author => descriptor.authors;
        /// Adds a data set that the model was trained on: `descriptor.datasetsURL`.
        dataset_url => descriptor.datasets_url;
        /// Adds an SPDX licence expression, `descriptor.licenses`: see [`is_licence_expression`].
        license => descriptor.licenses;
    }

    /// Adds an input modality: see [`is_modality`].
    pub fn input_type(mut self, modality: impl Into<String>) -> Self {
        self.capabilities().input_types.push(modality.into());
        self
    }

    /// Adds an output modality: see [`is_modality`].
    pub fn output_type(mut self, modality: impl Into<String>) -> Self {
        self.capabilities().output_types.push(modality.into());
        self
    }

    /// Sets the date of the newest training data, RFC 3339.
    pub fn knowledge_cutoff(mut self, time: impl Into<String>) -> Self {
        self.capabilities().knowledge_cutoff = Some(time.into());
        self
    }

    /// Sets whether the model reasons.
    pub fn reasoning(mut self, reasons: bool) -> Self {
        self.capabilities().reasoning = Some(reasons);
        self
    }

    /// Sets whether the model calls tools.
    pub fn tool_usage(mut self, calls_tools: bool) -> Self {
        self.capabilities().tool_usage = Some(calls_tools);
        self
    }

    /// Sets whether it is a reward model.
    pub fn reward(mut self, is_reward_model: bool) -> Self {
        self.capabilities().reward = Some(is_reward_model);
        self
    }

    /// Adds a language by its two-letter ISO 639 code: see [`is_language`].
    pub fn language(mut self, code: impl Into<String>) -> Self {
        self.capabilities().languages.push(code.into());
        self
    }

    fn capabilities(&mut self) -> &mut Capabilities {
        self.config.capabilities.get_or_insert_default()
    }

    /// Checks all values without layers, and refuses the first that does not match the grammar of
    /// its field.
    pub fn check(&self) -> Result<(), BuildError> {
        check_descriptor(&self.descriptor)?;
        check_config(&self.config)
    }

    /// The config of an artifact whose layers have these `diffIds`, in the order of the layers.
    pub fn build(self, diff_ids: impl IntoIterator<Item = Digest>) -> Result<Config, BuildError> {
        let diff_ids: Vec<Digest> = diff_ids.into_iter().collect();
        if diff_ids.is_empty() {
            return Err(BuildError::Missing { field: "/modelfs/diffIds".to_owned(), reason: "an artifact has at least one layer" });
        }
        self.check()?;
        let modelfs = ModelFs { diff_ids, ..ModelFs::default() };
        Ok(Config { descriptor: self.descriptor, config: self.config, modelfs, other: UnknownFields::default() })
    }
}

/// Takes the values of a config that was inferred or read, so that `build` checks them. Its
/// `modelfs`, which describes the layers, is dropped.
impl From<Config> for ConfigBuilder {
    fn from(config: Config) -> Self {
        Self { descriptor: config.descriptor, config: config.config }
    }
}

fn check_descriptor(descriptor: &ModelDescriptor) -> Result<(), BuildError> {
    no_unknown("/descriptor", &descriptor.other)?;
    one("/descriptor/createdAt", &descriptor.created_at, is_date_time, "an RFC 3339 time")?;
    for (field, text) in [
        ("vendor", &descriptor.vendor),
        ("family", &descriptor.family),
        ("name", &descriptor.name),
        ("version", &descriptor.version),
        ("title", &descriptor.title),
        ("description", &descriptor.description),
        ("docURL", &descriptor.doc_url),
        ("sourceURL", &descriptor.source_url),
        ("revision", &descriptor.revision),
    ] {
        one(&format!("/descriptor/{field}"), text, is_not_empty, TEXT)?;
    }
    each("/descriptor/authors", &descriptor.authors, is_not_empty, TEXT)?;
    each("/descriptor/datasetsURL", &descriptor.datasets_url, is_not_empty, TEXT)?;
    each("/descriptor/licenses", &descriptor.licenses, is_licence_expression, LICENCE)
}

fn check_config(config: &ModelConfig) -> Result<(), BuildError> {
    no_unknown("/config", &config.other)?;
    for (field, text) in [("architecture", &config.architecture), ("format", &config.format), ("quantization", &config.quantization)] {
        one(&format!("/config/{field}"), text, is_not_empty, TEXT)?;
    }
    one("/config/paramSize", &config.param_size, is_param_size, "a number with at most one decimal place, then K, M, B, T or Q")?;
    one("/config/precision", &config.precision, is_precision, "a list of the specification's numeric types, such as float16,int8")?;
    let Some(capabilities) = &config.capabilities else { return Ok(()) };
    no_unknown("/config/capabilities", &capabilities.other)?;
    each("/config/capabilities/inputTypes", &capabilities.input_types, is_modality, MODALITY)?;
    each("/config/capabilities/outputTypes", &capabilities.output_types, is_modality, MODALITY)?;
    one("/config/capabilities/knowledgeCutoff", &capabilities.knowledge_cutoff, is_date_time, "an RFC 3339 time")?;
    each("/config/capabilities/languages", &capabilities.languages, is_language, "a two-letter ISO 639 code in lower case")
}

const TEXT: &str = "a text with at least one character; leave the field out instead";
const LICENCE: &str = "an SPDX licence expression, such as Apache-2.0, or LicenseRef-NAME for a licence without an identifier";
const MODALITY: &str = "text, image, audio, video, embedding or other";

fn is_not_empty(text: &str) -> bool {
    !text.is_empty()
}

fn one(field: &str, value: &Option<String>, is_valid: fn(&str) -> bool, expected: &'static str) -> Result<(), BuildError> {
    match value {
        Some(value) if !is_valid(value) => Err(BuildError::Value { field: field.to_owned(), value: value.clone(), expected }),
        _ => Ok(()),
    }
}

fn each(field: &str, values: &[String], is_valid: fn(&str) -> bool, expected: &'static str) -> Result<(), BuildError> {
    match values.iter().enumerate().find(|(_, value)| !is_valid(value)) {
        Some((at, value)) => Err(BuildError::Value { field: format!("{field}/{at}"), value: value.clone(), expected }),
        None => Ok(()),
    }
}

fn no_unknown(object: &str, other: &UnknownFields) -> Result<(), BuildError> {
    match other.first_name() {
        Some(field) => Err(BuildError::Unknown { field: format!("{object}/{field}") }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The field that `builder` refuses, if any.
    fn refused(builder: ConfigBuilder) -> Option<String> {
        match builder.build([Digest::of(b"")]) {
            Ok(_) => None,
            Err(BuildError::Value { field, .. } | BuildError::Unknown { field }) => Some(field),
            Err(e) => panic!("{e}"),
        }
    }

    #[test]
    fn each_field_is_checked_against_its_grammar() {
        type Set = fn(ConfigBuilder, String) -> ConfigBuilder;
        #[rustfmt::skip]
        let fields: [(&str, Set, &str, &str); 25] = [
            ("/descriptor/createdAt", |b, v| b.created_at(v), "2025-01-31T00:00:00Z", "2025-01-31"),
            ("/descriptor/authors/0", |b, v| b.author(v), "me", ""),
            ("/descriptor/vendor", |b, v| b.vendor(v), "us", ""),
            ("/descriptor/family", |b, v| b.family(v), "llama", ""),
            ("/descriptor/name", |b, v| b.name(v), "tiny", ""),
            ("/descriptor/version", |b, v| b.version(v), "1", ""),
            ("/descriptor/title", |b, v| b.title(v), "Tiny", ""),
            ("/descriptor/description", |b, v| b.description(v), "small", ""),
            ("/descriptor/docURL", |b, v| b.doc_url(v), "https://x", ""),
            ("/descriptor/sourceURL", |b, v| b.source_url(v), "https://x", ""),
            ("/descriptor/datasetsURL/0", |b, v| b.dataset_url(v), "https://x", ""),
            ("/descriptor/revision", |b, v| b.revision(v), "abc", ""),
            ("/descriptor/licenses/0", |b, v| b.license(v), "MIT", "llama3.1"),
            ("/config/architecture", |b, v| b.architecture(v), "transformer", ""),
            ("/config/format", |b, v| b.format(v), "gguf", ""),
            ("/config/paramSize", |b, v| b.param_size(v), "6.7B", "8x7B"),
            ("/config/precision", |b, v| b.precision(v), "float16,int8", "bf16"),
            ("/config/quantization", |b, v| b.quantization(v), "awq", ""),
            ("/config/capabilities/inputTypes/0", |b, v| b.input_type(v), "text", "Text"),
            ("/config/capabilities/outputTypes/0", |b, v| b.output_type(v), "other", "code"),
            ("/config/capabilities/knowledgeCutoff", |b, v| b.knowledge_cutoff(v), "2024-06-01T00:00:00Z", "2024-06"),
            ("/config/capabilities/languages/0", |b, v| b.language(v), "en", "eng"),
            ("/config/capabilities/languages/1", |b, v| b.language("en").language(v), "de", "DE"),
            ("/config/capabilities/inputTypes/1", |b, v| b.input_type("text").input_type(v), "image", ""),
            ("/descriptor/licenses/1", |b, v| b.license("MIT").license(v), "Apache-2.0", ""),
        ];
        for (field, set, good, bad) in fields {
            assert_eq!(refused(set(ConfigBuilder::new(), good.to_owned())), None, "{field} {good}");
            assert_eq!(refused(set(ConfigBuilder::new(), bad.to_owned())).as_deref(), Some(field), "{bad}");
            let built = set(ConfigBuilder::new(), good.to_owned()).build([Digest::of(b"")]).unwrap();
            let written: serde_json::Value = serde_json::from_slice(&built.to_bytes()).unwrap();
            assert_eq!(written.pointer(field), Some(&serde_json::Value::from(good)), "the setter sets its field");
        }
        let built = ConfigBuilder::new().reasoning(true).tool_usage(false).reward(true).build([Digest::of(b"")]).unwrap();
        let capabilities = built.config.capabilities.unwrap();
        assert_eq!((capabilities.reasoning, capabilities.tool_usage, capabilities.reward), (Some(true), Some(false), Some(true)));
    }

    #[test]
    fn unknown_fields_and_no_layers_are_refused() {
        for (pointer, text) in [
            ("/descriptor/x", r#"{"descriptor":{"x":1}}"#),
            ("/config/x", r#"{"config":{"x":1}}"#),
            ("/config/capabilities/x", r#"{"config":{"capabilities":{"x":1}}}"#),
        ] {
            assert_eq!(refused(Config::parse(text.as_bytes()).unwrap().into()).as_deref(), Some(pointer));
        }
        let error = ConfigBuilder::new().build([]).unwrap_err();
        assert_eq!(error.to_string(), "/modelfs/diffIds: an artifact has at least one layer");
    }
}
