//! The header of a GGUF file: magic, version, counts, key-value pairs, tensor infos.
//!
//! The rules are those by which llama.cpp loads a file (`gguf_init_from_file`, and the bounds that its model loader checks):
//!
//! | in a file | llama.cpp | here |
//! |---|---|---|
//! | version 2 or 3; any other | taken; refused | the same; a version that there was or may be is not called malformed |
//! | the other byte order | refused | taken: it is the order of other machines |
//! | a key twice, an empty key | refused | refused |
//! | a key or text that is long, or no UTF-8 | taken | taken; such a value says nothing |
//! | an array of arrays, a value of an unknown type | refused | refused |
//! | `general.alignment` that is no `u32`, or no power of two | refused | refused |
//! | a tensor without a name; two of one name, up to its first NUL | taken; refused | the same |
//! | a name of 64 bytes or more, more than 4 dimensions | refused, as it is built by default | taken, and told: models of images have both |
//! | no dimension, a dimension of length 0 | taken: one element, none | the same |
//! | a length that is negative, elements or bytes that cannot be counted | refused | refused |
//! | rows that are no whole blocks | refused | refused |
//! | a type that was removed | refused | taken, and told |
//! | a type that is not known | refused | taken: a newer version may have it; its length is not known |
//! | an offset that is not where the tensor before ends, aligned | refused | refused |
//! | a tensor that ends beyond the file | refused | refused |

use super::{
    reader::{ARRAY, I32, Reader, STRING, U16, U32, U64},
    types::TensorType,
};
use crate::{Malformed, malformed::shown, names::Names};
use std::{
    collections::BTreeMap,
    io::{Read, Seek},
};

/// No version is larger, so that the byte order can be told.
const MAX_VERSION: u32 = 1 << 16;
/// No header is longer; the largest vocabularies take some 20 MiB.
const MAX_HEADER_BYTES: u64 = 256 << 20;
/// No more pairs or tensors are taken: llama.cpp compares each name with all others.
const MAX_NAMES: u64 = 1 << 20;
/// No longer names are compared.
const MAX_NAME_BYTES: u64 = 64 << 10;
/// No value that is kept is longer; chat templates are the longest.
const MAX_TEXT_BYTES: u64 = 1 << 20;
const MAX_DIMENSIONS: u32 = 8;
/// No more of the other texts under `general.` are kept, and none that is longer.
const MAX_GENERAL: usize = 128;
const MAX_GENERAL_BYTES: u64 = 4096;
const MAX_GENERAL_KEY_BYTES: usize = 256;
/// The code of a language is not longer.
const MAX_LANGUAGE_BYTES: u64 = 1000;

/// What llama.cpp takes as it is built by default: longer names and more dimensions need another build, or another program.
const LLAMA_CPP_NAME_BYTES: usize = 63;
const LLAMA_CPP_DIMENSIONS: u32 = 4;

/// What the key-value pairs of a header say, of those that describe a model.
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
    /// How many tokens it takes: `context_length` of its architecture.
    pub context_length: Option<u64>,
    /// The other texts under `general.`, by the rest of their keys, such as `base_model.0.name`; those of a description's length at most.
    pub general: BTreeMap<String, String>,
    /// Which of the files it is that a model was split into, from 0: `split.no`.
    pub split_number: Option<u16>,
    /// How many files the model was split into: `split.count`.
    pub split_count: Option<u16>,
    /// How many tensors those files have together: `split.tensors.count`.
    pub split_tensors: Option<i32>,
    /// Why llama.cpp, as it is built by default, refuses the file although it is sound; other programs take it.
    pub refused_by_llama_cpp: Option<String>,
}

/// A tensor as its info tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// The type of its numbers; `None` for one that is newer than this reader, whose length is not known either.
    pub kind: Option<&'static TensorType>,
    /// How many elements it has.
    pub elements: u64,
    /// Its size in bytes; 0 when the type is not known.
    pub bytes: u64,
}

/// Whether a file of `size` bytes has a sound header, as [`Header::read`] defines it.
pub fn check(file: impl Read + Seek, size: u64) -> Result<(), Malformed> {
    Header::read(file, size, |_| {}).map(|_| ())
}

impl Header {
    /// Reads the header of a file of `size` bytes, of either byte order, and calls `each` for its tensors.
    ///
    /// Fails when the header is not to be believed, and then nothing that `each` was told is: tensors must lie one after the other, as
    /// long as their shapes and types say, within the file. How far one of an unknown type reaches is for the next to say.
    pub fn read(file: impl Read + Seek, size: u64, mut each: impl FnMut(Tensor)) -> Result<Self, Malformed> {
        let mut reader = Reader::new(file, size.min(MAX_HEADER_BYTES));
        if reader.bytes()? != *b"GGUF" {
            return Err(Malformed::new("it does not begin with `GGUF`"));
        }
        let version = reader.version()?;
        match version {
            2 | 3 => {}
            1..MAX_VERSION => return Err(Malformed::unknown_version(format!("it is of version {version}, and 2 and 3 are known"))),
            _ => return Err(Malformed::new(format!("it is said to be of version {version}"))),
        }
        let (tensors, pairs) = (reader.u64()?, reader.u64()?);
        if tensors.max(pairs) > MAX_NAMES {
            return Err(Malformed::new(format!("it is said to have {tensors} tensors and {pairs} pairs, and {MAX_NAMES} are taken")));
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
            return Err(reader.malformed(&format!("the key {} for the second time", shown(&String::from_utf8_lossy(key)))));
        }
        let kind = reader.u32()?;
        // Of the others none is looked for.
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
                return if alignment.is_power_of_two() { Ok(()) } else { Err(reader.malformed("an alignment that is no power of two")) };
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
        // As a text of C it ends before its first NUL.
        let is_new = name.as_ref().is_none_or(|name| names.insert(name.split(|byte| *byte == 0).next().unwrap_or_default()));
        if let Some(name) = name.as_ref().filter(|_| !is_new) {
            return Err(reader.malformed(&format!("the tensor {} for the second time", shown(&String::from_utf8_lossy(name)))));
        }
        if name.is_none_or(|name| name.len() > LLAMA_CPP_NAME_BYTES) {
            self.refuse(format!("it has a tensor whose name is longer than {LLAMA_CPP_NAME_BYTES} bytes"));
        }
        let dimensions = reader.u32()?;
        if dimensions > MAX_DIMENSIONS {
            return Err(reader.malformed(&format!("a tensor of {dimensions} dimensions")));
        }
        if dimensions > LLAMA_CPP_DIMENSIONS {
            self.refuse(format!("it has a tensor of {dimensions} dimensions, and {LLAMA_CPP_DIMENSIONS} are taken"));
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
            return Err(reader.malformed("a tensor that does not begin where the one before it ends"));
        }
        data.reached = begin;
        let Some(kind) = kind else {
            data.end = None;
            return Ok(Tensor { kind: None, elements, bytes: 0 });
        };
        if row % kind.block != 0 {
            return Err(reader.malformed("a tensor whose rows are no whole blocks"));
        }
        let bytes = (elements / kind.block).checked_mul(kind.bytes);
        let end = bytes
            .and_then(|bytes| begin.checked_add(bytes))
            .ok_or_else(|| reader.malformed("a tensor of more bytes than a file can have"))?;
        data.end = data.end.and(Some(end));
        data.reached = end;
        Ok(Tensor { kind: Some(kind), elements, bytes: bytes.unwrap_or(0) })
    }

    fn refuse(&mut self, why: String) {
        self.refused_by_llama_cpp.get_or_insert(why);
    }
}

/// The tensors' data so far.
struct Data {
    /// Where the last tensor ends; unknown once one was of an unknown type.
    end: Option<u64>,
    /// Up to where there is data for certain.
    reached: u64,
    alignment: u64,
}

/// Reads the lengths of so many dimensions: the first, which is that of a row, and the product of all.
fn read_shape(reader: &mut Reader<impl Read + Seek>, dimensions: u32) -> Result<(u64, u64), Malformed> {
    /// Lengths and counts are signed numbers.
    const LIMIT: u64 = i64::MAX as u64;
    let mut row = 1;
    // Not known once it is too large, unless a dimension of length 0 follows.
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
    Ok((row, elements.ok_or_else(|| reader.malformed("a tensor of more elements than can be counted"))?))
}
