//! Patterns with the grammar of gitignore(5), which all file selections use.

#[cfg(test)]
mod tests;

use ignore::{
    Match,
    gitignore::{Gitignore, GitignoreBuilder},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// A list of patterns. The last pattern that matches a path decides.
///
/// A pattern without a slash, or with one only at its end, matches at any depth. Any other pattern
/// is anchored at the directory of the patterns. `*` and `?` match within a name, `**` matches any
/// number of directories, `[a-z]` one character. `/` at the end restricts a pattern to directories,
/// `!` at the beginning negates it. `\` makes a character literal. In an ignore file, `#` begins a
/// comment.
///
/// Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub struct Patterns(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    matcher: Gitignore,
    /// Matches a name that a component of a pattern names specifically.
    names: Gitignore,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// The original pattern.
    pattern: String,
    /// The pattern with its origin.
    shown: String,
}

/// An invalid pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {why}")]
pub struct InvalidPattern {
    /// The pattern and its origin, such as `.modelpackignore:3 "[z-a]"`.
    pub rule: String,
    /// The reason.
    pub why: String,
}

/// The decision of the patterns for a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Whether it is matched, or negated with `!`.
    pub(crate) is_match: bool,
    /// The deciding rule and its origin.
    pub(crate) rule: String,
}

impl Default for Compiled {
    fn default() -> Self {
        Self { matcher: Gitignore::empty(), names: Gitignore::empty(), rules: Vec::new() }
    }
}

impl Patterns {
    /// Patterns given one by one. `source` is their origin, such as `--exclude`.
    ///
    /// Patterns without a meaning, empty ones and comments, are refused.
    pub fn new<S: AsRef<str>>(source: &str, patterns: impl IntoIterator<Item = S>) -> Result<Self, InvalidPattern> {
        let mut rules = Vec::new();
        for pattern in patterns {
            let rule = Rule::new(source, pattern.as_ref());
            match pattern.as_ref() {
                comment if comment.starts_with('#') => return Err(rule.invalid(r"it is a comment; a name's `#` is written `\#`")),
                broken if broken.contains('\n') => return Err(rule.invalid("it has a line break")),
                empty if Self::of(vec![Rule::new(source, empty)])?.0.matcher.is_empty() => return Err(rule.invalid("it matches nothing")),
                _ => rules.push(rule),
            }
        }
        Self::of(rules)
    }

    /// The patterns in the text of an ignore file with the name `name`.
    pub fn parse(name: &str, text: &str) -> Result<Self, InvalidPattern> {
        // A byte order mark is not part of the first pattern.
        let lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate();
        let says = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        Self::of(says.map(|(index, line)| Rule::new(&format!("{name}:{}", index + 1), line)).collect())
    }

    fn of(rules: Vec<Rule>) -> Result<Self, InvalidPattern> {
        let (mut matcher, mut names) = (GitignoreBuilder::new(""), GitignoreBuilder::new(""));
        for rule in &rules {
            let line = as_git_reads(&rule.pattern).map_err(|why| rule.invalid(why))?;
            matcher.add_line(Some(PathBuf::from(&rule.shown)), &line).map_err(|e| rule.invalid(&reason(&e)))?;
            for component in line.split('/').filter(|component| !line.starts_with('!') && !component.trim_matches(['*', '?']).is_empty()) {
                // In a path, these are ordinary characters.
                let escape = if component.starts_with(['#', '!']) { r"\" } else { "" };
                // A class that contains a slash is split and matches no name, so an error is
                // ignored.
                let _ = names.add_line(None, &format!("{escape}{component}"));
            }
        }
        let all = || rules.iter().map(|rule| rule.shown.as_str()).collect::<Vec<_>>().join(" ");
        let failed = |e: ignore::Error| InvalidPattern { rule: all(), why: reason(&e) };
        let (matcher, names) = (matcher.build().map_err(failed)?, names.build().map_err(failed)?);
        Ok(Self(Arc::new(Compiled { matcher, names, rules })))
    }

    /// Whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.0.rules.is_empty()
    }

    /// The patterns with their origins.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &str> {
        self.0.rules.iter().map(|rule| rule.shown.as_str())
    }

    /// The decision for exactly this path, without its directories.
    pub(crate) fn decide(&self, path: &Path, is_directory: bool) -> Option<Decision> {
        let decided = |is_match, glob: &ignore::gitignore::Glob| {
            Some(Decision { is_match, rule: glob.from().map(|rule| rule.to_string_lossy().into_owned()).unwrap_or_default() })
        };
        match self.0.matcher.matched(path, is_directory) {
            Match::None => None,
            Match::Ignore(glob) => decided(true, glob),
            Match::Whitelist(glob) => decided(false, glob),
        }
    }

    /// The decision of the last pattern that matches the path or one of its directories.
    pub(crate) fn last_for(&self, path: &Path, is_directory: bool) -> Option<Decision> {
        let decision = upwards(path, is_directory).filter_map(|(path, is_directory)| self.decide(path, is_directory));
        decision.max_by_key(|decision| self.rules().position(|rule| rule == decision.rule))
    }

    /// Whether a file or directory is matched: the path itself decides, or else its nearest
    /// directory with a decision.
    pub(crate) fn includes(&self, path: &Path, is_directory: bool) -> bool {
        upwards(path, is_directory)
            .find_map(|(path, is_directory)| self.decide(path, is_directory))
            .is_some_and(|decision| decision.is_match)
    }

    /// The rule that matches a file or one of its directories. Content of a matched directory
    /// cannot be re-included.
    pub(crate) fn excludes(&self, path: &Path, is_directory: bool) -> Option<String> {
        let decision = upwards(path, is_directory).filter_map(|(path, is_directory)| self.decide(path, is_directory));
        decision.filter(|decision| decision.is_match).map(|decision| decision.rule).last()
    }

    /// Whether [`includes`](Self::includes) may be true for something in the directory.
    pub(crate) fn may_include_below(&self, directory: &Path) -> bool {
        let directories: Vec<_> = directory.iter().map(|name| name.to_string_lossy()).collect();
        self.includes(directory, true) || self.0.rules.iter().any(|rule| may_lead_below(&rule.pattern, &directories))
    }

    /// Whether a component of a pattern names this name specifically: `.cache/x` and `.c*` name
    /// `.cache`; `*`, `?*` and `**` do not.
    pub(crate) fn name(&self, name: &Path) -> bool {
        self.0.names.matched(name, true).is_ignore()
    }
}

impl Rule {
    fn new(source: &str, pattern: &str) -> Self {
        Self { pattern: pattern.to_owned(), shown: format!("{source} {pattern:?}") }
    }

    fn invalid(&self, why: &str) -> InvalidPattern {
        InvalidPattern { rule: self.shown.clone(), why: why.to_owned() }
    }
}

/// A path and its directories, nearest first, each with whether it is a directory.
fn upwards(path: &Path, is_directory: bool) -> impl Iterator<Item = (&Path, bool)> {
    // The last ancestor is the empty path, the directory of the patterns.
    let paths = path.ancestors().filter(|path| !path.as_os_str().is_empty()).enumerate();
    paths.map(move |(up, path)| (path, is_directory || up > 0))
}

/// Whether a pattern may match something below a directory that it does not match itself. In doubt
/// this is true.
fn may_lead_below(pattern: &str, directories: &[impl AsRef<str>]) -> bool {
    if pattern.starts_with('!') {
        return false;
    }
    let is_anchored = pattern.trim_end_matches('/').contains('/');
    let mut components = pattern.trim_matches('/').split('/');
    for directory in directories.iter().filter(|_| is_anchored) {
        match components.next() {
            None => return false,
            Some("**") => return true,
            Some(component) if component.contains(['*', '?', '[', '\\']) => {}
            Some(component) if component == directory.as_ref() => {}
            Some(_) => return false,
        }
    }
    components.next().is_some()
}

/// Converts a pattern so that the library matches it like git. In git, braces are ordinary
/// characters.
///
/// Refuses patterns that match nothing in git, but something else in the library.
fn as_git_reads(pattern: &str) -> Result<String, &'static str> {
    let mut told = String::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let taken = match c {
            '\\' => match rest[1..].chars().next() {
                None | Some('/') => return Err(r"a `\` is at the end of a name"),
                Some(literal) => 1 + literal.len_utf8(),
            },
            '[' => match class_len(rest) {
                None => return Err(r"a `[` is not closed; a name's is written `\[`"),
                Some(len) if rest[..len].contains('\\') => return Err(r"a `\` is between `[` and `]`"),
                Some(len) => len,
            },
            _ => c.len_utf8(),
        };
        if matches!(c, '{' | '}') {
            told.push('\\');
        }
        told.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    Ok(told)
}

/// The length of the class at the beginning of `text`, if the class is closed.
fn class_len(text: &str) -> Option<usize> {
    let mut at = 1 + usize::from(text[1..].starts_with(['!', '^']));
    // The first character is a member, even if it is a `]`.
    at += text[at..].chars().next()?.len_utf8();
    loop {
        let rest = &text[at..];
        at += match rest.chars().next()? {
            ']' => return Some(at + 1),
            '[' if rest.starts_with("[:") => rest.find(":]").map_or(1, |end| end + 2),
            c => c.len_utf8(),
        };
    }
}

/// The library's reason for refusing a pattern, without the pattern.
fn reason(error: &ignore::Error) -> String {
    match error {
        ignore::Error::Glob { err, .. } => err.clone(),
        other => other.to_string(),
    }
}
