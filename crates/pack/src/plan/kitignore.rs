//! `.kitignore`, which applies to a Kitfile: files that KitOps excludes are excluded here too.
//!
//! Its grammar is Docker's: patterns are anchored at the top, and the last pattern that matches a
//! file or one of its directories decides, so `!` re-includes content of an excluded directory. The
//! patterns are converted to the gitignore grammar of [`Patterns`].

use super::tree::{Rules, Tree};
use crate::{InvalidPattern, Patterns, Result};
use std::path::Path;

/// The file with the exclusions for a Kitfile.
const NAME: &str = ".kitignore";

/// The exclusions in the `.kitignore` of a directory.
#[derive(Debug)]
pub(super) struct KitIgnore {
    patterns: Patterns,
    /// Whether a pattern re-includes files, which may be in any directory.
    takes_back: bool,
}

impl KitIgnore {
    /// Reads the `.kitignore` at the top of `tree`, if there is one.
    pub(super) fn read<T: Tree>(tree: &T) -> Result<Option<Self>> {
        let rules = tree.rules(&tree.root(), NAME)?;
        Ok(rules.map(|Rules { name, text }| Self::parse(&name, &text)).transpose()?)
    }

    fn parse(name: &str, text: &str) -> Result<Self, InvalidPattern> {
        let told = |line: &str| as_gitignore(line).unwrap_or_default();
        let lines: Vec<String> = text.strip_prefix('\u{feff}').unwrap_or(text).lines().map(told).collect();
        let takes_back = lines.iter().any(|line| line.starts_with('!'));
        Ok(Self { patterns: Patterns::parse(name, &lines.join("\n"))?, takes_back })
    }

    /// The rule that excludes the file or directory `path`, relative to the top.
    pub(super) fn rule(&self, path: &str, is_directory: bool) -> Option<String> {
        if is_directory && self.takes_back {
            return None;
        }
        self.patterns.last_for(Path::new(path), is_directory).filter(|decision| decision.is_match).map(|decision| decision.rule)
    }
}

/// The pattern in gitignore's grammar for a line, if the line matches something below the top.
fn as_gitignore(line: &str) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let line = line.trim();
    let (back, pattern) = line.strip_prefix('!').map_or(("", line), |pattern| ("!", pattern.trim()));
    let mut components = Vec::new();
    for component in pattern.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                components.pop()?;
            }
            // In Docker, `**.md` means `**/.md`.
            _ => match component.strip_prefix("**").filter(|rest| !rest.is_empty() && !rest.starts_with('*')) {
                Some(rest) => components.extend(["**", rest]),
                None => components.push(component),
            },
        }
    }
    (!components.is_empty()).then(|| format!("{back}/{}", components.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_left_out(text: &str, path: &str) -> bool {
        KitIgnore::parse(".kitignore", text).unwrap().rule(path, false).is_some()
    }

    #[test]
    fn patterns_have_the_same_meaning_as_in_kitops() {
        for (text, path, expected) in [
            ("dir1", "dir1/subdir1/subdir2/file.txt", true),
            ("dir1/", "dir1/x", true),
            ("./dir1//sub/../x", "dir1/x", true),
            ("/dir1", "dir1/x", true),
            ("dir1", "a/dir1", false),
            ("*.md", "a.md", true),
            ("*.md", "a/b.md", false),
            ("**/*.md", "a.md", true),
            ("**/*.md", "a/b.md", true),
            ("**.md", "a/b.md", false),
            ("**.md", "a/.md", true),
            ("dir4/*/x", "dir4/a/x", true),
            ("dir4/*/x", "dir4/x", false),
            ("a/**", "a/b/c", true),
            ("a/**/c", "a/c", true),
            ("ignored-?.txt", "ignored-a.txt", true),
            ("  a b  ", "a b", true),
            ("# a\n #b", "#b", true),
            ("\u{feff}a\r\nb\r\n", "a", true),
            ("a\r\nb\r\n", "b", true),
            ("dir1\n!dir1/file.txt", "dir1/file.txt", false),
            ("dir1\n! dir1/sub", "dir1/sub/file.txt", false),
            ("dir1\n!dir1/sub\n**/x", "dir1/sub/x", true),
            ("!a\na", "a", true),
            ("*\n!a", "a", false),
            (".\n..\n../a\n/\n\n!", "a", false),
        ] {
            assert_eq!(is_left_out(text, path), expected, "{path} by {text:?}");
        }
    }

    #[test]
    fn a_rule_is_reported_with_its_line() {
        let ignore = KitIgnore::parse(".kitignore", "# c\n\nsecret/").unwrap();
        assert_eq!(ignore.rule("secret", true).unwrap(), ".kitignore:3 \"/secret\"");
        assert!(KitIgnore::parse(".kitignore", "a\n[b").unwrap_err().to_string().starts_with(".kitignore:2 "));
    }
}
