//! The JSON Schemas of the documents, and their verdicts in words of our own.

use crate::{
    Document, Report,
    report::{describe, escape},
    rule::{LAYERS_OR_MANIFESTS, OLDER_NAME},
};
use jsonschema::{
    PatternOptions, ValidationError, Validator,
    error::{TypeKind, ValidationErrorKind as Kind},
};
use serde_json::Value;
use std::sync::LazyLock;

/// The JSON Schema of a config, draft 2020-12, as text.
pub const CONFIG_SCHEMA: &str = include_str!("../../../schema/config.schema.json");
/// The JSON Schema of a manifest, draft 2020-12, as text.
pub const MANIFEST_SCHEMA: &str = include_str!("../../../schema/manifest.schema.json");
/// The JSON Schema of the value of `org.cncf.model.file.metadata+json`, draft 2020-12, as text.
pub const FILE_METADATA_SCHEMA: &str = include_str!("../../../schema/file-metadata.schema.json");

pub(crate) static CONFIG: LazyLock<Schema> = LazyLock::new(|| Schema::of(CONFIG_SCHEMA));
pub(crate) static MANIFEST: LazyLock<Schema> = LazyLock::new(|| Schema::of(MANIFEST_SCHEMA));
pub(crate) static FILE_METADATA: LazyLock<Schema> = LazyLock::new(|| Schema::of(FILE_METADATA_SCHEMA));

/// Names of fields in older releases of the specification, and today's.
const OLDER_FIELDS: [(&str, &str); 13] = [
    ("created_at", "createdAt"),
    ("createTime", "createdAt"),
    ("doc_url", "docURL"),
    ("source_url", "sourceURL"),
    ("datasets_url", "datasetsURL"),
    ("param_size", "paramSize"),
    ("parameterSize", "paramSize"),
    ("puantization", "quantization"),
    ("input_types", "inputTypes"),
    ("output_types", "outputTypes"),
    ("knowledge_cutoff", "knowledgeCutoff"),
    ("tool_usage", "toolUsage"),
    ("diff_ids", "diffIds"),
];

pub(crate) struct Schema {
    text: Value,
    validator: Validator,
}

impl Schema {
    fn of(text: &str) -> Self {
        let text: Value = serde_json::from_str(text).expect("our schemas are JSON, which the tests see");
        let validator = jsonschema::draft202012::options()
            .should_validate_formats(true)
            .with_format("date-time", modelpack_spec::value::is_date_time)
            // Patterns meet hostile texts: an engine that cannot be made to backtrack.
            .with_pattern_options(PatternOptions::regex())
            .build(&text)
            .expect("our schemas are schemas, which the tests see");
        Self { text, validator }
    }

    /// Reports what the schema says of `value`.
    pub(crate) fn check(&self, document: Document, value: &Value, report: &mut Report) {
        for error in self.validator.iter_errors(value) {
            self.report(document, &error, report);
        }
    }

    fn report(&self, document: Document, error: &ValidationError<'_>, report: &mut Report) {
        let pointer = error.instance_path().as_str();
        // The schema object that has the keyword.
        let object = error.schema_path().as_str().rsplit_once('/').map_or("", |(object, _)| object);
        let schema = self.text.pointer(object).unwrap_or(&Value::Null);
        let found = || describe(error.instance());
        match error.kind() {
            Kind::AdditionalProperties { unexpected } => {
                let fields: Vec<&str> = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
                for field in unexpected {
                    let at = format!("{pointer}/{}", escape(field));
                    match OLDER_FIELDS.iter().find(|(older, today)| older == field && fields.contains(today)) {
                        Some((_, today)) => report.add(document, at, "the name of an older specification", *today, OLDER_NAME),
                        None => report.add(document, at, "an unknown field", one_of(&fields), "additionalProperties"),
                    }
                }
            }
            Kind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                let allowed = self.allowed(&schema["properties"][name]);
                report.add(document, format!("{pointer}/{}", escape(name)), "nothing", allowed, "required");
            }
            Kind::Type { kind } => {
                let allowed = match kind {
                    TypeKind::Single(kind) => with_article(&kind.to_string()).to_owned(),
                    TypeKind::Multiple(_) => self.allowed(schema),
                };
                report.add(document, pointer, found(), allowed, "type");
            }
            Kind::Constant { .. } | Kind::Enum { .. } => {
                let older = error.instance().as_str().and_then(|text| today(text).filter(|today| is_allowed(schema, today)));
                match older {
                    Some(today) => report.add(document, pointer, format!("{}, of an older specification", found()), today, OLDER_NAME),
                    None => report.add(document, pointer, found(), self.allowed(schema), error.kind().keyword()),
                }
            }
            Kind::MinItems { limit } => report.add(document, pointer, found(), format!("at least {limit} item"), "minItems"),
            Kind::MinLength { limit } => report.add(document, pointer, found(), format!("at least {limit} character"), "minLength"),
            Kind::Minimum { limit } => report.add(document, pointer, found(), format!("at least {limit}"), "minimum"),
            Kind::Maximum { limit } => report.add(document, pointer, found(), format!("at most {limit}"), "maximum"),
            Kind::FalseSchema => {
                let allowed = "layers, or manifests in an index, not both";
                report.add(document, pointer, "manifests beside layers", allowed, LAYERS_OR_MANIFESTS);
            }
            kind => report.add(document, pointer, found(), self.allowed(schema), kind.keyword()),
        }
    }

    /// What a schema allows: its description, or else what can be told of its keywords.
    fn allowed(&self, schema: &Value) -> String {
        let of_reference = || {
            let target = schema["$ref"].as_str()?.strip_prefix('#')?;
            self.text.pointer(target).map(|target| self.allowed(target))
        };
        if let Some(description) = schema["description"].as_str() {
            description.to_owned()
        } else if let Some(expected) = schema.get("const") {
            expected.to_string()
        } else if let Some(options) = schema["enum"].as_array() {
            one_of(&options.iter().filter_map(Value::as_str).collect::<Vec<_>>())
        } else if let Some(kind) = schema["type"].as_str() {
            with_article(kind).to_owned()
        } else {
            of_reference().unwrap_or_else(|| "the field".to_owned())
        }
    }
}

fn one_of(options: &[&str]) -> String {
    match options {
        [] => "no field".to_owned(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

fn with_article(kind: &str) -> &str {
    match kind {
        "array" => "an array",
        "boolean" => "a boolean",
        "integer" => "a whole number",
        "number" => "a number",
        "object" => "an object",
        "string" => "a string",
        other => other,
    }
}

/// Today's media type for one of the older family.
fn today(media_type: &str) -> Option<String> {
    let rest = media_type.strip_prefix("application/vnd.cnai.model.")?;
    Some(format!("application/vnd.cncf.model.{rest}"))
}

fn is_allowed(schema: &Value, text: &str) -> bool {
    schema["const"] == text || schema["enum"].as_array().is_some_and(|options| options.iter().any(|option| option == text))
}
