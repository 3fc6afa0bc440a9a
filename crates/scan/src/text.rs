//! Texts: JSON that names code, and code.

use crate::{FileReport, Finding, Severity};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::{fmt, io::Read};

/// A larger JSON file is not parsed: a parser may hold a whole string of it.
const MAX_JSON_BYTES: u64 = 64 << 20;

/// More kinds of findings of one file are not told.
const MAX_KERAS: usize = 100;

/// Extensions of scripts, and what they are.
const SCRIPTS: [(&str, &str); 8] = [
    ("py", "Python code"),
    ("pyc", "compiled Python code"),
    ("ipynb", "a notebook with code"),
    ("sh", "a shell script"),
    ("bash", "a shell script"),
    ("js", "JavaScript"),
    ("lua", "Lua code"),
    ("ps1", "a PowerShell script"),
];

/// Notes what a file's name says that it is run.
pub(crate) fn note_script(path: &str, report: &mut FileReport) {
    let extension = path.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).unwrap_or_default();
    if let Some((_, what)) = SCRIPTS.iter().find(|(known, _)| *known == extension) {
        report.note(format!("{what}: whoever imports or starts it runs it; it was not judged"));
    } else if extension == "jinja" {
        note_chat_template(report);
    }
}

/// Notes that a file has a template of the kind that engines run, with more or less of Python at hand.
pub(crate) fn note_chat_template(report: &mut FileReport) {
    report.note("a chat template: run by a template engine; it was not judged");
}

/// Looks for what makes a loader of this JSON file run code.
pub(crate) fn scan_json(file: impl Read, size: Option<u64>, report: &mut FileReport) {
    if size.is_none_or(|size| size > MAX_JSON_BYTES) {
        return report.not_judged("JSON, too large to be parsed");
    }
    let mut found = Found::default();
    let mut json = serde_json::Deserializer::from_reader(std::io::BufReader::new(file));
    match (Node { found: &mut found, is_kept: false, depth: 0 }).deserialize(&mut json).and_then(|_| json.end()) {
        Ok(()) => report.looked("JSON"),
        Err(error) => report.not_judged(format!("not JSON: {error}")),
    }
    if found.has_auto_map {
        report.note("`auto_map` names Python code that loaders with `trust_remote_code` run");
    }
    if found.has_chat_template {
        note_chat_template(report);
    }
    found.keras.into_iter().for_each(|finding| report.find(finding));
}

/// Layers of Keras that run or load what their config says.
const KERAS_GADGETS: [(&str, &str); 4] = [
    ("Lambda", "has a Lambda layer of Keras, whose Python code its loader runs"),
    ("__lambda__", "has a function of Keras as Python code, which its loader runs"),
    ("TorchModuleWrapper", "has a module of PyTorch in a layer of Keras, which its loader unpickles"),
    ("TFSMLayer", "has a layer of Keras that loads another model from a path"),
];

/// What the loader of Keras does with an object that says of which class it is.
fn judge_keras(class: &str, module: Option<&str>, config: Option<&str>) -> Option<Finding> {
    if let Some((_, message)) = KERAS_GADGETS.iter().find(|(known, _)| *known == class) {
        return Some(Finding::new(Severity::Dangerous, *message));
    }
    let module = module?;
    let shown = |text: &str| text.chars().take(100).collect::<String>();
    let is_keras = ["keras", "tf_keras", "tensorflow.keras", "keras_hub", "keras_nlp", "keras_cv"]
        .iter()
        .any(|own| module.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')));
    if class == "function" {
        let name = format!("{}.{}", shown(module), shown(config.unwrap_or("?")));
        return Some(Finding::new(Severity::Unknown, format!("has its Keras loader take the function {name}")));
    }
    (!is_keras && module != "builtins")
        .then(|| Finding::new(Severity::Unknown, format!("has its Keras loader import {}.{}", shown(module), shown(class))))
}

#[derive(Default)]
struct Found {
    has_auto_map: bool,
    has_chat_template: bool,
    keras: Vec<Finding>,
}

/// Any JSON value, of which nothing is kept but a text that is wanted.
struct Node<'a> {
    found: &'a mut Found,
    is_kept: bool,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let (mut class, mut module, mut config) = (None, None, None);
        while let Some(key) = entries.next_key::<String>()? {
            let kept = match key.as_str() {
                "class_name" => Some(&mut class),
                "module" => Some(&mut module),
                "config" => Some(&mut config),
                _ => None,
            };
            match key.as_str() {
                "auto_map" if self.depth == 0 => self.found.has_auto_map = true,
                "chat_template" if self.depth == 0 => self.found.has_chat_template = true,
                _ => {}
            }
            let text = entries.next_value_seed(Node { found: self.found, is_kept: kept.is_some(), depth: self.depth + 1 })?;
            if let Some(kept) = kept {
                *kept = text;
            }
        }
        let finding = class.and_then(|class| judge_keras(&class, module.as_deref(), config.as_deref()));
        let keras = &mut self.found.keras;
        keras.extend(finding.filter(|finding| keras.len() < MAX_KERAS && !keras.contains(finding)));
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        while elements.next_element_seed(Node { found: self.found, is_kept: false, depth: self.depth + 1 })?.is_some() {}
        Ok(None)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.is_kept.then(|| text.to_owned()))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}
