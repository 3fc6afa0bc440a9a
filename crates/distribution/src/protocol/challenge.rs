//! `WWW-Authenticate` headers, in which a registry requests credentials (RFC 9110, section 11.6.1).

use std::collections::BTreeMap;

/// One challenge: a scheme and its parameters.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// In lower case: `basic`, `bearer`.
    pub(crate) scheme: String,
    /// By name in lower case: `realm`, `service`, `scope`, `error`.
    pub(crate) parameters: BTreeMap<String, String>,
}

impl Challenge {
    /// Parses a header, which may hold several challenges. Malformed parts are skipped.
    pub(crate) fn parse(header: &str) -> Vec<Self> {
        let mut challenges: Vec<Self> = Vec::new();
        let mut rest = header.trim_start_matches(is_separator);
        while !rest.is_empty() {
            let end = rest.find(|c: char| c == '=' || is_separator(c)).unwrap_or(rest.len());
            let word = rest[..end].to_ascii_lowercase();
            rest = &rest[end..];
            match (rest.trim_start().strip_prefix('='), challenges.last_mut()) {
                (Some(after), Some(challenge)) => {
                    let (value, after) = value(after.trim_start());
                    challenge.parameters.insert(word, value);
                    rest = after;
                }
                (Some(after), None) => rest = value(after.trim_start()).1,
                (None, _) => challenges.push(Self { scheme: word, parameters: BTreeMap::new() }),
            }
            rest = rest.trim_start_matches(is_separator);
        }
        challenges
    }
}

fn is_separator(c: char) -> bool {
    c == ',' || c.is_whitespace()
}

/// Splits `text` after the token or quoted string at its beginning. Returns the value and the rest.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(is_separator).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(header: &str) -> Vec<(String, Vec<(String, String)>)> {
        Challenge::parse(header).into_iter().map(|c| (c.scheme, c.parameters.into_iter().collect())).collect()
    }

    fn challenge(scheme: &str, parameters: &[(&str, &str)]) -> (String, Vec<(String, String)>) {
        (scheme.into(), parameters.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect())
    }

    #[test]
    fn a_bearer_challenge_gives_realm_service_and_scope() {
        let header = r#"Bearer realm="https://auth.example.com/token",service="registry.example.com",scope="repository:a/b:pull,push""#;
        let expected =
            [("realm", "https://auth.example.com/token"), ("scope", "repository:a/b:pull,push"), ("service", "registry.example.com")];
        assert_eq!(parse(header), [challenge("bearer", &expected)]);
    }

    #[test]
    fn several_challenges_in_one_header_are_parsed() {
        assert_eq!(
            parse(r#"Basic realm="a \"b\", c", Bearer realm=x , Service = "y""#),
            [challenge("basic", &[("realm", "a \"b\", c")]), challenge("bearer", &[("realm", "x"), ("service", "y")])]
        );
        assert_eq!(parse("Negotiate, Basic"), [challenge("negotiate", &[]), challenge("basic", &[])]);
    }

    #[test]
    fn malformed_parts_are_skipped() {
        assert_eq!(parse(""), []);
        assert_eq!(parse(" , ,"), []);
        assert_eq!(parse("=x"), []);
        assert_eq!(parse(r#"Bearer realm="open"#), [challenge("bearer", &[("realm", "open")])]);
        assert_eq!(parse("Bearer realm="), [challenge("bearer", &[("realm", "")])]);
        assert_eq!(parse("Negotiate YII=="), [challenge("negotiate", &[("yii", "=")])]);
    }
}
