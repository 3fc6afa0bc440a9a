//! Safetensors: a little-endian u64 of header length, a JSON header `{name: {dtype, shape, data_offsets}}`, then the tensors' bytes.

use super::{
    findings::{Findings, field},
    folder::Folder,
    parameters::Parameters,
    quantization::Quantization,
    weights::{self, Shards},
};
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use std::{
    fmt,
    fs::File,
    io::{self, BufReader, Read},
};

/// The format's own limit.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// A parser holds a whole string in memory. The longest are notes on the training.
const MAX_STRING_BYTES: usize = 8 << 20;
/// A header is three deep.
const MAX_DEPTH: usize = 8;

/// What elements of a numeric type are to a model.
enum Holds {
    /// Parameters; of this precision, if the specification has a word for it.
    Parameters(Option<&'static str>),
    /// Parameters, packed when the model is quantized.
    Bytes,
    /// Packed parameters, when they are in the tensors that quantizers make.
    Words,
    /// Positions, counters and masks, which are no parameters.
    Indices,
}

/// The format's numeric types with their bits.
const DTYPES: [(&str, u64, Holds); 19] = [
    ("F64", 64, Holds::Parameters(Some("float64"))),
    ("F32", 32, Holds::Parameters(Some("float32"))),
    ("F16", 16, Holds::Parameters(Some("float16"))),
    ("BF16", 16, Holds::Parameters(Some("bfloat16"))),
    ("F8_E4M3", 8, Holds::Parameters(Some("float8_e4m3"))),
    ("F8_E5M2", 8, Holds::Parameters(Some("float8_e5m2"))),
    ("F8_E8M0", 8, Holds::Parameters(None)),
    ("F6_E2M3", 6, Holds::Parameters(None)),
    ("F6_E3M2", 6, Holds::Parameters(None)),
    ("F4", 4, Holds::Parameters(None)),
    ("C64", 64, Holds::Parameters(Some("complex64"))),
    ("I8", 8, Holds::Parameters(Some("int8"))),
    ("U8", 8, Holds::Bytes),
    ("I32", 32, Holds::Words),
    ("U32", 32, Holds::Words),
    ("I16", 16, Holds::Indices),
    ("I64", 64, Holds::Indices),
    ("U64", 64, Holds::Indices),
    ("BOOL", 8, Holds::Indices),
];

/// Says what the headers of all shards tell.
pub(super) fn describe(folder: &Folder<'_>, quantization: Option<&Quantization>, found: &mut Findings) {
    let read = |shards: &Shards<'_>| {
        let mut parameters = Parameters::default();
        for shard in &shards.files {
            let file = File::open(&shard.source).ok()?;
            read_header(file, shard.size, |tensor| count(&tensor, quantization, &mut parameters))?;
        }
        Some((parameters, shards.source()))
    };
    let models: Vec<_> = weights::models(folder, "safetensors").iter().map(read).collect();
    let Some(Some((_, source))) = models.first() else { return };
    let of = |value: fn(&Parameters) -> Option<String>| weights::agreed(&models, |model| value(&model.as_ref()?.0));
    found.say(field::PARAM_SIZE, of(Parameters::size), format!("{source}: tensor shapes"));
    found.say(field::PRECISION, of(Parameters::precision), format!("{source}: tensor types"));
}

/// Adds a tensor to the model's parameters.
fn count(tensor: &Tensor<'_>, quantization: Option<&Quantization>, parameters: &mut Parameters) {
    let name = tensor.name.rsplit('.').next().unwrap_or(tensor.name);
    if belongs_to_quantization(name) {
        return;
    }
    let packed = |bits: u64| quantization.and_then(|q| q.bits).and_then(|packed| Some(tensor.elements.checked_mul(bits)? / packed));
    let (_, bits, holds) = tensor.dtype;
    match holds {
        Holds::Parameters(precision) => {
            parameters.add(Some(tensor.elements));
            if let Some(precision) = precision {
                parameters.add_bytes(precision, tensor.bytes);
            }
        }
        Holds::Bytes if quantization.is_some() => parameters.add(packed(*bits)),
        Holds::Bytes => {
            parameters.add(Some(tensor.elements));
            parameters.add_bytes("uint8", tensor.bytes);
        }
        Holds::Words if matches!(name, "weight" | "qweight" | "weight_packed") => parameters.add(packed(*bits)),
        Holds::Words | Holds::Indices => {}
    }
}

/// Whether quantizers keep under this name what turns packed weights back into numbers: scales, zero points, orders, shapes.
fn belongs_to_quantization(name: &str) -> bool {
    let suffixes = ["scales", "_scale", "_scale_inv", "_scale_2", "qzeros", "zero_point", "g_idx", "absmax", "quant_map", "weight_shape"];
    matches!(name, "biases" | "SCB" | "weight_format")
        || name.starts_with("bitsandbytes__")
        || suffixes.iter().any(|suffix| name.ends_with(suffix))
}

/// A tensor as the header tells it.
struct Tensor<'a> {
    name: &'a str,
    dtype: &'static (&'static str, u64, Holds),
    elements: u64,
    bytes: u64,
}

/// Calls `each` for every tensor in the header of a file of `size` bytes.
///
/// `None` when the header is not to be believed, and then nothing that `each` was told is: tensors must fill the file from the end
/// of the header to its own end, without gap or overlap, each as long as its shape and type say. Memory is 16 bytes a tensor and
/// the longest string.
fn read_header(mut file: impl Read, size: u64, each: impl FnMut(Tensor<'_>)) -> Option<()> {
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let length = u64::from_le_bytes(length);
    let data = size.checked_sub(8)?.checked_sub(length)?;
    if length > MAX_HEADER_BYTES {
        return None;
    }
    let mut header = Header { each, ranges: Vec::new() };
    let bytes = BoundedJson { json: file.take(length), depth: 0, string: None, is_escaped: false };
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(bytes));
    json.deserialize_map(&mut header).ok()?;
    json.end().ok()?;
    header.ranges.sort_unstable();
    let end = header.ranges.into_iter().try_fold(0, |end, (from, to)| (from == end).then_some(to))?;
    (end == data).then_some(())
}

/// JSON that ends in an error before a parser must hold much of it.
struct BoundedJson<R> {
    json: R,
    depth: usize,
    /// Bytes so far of the string that is being read.
    string: Option<usize>,
    is_escaped: bool,
}

impl<R: Read> Read for BoundedJson<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.json.read(buffer)?;
        for byte in &buffer[..count] {
            match (self.string, byte) {
                (Some(_), b'"') if !self.is_escaped => self.string = None,
                (Some(length), _) => {
                    self.string = Some(length + 1);
                    self.is_escaped = *byte == b'\\' && !self.is_escaped;
                }
                (None, b'"') => self.string = Some(0),
                (None, b'{' | b'[') => self.depth += 1,
                (None, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
                (None, _) => {}
            }
            if self.depth > MAX_DEPTH || self.string.is_some_and(|length| length > MAX_STRING_BYTES) {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(count)
    }
}

/// Reads the header's object, one entry at a time.
struct Header<F> {
    each: F,
    ranges: Vec<(u64, u64)>,
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Elements,
    data_offsets: (u64, u64),
}

impl<'de, F: FnMut(Tensor<'_>)> Visitor<'de> for &mut Header<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a safetensors header")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(name) = entries.next_key::<String>()? {
            if name == "__metadata__" {
                entries.next_value::<IgnoredAny>()?;
                continue;
            }
            let Entry { dtype, shape: Elements(elements), data_offsets: (from, to) } = entries.next_value()?;
            let known = DTYPES.iter().find(|(known, ..)| *known == dtype);
            let dtype = known.ok_or_else(|| A::Error::custom("a numeric type that the format does not have"))?;
            let bytes = to.checked_sub(from).ok_or_else(|| A::Error::custom("a tensor that ends before it begins"))?;
            if u128::from(elements) * u128::from(dtype.1) != u128::from(bytes) * 8 {
                return Err(A::Error::custom("a tensor whose length is not that of its shape"));
            }
            self.ranges.push((from, to));
            (self.each)(Tensor { name: &name, dtype, elements, bytes });
        }
        Ok(())
    }
}

/// The product of a shape, never the shape itself: its length is the file's to choose.
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
                    product = product.checked_mul(dimension).ok_or_else(|| A::Error::custom("a shape of too many elements"))?;
                }
                Ok(Elements(product))
            }
        }
        deserializer.deserialize_seq(Product)
    }
}
