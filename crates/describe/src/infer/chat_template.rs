//! Capabilities that a Jinja chat template shows.
//!
//! A template can only show that a capability exists: a model may have capabilities that its
//! template does not mention.

use super::{
    findings::{Findings, field},
    folder::{Folder, beginning},
    transformers::tokens,
};
use modelpack_spec::annotation;
use serde_json::Value;

/// The longest known templates have some 30 KiB.
const MAX_TEMPLATE_BYTES: u64 = 1 << 20;

/// Reads `chat_template.jinja`, or else the template in `chat_template.json` or
/// `tokenizer_config.json`.
pub(super) fn describe(folder: &Folder<'_>, found: &mut Findings) {
    if let Some(file) = folder.find(|name| name == "chat_template.jinja") {
        if let Some(template) = beginning(file, MAX_TEMPLATE_BYTES) {
            read(&template, file.path.as_str(), found);
        }
        return;
    }
    for name in ["chat_template.json", "tokenizer_config.json"] {
        let Some((config, path)) = folder.json_fields(name, &["chat_template"]) else { continue };
        let text = match &config["chat_template"] {
            Value::String(text) => text.clone(),
            Value::Array(named) => named.iter().filter_map(|named| named["template"].as_str()).collect(),
            _ => continue,
        };
        return read(&text, &format!("{path}: `chat_template`"), found);
    }
}

/// Records the length to which the tokenizer truncates texts, which is the context length if no
/// other source gives one.
pub(super) fn describe_context(folder: &Folder<'_>, found: &mut Findings) {
    if let Some((config, path)) = folder.json_fields("tokenizer_config.json", &["model_max_length"]) {
        found.annotate(annotation::CONTEXT_LENGTH, tokens(&config["model_max_length"]), format!("{path}: `model_max_length`"));
    }
}

/// Records the capabilities that `template` shows.
pub(super) fn read(template: &str, source: &str, found: &mut Findings) {
    let names = names(template);
    let uses_any = |wanted: &[&str]| names.iter().any(|name| wanted.contains(name));
    let uses_tools = uses_any(&["tools", "tool_calls", "custom_tools", "builtin_tools"]);
    let has_any = |marks: &[&str]| marks.iter().any(|mark| template.contains(mark));
    let reasons = has_any(&["<think>", "<seed:think>", "[THINK]", "<|START_THINKING|>"])
        || uses_any(&["enable_thinking", "reasoning_content", "reasoning_effort", "thinking", "thinking_budget"]);
    found.say(field::TOOL_USAGE, uses_tools.then_some(true), source);
    found.say(field::REASONING, reasons.then_some(true), source);
}

/// The names in the expressions and statements of a template. Names in its text and strings are
/// left out, because prose may mention tools.
fn names(template: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = template;
    while let Some(open) = rest.find("{{").into_iter().chain(rest.find("{%")).min() {
        let close = if rest[open..].starts_with("{{") { "}}" } else { "%}" };
        rest = &rest[open + 2..];
        while !rest.is_empty() && !rest.starts_with(close) {
            let first = rest.chars().next().unwrap_or_default();
            let is_in_name = |c: char| c.is_alphanumeric() || c == '_';
            let length = if first == '"' || first == '\'' {
                string_length(rest, first)
            } else if is_in_name(first) {
                let length = rest.find(|c| !is_in_name(c)).unwrap_or(rest.len());
                names.push(&rest[..length]);
                length
            } else {
                first.len_utf8()
            };
            rest = &rest[length..];
        }
    }
    names
}

/// The length of the string at the beginning of `text`, with its quotes.
fn string_length(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_in_jinja_code_are_found() {
        assert_eq!(names("You have tools. {{ 'tools \\' tools' }}{%- if a.b -%}tools{{ \"x\" ~ c }}"), ["if", "a", "b", "c"]);
        assert_eq!(names("{% if tools"), ["if", "tools"]);
        assert_eq!(names("{{ 'never closed }} tools"), [""; 0]);
        assert_eq!(names("{{"), [""; 0]);
    }
}
