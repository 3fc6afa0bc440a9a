//! The header of a GGUF file: magic, version, counts, key-value pairs, tensor infos.
//!
//! The rules are those of llama.cpp (`gguf_init_from_file`, and the bounds that its model loader
//! checks), except where the table shows a difference:
//!
//! | in a file | llama.cpp | this reader |
//! |---|---|---|
//! | version 2 or 3; any other version | accepted; refused | the same; an older or newer version is not called malformed |
//! | the other byte order | refused | accepted: other machines use it |
//! | a duplicate key, an empty key | refused | refused |
//! | a key or text that is long or not UTF-8 | accepted | accepted; the value is ignored |
//! | an array of arrays, a value of an unknown type | refused | refused |
//! | `general.alignment` that is not a `u32` or not a power of two | refused | refused |
//! | a tensor without a name; two tensors with one name, compared up to the first NUL | accepted; refused | the same |
//! | a name of 64 bytes or more, more than 4 dimensions | refused by a default build | accepted and reported: image models have both |
//! | no dimensions, a dimension of length 0 | accepted: one element, no elements | the same |
//! | a negative length, element or byte counts that overflow | refused | refused |
//! | rows that are not whole blocks | refused | refused |
//! | a type that was removed | refused | accepted and reported |
//! | an unknown type | refused | accepted: a newer version may have it; its length is not known |
//! | an offset other than the aligned end of the previous tensor | refused | refused |
//! | a tensor that ends after the end of the file | refused | refused |

use super::{
    reader::{ARRAY, I32, Reader, STRING, U16, U32, U64},
    types::TensorType,
};
use crate::{Malformed, malformed::shown, names::Names};
use std::{
    collections::BTreeMap,
    io::{Read, Seek},
};

/// Versions are smaller than this, so the byte order can be detected.
const MAX_VERSION: u32 = 1 << 16;
/// The largest header. The largest real vocabularies take some 20 MiB.
const MAX_HEADER_BYTES: u64 = 256 << 20;
/// The largest number of pairs or tensors: llama.cpp compares each name with all others.
const MAX_NAMES: u64 = 1 << 20;
/// Longer names are not compared.
const MAX_NAME_BYTES: u64 = 64 << 10;
/// The longest value that is kept. Chat templates are the longest values.
const MAX_TEXT_BYTES: u64 = 1 << 20;
const MAX_DIMENSIONS: u32 = 8;
/// How many of the other texts under `general.` are kept, and how long each may be.
const MAX_GENERAL: usize = 128;
const MAX_GENERAL_BYTES: u64 = 4096;
const MAX_GENERAL_KEY_BYTES: usize = 256;
/// The longest language code that is kept.
const MAX_LANGUAGE_BYTES: u64 = 1000;

/// The limits of a default build of llama.cpp. Longer names and more dimensions need another build
/// or another program.
const LLAMA_CPP_NAME_BYTES: usize = 63;
const LLAMA_CPP_DIMENSIONS: u32 = 4;

/// The key-value pairs of a header that describe a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// `general.architecture`.
    pub architecture: Option<String>,
    /// `general.name`.
    pub name: Option<String>,
    /// `general.version`.
    pub version: Option<String>,
    /// `general.license`.
    pub license: Option<String>,
    /// `general.languages`.
    pub languages: Option<Vec<String>>,
    /// `general.size_label`, such as `8x7B`.
    pub size_label: Option<String>,
    /// `tokenizer.chat_template`.
    pub chat_template: Option<String>,
    /// `general.type`: `model`, or `adapter`, `mmproj` and the like.
    pub kind: Option<String>,
    /// `general.file_type`: the number of a mix of tensor types.
    pub file_type: Option<u32>,
    /// The context length in tokens: `ARCHITECTURE.context_length`.
    pub context_length: Option<u64>,
    /// The other texts under `general.` by the rest of their keys, such as `base_model.0.name`;
    /// long texts are left out.
    pub general: BTreeMap<String, String>,
    /// The number of this file among the files of a split model, from 0: `split.no`.
    pub split_number: Option<u16>,
    /// The number of files of a split model: `split.count`.
    pub split_count: Option<u16>,
    /// The total number of tensors in those files: `split.tensors.count`.
    pub split_tensors: Option<i32>,
    /// Why a default build of llama.cpp refuses the file although it is well-formed. Other programs
    /// accept it.
    pub refused_by_llama_cpp: Option<String>,
}

/// A tensor, as its tensor info describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// The numeric type; `None` for an unknown, newer type, whose length is also unknown.
    pub kind: Option<&'static TensorType>,
    /// The number of elements.
    pub elements: u64,
    /// The size in bytes; 0 for an unknown type.
    pub bytes: u64,
}

/// Whether a file of `size` bytes has a well-formed header, as [`Header::read`] defines it.
pub fn check(file: impl Read + Seek, size: u64) -> Result<(), Malformed> {
    Header::read(file, size, |_| {}).map(|_| ())
}

impl Header {
    /// Reads the header of a file of `size` bytes, of either byte order, and calls `each` for its
    /// tensors.
    ///
    /// Fails if the header is malformed; the tensors passed to `each` before that are then invalid
    /// too. The tensors must follow one another without gaps, have the lengths that their shapes
    /// and types require, and end within the file. The length of a tensor of unknown type follows
    /// from the offset of the next tensor.
    pub fn read(file: impl Read + Seek, size: u64, mut each: impl FnMut(Tensor)) -> Result<Self, Malformed> {
        let mut reader = Reader::new(file, size.min(MAX_HEADER_BYTES));
        if reader.bytes()? != *b"GGUF" {
            return Err(Malformed::new("it does not begin with `GGUF`"));
        }
        let version = reader.version()?;
        match version {
            2 | 3 => {}
            1..MAX_VERSION => return Err(Malformed::unknown_version(format!("its version is {version}; only 2 and 3 are supported"))),
            _ => return Err(Malformed::new(format!("its version is {version}, which is not valid"))),
        }
        let (tensors, pairs) = (reader.u64()?, reader.u64()?);
        if tensors.max(pairs) > MAX_NAMES {
            return Err(Malformed::new(format!(
                "it declares {tensors} tensors and {pairs} pairs; at most {MAX_NAMES} of each are accepted"
            )));
        }
        let mut header = Self::default();
        let mut alignment = 32;
        let mut keys = Names::default();
        for _ in 0..pairs {
            header.read_pair(&mut reader, &mut keys, &mut alignment)?;
        }
        let mut data = Data { end: Some(0), reached: 0, alignment };
        let mut names = Names::default();
        for _ in 0..tensors {
            each(header.read_tensor(&mut reader, &mut names, &mut data)?);
        }
        let begin = reader.at.next_multiple_of(alignment);
        let end = begin.saturating_add(data.end.unwrap_or(data.reached));
        if tensors > 0 && end > size {
            return Err(Malformed::cut(end, size));
        }
        Ok(header)
    }

    fn read_pair(&mut self, reader: &mut Reader<impl Read + Seek>, keys: &mut Names, alignment: &mut u64) -> Result<(), Malformed> {
        let key = reader.name(MAX_NAME_BYTES)?;
        if key.as_ref().is_some_and(Vec::is_empty) {
            return Err(reader.malformed("a pair without a key"));
        }
        if let Some(key) = key.as_ref().filter(|key| !keys.insert(key)) {
            return Err(reader.malformed(&format!("the duplicate key {}", shown(&String::from_utf8_lossy(key)))));
        }
        let kind = reader.u32()?;
        // Keys that are long or not UTF-8 are ignored.
        let Some(key) = key.and_then(|key| String::from_utf8(key).ok()) else { return reader.skip_value(kind) };
        let kept = match key.as_str() {
            "general.architecture" => &mut self.architecture,
            "general.name" => &mut self.name,
            "general.version" => &mut self.version,
            "general.license" => &mut self.license,
            "general.size_label" => &mut self.size_label,
            "general.type" => &mut self.kind,
            "tokenizer.chat_template" => &mut self.chat_template,
            "general.languages" if kind == ARRAY => {
                self.languages = Some(reader.texts(MAX_LANGUAGE_BYTES)?);
                return Ok(());
            }
            "general.file_type" if kind == U32 => {
                self.file_type = Some(reader.u32()?);
                return Ok(());
            }
            "split.no" if kind == U16 => {
                self.split_number = Some(reader.u16()?);
                return Ok(());
            }
            "split.count" if kind == U16 => {
                self.split_count = Some(reader.u16()?);
                return Ok(());
            }
            "split.tensors.count" if kind == I32 => {
                self.split_tensors = Some(reader.u32()?.cast_signed());
                return Ok(());
            }
            "general.alignment" => {
                if kind != U32 {
                    return Err(reader.malformed("`general.alignment` of a type that is not `u32`"));
                }
                *alignment = u64::from(reader.u32()?);
                return if alignment.is_power_of_two() { Ok(()) } else { Err(reader.malformed("an alignment that is not a power of two")) };
            }
            key if key.ends_with(".context_length") && matches!(kind, U32 | U64) => {
                self.context_length = Some(if kind == U32 { u64::from(reader.u32()?) } else { reader.u64()? });
                return Ok(());
            }
            key => match key
                .strip_prefix("general.")
                .filter(|key| kind == STRING && self.general.len() < MAX_GENERAL && key.len() <= MAX_GENERAL_KEY_BYTES)
            {
                None => return reader.skip_value(kind),
                Some(key) => {
                    let text = reader.text(MAX_GENERAL_BYTES)?;
                    self.general.extend(text.map(|text| (key.to_owned(), text)));
                    return Ok(());
                }
            },
        };
        if kind != STRING {
            return reader.skip_value(kind);
        }
        *kept = reader.text(MAX_TEXT_BYTES)?;
        Ok(())
    }

    fn read_tensor(&mut self, reader: &mut Reader<impl Read + Seek>, names: &mut Names, data: &mut Data) -> Result<Tensor, Malformed> {
        let name = reader.name(MAX_NAME_BYTES)?;
        // llama.cpp reads the name as a C string, which ends at the first NUL.
        let is_new = name.as_ref().is_none_or(|name| names.insert(name.split(|byte| *byte == 0).next().unwrap_or_default()));
        if let Some(name) = name.as_ref().filter(|_| !is_new) {
            return Err(reader.malformed(&format!("the duplicate tensor {}", shown(&String::from_utf8_lossy(name)))));
        }
        if name.is_none_or(|name| name.len() > LLAMA_CPP_NAME_BYTES) {
            self.refuse(format!("it has a tensor whose name is longer than {LLAMA_CPP_NAME_BYTES} bytes"));
        }
        let dimensions = reader.u32()?;
        if dimensions > MAX_DIMENSIONS {
            return Err(reader.malformed(&format!("a tensor with {dimensions} dimensions")));
        }
        if dimensions > LLAMA_CPP_DIMENSIONS {
            self.refuse(format!("it has a tensor with {dimensions} dimensions; at most {LLAMA_CPP_DIMENSIONS} are accepted"));
        }
        let (row, elements) = read_shape(reader, dimensions)?;
        let id = reader.u32()?;
        let kind = TensorType::find(id);
        if TensorType::is_removed(id) {
            let named = kind.map_or_else(|| id.to_string(), |kind| kind.name.to_owned());
            self.refuse(format!("it has a tensor of the type {named}, which was removed"));
        }
        let begin = reader.u64()?;
        let expected = data.end.and_then(|end| end.checked_next_multiple_of(data.alignment));
        let follows = expected.map_or(data.end.is_none() && begin >= data.reached, |expected| begin == expected);
        if !follows {
            return Err(reader.malformed("a tensor that does not begin at the end of the previous one"));
        }
        data.reached = begin;
        let Some(kind) = kind else {
            data.end = None;
            return Ok(Tensor { kind: None, elements, bytes: 0 });
        };
        if row % kind.block != 0 {
            return Err(reader.malformed("a tensor whose rows are not whole blocks"));
        }
        let bytes = (elements / kind.block).checked_mul(kind.bytes);
        let end = bytes
            .and_then(|bytes| begin.checked_add(bytes))
            .ok_or_else(|| reader.malformed("a tensor with more bytes than a file can have"))?;
        data.end = data.end.and(Some(end));
        data.reached = end;
        Ok(Tensor { kind: Some(kind), elements, bytes: bytes.unwrap_or(0) })
    }

    fn refuse(&mut self, why: String) {
        self.refused_by_llama_cpp.get_or_insert(why);
    }
}

/// The tensor data checked so far.
struct Data {
    /// The end of the last tensor; unknown after a tensor of unknown type.
    end: Option<u64>,
    /// The data extends at least to this offset.
    reached: u64,
    alignment: u64,
}

/// Reads the lengths of the given number of dimensions. Returns the first, which is the length of a
/// row, and the product of all.
fn read_shape(reader: &mut Reader<impl Read + Seek>, dimensions: u32) -> Result<(u64, u64), Malformed> {
    /// llama.cpp uses signed numbers for lengths and counts.
    const LIMIT: u64 = i64::MAX as u64;
    let mut row = 1;
    // `None` after an overflow. A later dimension of length 0 makes the product valid again.
    let mut elements = Some(1u64);
    for dimension in 0..dimensions {
        let length = reader.u64()?;
        if length > LIMIT {
            return Err(reader.malformed("a tensor with a negative length"));
        }
        if dimension == 0 {
            row = length;
        }
        elements = if length == 0 { Some(0) } else { elements.and_then(|elements| elements.checked_mul(length)) };
    }
    let elements = elements.filter(|elements| *elements < LIMIT);
    Ok((row, elements.ok_or_else(|| reader.malformed("a tensor with too many elements"))?))
}
