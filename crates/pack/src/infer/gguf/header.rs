//! The header of a GGUF file: magic, version, counts, key-value pairs, tensor infos.

use super::{
    super::parameters::Parameters,
    types::{TensorType, mix},
};
use std::{
    collections::BTreeMap,
    io::{BufReader, Read, Seek},
};

/// No header is longer; the largest vocabularies take some 20 MiB.
const MAX_HEADER_BYTES: u64 = 256 << 20;
/// No value that we keep is longer; chat templates are the longest.
const MAX_TEXT_BYTES: u64 = 1 << 20;
const MAX_DIMENSIONS: u32 = 8;

/// What a header tells.
#[derive(Default)]
pub(super) struct Header {
    pub(super) architecture: Option<String>,
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
    pub(super) license: Option<String>,
    pub(super) languages: Option<Vec<String>>,
    pub(super) size_label: Option<String>,
    pub(super) chat_template: Option<String>,
    /// `model`, or `adapter`, `mmproj` and the like.
    kind: Option<String>,
    file_type: Option<u32>,
    pub(super) parameters: Parameters,
    /// Bytes by the name of the tensors' type.
    types: BTreeMap<&'static str, u64>,
    /// Some tensor is of blocks of quantized numbers, for which the specification has no word.
    is_quantized: bool,
}

impl Header {
    /// Reads the header of a file of `size` bytes; `None` when it is not to be believed: tensors must lie one after the other, as
    /// long as their shapes and types say, within the file.
    pub(super) fn read(file: impl Read + Seek, size: u64) -> Option<Self> {
        let mut reader = Reader { file: BufReader::new(file), at: 0, end: size.min(MAX_HEADER_BYTES), is_big_endian: false };
        if reader.bytes()? != *b"GGUF" {
            return None;
        }
        let version = reader.u32()?;
        // Nothing else tells a file of the other byte order.
        reader.is_big_endian = version & 0xffff == 0;
        if !matches!(if reader.is_big_endian { version.swap_bytes() } else { version }, 2 | 3) {
            return None;
        }
        let (tensors, pairs) = (reader.u64()?, reader.u64()?);
        let mut header = Self::default();
        let mut alignment = 32;
        for _ in 0..pairs {
            header.read_pair(&mut reader, &mut alignment)?;
        }
        let mut end = 0u64;
        for _ in 0..tensors {
            end = header.read_tensor(&mut reader, end.checked_next_multiple_of(alignment)?)?;
        }
        let data = reader.at.checked_next_multiple_of(alignment)?;
        (tensors == 0 || data.checked_add(end)? <= size).then_some(header)
    }

    fn read_pair(&mut self, reader: &mut Reader<impl Read + Seek>, alignment: &mut u64) -> Option<()> {
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
                return Some(());
            }
            "general.file_type" if kind == U32 => {
                self.file_type = Some(reader.u32()?);
                return Some(());
            }
            "general.alignment" if kind == U32 => {
                *alignment = u64::from(reader.u32()?);
                return alignment.is_power_of_two().then_some(());
            }
            _ => return reader.skip_value(kind),
        };
        if kind != STRING {
            return reader.skip_value(kind);
        }
        *kept = Some(reader.text(MAX_TEXT_BYTES)?);
        Some(())
    }

    /// Counts a tensor that must begin at `begin`, and returns where it ends.
    fn read_tensor(&mut self, reader: &mut Reader<impl Read + Seek>, begin: u64) -> Option<u64> {
        reader.skip_text()?;
        let dimensions = reader.u32()?;
        if dimensions > MAX_DIMENSIONS {
            return None;
        }
        let mut elements = 1u64;
        let mut row = 1;
        for dimension in 0..dimensions {
            let length = reader.u64()?;
            elements = elements.checked_mul(length)?;
            if dimension == 0 {
                row = length;
            }
        }
        let kind = TensorType::find(reader.u32()?)?;
        if reader.u64()? != begin || row % kind.block != 0 {
            return None;
        }
        let bytes = (elements / kind.block).checked_mul(kind.bytes)?;
        self.parameters.add(Some(elements));
        let sum = self.types.entry(kind.name).or_default();
        *sum = sum.checked_add(bytes)?;
        match kind.precision {
            Some(precision) => self.parameters.add_bytes(precision, bytes),
            None => self.is_quantized = true,
        }
        begin.checked_add(bytes)
    }

    /// Adds the tensors of another file of the same model.
    pub(super) fn take_tensors_of(&mut self, other: &Self) {
        self.parameters.add_all(&other.parameters);
        self.is_quantized |= other.is_quantized;
        for (name, bytes) in &other.types {
            let sum = self.types.entry(name).or_default();
            *sum = sum.saturating_add(*bytes);
        }
    }

    /// Whether the file holds a model, not an adapter to one or the projector of another sense.
    pub(super) fn is_model(&self) -> bool {
        self.kind.as_deref().is_none_or(|kind| kind == "model") && self.architecture.as_deref() != Some("clip")
    }

    /// The precision of a model that is not quantized.
    pub(super) fn precision(&self) -> Option<String> {
        if self.is_quantized { None } else { self.parameters.precision() }
    }

    /// The mix that the file says it is, if some tensor is of its type; else the type of most bytes, unless that is a plain number.
    pub(super) fn quantization(&self) -> Option<String> {
        let mix = self.file_type.and_then(mix).filter(|mix| self.types.keys().any(|name| family(name) == family(mix)));
        let dominant = || self.types.iter().max_by_key(|(_, bytes)| **bytes).map(|(name, _)| *name);
        mix.or_else(|| dominant().filter(|_| self.is_quantized)).map(str::to_owned)
    }
}

/// What a mix and its tensors' types have in common: the mix IQ3_M is mostly of the type IQ3_S.
fn family(name: &str) -> &str {
    name.split('_').next().unwrap_or(name)
}

const U32: u32 = 4;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Reads the format's values, never beyond `end`.
struct Reader<R> {
    file: BufReader<R>,
    at: u64,
    end: u64,
    is_big_endian: bool,
}

impl<R: Read + Seek> Reader<R> {
    /// Moves on by `length` bytes, if there are as many.
    fn advance(&mut self, length: u64) -> Option<()> {
        self.at = self.at.checked_add(length).filter(|at| *at <= self.end)?;
        Some(())
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.advance(N as u64)?;
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    fn skip(&mut self, length: u64) -> Option<()> {
        self.advance(length)?;
        self.file.seek_relative(i64::try_from(length).ok()?).ok()
    }

    fn u32(&mut self) -> Option<u32> {
        let bytes = self.bytes()?;
        Some(if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn u64(&mut self) -> Option<u64> {
        let bytes = self.bytes()?;
        Some(if self.is_big_endian { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) })
    }

    fn text(&mut self, limit: u64) -> Option<String> {
        let length = self.u64().filter(|length| *length <= limit)?;
        self.advance(length)?;
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        self.file.read_exact(&mut bytes).ok()?;
        String::from_utf8(bytes).ok()
    }

    fn skip_text(&mut self) -> Option<()> {
        let length = self.u64()?;
        self.skip(length)
    }

    /// An array of short texts; an empty one when it holds something else.
    fn texts(&mut self) -> Option<Vec<String>> {
        let (kind, count) = (self.u32()?, self.u64()?);
        if kind != STRING || count > 1000 {
            self.skip_elements(kind, count)?;
            return Some(Vec::new());
        }
        (0..count).map(|_| self.text(1000)).collect()
    }

    fn skip_value(&mut self, kind: u32) -> Option<()> {
        match kind {
            ARRAY => {
                let (kind, count) = (self.u32()?, self.u64()?);
                self.skip_elements(kind, count)
            }
            _ => self.skip_elements(kind, 1),
        }
    }

    fn skip_elements(&mut self, kind: u32, count: u64) -> Option<()> {
        let bytes = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            U32 | 5 | 6 => 4,
            10..=12 => 8,
            STRING => return (0..count).try_for_each(|_| self.skip_text()),
            _ => return None,
        };
        self.skip(count.checked_mul(bytes)?)
    }
}
