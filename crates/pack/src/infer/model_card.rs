//! The model card: `README.md`, YAML between `---` lines, then Markdown.

use super::{
    findings::{Findings, field},
    folder::{Folder, beginning},
    hub, language, licence, prose,
};
use modelpack_spec::annotation;
use serde_json::Value;

/// Front matter above this is not read.
const MAX_FRONT_MATTER_BYTES: usize = 64 << 10;
/// The description is near the top, or there is none.
const MAX_CARD_BYTES: u64 = 256 << 10;

/// A model card.
pub(super) struct ModelCard {
    /// The YAML, or null.
    front: Value,
    text: String,
    path: String,
}

impl ModelCard {
    pub(super) fn read(folder: &Folder<'_>) -> Option<Self> {
        let file = folder.find(|name| name == "README.md")?;
        let card = beginning(file, MAX_CARD_BYTES)?;
        let (front, text) = split(&card);
        Some(Self { front: parse(front).unwrap_or_default(), text: text.to_owned(), path: file.path.to_string() })
    }

    /// Says what it tells of the model.
    pub(super) fn describe(&self, found: &mut Findings) {
        let models = self.front["model-index"].as_array();
        let indexed = models.and_then(|models| models.first()).and_then(|model| model["name"].as_str());
        found.say(field::NAME, indexed, self.at("model-index"));
        found.say(field::NAME, self.front["model_name"].as_str(), self.at("model_name"));
        // A version that looks like a number was meant as its text.
        let version =
            self.front["version"].as_str().map(str::to_owned).or_else(|| self.front["version"].as_number().map(ToString::to_string));
        found.say(field::VERSION, version, self.at("version"));
        found.say(field::TITLE, self.front["title"].as_str(), self.at("title"));
        found.say(field::TITLE, prose::title(&self.text), format!("{}: heading", self.path));
        found.say(field::LICENSES, Some(self.licences()), self.at("license"));
        found.say(field::LANGUAGES, Some(language::codes(self.texts("language"))), self.at("language"));
        found.say(field::DATASETS, Some(self.texts("datasets")), self.at("datasets"));
        let bases = self.base_models();
        found.annotate(annotation::BASE_MODEL, hub::ids(bases.iter().map(String::as_str)), self.at("base_model"));
        found.say(field::DESCRIPTION, prose::first_paragraph(&self.text), format!("{}: first paragraph", self.path));
    }

    /// The task that the model is for.
    pub(super) fn task(&self) -> Option<&str> {
        self.front["pipeline_tag"].as_str()
    }

    /// Its tags.
    pub(super) fn tags(&self) -> Vec<String> {
        self.texts("tags")
    }

    /// The models that it was made from.
    pub(super) fn base_models(&self) -> Vec<String> {
        self.texts("base_model")
    }

    /// Whether one of its tags is such.
    pub(super) fn has_tag(&self, is_such: impl Fn(&str) -> bool) -> bool {
        self.texts("tags").iter().any(|tag| is_such(tag))
    }

    /// A field of the front matter as a source.
    pub(super) fn at(&self, key: &str) -> String {
        format!("{}: `{key}`", self.path)
    }

    /// SPDX identifiers of its licences.
    fn licences(&self) -> Vec<String> {
        let named = || self.front["license_name"].as_str().and_then(licence::spdx);
        let known = |id: &String| if id.eq_ignore_ascii_case("other") { named() } else { licence::spdx(id) };
        self.texts("license").iter().filter_map(known).collect()
    }

    /// The texts of a field that holds one or a list of them.
    fn texts(&self, key: &str) -> Vec<String> {
        match &self.front[key] {
            Value::String(text) => vec![text.clone()],
            Value::Array(values) => values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect(),
            _ => Vec::new(),
        }
    }
}

/// Front matter and Markdown; without front matter all is Markdown.
fn split(card: &str) -> (&str, &str) {
    let card = card.trim_start_matches('\u{feff}');
    let mut lines = card.split_inclusive('\n');
    if lines.next().is_none_or(|first| first.trim_end() != "---") {
        return ("", card);
    }
    let begin = card.find('\n').map_or(card.len(), |at| at + 1);
    let mut end = begin;
    for line in lines {
        if line.trim_end() == "---" {
            return (&card[begin..end], &card[end + line.len()..]);
        }
        end += line.len();
    }
    ("", "")
}

fn parse(front: &str) -> Option<Value> {
    if front.len() > MAX_FRONT_MATTER_BYTES {
        return None;
    }
    let options = serde_saphyr::options! {
        // No card needs aliases, and they are how a small document becomes a large one.
        budget: serde_saphyr::budget! { max_aliases: 0, max_anchors: 0 },
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins,
        // `no` is a language.
        strict_booleans: true,
    };
    serde_saphyr::from_str_with_options(front, options).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_matter_lies_between_the_first_two_rules() {
        assert_eq!(split("---\na: 1\n---\ntext\n---\n"), ("a: 1\n", "text\n---\n"));
        assert_eq!(split("\u{feff}---\r\na: 1\r\n---\r\ntext"), ("a: 1\r\n", "text"));
        assert_eq!(split("---\n---\n"), ("", ""));
        assert_eq!(split("# Title\n---\n"), ("", "# Title\n---\n"));
        assert_eq!(split("---\nnever closed"), ("", ""));
        assert_eq!(split(""), ("", ""));
    }

    #[test]
    fn front_matter_is_read_within_bounds() {
        assert_eq!(parse("language: no\nlicense: mit\nlicense: other").unwrap(), serde_json::json!({"language": "no", "license": "other"}));
        assert_eq!(parse(&format!("a: {}", "x".repeat(MAX_FRONT_MATTER_BYTES))), None);
        assert_eq!(parse("a: &a [x]\nb: *a"), None);
        assert_eq!(parse(&"[".repeat(10_000)), None);
        assert_eq!(parse("a: [unclosed"), None);
    }
}
