//! The fields of a JSON object that its reader does not know. They are kept as JSON text, so a
//! million small objects in such a field use no more memory than their bytes.

use serde::{
    Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error, IntoDeserializer, MapAccess, Visitor},
    forward_to_deserialize_any,
    ser::SerializeMap,
};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};
use std::fmt;

/// The maximum nesting of lists and objects in a field. `serde_json` refuses documents nested 128
/// deep, and a program that writes the field into its own document nests it deeper.
const MAX_DEPTH: usize = 100;

/// The maximum nesting of lists and objects in a JSON document.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut is_in_text, mut is_escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_in_text => is_escaped = true,
            b'"' => is_in_text = !is_in_text,
            b'[' | b'{' if !is_in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !is_in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Unknown fields of a JSON object, in their original order, kept so that the object can be written
/// again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnknownFields {
    /// The members of the object, without the braces around them.
    members: String,
}

impl UnknownFields {
    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The value of the first field with this name, if there is one.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.find(|field, value| (field == name).then(|| serde_json::from_str(value.get()).ok()).flatten())
    }

    /// The name of the first field, if there is one.
    pub fn first_name(&self) -> Option<String> {
        self.find(|name, _| Some(name.to_owned()))
    }

    /// Adds a field at the end.
    pub(crate) fn add(&mut self, name: &str, value: &impl Serialize) {
        self.push(name, &to_raw_value(value).expect("it has text keys only, so it always serialises"));
    }

    fn push(&mut self, name: &str, value: &RawValue) {
        if !self.members.is_empty() {
            self.members.push(',');
        }
        self.members.push_str(&serde_json::to_string(name).expect("any text is a JSON string"));
        self.members.push(':');
        self.members.push_str(value.get());
    }

    /// The result of `look` for the first field for which it returns `Some`.
    fn find<T>(&self, look: impl FnMut(&str, &RawValue) -> Option<T>) -> Option<T> {
        let object = format!("{{{}}}", self.members);
        // The reading stops once a field is found. `serde_json` reports the unread rest as an
        // error, which is ignored.
        let mut found = None;
        let read = serde_json::Deserializer::from_str(&object).deserialize_map(Finder { look, found: &mut found });
        debug_assert!(read.is_ok() || found.is_some(), "the members were JSON when they were pushed");
        found
    }
}

/// Visits the members one after the other.
struct Finder<'a, F, T> {
    look: F,
    found: &'a mut Option<T>,
}

impl<'de, T, F: FnMut(&str, &RawValue) -> Option<T>> Visitor<'de> for Finder<'_, F, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            *self.found = (self.look)(&name, value);
            if self.found.is_some() {
                break;
            }
        }
        Ok(())
    }
}

impl Serialize for UnknownFields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.find(|name, value| map.serialize_entry(name, value).err()) {
            Some(error) => Err(error),
            None => map.end(),
        }
    }
}

/// Deserializes a struct with `read`, and passes the object's unknown fields to `keep`.
pub(crate) fn keep_unknown<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl FnOnce(Keeping<'_, D>) -> Result<T, D::Error>,
    keep: impl FnOnce(&mut T) -> &mut UnknownFields,
) -> Result<T, D::Error> {
    let mut unknown = UnknownFields::default();
    let mut value = read(Keeping { inner: deserializer, unknown: &mut unknown })?;
    *keep(&mut value) = unknown;
    Ok(value)
}

/// Implements deserialization and serialization for structs with `#[serde(remote = "Self")]` and a
/// last field `#[serde(flatten, skip_deserializing)] pub other: UnknownFields`.
macro_rules! keeps_unknown_fields {
    ($($type:ident),*) => {$(
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::unknown::keep_unknown(deserializer, |keeping| $type::deserialize(keeping), |value| &mut value.other)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $type::serialize(self, serializer)
            }
        }
    )*};
}
pub(crate) use keeps_unknown_fields;

/// A deserializer that passes only the known fields to a struct.
pub(crate) struct Keeping<'a, D> {
    inner: D,
    unknown: &'a mut UnknownFields,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Keeping<'_, D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_map(KnownFields { known, inner: visitor, unknown: self.unknown })
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq
        tuple tuple_struct map enum identifier ignored_any
    }
}

struct KnownFields<'a, T> {
    known: &'static [&'static str],
    inner: T,
    unknown: &'a mut UnknownFields,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for KnownFields<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(KnownFields { known: self.known, inner: map, unknown: self.unknown })
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for KnownFields<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(name) = self.inner.next_key::<String>()? {
            if self.known.contains(&name.as_str()) {
                return seed.deserialize(name.into_deserializer()).map(Some);
            }
            let value = self.inner.next_value::<Box<RawValue>>()?;
            if depth(value.get()) > MAX_DEPTH {
                return Err(A::Error::custom(format!("the field {name:?} is nested more than {MAX_DEPTH} deep")));
            }
            self.unknown.push(&name, &value);
        }
        Ok(None)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        self.inner.next_value_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Manifest};

    #[test]
    fn depth_is_counted_outside_strings() {
        for (json, expected) in [("7", 0), ("[]", 1), (r#"{"a":[{}],"b":[]}"#, 3), (r#"["[[[","\"[[",{}]"#, 2), ("[[],[],[]]", 2)] {
            assert_eq!(depth(json), expected, "{json}");
        }
    }

    #[test]
    fn kept_fields_can_be_written_into_another_document() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let config = |depth: usize| Config::parse(format!(r#"{{"config":{{"x":{}}}}}"#, nested(depth)).as_bytes());
        assert!(serde_json::to_value(config(MAX_DEPTH).unwrap()).is_ok());
        for depth in [MAX_DEPTH + 1, 200, 50_000] {
            let error = config(depth).unwrap_err().to_string();
            assert!(error.contains("\"x\" is nested more than 100 deep"), "{error}");
            let index = format!(r#"{{"schemaVersion":2,"manifests":[],"x":{}}}"#, nested(depth));
            assert!(Manifest::parse(index.into_bytes(), None).is_err());
        }
    }
}
