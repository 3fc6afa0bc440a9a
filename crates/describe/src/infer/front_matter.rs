//! The front matter of a model card: YAML whose scalars are read as text.
//!
//! A model card contains texts, so `version: 1.10` is not a number and `language: no` is not a
//! boolean here. Numbers and booleans are read as the text in the file.

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use serde_saphyr::{Spanned, options::NonFiniteFloatPolicy};
use std::fmt;

/// The largest front matter that is read completely. Cards with the results of many benchmarks have
/// some 500 KiB.
const MAX_BYTES: usize = 1 << 20;
/// The largest number of entries that are read one by one if the front matter cannot be parsed.
const MAX_ENTRIES: usize = 1000;

/// Why the front matter, or a part of it, cannot be read.
#[derive(Debug, PartialEq)]
pub(super) struct Unread {
    /// The position, from 1: the line of the front matter, and the character in the line.
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) why: String,
}

/// The entries of the front matter (each is a text, null, a list or an object), and the reason if
/// some are missing. Returns `None` for text between rules that is not front matter.
pub(super) fn read(front: &str) -> Option<(Map<String, Value>, Option<Unread>)> {
    let unread = if front.len() > MAX_BYTES {
        Unread { line: 1, column: 1, why: format!("it has more than {} MiB", MAX_BYTES >> 20) }
    } else {
        match parse(front) {
            Ok(Value::Object(entries)) => return Some((entries, None)),
            Ok(Value::Null) => return Some((Map::new(), None)),
            Ok(_) => return None,
            Err(unread) => unread,
        }
    };
    let mut entries = Map::new();
    for entry in entries_of(front).into_iter().filter(|entry| entry.len() <= MAX_BYTES).take(MAX_ENTRIES) {
        if let Ok(Value::Object(one)) = parse(entry) {
            entries.extend(one);
        }
    }
    Some((entries, Some(unread)))
}

/// The text of each entry: from a key at the beginning of a line to the next such key.
fn entries_of(front: &str) -> Vec<&str> {
    let begins = |line: &str| line.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '"' | '\'')) && line.contains(':');
    let mut entries = Vec::new();
    let (mut begin, mut at) = (0, 0);
    for line in front.split_inclusive('\n') {
        if begins(line) {
            entries.push(&front[begin..at]);
            begin = at;
        }
        at += line.len();
    }
    entries.push(&front[begin..]);
    entries
}

fn parse(text: &str) -> Result<Value, Unread> {
    let options = serde_saphyr::options! {
        // Model cards do not need aliases, and aliases let a small document expand to a large one.
        budget: serde_saphyr::budget! { max_aliases: 0, max_anchors: 0 },
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        strict_booleans: true,
    };
    let node: Spanned<Node> = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), |location| (location.line().max(1), location.column().max(1)));
        // The message contains a position, but it differs from the position in the card.
        let why = error.without_snippet().to_string();
        let why = why.lines().next().unwrap_or_default();
        Unread { line, column, why: why.rfind(" at line ").map_or(why, |end| &why[..end]).to_owned() }
    })?;
    Ok(value(node, text))
}

/// The value of a node in `text`.
fn value(node: Spanned<Node>, text: &str) -> Value {
    match node.value {
        Node::Null => Value::Null,
        Node::Text(text) => text.into(),
        Node::Written => {
            let span = node.defined.span();
            let written = || {
                let begin = usize::try_from(span.byte_offset()?).ok()?;
                text.get(begin..begin.checked_add(usize::try_from(span.byte_len()?).ok()?)?)
            };
            written().map_or(Value::Null, |written| written.trim().into())
        }
        Node::List(nodes) => nodes.into_iter().map(|node| value(node, text)).collect(),
        Node::Object(nodes) => nodes.into_iter().map(|(key, node)| (key, value(node, text))).collect(),
    }
}

/// A node without its position.
enum Node {
    Null,
    Text(String),
    /// A number or boolean, which is read as the text at its position.
    Written,
    List(Vec<Spanned<Node>>),
    Object(Vec<(String, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Written)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Written)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Written)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Written)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut nodes: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = nodes.next_element()? {
            list.push(node);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut nodes: A) -> Result<Node, A::Error> {
        let mut object = Vec::new();
        while let Some(entry) = nodes.next_entry()? {
            object.push(entry);
        }
        Ok(Node::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn whole(front: &str) -> Value {
        let (entries, unread) = read(front).unwrap();
        assert_eq!(unread, None, "{front}");
        Value::Object(entries)
    }

    #[test]
    fn scalars_are_read_as_text() {
        for text in [
            "1.10",
            "1.0",
            "1e3",
            "007",
            "0x1F",
            "1_000",
            "no",
            "yes",
            "true",
            "False",
            ".inf",
            "1e999",
            "-0",
            "2024-05-01",
            "12:30:00",
            "+1",
            "1.",
        ] {
            assert_eq!(
                whole(&format!("a: {text}\nb: [{text}, x]\nc:\n  d: {text} # said\n")),
                json!({"a": text, "b": [text, "x"], "c": {"d": text}}),
                "{text}"
            );
        }
        assert_eq!(whole("a: \"1.10\"\nb: 'no'\nc: é 1.10\nd: 1.10"), json!({"a": "1.10", "b": "no", "c": "é 1.10", "d": "1.10"}));
        assert_eq!(whole("a:\nb: null\nc: ~"), json!({"a": null, "b": null, "c": null}));
        assert_eq!(whole("a: >-\n  one\n  two\nb: 1"), json!({"a": "one two", "b": "1"}));
        assert_eq!(whole("1.10: a\na: b\na: c\r\n"), json!({"1.10": "a", "a": "c"}));
        assert_eq!(whole(""), json!({}));
        assert_eq!(whole("# nothing\n"), json!({}));
    }

    #[test]
    fn a_malformed_entry_does_not_affect_others() {
        for (front, line, expected) in [
            ("license: mit\ntitle: Tiny: a model\nlanguage:\n- en\n- no\n", 2, json!({"license": "mit", "language": ["en", "no"]})),
            ("license: [unclosed\nversion: 1.10\n", 2, json!({"version": "1.10"})),
            ("license: mit\ntags: &t [a]\nmore: *t\n", 2, json!({"license": "mit"})),
            ("license: mit\n\tlanguage: en\nversion: 2\n", 1, json!({"version": "2"})),
            ("license: mit\nlanguage: \"en\nversion: 2\n", 2, json!({"license": "mit", "version": "2"})),
        ] {
            let (entries, unread) = read(front).unwrap();
            assert_eq!(Value::Object(entries), expected, "{front}");
            let unread = unread.unwrap();
            assert!(unread.line >= line && unread.line <= front.lines().count() as u64 + 1, "{front}: {unread:?}");
            assert!(!unread.why.is_empty() && !unread.why.contains(" line "), "{front}: {unread:?}");
        }
    }

    #[test]
    fn reading_is_bounded() {
        let long = format!("license: mit\nmodel-index: {}", "x".repeat(MAX_BYTES));
        let (entries, unread) = read(&long).unwrap();
        assert_eq!(entries["license"], "mit");
        assert!(unread.unwrap().why.contains("more than 1 MiB"));
        let results = format!("model-index:\n{}license: mit\n", "- name: x\n  value: 1.10\n".repeat(10_000));
        assert_eq!(whole(&results)["license"], "mit");
        let (entries, unread) = read(&"[".repeat(10_000)).unwrap();
        assert!(entries.is_empty() && unread.is_some());
    }

    #[test]
    fn text_between_rules_is_not_front_matter() {
        assert_eq!(read("Some words of an introduction.\n"), None);
        assert_eq!(read("- a\n- list\n"), None);
    }
}
