//! Lenient deserialization of config fields that other tools wrote: a value of the wrong type is
//! converted where that is possible, and treated as absent otherwise.
//!
//! A wrong field must not make an artifact with sound files unreadable. `null` means absent
//! everywhere, because Go programs write it.

use crate::Digest;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Number;
use std::{fmt, marker::PhantomData};

/// A text. A number or a boolean is converted to its text.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Scalar::deserialize(deserializer)?.text())
}

/// A list of texts. A single text becomes a list with one element; elements that are not texts are
/// dropped.
pub(crate) fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(value) => value.text().into_iter().collect(),
        OneOrMany::Many(values) => values.into_iter().filter_map(Scalar::text).collect(),
    })
}

/// A boolean.
pub(crate) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    Ok(match Scalar::deserialize(deserializer)? {
        Scalar::Flag(flag) => Some(flag),
        _ => None,
    })
}

/// An object. Any other value is read as an empty object.
pub(crate) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(optional_object(deserializer)?.unwrap_or_default())
}

/// An object. Any other value is read as absent. An object with a field given twice is refused,
/// because readers would disagree on its value.
pub(crate) fn optional_object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    deserializer.deserialize_any(ObjectVisitor(PhantomData))
}

/// Passes an object on without collecting it first, because collecting would hide duplicate fields.
struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Some)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Option<T>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Option<T>, E> {
        Ok(None)
    }
}

/// A list of digests. The digests are positional, so a list with any other element is read as
/// empty.
pub(crate) fn digests<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Digest>, D::Error> {
    let OneOrMany::Many(values) = OneOrMany::deserialize(deserializer)? else { return Ok(Vec::new()) };
    let digest = |value| if let Scalar::Text(text) = value { text.parse().ok() } else { None };
    Ok(values.into_iter().map(digest).collect::<Option<_>>().unwrap_or_default())
}

/// A scalar value, or a mark that the value is a list or an object. The content of a list or an
/// object is skipped and uses no memory.
enum Scalar {
    Text(String),
    Number(Number),
    Flag(bool),
    Null,
    ListOrObject,
}

impl Scalar {
    fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(number) => Some(number.to_string()),
            Self::Flag(flag) => Some(flag.to_string()),
            Self::Null | Self::ListOrObject => None,
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match ValueVisitor::<IgnoredAny>::read(deserializer)? {
            OneOrMany::One(value) => value,
            OneOrMany::Many(_) => Self::ListOrObject,
        })
    }
}

/// One scalar, or the elements of a list.
enum OneOrMany<T = Scalar> {
    One(Scalar),
    Many(Vec<T>),
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ValueVisitor::<Scalar>::read(deserializer)
    }
}

/// Reads any value. `T` decides which part of each list element is kept.
struct ValueVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> ValueVisitor<T> {
    fn read<D: Deserializer<'de>>(deserializer: D) -> Result<OneOrMany<T>, D::Error> {
        deserializer.deserialize_any(Self(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for ValueVisitor<T> {
    type Value = OneOrMany<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OneOrMany<T>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(OneOrMany::One(Scalar::ListOrObject))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMany<T>, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(OneOrMany::Many(values))
    }

    fn visit_unit<E>(self) -> Result<OneOrMany<T>, E> {
        Ok(OneOrMany::One(Scalar::Null))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<OneOrMany<T>, E> {
        Ok(OneOrMany::One(Scalar::Flag(flag)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<OneOrMany<T>, E> {
        Ok(OneOrMany::One(Scalar::Number(number.into())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<OneOrMany<T>, E> {
        Ok(OneOrMany::One(Scalar::Number(number.into())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<OneOrMany<T>, E> {
        Ok(OneOrMany::One(Number::from_f64(number).map_or(Scalar::Null, Scalar::Number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<OneOrMany<T>, E> {
        Ok(OneOrMany::One(Scalar::Text(text.to_owned())))
    }
}
