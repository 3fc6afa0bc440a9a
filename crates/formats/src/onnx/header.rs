//! Everything that an ONNX model contains except the bytes of its tensors.

use super::{
    types::DataType,
    wire::{Reader, Value},
};
use crate::{Malformed, malformed::shown};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Seek},
    path::{Component, Path},
};

/// The longest text that is kept. Real tensor names have some hundred bytes; longer names are not
/// reported.
const MAX_TEXT_BYTES: u64 = 4096;
/// The maximum number of opsets, properties, inputs of a node and numeric attributes that are kept.
const MAX_KEPT: usize = 64;
/// The maximum nesting of graphs: attributes of nodes contain graphs, such as the bodies of loops
/// and branches.
const MAX_DEPTH: usize = 16;

/// The metadata of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The program that wrote it.
    pub producer: Option<String>,
    /// The version of that program.
    pub producer_version: Option<String>,
    /// The versions of the operator sets that it needs, by domain. ONNX's own domain is empty.
    pub opsets: BTreeMap<String, u64>,
    /// The domains of the operators that it defines itself as functions.
    pub functions: BTreeSet<String>,
    /// `metadata_props`: free metadata of the model's author.
    pub properties: BTreeMap<String, String>,
}

/// A part of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A tensor in the model: an initializer, or the value of a constant.
    Tensor(Tensor<'a>),
    /// An operation.
    Node(Node<'a>),
}

/// A tensor, as its message describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tensor<'a> {
    /// Its name; empty for a constant's value and for a name that is too long.
    pub name: &'a str,
    /// The numeric type; `None` for an unknown, newer type.
    pub kind: Option<&'static DataType>,
    /// The number of elements.
    pub elements: u64,
    /// The size in bytes; 0 if the type does not determine it.
    pub bytes: u64,
    /// The location of its bytes, if they are in another file.
    pub external: Option<&'a External>,
}

/// Bytes in an external file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// The file's path, as the model gives it.
    pub location: String,
    /// The offset of the bytes in that file.
    pub offset: u64,
}

impl External {
    /// Whether the path is relative and stays below the model's directory.
    pub fn is_beside(&self) -> bool {
        /// ONNX Runtime's marker for a memory address instead of a file.
        const MEMORY: &str = "*/_ORT_";
        let stays = Path::new(&self.location).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        stays && !self.location.contains(['\\', '\0']) && !self.location.starts_with(MEMORY)
    }
}

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node<'a> {
    /// The operator, such as `MatMul`.
    pub operator: &'a str,
    /// The names of its inputs; empty for omitted inputs.
    pub inputs: &'a [String],
    /// Its attributes that are integers.
    pub numbers: &'a [(String, u64)],
}

/// Whether a file of `size` bytes is a well-formed model, as [`read`] defines it.
pub fn check(file: impl Read + Seek, size: u64) -> Result<(), Malformed> {
    read(file, size, |_| {}).map(|_| ())
}

/// Reads a model in a file of `size` bytes, and calls `each` for its nodes and tensors. The bytes
/// of tensors are skipped.
///
/// Fails if the file is malformed; the items passed to `each` before that are then invalid too.
/// Messages must fill their parents and the file exactly, and tensors must have the number of bytes
/// that their shapes and types require. The caller must check that external files stay below the
/// model's directory and exist.
/// caller to see.
pub fn read(file: impl Read + Seek, size: u64, each: impl FnMut(Item<'_>)) -> Result<Header, Malformed> {
    let mut walk = Walk { reader: Reader::new(file), each };
    let mut header = Header::default();
    let mut has_graph = false;
    while let Some((number, value)) = walk.reader.field(size)? {
        match (number, value) {
            (2, Value::Bytes(length)) => header.producer = walk.reader.text(length, MAX_TEXT_BYTES)?,
            (3, Value::Bytes(length)) => header.producer_version = walk.reader.text(length, MAX_TEXT_BYTES)?,
            (7, Value::Bytes(length)) => {
                has_graph = true;
                walk.graph(length, 0)?;
            }
            (8, Value::Bytes(length)) => {
                let (domain, version) = walk.opset(length)?;
                if header.opsets.len() < MAX_KEPT {
                    header.opsets.insert(domain, version);
                }
            }
            (14, Value::Bytes(length)) => {
                let (key, value) = walk.entry(length)?;
                if header.properties.len() < MAX_KEPT {
                    header.properties.insert(key, value);
                }
            }
            (20, Value::Bytes(length)) => walk.training(length)?,
            (25, Value::Bytes(length)) => {
                let domain = walk.function(length)?;
                if header.functions.len() < MAX_KEPT {
                    header.functions.insert(domain);
                }
            }
            (_, value) => walk.pass(value)?,
        }
    }
    if has_graph { Ok(header) } else { Err(Malformed::new("it has no graph")) }
}

struct Walk<R, F> {
    reader: Reader<R>,
    each: F,
}

impl<R: Read + Seek, F: FnMut(Item<'_>)> Walk<R, F> {
    /// Skips a value that is not needed.
    fn pass(&mut self, value: Value) -> Result<(), Malformed> {
        match value {
            Value::Bytes(length) => self.reader.skip(length),
            Value::Varint(_) | Value::Fixed(_) => Ok(()),
        }
    }

    /// A short text. A long text gives an empty result.
    fn name(&mut self, length: u64) -> Result<String, Malformed> {
        Ok(self.reader.text(length, MAX_TEXT_BYTES)?.unwrap_or_default())
    }

    /// `GraphProto`.
    fn graph(&mut self, length: u64, depth: usize) -> Result<(), Malformed> {
        if depth > MAX_DEPTH {
            return Err(self.reader.malformed(&format!("graphs nested more than {MAX_DEPTH} deep")));
        }
        let end = self.reader.at + length;
        while let Some((number, value)) = self.reader.field(end)? {
            match (number, value) {
                (1, Value::Bytes(length)) => self.node(length, depth)?,
                (5, Value::Bytes(length)) => self.tensor(length)?,
                (15, Value::Bytes(length)) => self.sparse_tensor(length)?,
                (_, value) => self.pass(value)?,
            }
        }
        Ok(())
    }

    /// `TrainingInfoProto`, which contains graphs.
    fn training(&mut self, length: u64) -> Result<(), Malformed> {
        let end = self.reader.at + length;
        while let Some((number, value)) = self.reader.field(end)? {
            match (number, value) {
                (1 | 2, Value::Bytes(length)) => self.graph(length, 1)?,
                (_, value) => self.pass(value)?,
            }
        }
        Ok(())
    }

    /// `FunctionProto`, whose nodes may contain tensors. Returns its domain.
    fn function(&mut self, length: u64) -> Result<String, Malformed> {
        let end = self.reader.at + length;
        let mut domain = String::new();
        while let Some((number, value)) = self.reader.field(end)? {
            match (number, value) {
                (7, Value::Bytes(length)) => self.node(length, 0)?,
                (10, Value::Bytes(length)) => domain = self.name(length)?,
                (11, Value::Bytes(length)) => drop(self.attribute(length, 0)?),
                (_, value) => self.pass(value)?,
            }
        }
        Ok(domain)
    }

    /// `NodeProto`.
    fn node(&mut self, length: u64, depth: usize) -> Result<(), Malformed> {
        let end = self.reader.at + length;
        let (mut operator, mut inputs, mut numbers) = (String::new(), Vec::new(), Vec::new());
        while let Some((number, value)) = self.reader.field(end)? {
            match (number, value) {
                (1, Value::Bytes(length)) if inputs.len() < MAX_KEPT => inputs.push(self.name(length)?),
                (4, Value::Bytes(length)) => operator = self.name(length)?,
                (5, Value::Bytes(length)) => {
                    let number = self.attribute(length, depth)?;
                    numbers.extend(number.filter(|_| numbers.len() < MAX_KEPT));
                }
                (_, value) => self.pass(value)?,
            }
        }
        (self.each)(Item::Node(Node { operator: &operator, inputs: &inputs, numbers: &numbers }));
        Ok(())
    }

    /// `AttributeProto`: its name and value, if the value is an unsigned integer.
    fn attribute(&mut self, length: u64, depth: usize) -> Result<Option<(String, u64)>, Malformed> {
        let end = self.reader.at + length;
        let (mut name, mut whole) = (String::new(), None);
        while let Some((number, value)) = self.reader.field(end)? {
            match (number, value) {
                (1, Value::Bytes(length)) => name = self.name(length)?,
                (3, Value::Varint(value)) => whole = i64::try_from(value).ok().map(i64::unsigned_abs),
                (5 | 10, Value::Bytes(length)) => self.tensor(length)?,
                (6 | 11, Value::Bytes(length)) => self.graph(length, depth + 1)?,
                (22 | 23, Value::Bytes(length)) => self.sparse_tensor(length)?,
                (_, value) => self.pass(value)?,
            }
        }
        Ok(whole.map(|whole| (name, whole)))
    }

    /// `SparseTensorProto`, whose values are a tensor.
    fn sparse_tensor(&mut self, length: u64) -> Result<(), Malformed> {
        let end = self.reader.at + length;
        while let Some((number, value)) = self.reader.field(end)? {
            match (number, value) {
                (1, Value::Bytes(length)) => self.tensor(length)?,
                (_, value) => self.pass(value)?,
            }
        }
        Ok(())
    }

    /// `TensorProto`.
    fn tensor(&mut self, length: u64) -> Result<(), Malformed> {
        let end = self.reader.at + length;
        let (mut name, mut kind, mut elements) = (String::new(), 0, 1u64);
        // `raw`: bytes in `raw_data`. `typed`: bytes in the field for the type, which has another
        // encoding.
        let (mut raw, mut typed) = (None, 0u64);
        let (mut is_external, mut places) = (false, BTreeMap::new());
        while let Some((number, value)) = self.reader.field(end)? {
            match (number, value) {
                (1, Value::Varint(length)) => elements = self.grown(elements, length)?,
                (1, Value::Bytes(length)) => {
                    let end = self.reader.at + length;
                    while self.reader.at < end {
                        let length = self.reader.varint(end)?;
                        elements = self.grown(elements, length)?;
                    }
                }
                (2, Value::Varint(id)) => kind = id,
                (4 | 5 | 6 | 7 | 10 | 11, value) => {
                    typed = typed.saturating_add(match value {
                        Value::Varint(_) => 1,
                        Value::Fixed(length) | Value::Bytes(length) => length,
                    });
                    self.pass(value)?;
                }
                (8, Value::Bytes(length)) => name = self.name(length)?,
                (9, Value::Bytes(length)) => {
                    raw = Some(length);
                    self.reader.skip(length)?;
                }
                (13, Value::Bytes(length)) => {
                    let (key, value) = self.entry(length)?;
                    if matches!(key.as_str(), "location" | "offset" | "length") {
                        places.insert(key, value);
                    }
                }
                (14, Value::Varint(place)) => is_external = place == 1,
                (_, value) => self.pass(value)?,
            }
        }
        let refuse = |why: &str| Malformed::new(format!("the tensor {} {why}", shown(&name)));
        let kind = DataType::find(kind);
        let bits = elements.checked_mul(kind.map_or(0, |kind| kind.bits)).ok_or_else(|| refuse("has more bytes than a file can have"))?;
        let bytes = bits.div_ceil(8);
        let external = is_external.then(|| external(&places, bytes)).transpose().map_err(refuse)?;
        let is_as_long = match (kind, raw) {
            _ if external.is_some() || kind.is_none_or(|kind| kind.bits == 0) => true,
            (_, Some(raw)) => raw == bytes,
            // Floats have their full size. Other numbers take at least one byte, which may hold up
            // to four of the smallest elements.
            (Some(kind), None) if kind.name == "FLOAT" || kind.name.starts_with("COMPLEX") || kind.name == "DOUBLE" => typed == bytes,
            (_, None) => typed.saturating_mul(4) >= elements,
        };
        if !is_as_long {
            return Err(refuse("does not have the number of bytes that its shape requires"));
        }
        (self.each)(Item::Tensor(Tensor { name: &name, kind, elements, bytes, external: external.as_ref() }));
        Ok(())
    }

    /// The number of elements after another dimension is added to the shape.
    fn grown(&self, elements: u64, length: u64) -> Result<u64, Malformed> {
        let length = i64::try_from(length).ok().map(i64::unsigned_abs);
        length.and_then(|length| elements.checked_mul(length)).ok_or_else(|| self.reader.malformed("a tensor with too many elements"))
    }

    /// `StringStringEntryProto`. A value that is too long becomes empty.
    fn entry(&mut self, length: u64) -> Result<(String, String), Malformed> {
        let end = self.reader.at + length;
        let (mut key, mut text) = (String::new(), String::new());
        while let Some((number, value)) = self.reader.field(end)? {
            match (number, value) {
                (1, Value::Bytes(length)) => key = self.name(length)?,
                (2, Value::Bytes(length)) => text = self.name(length)?,
                (_, value) => self.pass(value)?,
            }
        }
        Ok((key, text))
    }

    /// `OperatorSetIdProto`.
    fn opset(&mut self, length: u64) -> Result<(String, u64), Malformed> {
        let end = self.reader.at + length;
        let (mut domain, mut version) = (String::new(), 0);
        while let Some((number, value)) = self.reader.field(end)? {
            match (number, value) {
                (1, Value::Bytes(length)) => domain = self.name(length)?,
                (2, Value::Varint(number)) => version = number,
                (_, value) => self.pass(value)?,
            }
        }
        Ok((domain, version))
    }
}

/// The location of a tensor's bytes, from its `external_data`.
fn external(places: &BTreeMap<String, String>, bytes: u64) -> Result<External, &'static str> {
    let location = places.get("location").filter(|location| !location.is_empty()).ok_or("is in an external file without a name")?;
    let number = |key: &str| places.get(key).map_or(Ok(None), |text| text.parse::<u64>().map(Some));
    let numbers = number("offset").and_then(|offset| Ok((offset, number("length")?)));
    let (offset, length) = numbers.map_err(|_| "has an invalid offset or length in its external file")?;
    let offset = offset.unwrap_or(0);
    if length.is_some_and(|length| length != bytes) || offset.checked_add(bytes).is_none() {
        return Err("does not have the number of bytes that its shape requires");
    }
    Ok(External { location: location.clone(), offset })
}
