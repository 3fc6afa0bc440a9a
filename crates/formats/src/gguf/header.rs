//! The header of a GGUF file: magic, version, counts, key-value pairs, tensor infos.

use super::{
    reader::{ARRAY, Reader, STRING, U32, U64},
    types::TensorType,
};
use crate::Malformed;
use std::{
    collections::BTreeMap,
    io::{Read, Seek},
};

/// No header is longer; the largest vocabularies take some 20 MiB.
const MAX_HEADER_BYTES: u64 = 256 << 20;
/// No value that is kept is longer; chat templates are the longest.
const MAX_TEXT_BYTES: u64 = 1 << 20;
const MAX_DIMENSIONS: u32 = 8;
/// No more of the other texts under `general.` are kept, and none that is longer.
const MAX_GENERAL: usize = 128;
const MAX_GENERAL_BYTES: u64 = 4096;
const MAX_GENERAL_KEY_BYTES: usize = 256;

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
        if !matches!(version, 2 | 3) {
            return Err(Malformed::new(format!("it is of version {version}, and 2 and 3 are known")));
        }
        let (tensors, pairs) = (reader.u64()?, reader.u64()?);
        let mut header = Self::default();
        let mut alignment = 32;
        for _ in 0..pairs {
            header.read_pair(&mut reader, &mut alignment)?;
        }
        let mut data = Data { end: Some(0), reached: 0, alignment };
        for _ in 0..tensors {
            each(read_tensor(&mut reader, &mut data)?);
        }
        let begin = reader.at.next_multiple_of(alignment);
        let end = begin.saturating_add(data.end.unwrap_or(data.reached));
        if tensors > 0 && end > size {
            return Err(Malformed::new(format!("its tensors end at byte {end}, and the file has {size}")));
        }
        Ok(header)
    }

    fn read_pair(&mut self, reader: &mut Reader<impl Read + Seek>, alignment: &mut u64) -> Result<(), Malformed> {
        let key = reader.text(MAX_TEXT_BYTES)?;
        let kind = reader.u32()?;
        let kept = match key.as_str() {
            "general.architecture" => &mut self.architecture,
            "general.name" => &mut self.name,
            "general.version" => &mut self.version,
            "general.license" => &mut self.license,
            "general.size_label" => &mut self.size_label,
            "general.type" => &mut self.kind,
            "tokenizer.chat_template" => &mut self.chat_template,
            "general.languages" if kind == ARRAY => {
                self.languages = Some(reader.texts()?);
                return Ok(());
            }
            "general.file_type" if kind == U32 => {
                self.file_type = Some(reader.u32()?);
                return Ok(());
            }
            "general.alignment" if kind == U32 => {
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
                    let text = reader.short_text(MAX_GENERAL_BYTES)?;
                    self.general.extend(text.map(|text| (key.to_owned(), text)));
                    return Ok(());
                }
            },
        };
        if kind != STRING {
            return reader.skip_value(kind);
        }
        *kept = Some(reader.text(MAX_TEXT_BYTES)?);
        Ok(())
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

fn read_tensor(reader: &mut Reader<impl Read + Seek>, data: &mut Data) -> Result<Tensor, Malformed> {
    reader.skip_text()?;
    let dimensions = reader.u32()?;
    if dimensions > MAX_DIMENSIONS {
        return Err(reader.malformed(&format!("a tensor of {dimensions} dimensions")));
    }
    let mut elements = 1u64;
    let mut row = 1;
    for dimension in 0..dimensions {
        let length = reader.u64()?;
        elements = elements.checked_mul(length).ok_or_else(|| reader.malformed("a tensor of more elements than can be counted"))?;
        if dimension == 0 {
            row = length;
        }
    }
    let kind = TensorType::find(reader.u32()?);
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
    let end =
        bytes.and_then(|bytes| begin.checked_add(bytes)).ok_or_else(|| reader.malformed("a tensor of more bytes than a file can have"))?;
    data.end = data.end.and(Some(end));
    data.reached = end;
    Ok(Tensor { kind: Some(kind), elements, bytes: bytes.unwrap_or(0) })
}
