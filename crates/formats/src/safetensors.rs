//! Safetensors: the header length as a little-endian u64, a JSON header `{name: {dtype, shape,
//! data_offsets}}`, then the tensors' bytes.

use crate::{Malformed, bounded_json::BoundedJson, malformed::shown, names::Names};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use std::{
    fmt,
    io::{BufReader, Read},
};

/// The format's own limit.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The format's numeric types, as of version 0.8 of its library, with the bits per element.
#[rustfmt::skip]
const DTYPES: [(&str, u64); 22] = [
    ("F64", 64), ("F32", 32), ("F16", 16), ("BF16", 16), ("F8_E4M3", 8), ("F8_E5M2", 8), ("F8_E4M3FNUZ", 8), ("F8_E5M2FNUZ", 8), ("F8_E8M0", 8),
    ("F6_E2M3", 6), ("F6_E3M2", 6), ("F4", 4), ("C64", 64), ("I8", 8), ("U8", 8), ("I16", 16), ("U16", 16), ("I32", 32), ("U32", 32), ("I64", 64),
    ("U64", 64), ("BOOL", 8),
];

/// A tensor, as the header describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tensor<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its numeric type, as the format names it, such as `BF16`.
    pub dtype: &'a str,
    /// Bits per element; `None` for an unknown, newer type, whose length is also unknown.
    pub bits: Option<u64>,
    /// The number of elements.
    pub elements: u64,
    /// The size in bytes.
    pub bytes: u64,
}

/// Whether a file of `size` bytes has a well-formed header, as [`read_header`] defines it.
pub fn check(file: impl Read, size: u64) -> Result<(), Malformed> {
    read_header(file, size, |_| {})
}

/// Calls `each` for every tensor in the header of a file of `size` bytes.
///
/// Fails if the header is malformed; the tensors passed to `each` before that are then invalid too.
/// The tensors must fill the file from the end of the header to the end of the file, without gap or
/// overlap. Each must have the length that its shape and type require, and a unique name. The
/// length of a tensor of unknown type cannot be checked. Memory is some 40 bytes per tensor, plus
/// the longest string.
pub fn read_header(file: impl Read, size: u64, each: impl FnMut(Tensor<'_>)) -> Result<(), Malformed> {
    read_header_and_notes(file, size, each, |_, _| {})
}

/// Like [`read_header`], and calls `note` for every text in the header's `__metadata__`. A writer
/// that leaves a tensor out because it equals another one notes the other's name under the tensor's
/// name.
pub fn read_header_and_notes(
    mut file: impl Read,
    size: u64,
    each: impl FnMut(Tensor<'_>),
    note: impl FnMut(&str, &str),
) -> Result<(), Malformed> {
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(|e| Malformed::io(&e))?;
    let length = u64::from_le_bytes(length);
    let Some(data) = size.checked_sub(8).and_then(|rest| rest.checked_sub(length)) else {
        return Err(Malformed::new(format!("it declares a header of {length} bytes, but the file has {size} bytes")));
    };
    if length > MAX_HEADER_BYTES {
        return Err(Malformed::new(format!("it declares a header of {length} bytes; the format allows at most {MAX_HEADER_BYTES}")));
    }
    let mut header = Header { each, note, ranges: Vec::new(), names: Names::default() };
    let bytes = BoundedJson::new(file.take(length));
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(bytes));
    json.deserialize_map(&mut header).and_then(|()| json.end()).map_err(|e| Malformed::new(format!("its header: {e}")))?;
    header.ranges.sort_unstable();
    let mut end = 0;
    for (from, to) in header.ranges {
        if from != end {
            let what = if from < end { "overlap" } else { "leave a gap" };
            return Err(Malformed::new(format!("its tensors {what} at byte {} of their data", end.min(from))));
        }
        end = to;
    }
    match end {
        _ if end == data => Ok(()),
        _ if end > data => Err(Malformed::cut(end.saturating_add(8 + length), size)),
        _ => Err(Malformed::new(format!("its tensors need {end} bytes, but the file has {data} bytes after the header"))),
    }
}

/// Reads the header's object entry by entry.
struct Header<F, N> {
    each: F,
    note: N,
    ranges: Vec<(u64, u64)>,
    names: Names,
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Elements,
    data_offsets: (u64, u64),
}

impl<'de, F: FnMut(Tensor<'_>), N: FnMut(&str, &str)> Visitor<'de> for &mut Header<F, N> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a safetensors header")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(name) = entries.next_key::<String>()? {
            if name == "__metadata__" {
                entries.next_value_seed(Notes { note: &mut self.note, key: None })?;
                continue;
            }
            let Entry { dtype, shape: Elements(elements), data_offsets: (from, to) } = entries.next_value()?;
            let refuse = |why: &str| A::Error::custom(format_args!("the tensor {} {why}", shown(&name)));
            if !self.names.insert(name.as_bytes()) {
                return Err(refuse("occurs twice"));
            }
            let bits = DTYPES.iter().find(|(known, _)| *known == dtype).map(|(_, bits)| *bits);
            let bytes = to.checked_sub(from).ok_or_else(|| refuse("ends before it begins"))?;
            if bits.is_some_and(|bits| u128::from(elements) * u128::from(bits) != u128::from(bytes) * 8) {
                return Err(refuse("does not have the length that its shape requires"));
            }
            self.ranges.push((from, to));
            (self.each)(Tensor { name: &name, dtype: &dtype, bits, elements, bytes });
        }
        Ok(())
    }
}

/// The product of a shape. The shape itself is not kept, because the file decides its length.
struct Elements(u64);

impl<'de> Deserialize<'de> for Elements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Product;
        impl<'de> Visitor<'de> for Product {
            type Value = Elements;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a shape")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut dimensions: A) -> Result<Elements, A::Error> {
                let mut product = 1u64;
                while let Some(dimension) = dimensions.next_element::<u64>()? {
                    product = product.checked_mul(dimension).ok_or_else(|| A::Error::custom("a shape with too many elements"))?;
                }
                Ok(Elements(product))
            }
        }
        deserializer.deserialize_seq(Product)
    }
}

/// Passes the texts of `__metadata__`, or of one of its entries, on, and ignores other values.
struct Notes<'a, N> {
    note: &'a mut N,
    /// The key of the entry, if this is an entry.
    key: Option<&'a str>,
}

impl<'de, N: FnMut(&str, &str)> DeserializeSeed<'de> for Notes<'_, N> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, N: FnMut(&str, &str)> Visitor<'de> for Notes<'_, N> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("notes")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(key) = entries.next_key::<String>()? {
            match self.key {
                None => entries.next_value_seed(Notes { note: &mut *self.note, key: Some(&key) })?,
                Some(_) => _ = entries.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if let Some(key) = self.key {
            (self.note)(key, text);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
}
