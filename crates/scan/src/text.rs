//! Texts: JSON that names code, and code.

use crate::{FileReport, Finding, Severity};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::{fmt, io::Read};

/// A larger JSON file is not parsed: a parser may hold a whole string of it.
const MAX_JSON_BYTES: u64 = 64 << 20;

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
        report.note("a chat template: run by a template engine; it was not judged");
    }
}

/// Looks for what makes a loader of this JSON file run code.
pub(crate) fn scan_json(file: impl Read, size: Option<u64>, report: &mut FileReport) {
    if size.is_none_or(|size| size > MAX_JSON_BYTES) {
        return report.not_looked("JSON, too large to be parsed");
    }
    let mut found = Found::default();
    let mut json = serde_json::Deserializer::from_reader(std::io::BufReader::new(file));
    match (Node { found: &mut found, key: None, depth: 0 }).deserialize(&mut json).and_then(|()| json.end()) {
        Ok(()) => report.looked("JSON"),
        Err(error) => return report.not_looked(format!("not JSON: {error}")),
    }
    if found.has_auto_map {
        report.note("`auto_map` names Python code that loaders with `trust_remote_code` run");
    }
    if found.has_chat_template {
        report.note("a chat template: run by a template engine; it was not judged");
    }
    if found.has_lambda {
        report.find(Finding::new(Severity::Dangerous, "has a Lambda layer of Keras, whose Python code its loader runs"));
    }
}

#[derive(Default)]
struct Found {
    has_auto_map: bool,
    has_chat_template: bool,
    has_lambda: bool,
}

/// Any JSON value, of which nothing is kept.
struct Node<'a> {
    found: &'a mut Found,
    /// The key that it is under.
    key: Option<Key>,
    depth: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Key {
    ClassName,
    Other,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(key) = entries.next_key::<String>()? {
            match key.as_str() {
                "auto_map" if self.depth == 0 => self.found.has_auto_map = true,
                "chat_template" if self.depth == 0 => self.found.has_chat_template = true,
                _ => {}
            }
            let key = if key == "class_name" { Key::ClassName } else { Key::Other };
            entries.next_value_seed(Node { found: self.found, key: Some(key), depth: self.depth + 1 })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(Node { found: self.found, key: None, depth: self.depth + 1 })?.is_some() {}
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.found.has_lambda |= self.key == Some(Key::ClassName) && text == "Lambda";
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}
