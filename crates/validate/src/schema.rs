//! The JSON Schemas of the documents, and their evaluation.
//!
//! [`keyword`](crate::keyword) parses a schema. It supports only the keywords that our schemas use.

use crate::{
    Document, Report,
    keyword::{Bound, Constant, Format, Keywords, Node, Type, compare},
    report::{describe, escape},
    rule::{LAYERS_OR_MANIFESTS, OLDER_NAME},
};
use serde_json::{Map, Value};
use std::{cmp::Ordering, sync::LazyLock};

/// The JSON Schema of a config, draft 2020-12, as text.
pub const CONFIG_SCHEMA: &str = include_str!("../../../schema/config.schema.json");
/// The JSON Schema of a manifest, draft 2020-12, as text.
pub const MANIFEST_SCHEMA: &str = include_str!("../../../schema/manifest.schema.json");
/// The JSON Schema of the value of `org.cncf.model.file.metadata+json`, draft 2020-12, as text.
pub const FILE_METADATA_SCHEMA: &str = include_str!("../../../schema/file-metadata.schema.json");

pub(crate) static CONFIG: LazyLock<Schema> = LazyLock::new(|| Schema::of(CONFIG_SCHEMA));
pub(crate) static MANIFEST: LazyLock<Schema> = LazyLock::new(|| Schema::of(MANIFEST_SCHEMA));
pub(crate) static FILE_METADATA: LazyLock<Schema> = LazyLock::new(|| Schema::of(FILE_METADATA_SCHEMA));

/// Names of fields in older versions of the specification, each with its current name.
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

/// The schema of one kind of document.
pub(crate) struct Schema(Keywords);

impl Schema {
    fn of(text: &str) -> Self {
        Self(serde_json::from_str(text).expect("the tests check that our schemas have only supported keywords"))
    }

    /// Checks `value`, and reports its problems.
    pub(crate) fn check(&self, document: Document, value: &Value, report: &mut Report) {
        Check { root: &self.0, document, pointer: String::new(), report }.keywords(&self.0, value);
    }
}

/// The check of a document.
struct Check<'a> {
    root: &'a Keywords,
    document: Document,
    /// A JSON pointer to the current value.
    pointer: String,
    report: &'a mut Report,
}

impl Check<'_> {
    fn add(&mut self, found: impl AsRef<str>, allowed: impl Into<String>, rule: &str) {
        self.report.add(self.document, &self.pointer, found, allowed, rule);
    }

    /// Calls `check` while the field or item `part` of the current value is the current value.
    fn inside(&mut self, part: &str, check: impl FnOnce(&mut Self)) {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(&escape(part));
        check(self);
        self.pointer.truncate(length);
    }

    fn node(&mut self, node: &Node, value: &Value) {
        match node {
            Node::Any(true) => {}
            // Our schemas have this only for `manifests` in a manifest.
            Node::Any(false) => {
                self.add("a field of an index", "layers in a manifest, or manifests in an index, but not both", LAYERS_OR_MANIFESTS)
            }
            Node::Keywords(keywords) => self.keywords(keywords, value),
        }
    }

    fn keywords(&mut self, schema: &Keywords, value: &Value) {
        let root = self.root;
        if let Some(reference) = &schema.reference {
            self.keywords(root.referenced(reference), value);
        }
        if schema.kind.is_some_and(|kind| !kind.is_of(value)) {
            self.add(describe(value), schema.kind.map_or("", Type::with_article), "type");
        }
        if schema.constant.as_ref().is_some_and(|constant| !constant.equals(value)) {
            self.not_listed(schema, value, "const");
        }
        if schema.options.as_ref().is_some_and(|options| !options.iter().any(|option| value == option)) {
            self.not_listed(schema, value, "enum");
        }
        match value {
            Value::Object(fields) => self.object(schema, fields),
            Value::Array(items) => self.array(schema, items, value),
            Value::String(text) => self.text(schema, text, value),
            Value::Number(number) => {
                if let Some(Bound(limit)) = schema.minimum.filter(|limit| compare(number, *limit) == Ordering::Less) {
                    self.add(describe(value), format!("at least {limit}"), "minimum");
                }
                if let Some(Bound(limit)) = schema.maximum.filter(|limit| compare(number, *limit) == Ordering::Greater) {
                    self.add(describe(value), format!("at most {limit}"), "maximum");
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn object(&mut self, schema: &Keywords, fields: &Map<String, Value>) {
        for name in schema.required.iter().filter(|name| !fields.contains_key(*name)) {
            let allowed = schema.properties.get(name).map_or_else(any_value, |node| self.root.allowed_by(node));
            self.inside(name, |check| check.add("nothing", allowed, "required"));
        }
        for (name, value) in fields {
            match (schema.properties.get(name), &schema.additional_properties) {
                (None, Some(Node::Any(false))) => self.inside(name, |check| check.unknown(schema, name)),
                (Some(node), _) | (None, Some(node)) => self.inside(name, |check| check.node(node, value)),
                (None, None) => {}
            }
        }
    }

    fn unknown(&mut self, schema: &Keywords, field: &str) {
        let older = OLDER_FIELDS.iter().find(|(older, current)| *older == field && schema.properties.contains_key(*current));
        match older {
            Some((_, current)) => self.add("a field of an older version of the specification", *current, OLDER_NAME),
            None => self.add("an unknown field", one_of(schema.properties.keys()), "additionalProperties"),
        }
    }

    fn array(&mut self, schema: &Keywords, items: &[Value], value: &Value) {
        if let Some(limit) = schema.min_items.filter(|limit| items.len() < *limit) {
            self.add(describe(value), format!("at least {limit} item"), "minItems");
        }
        if let Some(node) = &schema.items {
            for (index, item) in items.iter().enumerate() {
                self.inside(&index.to_string(), |check| check.node(node, item));
            }
        }
    }

    fn text(&mut self, schema: &Keywords, text: &str, value: &Value) {
        if let Some(limit) = schema.min_length.filter(|limit| text.chars().take(*limit).count() < *limit) {
            self.add(describe(value), format!("at least {limit} character"), "minLength");
        }
        if schema.pattern.as_ref().is_some_and(|pattern| !pattern.is_match(text)) {
            self.add(describe(value), self.root.allowed(schema), "pattern");
        }
        if schema.format.is_some_and(|Format::DateTime| !modelpack_spec::value::is_date_time(text)) {
            self.add(describe(value), self.root.allowed(schema), "format");
        }
    }

    /// Reports a value that is not equal to the `const`, or to any value of the `enum`.
    fn not_listed(&mut self, schema: &Keywords, value: &Value, rule: &str) {
        match value.as_str().and_then(current_media_type).filter(|current| schema.lists(current)) {
            Some(current) => self.add(format!("{}, from an older version of the specification", describe(value)), current, OLDER_NAME),
            None => self.add(describe(value), self.root.allowed(schema), rule),
        }
    }
}

impl Keywords {
    /// What `schema`, a part of the document `self`, allows, in words: its description, or else a
    /// text that is made from its keywords.
    fn allowed(&self, schema: &Keywords) -> String {
        if let Some(description) = &schema.description {
            description.clone()
        } else if let Some(constant) = &schema.constant {
            constant.to_string()
        } else if let Some(options) = &schema.options {
            one_of(options.iter())
        } else if let Some(kind) = schema.kind {
            kind.with_article().to_owned()
        } else {
            schema.reference.as_ref().map_or_else(any_value, |reference| self.allowed(self.referenced(reference)))
        }
    }

    fn allowed_by(&self, node: &Node) -> String {
        match node {
            Node::Keywords(schema) => self.allowed(schema),
            Node::Any(_) => any_value(),
        }
    }

    fn lists(&self, text: &str) -> bool {
        matches!(&self.constant, Some(Constant::Text(constant)) if constant == text)
            || self.options.as_ref().is_some_and(|options| options.iter().any(|option| option == text))
    }
}

/// The text for a schema that allows every value.
fn any_value() -> String {
    "any value".to_owned()
}

fn one_of<'a>(options: impl Iterator<Item = &'a String>) -> String {
    let options: Vec<&str> = options.map(String::as_str).collect();
    match &options[..] {
        [] => "no field".to_owned(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// The current media type for a media type of an older version of the specification.
fn current_media_type(media_type: &str) -> Option<String> {
    let rest = media_type.strip_prefix("application/vnd.cnai.model.")?;
    Some(format!("application/vnd.cncf.model.{rest}"))
}
