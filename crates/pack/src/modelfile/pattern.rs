//! Patterns: the file names in Modelfile commands.

use super::ModelfileProblem;
use modelpack_spec::FilePath;

/// A pattern for files below a directory: components separated by `/`, matched one by one.
///
/// In a component, `*` matches any characters, `?` one character, `[a-z]` a character of a class,
/// and `[^a-z]` or `[!a-z]` a character outside it. A leading dot is an ordinary character. A
/// component `**` matches any number of directories. A `[` without a following `]` is literal, and
/// so is every wildcard after a backslash. A name that equals the text of the pattern also matches.
///
/// A pattern without wildcards must exist. If its last component names a directory, all files below
/// it match. A pattern that ends with `/` or `/**` matches only these; a pattern that ends with
/// another wildcard matches only files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    pub(crate) text: String,
    /// Without components, everything below matches.
    pub(crate) components: Vec<Component>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Component {
    /// Exactly this name.
    Name(String),
    /// A name with wildcards.
    Glob(Glob),
    /// Any number of directories and, as the last component, all files in them.
    Below,
}

/// A component with wildcards, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    text: String,
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Character(char),
    Any,
    AnyMany,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Pattern {
    /// A pattern for everything below the directory.
    pub(crate) fn everything() -> Self {
        Self { text: ".".into(), components: Vec::new() }
    }

    /// Parses `text`, in which a backslash makes the next character literal.
    pub(crate) fn parse(text: &str) -> Result<Self, ModelfileProblem> {
        let mut rest = text.chars();
        let mut characters = Vec::new();
        while let Some(c) = rest.next() {
            characters.push(if c == '\\' { (rest.next().unwrap_or(c), true) } else { (c, false) });
        }
        Self::new(&characters)
    }

    /// Whether the file with this path matches.
    pub(crate) fn matches(&self, path: &FilePath) -> bool {
        let names: Vec<&str> = path.components().collect();
        let (mut component, mut name) = (0, 0);
        // After a mismatch, the last `**` consumes one more directory, and matching continues after
        // it.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            match (self.components.get(component), names.get(name)) {
                // The pattern named a directory, and this file is below it.
                (None, _) if component == 0 || name == names.len() || self.names_directory(component) => return true,
                (Some(Component::Below), Some(_)) if component + 1 == self.components.len() => return true,
                (Some(Component::Below), Some(_)) => {
                    component += 1;
                    retry = Some((component, name));
                    continue;
                }
                (Some(Component::Name(expected)), Some(found)) if expected == found => {
                    (component, name) = (component + 1, name + 1);
                    continue;
                }
                (Some(Component::Glob(glob)), Some(found)) if glob.matches(found) => {
                    (component, name) = (component + 1, name + 1);
                    continue;
                }
                _ => {}
            }
            let Some((after, from)) = retry.filter(|(_, from)| from + 1 < names.len()) else { return false };
            (component, name) = (after, from + 1);
            retry = Some((after, from + 1));
        }
    }

    /// Whether the components before `end` end with a name, which may be that of a directory.
    fn names_directory(&self, end: usize) -> bool {
        matches!(self.components[..end].last(), Some(Component::Name(_)))
    }

    /// The pattern with these `characters`. Each has a flag for a preceding backslash.
    pub(super) fn new(characters: &[(char, bool)]) -> Result<Self, ModelfileProblem> {
        let text: String = characters.iter().map(|&(c, _)| c).collect();
        if text.contains('\\') {
            return Err(ModelfileProblem::Backslash);
        }
        if text.starts_with('/') {
            return Err(ModelfileProblem::Absolute);
        }
        if text.split('/').any(|component| component == "..") {
            return Err(ModelfileProblem::Parent);
        }
        let mut components = Vec::new();
        for characters in characters.split(|&(c, _)| c == '/') {
            let text: String = characters.iter().map(|&(c, _)| c).collect();
            let is_below = characters == [('*', false), ('*', false)];
            match text.as_str() {
                "" | "." => {}
                _ if is_below && components.last() == Some(&Component::Below) => {}
                _ if is_below => components.push(Component::Below),
                _ => components.push(Component::new(text, characters)),
            }
        }
        if text.ends_with('/') && !matches!(components.last(), None | Some(Component::Below)) {
            components.push(Component::Below);
        }
        Ok(Self { text, components })
    }

    /// Whether it names one file or directory, which must exist.
    pub(crate) fn is_literal(&self) -> bool {
        let names = self.components.iter().take_while(|c| matches!(c, Component::Name(_))).count();
        names == self.components.len() || (names + 1 == self.components.len() && self.text.ends_with('/'))
    }
}

impl Component {
    fn new(text: String, characters: &[(char, bool)]) -> Self {
        let tokens = tokens(characters);
        if tokens.iter().all(|token| matches!(token, Token::Character(_))) { Self::Name(text) } else { Self::Glob(Glob { text, tokens }) }
    }
}

fn tokens(mut characters: &[(char, bool)]) -> Vec<Token> {
    let mut tokens = Vec::new();
    while let Some((&(c, literal), rest)) = characters.split_first() {
        characters = rest;
        let token = match c {
            _ if literal => Token::Character(c),
            '*' => Token::AnyMany,
            '?' => Token::Any,
            '[' => match class(rest) {
                Some((class, rest)) => {
                    characters = rest;
                    class
                }
                None => Token::Character(c),
            },
            _ => Token::Character(c),
        };
        if token != Token::AnyMany || tokens.last() != Some(&token) {
            tokens.push(token);
        }
    }
    tokens
}

/// A class and the rest, if `characters`, which follow a `[`, are a class: they contain a `]` that
/// is not the first of them.
fn class(characters: &[(char, bool)]) -> Option<(Token, &[(char, bool)])> {
    let negated = matches!(characters.first(), Some(('^' | '!', false)));
    let characters = &characters[usize::from(negated)..];
    let end = 1 + characters.get(1..)?.iter().position(|&c| c == (']', false))?;
    let mut ranges = Vec::new();
    let mut members = &characters[..end];
    while let Some((&(from, _), rest)) = members.split_first() {
        let (to, rest) = match rest {
            [('-', false), (to, _), rest @ ..] => (*to, rest),
            _ => (from, rest),
        };
        ranges.push((from, to));
        members = rest;
    }
    Some((Token::Class { negated, ranges }, &characters[end + 1..]))
}

impl Token {
    fn matches(&self, c: char) -> bool {
        match self {
            Self::Character(expected) => *expected == c,
            Self::Any | Self::AnyMany => true,
            Self::Class { negated, ranges } => ranges.iter().any(|&(from, to)| (from..=to).contains(&c)) != *negated,
        }
    }
}

impl Glob {
    /// Whether the name, which contains no `/`, matches. The time is bounded by the product of both
    /// lengths.
    pub(crate) fn matches(&self, name: &str) -> bool {
        if name == self.text {
            return true;
        }
        let (mut token, mut rest) = (0, name);
        // After a mismatch, the last `*` consumes one more character, and matching continues after
        // it.
        let mut retry: Option<(usize, &str)> = None;
        loop {
            let next = rest.chars().next();
            match (self.tokens.get(token), next) {
                (Some(Token::AnyMany), _) => {
                    token += 1;
                    retry = Some((token, rest));
                    continue;
                }
                (Some(expected), Some(c)) if expected.matches(c) => {
                    token += 1;
                    rest = &rest[c.len_utf8()..];
                    continue;
                }
                (None, None) => return true,
                _ => {}
            }
            let Some((after, from)) = retry else { return false };
            let Some(c) = from.chars().next() else { return false };
            token = after;
            rest = &from[c.len_utf8()..];
            retry = Some((after, rest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Modelfile;

    fn pattern(text: &str) -> Pattern {
        Modelfile::parse(&format!("MODEL {text}")).unwrap_or_else(|e| panic!("{e}")).files()[0].pattern.clone()
    }

    fn matches(text: &str, name: &str) -> bool {
        match &pattern(text).components[..] {
            [Component::Name(expected)] => expected == name,
            [Component::Glob(glob)] => glob.matches(name),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn wildcards_match() {
        for (text, name) in [
            ("*", ""),
            ("*", ".hidden"),
            ("*.bin", "a.b.bin"),
            ("*.bin", ".bin"),
            ("a*b*c", "a1b2b3c"),
            ("a**c", "abc"),
            ("?", "é"),
            ("m?del", "model"),
            ("[a-c]x", "bx"),
            ("[^a-c]x", "dx"),
            ("[!a-c]x", "!x"),
            ("[]]", "]"),
            ("[^]]", "x"),
            ("[a-]", "-"),
            ("[α-ω]*", "λ"),
            ("*-[0-9]-of-[0-9].bin", "model-1-of-2.bin"),
            ("\"[*]\"", "*"),
        ] {
            assert!(matches(text, name), "{text} {name}");
        }
    }

    #[test]
    fn wildcards_do_not_match() {
        for (text, name) in [
            ("*.bin", "a.bin2"),
            ("?", ""),
            ("?", "ab"),
            ("[a-c]", "d"),
            ("[^a-c]", "b"),
            ("a*b*c", "a1c2b"),
            ("*.bin", "A.BIN"),
            ("{a,b}", "a"),
            ("[z-a]", "m"),
        ] {
            assert!(!matches(text, name), "{text} {name}");
        }
    }

    #[test]
    fn a_name_with_wildcards_can_be_named() {
        assert!(matches("we[i]rd", "we[i]rd") && matches("we[i]rd", "weird"));
        assert!(matches(r"we\[i]rd", "we[i]rd") && !matches(r"we\[i]rd", "weird"));
        assert!(matches("a[b", "a[b"));
        assert!(pattern(r"a\*\?b").is_literal() && pattern("a[b").is_literal() && pattern("a]b").is_literal());
    }

    #[test]
    fn a_hostile_pattern_is_matched_quickly() {
        let stars = "*a".repeat(2000);
        assert!(!matches(&stars, &"a".repeat(255)));
        assert!(matches("*a*a*a*a*a*a*a*a*b", &format!("{}b", "a".repeat(250))));
    }

    #[test]
    fn components_are_matched_one_by_one() {
        let name = |n: &str| Component::Name(n.to_owned());
        assert_eq!(pattern("./a//b").components, [name("a"), name("b")]);
        assert_eq!(pattern("a/").components, [name("a"), Component::Below]);
        assert_eq!(pattern("a/**/**/b/**/").components, [name("a"), Component::Below, name("b"), Component::Below]);
        assert_eq!(pattern(".").components, []);
        assert_eq!(pattern("\\*\\*").components, [name("**")]);
        for (text, literal) in [("a/b", true), ("a/", true), (".", true), ("a/**", false), ("*/", false), ("**/a", false), ("a*", false)] {
            assert_eq!(pattern(text).is_literal(), literal, "{text}");
        }
    }
}
