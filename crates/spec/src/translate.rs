//! Configs of other tools in the words of a model's config: which of their fields say what one of ours says.
//!
//! Reading is lenient: a value of another type says nothing, as do fields that are not known.

use crate::Config;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What the config of an artifact says of its model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// In the words of the specification. Values are as they were said, whether a field allows them or not.
    pub config: Config,
    /// What no field holds, as annotations of a manifest.
    pub annotations: BTreeMap<String, String>,
}

/// A field of another tool's config, by its path, and the field of ours that says the same. Of several that fill one text the first is
/// heard; a list takes all of them.
pub(crate) type Fields = [(&'static str, &'static str)];

/// Reads a config blob, which must be a JSON object.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice::<Map<String, Value>>(bytes).map(Value::Object)
}

/// What `said` says of the model by `fields`, and beside it in `config` the fields `kept` of the object at `from`, which must not be named
/// like any of ours. Of these, what is nested deeper than a list or an object of values is left out: no such field holds it.
pub(crate) fn config(said: &Value, fields: &Fields, from: &str, kept: &[&str]) -> Config {
    let mut tree = Value::Object(Map::new());
    for (from, to) in fields {
        let target = to.split('.').fold(&mut tree, |object, key| &mut object[key]);
        let is_list = matches!(*to, "descriptor.authors" | "descriptor.licenses");
        for said in at(said, from).into_iter().filter_map(text) {
            match target {
                Value::Array(values) if !values.contains(&said) => values.push(said),
                Value::Null => *target = if is_list { Value::Array(vec![said]) } else { said },
                _ => {}
            }
        }
    }
    for key in kept {
        for value in at(said, from).into_iter().filter_map(|object| object.get(key)).filter(|value| !value.is_null() && is_flat(value)) {
            tree["config"][key] = value.clone();
        }
    }
    Config::parse(tree.to_string().as_bytes()).expect("texts and lists of them are what these fields hold")
}

/// Whether a list or an object holds none itself.
fn is_flat(value: &Value) -> bool {
    let is_nested = |value: &Value| value.is_array() || value.is_object();
    match value {
        Value::Array(values) => !values.iter().any(is_nested),
        Value::Object(fields) => !fields.values().any(is_nested),
        _ => true,
    }
}

/// The values at `path`, whose keys stand between slashes; `*` stands for each element of a list, and the empty path for `value`.
pub(crate) fn at<'v>(value: &'v Value, path: &str) -> Vec<&'v Value> {
    path.split('/').filter(|key| !key.is_empty()).fold(vec![value], |values, key| match key {
        "*" => values.into_iter().filter_map(Value::as_array).flatten().collect(),
        key => values.into_iter().filter_map(|value| value.get(key)).collect(),
    })
}

/// A text that says something. Who wrote a version as a number meant its text.
pub(crate) fn text(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(value.clone()),
        Value::Number(number) => Some(number.to_string().into()),
        _ => None,
    }
}

/// A whole number above zero, which may be written as text.
pub(crate) fn count(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).filter(|count| *count > 0)
}
