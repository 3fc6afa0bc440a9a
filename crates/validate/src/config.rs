//! Checks a config: its schema, and the syntax of its values.

use crate::{
    Document, Report, json,
    report::quoted,
    rule::{PARAM_SIZE, PRECISION, READABLE, SPDX_EXPRESSION},
    schema,
};
use modelpack_spec::{
    Config,
    value::{PRECISIONS, is_param_size, is_precision, licence_fault},
};
use serde_json::Value;

/// Reports the problems of the config `bytes`, and returns the config if it is JSON.
pub(crate) fn check(bytes: &[u8], report: &mut Report) -> Option<Value> {
    let before = report.problems.len();
    let value = json::parse(Document::Config, bytes, report)?;
    schema::CONFIG.check(Document::Config, &value, report);
    check_values(&value, report);
    if report.problems.len() == before
        && let Err(e) = Config::parse(bytes)
    {
        report.add(Document::Config, "", e.to_string(), "a config that can be read", READABLE);
    }
    Some(value)
}

fn check_values(value: &Value, report: &mut Report) {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    if let Some(found) = text("/config/paramSize").filter(|text| !is_param_size(text)) {
        let allowed = "a number with at most one decimal place, then K, M, B, T or Q, such as 6.7B";
        report.add(Document::Config, "/config/paramSize", quoted(found), allowed, PARAM_SIZE);
    }
    if let Some(found) = text("/config/precision").filter(|text| !is_precision(text)) {
        let allowed = format!("one or more of these types, each once, separated by commas: {}", PRECISIONS.join(", "));
        report.add(Document::Config, "/config/precision", quoted(found), allowed, PRECISION);
    }
    for (at, licence) in value.pointer("/descriptor/licenses").and_then(Value::as_array).into_iter().flatten().enumerate() {
        if let Some(text) = licence.as_str()
            && let Some(fault) = licence_fault(text)
        {
            let allowed = "an SPDX licence expression, such as Apache-2.0 or LicenseRef-llama3";
            report.add(
                Document::Config,
                format!("/descriptor/licenses/{at}"),
                format!("{} ({fault})", quoted(text)),
                allowed,
                SPDX_EXPRESSION,
            );
        }
    }
}
