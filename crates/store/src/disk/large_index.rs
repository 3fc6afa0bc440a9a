//! Reads the entries of an `index.json` one after the other, if it is too large to be kept in memory as a whole.

use modelpack_spec::{Descriptor, MAX_MANIFEST_BYTES};
use modelpack_transfer::{Error, FileRange, Result};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::{
    cell::Cell,
    fmt,
    io::{self, Read},
};

/// The largest entry, and the longest name of a field, in bytes. An entry says less than its manifest, so no tool writes a larger one.
const MAX_PART: u64 = MAX_MANIFEST_BYTES as u64;

/// Reads the entries of the `index.json` in `range`, and ignores what else is in it. `what` is its name in an error.
///
/// Fails with [`Error::Invalid`] as soon as an entry has more than [`MAX_PART`] bytes, and before they are in memory.
pub(super) fn read_entries(range: &FileRange, what: &str) -> Result<Vec<Descriptor>> {
    let limit = Limit::default();
    let mut json = serde_json::Deserializer::from_reader(Limited { bytes: range.buffered(), limit: &limit });
    let read = Index(&limit).deserialize(&mut json).and_then(|entries| json.end().map(|()| entries));
    read.map_err(|e| {
        let invalid = |why: String| Error::Invalid { what: what.to_owned(), why };
        match (limit.left.get(), e.io_error_kind()) {
            (Some(0), _) => invalid(match limit.entry.get() {
                Some(number) => format!("entry {number} of its manifests has more than {MAX_PART} bytes"),
                None => format!("the name of a field has more than {MAX_PART} bytes"),
            }),
            (_, Some(kind)) => Error::io("read", &range.path)(kind.into()),
            (_, None) => invalid(e.to_string()),
        }
    })
}

/// How many more bytes may be read.
#[derive(Default)]
struct Limit {
    /// After how many bytes the part that is kept must end. `None` while everything is ignored.
    left: Cell<Option<u64>>,
    /// The number of the entry that is read, counted from 1. `None` outside of the entries.
    entry: Cell<Option<u64>>,
}

impl Limit {
    /// What follows is kept. If it has a number, it is an entry.
    fn keep(&self, entry: Option<u64>) {
        self.left.set(Some(MAX_PART));
        self.entry.set(entry);
    }

    /// What follows is ignored.
    fn pass_over(&self) {
        self.left.set(None);
    }
}

/// A reader that fails at the limit.
struct Limited<'a, R> {
    bytes: R,
    limit: &'a Limit,
}

impl<R: Read> Read for Limited<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(left) = self.limit.left.get() else { return self.bytes.read(buffer) };
        if left == 0 {
            return Err(io::Error::other("too large"));
        }
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let n = self.bytes.read(&mut buffer[..most])?;
        self.limit.left.set(Some(left - n as u64));
        Ok(n)
    }
}

/// The whole document.
struct Index<'a>(&'a Limit);

impl<'de> DeserializeSeed<'de> for Index<'_> {
    type Value = Vec<Descriptor>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Index<'_> {
    type Value = Vec<Descriptor>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an index")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut entries = None;
        loop {
            self.0.keep(None);
            match fields.next_key::<String>()?.as_deref() {
                None => return Ok(entries.unwrap_or_default()),
                Some("manifests") if entries.is_some() => return Err(A::Error::duplicate_field("manifests")),
                Some("manifests") => entries = Some(fields.next_value_seed(Entries(self.0))?),
                Some(_) => {
                    self.0.pass_over();
                    fields.next_value::<IgnoredAny>()?;
                }
            }
        }
    }
}

/// The field `manifests`.
struct Entries<'a>(&'a Limit);

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = Vec<Descriptor>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = Vec<Descriptor>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of descriptors")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        loop {
            self.0.keep(Some(entries.len() as u64 + 1));
            match items.next_element()? {
                Some(entry) => entries.push(entry),
                None => return Ok(entries),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use modelpack_spec::Digest;
    use std::{io::Write, sync::Arc};

    fn read(text: &str) -> Result<Vec<Descriptor>> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let range = FileRange { file: Arc::new(file.reopen().unwrap()), path: "index.json".into(), offset: 0, len: text.len() as u64 };
        read_entries(&range, "the index")
    }

    #[test]
    fn entries_are_kept_and_all_else_is_passed_over_and_what_is_too_large_is_named() {
        let entry = |more: &str| format!(r#"{{"mediaType":"x/x","digest":"{}","size":1{more}}}"#, Digest::of(b"x"));
        let long = "x".repeat(MAX_MANIFEST_BYTES);
        let (plain, large) = (entry(""), entry(&format!(r#","x":"{long}""#)));
        for text in [
            format!(r#"{{"x":"{long}","manifests":[{plain},{plain}],"y":["{long}"]}}"#),
            format!(r#"{{"manifests":[{plain}, {}]}}"#, entry(&format!(r#","x":"{}""#, &long[1000..]))),
        ] {
            assert_eq!(read(&text).unwrap().len(), 2);
        }
        assert_eq!(read(r#"{"schemaVersion":2}"#).unwrap(), []);
        assert_eq!(read(r#"{"manifests":null}"#).unwrap(), []);
        for (text, why) in [
            (format!(r#"{{"manifests":[{plain},{large}]}}"#), "entry 2 of its manifests has more than 4194304 bytes"),
            (format!(r#"{{"manifests":[{plain},"{long}"]}}"#), "entry 2 "),
            (format!(r#"{{"{long}":1}}"#), "the name of a field has more than 4194304 bytes"),
            (format!(r#"{{"manifests":[{plain}]"#), "EOF"),
            (format!(r#"{{"manifests":[{plain}]}}x"#), "trailing"),
            (r#"{"manifests":[],"manifests":[]}"#.to_owned(), "duplicate"),
            (r#"{"manifests":"x"}"#.to_owned(), "a list of descriptors"),
            ("[]".to_owned(), "an index"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(matches!(&error, Error::Invalid { what, why: said } if what == "the index" && said.contains(why)), "{why}: {error}");
        }
    }
}
