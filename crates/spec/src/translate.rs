//! Translates configs of other tools into the specification's config by tables of corresponding
//! fields.
//!
//! Reading is lenient: unknown fields and values of the wrong type are ignored.

use crate::Config;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The model's description, read from the config of an artifact.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigContents {
    /// The fields that the specification has. Values are unchanged, even if the specification does
    /// not allow them.
    pub config: Config,
    /// The values for which the specification has no field, as annotations of a manifest.
    pub annotations: BTreeMap<String, String>,
}

/// Pairs of the path of a field in another tool's config and the path of the corresponding field in
/// [`Config`]. If several fields map to one text, the first with a value wins; a list gets the
/// values of all of them.
pub(crate) type Fields = [(&'static str, &'static str)];

/// Reads a config blob, which must be a JSON object.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice::<Map<String, Value>>(bytes).map(Value::Object)
}

/// Translates `document` by the table `fields`. In addition, copies the fields `kept` of the object at
/// `from` into `config`; their names must differ from those of the specification's fields. Lists
/// and objects nested inside a copied field's list or object are dropped, because no such field
/// needs them.
pub(crate) fn config(document: &Value, fields: &Fields, from: &str, kept: &[&str]) -> Config {
    let mut tree = Value::Object(Map::new());
    for (from, to) in fields {
        let target = to.split('.').fold(&mut tree, |object, key| &mut object[key]);
        let is_list = matches!(*to, "descriptor.authors" | "descriptor.licenses");
        for value in at(document, from).into_iter().filter_map(text) {
            match target {
                Value::Array(values) if !values.contains(&value) => values.push(value),
                Value::Null => *target = if is_list { Value::Array(vec![value]) } else { value },
                _ => {}
            }
        }
    }
    for key in kept {
        for value in at(document, from).into_iter().filter_map(|object| object.get(key)).filter(|value| !value.is_null() && is_flat(value))
        {
            tree["config"][key] = value.clone();
        }
    }
    Config::parse(tree.to_string().as_bytes()).expect("texts and lists of them are what these fields hold")
}

/// Whether a list or an object contains no other list or object.
fn is_flat(value: &Value) -> bool {
    let is_nested = |value: &Value| value.is_array() || value.is_object();
    match value {
        Value::Array(values) => !values.iter().any(is_nested),
        Value::Object(fields) => !fields.values().any(is_nested),
        _ => true,
    }
}

/// The values at `path`: keys separated by slashes. `*` selects each element of a list; the empty
/// path selects `value` itself.
pub(crate) fn at<'v>(value: &'v Value, path: &str) -> Vec<&'v Value> {
    path.split('/').filter(|key| !key.is_empty()).fold(vec![value], |values, key| match key {
        "*" => values.into_iter().filter_map(Value::as_array).flatten().collect(),
        key => values.into_iter().filter_map(|value| value.get(key)).collect(),
    })
}

/// A text that is not empty. A number is converted, because some tools write a version as a number.
pub(crate) fn text(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(value.clone()),
        Value::Number(number) => Some(number.to_string().into()),
        _ => None,
    }
}

/// A positive whole number, which may be written as a text.
pub(crate) fn count(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).filter(|count| *count > 0)
}
