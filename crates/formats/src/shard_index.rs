//! The index of a sharded model: JSON, `{"metadata": …, "weight_map": {TENSOR: FILE}}`.

use crate::{Malformed, bounded_json::BoundedJson};
use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, Visitor},
};
use std::{
    fmt,
    io::{BufReader, Read},
};

/// The largest index. The largest models have some hundred thousand tensors, with a hundred bytes
/// each.
const MAX_BYTES: u64 = 512 << 20;

/// Calls `each` for every tensor, with the path of its file relative to the index. Fails if the
/// document is not such an index; the entries passed to `each` before that are then invalid too.
/// Memory is that of the longest name.
pub fn read(file: impl Read, each: impl FnMut(&str, &str)) -> Result<(), Malformed> {
    let mut index = Index { each, has_weight_map: false };
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(BoundedJson::new(file.take(MAX_BYTES))));
    json.deserialize_map(&mut index).and_then(|()| json.end()).map_err(|e| Malformed::new(e.to_string()))?;
    if index.has_weight_map { Ok(()) } else { Err(Malformed::new("it has no `weight_map`")) }
}

struct Index<F> {
    each: F,
    has_weight_map: bool,
}

impl<'de, F: FnMut(&str, &str)> Visitor<'de> for &mut Index<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a shard index")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(key) = entries.next_key::<String>()? {
            if key != "weight_map" {
                entries.next_value::<IgnoredAny>()?;
            } else if self.has_weight_map {
                return Err(A::Error::duplicate_field("weight_map"));
            } else {
                self.has_weight_map = true;
                entries.next_value_seed(WeightMap(&mut self.each))?;
            }
        }
        Ok(())
    }
}

/// The file of each tensor, read entry by entry.
struct WeightMap<'a, F>(&'a mut F);

impl<'de, F: FnMut(&str, &str)> DeserializeSeed<'de> for WeightMap<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: FnMut(&str, &str)> Visitor<'de> for WeightMap<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the file of each tensor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some((tensor, file)) = entries.next_entry::<String, String>()? {
            (self.0)(&tensor, &file);
        }
        Ok(())
    }
}
