//! Percent-encoding and query parameters.

use std::fmt;

/// The parameters of a query in order. A name may occur several times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses the text after `?`. A `+` is kept: it occurs in media types, and no value of the
    /// specification contains a space.
    pub(crate) fn parse(text: &str) -> Self {
        let decode = |part: &str| decode(part).unwrap_or_else(|| part.to_owned());
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Self(pairs.collect())
    }

    /// Adds a parameter.
    pub(crate) fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.0.push((name.to_owned(), value.to_string()));
        self
    }

    /// The first value of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Every value of `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for Query {
    /// The query without its `?`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, value)) in self.0.iter().enumerate() {
            let separator = if at > 0 { "&" } else { "" };
            write!(f, "{separator}{}={}", encode(name), encode(value))?;
        }
        Ok(())
    }
}

/// Decodes `%XX` in `text`. Returns `None` if an escape is malformed or the result is not UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' => encoded.push(char::from(byte)),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_parameters_are_parsed_unchanged() {
        let query =
            Query::default().with("tag", "v1").with("tag", "v2").with("artifactType", "application/x+json").with("odd", "a&b=c d%ü");
        assert_eq!(Query::parse(&query.to_string()), query);
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["v1", "v2"]);
        assert_eq!(query.get("none"), None);
    }

    #[test]
    fn a_plus_and_malformed_escapes_are_kept() {
        assert_eq!(Query::parse("artifactType=application/x+json").get("artifactType"), Some("application/x+json"));
        assert_eq!(Query::parse("digest=sha256%3Aab").get("digest"), Some("sha256:ab"));
        assert_eq!(Query::parse("a=%zz&b&=c&&").get("a"), Some("%zz"));
        assert_eq!(Query::parse("a=%").get("a"), Some("%"));
        assert_eq!(decode("%ff"), None);
    }
}
