//! The policy for layer encodings, with rules from users.

use crate::{PlannedFile, modelfile::Pattern};
use modelpack_spec::{Encoding, LayerKind, parse_size};
use std::str::FromStr;

/// The number of layers that registries accept.
const MAX_LAYERS: usize = 512;

/// The rules by which the files of a model become layers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerPolicy {
    /// The rules for encodings. The last rule that matches a file applies. A file without a rule is
    /// raw, or part of a tar bundle if there are too many layers; a rule with `raw` prevents
    /// bundling.
    pub rules: Vec<LayerRule>,
    /// The maximum number of layers.
    pub max_layers: usize,
}

impl Default for LayerPolicy {
    fn default() -> Self {
        Self { rules: Vec::new(), max_layers: MAX_LAYERS }
    }
}

impl LayerPolicy {
    /// Sets the rules for the encoding; the last rule that matches a file applies.
    pub fn rules(self, rules: impl IntoIterator<Item = LayerRule>) -> Self {
        Self { rules: rules.into_iter().collect(), ..self }
    }

    /// Sets the maximum number of layers, at least 1. Small files are bundled if there would be
    /// more.
    pub fn max_layers(self, max_layers: usize) -> Self {
        Self { max_layers, ..self }
    }

    /// The encoding that the rules give for a file.
    pub(super) fn encoding_of(&self, file: &PlannedFile) -> Option<Encoding> {
        self.rules.iter().rev().find(|rule| rule.is_for(file)).map(|rule| rule.encoding)
    }

    /// The first literal path in a rule that is neither a file nor a directory.
    pub(super) fn missing(&self, files: &[PlannedFile]) -> Option<&str> {
        let paths = self.rules.iter().flat_map(|rule| &rule.conditions).filter_map(|condition| match condition {
            Condition::Path(pattern) if pattern.is_literal() => Some(pattern),
            _ => None,
        });
        let mut missing = paths.filter(|pattern| !files.iter().any(|file| pattern.matches(&file.path)));
        missing.next().map(|pattern| pattern.text.as_str())
    }
}

/// A rule for the encoding of some files: `[SELECTOR=]ENCODING`.
///
/// The selector is a list of conditions separated by commas, all of which must be true: a kind
/// (`weight`, `config`, `code`, `dataset`, `doc`), a size (`<1MB`, `>10MiB`), or a pattern as in
/// Modelfiles (`docs`, `*.json`, `**/*.py`; `./code` is a path, `code` is a kind). A backslash
/// makes the next character part of a pattern. A rule without a selector matches every file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerRule {
    conditions: Vec<Condition>,
    encoding: Encoding,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Kind(LayerKind),
    /// Smaller than this number of bytes.
    Smaller(u64),
    /// Larger than this number of bytes.
    Larger(u64),
    Path(Pattern),
}

impl LayerRule {
    /// A rule for all files.
    pub fn all(encoding: Encoding) -> Self {
        Self { conditions: Vec::new(), encoding }
    }

    fn is_for(&self, file: &PlannedFile) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::Kind(kind) => file.kind == *kind,
            Condition::Smaller(size) => file.size < *size,
            Condition::Larger(size) => file.size > *size,
            Condition::Path(pattern) => pattern.matches(&file.path),
        })
    }
}

impl FromStr for LayerRule {
    type Err = InvalidLayerRule;

    fn from_str(rule: &str) -> Result<Self, InvalidLayerRule> {
        let invalid = |why: String| InvalidLayerRule { rule: rule.to_owned(), why };
        let (selector, encoding) = rule.rsplit_once('=').map_or((None, rule), |(selector, encoding)| (Some(selector), encoding));
        let Some(encoding) = Encoding::ALL.into_iter().find(|known| known.name() == encoding) else {
            return Err(invalid(format!("{encoding:?} is not one of raw, tar, tar+gzip, tar+zstd")));
        };
        let conditions = selector.map(parts).into_iter().flatten().map(|part| part.parse()).collect::<Result<Vec<_>, String>>();
        let conditions = conditions.map_err(invalid)?;
        if conditions.iter().filter(|condition| matches!(condition, Condition::Kind(_))).count() > 1 {
            return Err(invalid("a file has one kind; give a rule for each".to_owned()));
        }
        Ok(Self { conditions, encoding })
    }
}

/// The parts of a selector, split at commas without a preceding backslash.
fn parts(selector: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = selector.chars();
    while let Some(c) = characters.next() {
        match c {
            ',' => parts.push(String::new()),
            c => parts.last_mut().expect("there is always one").push(c),
        }
        if c == '\\' {
            parts.last_mut().expect("there is always one").extend(characters.next());
        }
    }
    parts
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kind = LayerKind::ALL.into_iter().find(|kind| kind.name() == text);
        let size = |text: &str| parse_size(&text[1..]).map_err(|invalid| invalid.to_string());
        match (kind, text.chars().next()) {
            (Some(kind), _) => Ok(Self::Kind(kind)),
            (None, _) if text == "config" => Ok(Self::Kind(LayerKind::WeightConfig)),
            (None, Some('<')) => Ok(Self::Smaller(size(text)?)),
            (None, Some('>')) => Ok(Self::Larger(size(text)?)),
            (None, Some(_)) => Pattern::parse(text).map(Self::Path).map_err(|problem| format!("{text:?}: {problem}")),
            (None, None) => Err("a condition is empty".to_owned()),
        }
    }
}

/// An invalid rule for layers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule:?} is not [SELECTOR=]ENCODING: {why}")]
pub struct InvalidLayerRule {
    rule: String,
    why: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use modelpack_transfer::MemoryFiles;
    use std::sync::Arc;

    fn file(path: &str, kind: LayerKind, size: u64) -> PlannedFile {
        let content = Arc::new(MemoryFiles::default());
        PlannedFile { path: path.parse().unwrap(), kind, inferred: true, size, executable: false, content }
    }

    fn encoding(rules: &[&str], path: &str, kind: LayerKind, size: u64) -> Option<Encoding> {
        let rules = rules.iter().map(|rule| rule.parse().unwrap_or_else(|e| panic!("{e}"))).collect();
        LayerPolicy { rules, ..LayerPolicy::default() }.encoding_of(&file(path, kind, size))
    }

    #[test]
    fn the_last_matching_rule_applies() {
        let rules = ["tar", "doc=tar+gzip", "weight,>1MB=raw", "config=raw", "<10,**/*.md=tar+zstd"];
        for (path, kind, size, expected) in [
            ("a.py", LayerKind::Code, 1, Encoding::Tar),
            ("a.txt", LayerKind::Doc, 1, Encoding::TarGzip),
            ("docs/a.md", LayerKind::Doc, 9, Encoding::TarZstd),
            ("docs/a.md", LayerKind::Doc, 10, Encoding::TarGzip),
            ("w.bin", LayerKind::Weight, 1_000_000, Encoding::Tar),
            ("w.bin", LayerKind::Weight, 1_000_001, Encoding::Raw),
            ("config.json", LayerKind::WeightConfig, 0, Encoding::Raw),
        ] {
            assert_eq!(encoding(&rules, path, kind, size), Some(expected), "{path} {size}");
        }
        assert_eq!(encoding(&["code=tar"], "a.txt", LayerKind::Doc, 1), None);
    }

    #[test]
    fn patterns_are_the_same_as_in_modelfiles() {
        for (rule, path, expected) in [
            ("*.md=tar", "a.md", true),
            ("*.md=tar", "docs/a.md", false),
            ("docs=tar", "docs/deep/a.md", true),
            ("docs/*=tar", "docs/deep/a.md", false),
            ("docs/**=tar", "docs/deep/a.md", true),
            ("docs/**=tar", "docs", false),
            ("**/deep/*.md=tar", "docs/very/deep/a.md", true),
            ("**/deep/*.md=tar", "deep/a.md", true),
            ("./code=tar", "code", true),
            ("a\\,b,<5=tar", "a,b", true),
            ("a=b=tar", "a=b", true),
            ("[ab].txt=tar", "b.txt", true),
            ("\\[ab].txt=tar", "b.txt", false),
            (".=tar", "anything/below", true),
        ] {
            assert_eq!(encoding(&[rule], path, LayerKind::Doc, 1).is_some(), expected, "{rule} {path}");
        }
    }

    #[test]
    fn invalid_rules_are_refused_with_a_reason() {
        for (rule, reason) in [
            ("zip", "not one of raw"),
            ("tar=", "not one of raw"),
            ("=tar", "empty"),
            ("code,=tar", "empty"),
            ("code,doc=tar", "one kind"),
            ("<big=tar", "not a size"),
            (">99999999999GB=tar", "not a size"),
            ("<-1=tar", "not a size"),
            ("/etc=tar", "/etc"),
            ("../x=tar", "../x"),
        ] {
            let error = rule.parse::<LayerRule>().unwrap_err().to_string();
            assert!(error.contains(rule) && error.contains(reason), "{error}");
        }
    }
}
