//! Metadata from the config of an existing artifact.

use crate::{Field, InvalidValue, Metadata};
use modelpack_spec::{Config, value::is_param_size};
use serde_json::Value;

impl Metadata {
    /// The values of `config` in the specification's form, and those that cannot be converted. A
    /// number of parameters is rounded to the one decimal that the specification allows. `source`
    /// names the origin of the values, such as `config`.
    pub fn of_config(config: &Config, source: &str) -> (Self, Vec<InvalidValue>) {
        let tree = serde_json::to_value(config).expect("a config has string keys only, so it always serialises");
        let (mut metadata, mut left_out) = (Self::default(), Vec::new());
        for field in Field::ALL {
            let values = match tree.pointer(&format!("/{}", field.name.replace('.', "/"))) {
                Some(Value::Array(values)) => values.clone(),
                Some(value) => vec![value.clone()],
                None => Vec::new(),
            };
            let texts = values.iter().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            for text in texts.filter(|text| !text.trim().is_empty()) {
                let is_to_be_rounded = field.name == Field::PARAM_SIZE.name && !is_param_size(&text);
                let rounded = if is_to_be_rounded { rounded(&text) } else { None };
                left_out.extend(metadata.say(field, rounded.as_deref().unwrap_or(&text), source).err());
            }
        }
        (metadata, left_out)
    }
}

/// Converts a number of parameters such as `361.82 M` to one with one decimal and without spaces.
fn rounded(size: &str) -> Option<String> {
    let size = size.trim();
    let unit = size.chars().next_back().filter(char::is_ascii_alphabetic)?;
    let number = size.strip_suffix(unit)?.trim_end();
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if !decimals.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let digit = |at: usize| decimals.as_bytes().get(at).map_or(0, |digit| u64::from(digit - b'0'));
    let tenths = whole.parse::<u64>().ok()?.checked_mul(10)?.checked_add(digit(0) + u64::from(digit(1) >= 5))?;
    match (tenths / 10, tenths % 10) {
        (0, 0) => None,
        (whole, 0) => Some(format!("{whole}{unit}")),
        (whole, tenth) => Some(format!("{whole}.{tenth}{unit}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_sizes_are_rounded_to_one_decimal() {
        for (value, expected) in [
            ("361.82 M", Some("361.8M")),
            ("8.03B", Some("8B")),
            ("1.25B", Some("1.3B")),
            ("999.96M", Some("1000M")),
            (" 7 B ", Some("7B")),
            ("0.01B", None),
            ("8x7B", None),
            ("-1.25B", None),
            ("1.2.3B", None),
            (".55B", None),
            ("1.２５B", None),
            ("B", None),
            ("7", None),
            ("", None),
            ("99999999999999999999.55B", None),
            ("1844674407370955161.99B", None),
        ] {
            assert_eq!(rounded(value).as_deref(), expected, "{value}");
        }
    }
}
