//! The model card `README.md`: YAML between `---` lines, then Markdown.

use super::{
    findings::{Findings, field},
    folder::{Folder, beginning},
    front_matter, hub, language, licence, prose,
};
use modelpack_spec::annotation;
use serde_json::{Map, Value};

/// The largest part of a card that is read: enough for the front matter and the description after
/// it.
const MAX_CARD_BYTES: u64 = 2 << 20;

/// A model card.
pub(super) struct ModelCard {
    /// The readable part of the YAML.
    front: Value,
    /// Why a part of the YAML is missing, if so.
    unread: Option<String>,
    text: String,
    path: String,
}

impl ModelCard {
    pub(super) fn read(folder: &Folder<'_>) -> Option<Self> {
        let file = folder.find(|name| name == "README.md")?;
        let card = beginning(file, MAX_CARD_BYTES)?;
        let Parts { front, text, is_closed } = split(&card);
        // Text that is not front matter is Markdown.
        let (entries, unread, text) = match front_matter::read(front) {
            Some((entries, unread)) => (entries, unread, text),
            None => (Map::new(), None, card.as_str()),
        };
        // The front matter begins on the second line.
        let unread = match unread {
            _ if !is_closed => Some("its front matter has no end, another line `---`".to_owned()),
            Some(unread) => {
                Some(format!("line {}, column {}: its front matter does not parse: {}", unread.line + 1, unread.column, unread.why))
            }
            None => None,
        };
        Some(Self { front: Value::Object(entries), unread, text: text.to_owned(), path: file.path.to_string() })
    }

    /// Records the metadata of the card.
    pub(super) fn describe(&self, found: &mut Findings) {
        let models = self.front["model-index"].as_array();
        let indexed = models.and_then(|models| models.first()).and_then(|model| model["name"].as_str());
        found.say(field::NAME, indexed, self.at("model-index"));
        found.say(field::NAME, self.front["model_name"].as_str(), self.at("model_name"));
        found.say(field::VERSION, self.front["version"].as_str(), self.at("version"));
        found.say(field::TITLE, self.front["title"].as_str(), self.at("title"));
        found.say(field::TITLE, prose::title(&self.text), format!("{}: heading", self.path));
        found.say(field::LICENSES, Some(self.licences()), self.at("license"));
        found.say(field::LANGUAGES, Some(language::codes(self.texts("language"))), self.at("language"));
        found.say(field::DATASETS, Some(self.texts("datasets")), self.at("datasets"));
        let bases = self.base_models();
        found.annotate(annotation::BASE_MODEL, hub::ids(bases.iter().map(String::as_str)), self.at("base_model"));
        found.say(field::DESCRIPTION, prose::first_paragraph(&self.text), format!("{}: first paragraph", self.path));
        if let Some(why) = &self.unread {
            found.warn(format!("{} is read in part: {why}", self.path));
        }
    }

    /// The task of the model.
    pub(super) fn task(&self) -> Option<&str> {
        self.front["pipeline_tag"].as_str()
    }

    /// Its tags.
    pub(super) fn tags(&self) -> Vec<String> {
        self.texts("tags")
    }

    /// The base models.
    pub(super) fn base_models(&self) -> Vec<String> {
        self.texts("base_model")
    }

    /// Whether one of its tags matches.
    pub(super) fn has_tag(&self, is_such: impl Fn(&str) -> bool) -> bool {
        self.texts("tags").iter().any(|tag| is_such(tag))
    }

    /// The source text for a field of the front matter.
    pub(super) fn at(&self, key: &str) -> String {
        format!("{}: `{key}`", self.path)
    }

    /// SPDX identifiers of its licences.
    fn licences(&self) -> Vec<String> {
        let named = || self.front["license_name"].as_str().and_then(licence::spdx);
        let known = |id: &String| if id.eq_ignore_ascii_case("other") { named() } else { licence::spdx(id) };
        self.texts("license").iter().filter_map(known).collect()
    }

    /// The texts of a field with one text or a list of texts.
    fn texts(&self, key: &str) -> Vec<String> {
        match &self.front[key] {
            Value::String(text) => vec![text.clone()],
            Value::Array(values) => values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect(),
            _ => Vec::new(),
        }
    }
}

/// The parts of a card.
#[derive(Debug, PartialEq)]
struct Parts<'a> {
    front: &'a str,
    text: &'a str,
    /// Whether the front matter, if there is any, has an end.
    is_closed: bool,
}

/// Front matter and Markdown. Without front matter all is Markdown. Front matter without an end
/// goes to the first empty line. Text after a rule that is not front matter is Markdown.
fn split(card: &str) -> Parts<'_> {
    let card = card.trim_start_matches('\u{feff}');
    let mut lines = card.split_inclusive('\n');
    if lines.next().is_none_or(|first| first.trim_end() != "---") {
        return Parts { front: "", text: card, is_closed: true };
    }
    let begin = card.find('\n').map_or(card.len(), |at| at + 1);
    let mut end = begin;
    for line in lines {
        if line.trim_end() == "---" {
            return Parts { front: &card[begin..end], text: &card[end + line.len()..], is_closed: true };
        }
        end += line.len();
    }
    let rest = &card[begin..];
    let is_entry = |line: &str| line.split_once(':').is_some_and(|(key, _)| !key.is_empty() && !key.contains(char::is_whitespace));
    if !rest.lines().next().is_some_and(is_entry) {
        return Parts { front: "", text: rest, is_closed: true };
    }
    let end: usize = rest.split_inclusive('\n').take_while(|line| !line.trim().is_empty()).map(str::len).sum();
    Parts { front: &rest[..end], text: &rest[end..], is_closed: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_matter_is_between_the_first_two_rules() {
        for (card, front, text, is_closed) in [
            ("---\na: 1\n---\ntext\n---\n", "a: 1\n", "text\n---\n", true),
            ("\u{feff}---\r\na: 1\r\n---\r\ntext", "a: 1\r\n", "text", true),
            ("---\n---\n", "", "", true),
            ("# Title\n---\n", "", "# Title\n---\n", true),
            ("---\na: 1\nb: 2\n\ntext", "a: 1\nb: 2\n", "\ntext", false),
            ("---\na: 1", "a: 1", "", false),
            ("---\nA rule, and text: below", "", "A rule, and text: below", true),
            ("---", "", "", true),
            ("", "", "", true),
        ] {
            assert_eq!(split(card), Parts { front, text, is_closed }, "{card:?}");
        }
    }
}
