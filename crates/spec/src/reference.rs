//! References: `[HOST[:PORT]/]NAME[:TAG][@DIGEST]`, with the grammars of the OCI distribution
//! specification.

use crate::Digest;
use serde::{Serialize, Serializer};
use std::{fmt, str::FromStr};

/// A tag: at most 128 characters of letters, digits, `_`, `.` and `-`, not beginning with `.` or `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// The tag under which clients list the referrers of `subject` in a registry without the
    /// referrers API (OCI distribution specification, "Referrers Tag Schema").
    pub fn of_referrers(subject: &Digest) -> Self {
        Self(format!("{}-{}", subject.algorithm().name(), &subject.hex()[..64]))
    }

    /// The tags under which cosign stores the signatures, the attestations and the SBOM of
    /// `subject`.
    pub fn of_cosign(subject: &Digest) -> [Self; 3] {
        ["sig", "att", "sbom"].map(|kind| Self(format!("{}.{kind}", Self::of_referrers(subject))))
    }

    /// `latest`, the tag of a reference that has neither tag nor digest.
    pub fn latest() -> Self {
        Self("latest".to_owned())
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Tag {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let bytes = text.as_bytes();
        let valid = matches!(bytes.len(), 1..=128) && word(bytes[0]) && bytes.iter().all(|&b| word(b) || b == b'.' || b == b'-');
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidReference::new(text, "a tag is 1 to 128 letters, digits, `_`, `.` or `-`, and does not begin with `.` or `-`"))
        }
    }
}

/// A repository: `NAME`, or `HOST[:PORT]/NAME`; at most 255 characters in all.
///
/// The first component is a host if a name follows it and it contains a `.` or a `:` or is
/// `localhost`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName {
    text: String,
    host_len: usize,
}

impl RepositoryName {
    /// A repository in a registry that is already known, such as the one that answers a request. It
    /// never has a host.
    pub fn without_host(name: &str) -> Result<Self, InvalidReference> {
        check_name(name, name)?;
        Ok(Self { text: name.to_owned(), host_len: 0 })
    }

    /// The registry's host and port, if the name has one.
    pub fn host(&self) -> Option<&str> {
        (self.host_len > 0).then(|| &self.text[..self.host_len])
    }

    /// The name within its registry, without the host.
    pub fn path(&self) -> &str {
        if self.host_len > 0 { &self.text[self.host_len + 1..] } else { &self.text }
    }

    /// Host and name together.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for RepositoryName {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let invalid = |why| InvalidReference::new(text, why);
        if text.len() > 255 {
            return Err(invalid("it is longer than 255 characters"));
        }
        let host = match text.split_once('/') {
            Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
            _ => "",
        };
        if host.is_empty() {
            check_name(text, text)?;
            return Ok(Self { text: text.to_owned(), host_len: 0 });
        }
        let name = &text[host.len() + 1..];
        check_name(name, text)?;
        if !is_host(host) {
            return Err(invalid("its first component is not a host name with an optional port"));
        }
        Ok(Self { text: format!("{}/{name}", host.to_ascii_lowercase()), host_len: host.len() })
    }
}

fn is_host(host: &str) -> bool {
    let port_is_valid = |port: &str| !port.is_empty() && port.parse::<u16>().is_ok();
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        return address.parse::<std::net::Ipv6Addr>().is_ok() && (port.is_empty() || port.strip_prefix(':').is_some_and(port_is_valid));
    }
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let label =
        |l: &str| !l.is_empty() && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') && !l.starts_with('-') && !l.ends_with('-');
    name.split('.').all(label) && port.is_none_or(port_is_valid)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`
fn check_name(name: &str, whole: &str) -> Result<(), InvalidReference> {
    let component_is_valid = |component: &str| {
        let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = component.as_bytes();
        let ends = bytes.first().is_some_and(|&b| alphanumeric(b)) && bytes.last().is_some_and(|&b| alphanumeric(b));
        let separator_is_valid = |s: &str| matches!(s, "" | "." | "_" | "__") || s.bytes().all(|b| b == b'-');
        ends && component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).all(separator_is_valid)
    };
    if name.len() > 255 {
        return Err(InvalidReference::new(whole, "it is longer than 255 characters"));
    }
    if name.split('/').all(component_is_valid) {
        return Ok(());
    }
    Err(InvalidReference::new(
        whole,
        "a name is lower-case letters and digits, separated by single `.`, `_`, `__`, dashes and `/`, as in `registry.example.com/team/model:v1`",
    ))
}

/// Selects a manifest of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// The manifest that the tag points to.
    Tag(Tag),
    /// The manifest with this digest.
    Digest(Digest),
    /// The manifest with this digest, whatever the tag points to when it is read. When it is
    /// written, the tag is set to it.
    Both(Tag, Digest),
}

impl Selector {
    /// The tag, if there is one.
    pub fn tag(&self) -> Option<&Tag> {
        match self {
            Self::Tag(tag) | Self::Both(tag, _) => Some(tag),
            Self::Digest(_) => None,
        }
    }

    /// The digest, if there is one.
    pub fn digest(&self) -> Option<&Digest> {
        match self {
            Self::Digest(digest) | Self::Both(_, digest) => Some(digest),
            Self::Tag(_) => None,
        }
    }
}

impl fmt::Display for Selector {
    /// The end of a reference: `:TAG`, `@DIGEST` or `:TAG@DIGEST`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, ":{tag}"),
            Self::Digest(digest) => write!(f, "@{digest}"),
            Self::Both(tag, digest) => write!(f, ":{tag}@{digest}"),
        }
    }
}

/// A repository and a manifest in it: `[HOST[:PORT]/]NAME[:TAG][@DIGEST]`. Without tag and digest,
/// the tag is `latest`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The repository.
    pub repository: RepositoryName,
    /// The manifest.
    pub selector: Selector,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.repository, self.selector)
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let whole = |e: InvalidReference| InvalidReference { text: text.to_owned(), ..e };
        if text.is_empty() {
            return Err(InvalidReference::new(text, "it is empty"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.parse::<Digest>().map_err(|_| {
                    InvalidReference::new(
                        text,
                        "the text after `@` is not a digest: expected `sha256:` and 64 lower-case hexadecimal digits",
                    )
                })?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let name_start = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[name_start..].split_once(':') {
            Some((last, tag)) => (&rest[..name_start + last.len()], Some(tag.parse::<Tag>().map_err(whole)?)),
            None => (rest, None),
        };
        let repository = name.parse::<RepositoryName>().map_err(whole)?;
        let selector = match (tag, digest) {
            (Some(tag), Some(digest)) => Selector::Both(tag, digest),
            (None, Some(digest)) => Selector::Digest(digest),
            (Some(tag), None) => Selector::Tag(tag),
            (None, None) => Selector::Tag(Tag::latest()),
        };
        Ok(Self { repository, selector })
    }
}

// The JSON form of each type is the text from which it is parsed.
macro_rules! serialises_as_text {
    ($($type:ident),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

serialises_as_text!(Tag, RepositoryName, Reference);

/// The text is not a valid reference, or not a valid part of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid reference: {why}")]
pub struct InvalidReference {
    text: String,
    why: &'static str,
}

impl InvalidReference {
    fn new(text: &str, why: &'static str) -> Self {
        Self { text: text.to_owned(), why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Reference {
        text.parse().unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn hosts_names_tags_and_digests_are_parsed() {
        let digest = Digest::of(b"");
        let r = parse("localhost:5000/a/b:v1");
        assert_eq!(
            (r.repository.host(), r.repository.path(), r.selector.tag().map(Tag::as_str)),
            (Some("localhost:5000"), "a/b", Some("v1"))
        );
        let r = parse("tiny");
        assert_eq!((r.repository.host(), r.repository.path(), r.selector), (None, "tiny", Selector::Tag(Tag::latest())));
        let r = parse("team/tiny:v1");
        assert_eq!((r.repository.host(), r.repository.path()), (None, "team/tiny"));
        let r = parse("[::1]:5000/x");
        assert_eq!((r.repository.host(), r.repository.path()), (Some("[::1]:5000"), "x"));
        assert_eq!(parse("Example.COM/x").repository.as_str(), "example.com/x");
        let r = parse(&format!("example.com/x@{digest}"));
        assert_eq!(r.selector, Selector::Digest(digest.clone()));
        let text = format!("example.com/x:v1@{digest}");
        assert_eq!(parse(&text).to_string(), text);
    }

    #[test]
    fn invalid_references_are_refused() {
        let long = "a".repeat(256);
        for bad in [
            "",
            ":v1",
            "UPPER",
            "a//b",
            "/a",
            "a/",
            "a..b",
            "a___b",
            "-a",
            "a_",
            "a:",
            "a:-x",
            "a:v/1",
            "a@sha256:12",
            "a b",
            "localhost:x/a",
            "ho_st.example/a",
            "..",
            "a/../b",
            &format!("a:{long}"),
            &long,
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_served_repository_never_has_a_host() {
        assert_eq!(RepositoryName::without_host("a.b/c").unwrap().host(), None);
        assert!(RepositoryName::without_host("a:1/c").is_err());
    }
}
