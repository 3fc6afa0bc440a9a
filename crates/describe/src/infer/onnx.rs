//! ONNX: parameters, precision and quantization, from the graph's operations on its tensors.

use super::{
    findings::{Findings, field},
    folder::{Folder, parent},
    licence,
    parameters::Parameters,
    weights::{self, Shards},
};
use modelpack_formats::onnx::{DataType, External, Header, Item, Node, Tensor, read};
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Component, Path},
};

/// The largest number of tensors and of quantized inputs. Larger graphs give no metadata; the
/// largest real ones have some ten thousand.
const MAX_NOTED: usize = 1 << 20;

/// The quantization scheme of a graph, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scheme {
    /// Weights in blocks of few bits, unpacked when they are used.
    MatMulNBits,
    Bnb4,
    /// Integers that are converted to floats before each operation.
    Qdq,
    /// Integer operations with known scales.
    QOperator,
    /// Integer operations whose scales are measured at run time.
    Dynamic,
}

impl Scheme {
    fn word(self) -> &'static str {
        match self {
            Self::MatMulNBits => "matmulnbits",
            Self::Bnb4 => "bnb4",
            Self::Qdq => "qdq",
            Self::QOperator => "qoperator",
            Self::Dynamic => "dynamic",
        }
    }
}

/// The operators of quantized graphs: which of their inputs are weights, and which convert those
/// back to numbers.
#[rustfmt::skip]
const OPERATORS: [(&str, Scheme, &[usize], &[usize]); 13] = [
    ("MatMulNBits", Scheme::MatMulNBits, &[1], &[2, 3, 4]),
    ("GatherBlockQuantized", Scheme::MatMulNBits, &[0], &[2, 3]),
    ("MatMulBnb4", Scheme::Bnb4, &[1], &[2]),
    ("DequantizeLinear", Scheme::Qdq, &[0], &[1, 2]),
    ("QuantizeLinear", Scheme::Qdq, &[], &[1, 2]),
    ("QLinearConv", Scheme::QOperator, &[3, 8], &[1, 2, 4, 5, 6, 7]),
    ("QLinearMatMul", Scheme::QOperator, &[0, 3], &[1, 2, 4, 5, 6, 7]),
    ("QGemm", Scheme::QOperator, &[3, 6], &[1, 2, 4, 5, 7, 8]),
    ("QAttention", Scheme::QOperator, &[1], &[3, 4, 6, 7]),
    ("MatMulInteger", Scheme::Dynamic, &[0, 1], &[2, 3]),
    ("ConvInteger", Scheme::Dynamic, &[1], &[2, 3]),
    ("DynamicQuantizeMatMul", Scheme::Dynamic, &[1], &[2, 3]),
    ("DynamicQuantizeLinear", Scheme::Dynamic, &[], &[]),
];

/// The role of a tensor in an operation.
#[derive(Clone, Copy)]
enum Role {
    /// Quantized weights, one per element.
    Weights,
    /// Weights with this many bits. An element may hold several of them.
    Packed(u64),
    /// As many weights as the operation declares, however they are packed.
    Declared(Option<u64>),
    /// An input that converts weights back to numbers.
    Scale,
}

/// A tensor without its name.
struct Noted {
    name: u64,
    kind: Option<&'static DataType>,
    elements: u64,
    bytes: u64,
}

/// The parts of a graph that concern its numbers.
#[derive(Default)]
struct Graph {
    tensors: Vec<Noted>,
    roles: HashMap<u64, Role>,
    scheme: Option<Scheme>,
    /// Whether the graph has more tensors than the limit.
    is_incomplete: bool,
}

/// Records the metadata of the graph. If there are several models, only values that all share are
/// recorded.
pub(super) fn describe(folder: &Folder<'_>, found: &mut Findings) {
    let mut headers = Vec::new();
    let mut schemes = Vec::new();
    let counted = weights::count(folder, "onnx", |_, shards| {
        let (header, graph) = read_model(folder, shards, found)?;
        headers.push((header, shards.source()));
        schemes.push(graph.scheme);
        Some(graph.parameters())
    });
    let Some((parameters, source)) = counted else { return };
    found.say(field::PARAM_SIZE, parameters.size(), format!("{source}: tensor shapes"));
    found.say(field::PRECISION, parameters.precision(), format!("{source}: tensor types"));
    let agreed = if folder.is_pipeline() { schemes.iter().copied().flatten().min() } else { weights::agreed(&schemes, |scheme| *scheme) };
    found.say(field::QUANTIZATION, agreed.map(Scheme::word), format!("{source}: operators"));
    if let [(header, source)] = headers.as_slice() {
        let property = |key: &str| (header.properties.get(key).cloned(), format!("{source}: `{key}` of `metadata_props`"));
        let (author, at) = property("author");
        found.say(field::AUTHORS, author.map(|author| vec![author]), at);
        let (description, at) = property("description");
        found.say(field::DESCRIPTION, description, at);
        let (licence, at) = property("license");
        found.say(field::LICENSES, licence.and_then(|text| licence::named(&text)).map(|id| vec![id]), at);
    }
}

/// `None` if the file is malformed, or if an external file is missing or too short.
fn read_model(folder: &Folder<'_>, shards: &Shards<'_>, found: &mut Findings) -> Option<(Header, Graph)> {
    let [file] = shards.files.as_slice() else { return None };
    let has = |external: &External, bytes: u64| {
        let parts = Path::new(&external.location).components().filter(|part| matches!(part, Component::Normal(_)));
        let path = parts.fold(Path::new(parent(file)).to_owned(), |path, part| path.join(part));
        let other = path.to_str().and_then(|path| folder.file(path));
        external.is_beside() && other.is_some_and(|other| external.offset.checked_add(bytes).is_some_and(|end| end <= other.size))
    };
    let mut graph = Graph::default();
    let mut missing = None;
    let header = read(file.open()?, file.size, |item| match item {
        Item::Node(node) => graph.note(&node),
        Item::Tensor(tensor) => {
            missing = missing
                .take()
                .or_else(|| tensor.external.filter(|external| !has(external, tensor.bytes)).map(|external| external.location.clone()));
            graph.add(&tensor);
        }
    });
    let header = header.map_err(|why| found.note(file, why)).ok()?;
    if let Some(location) = missing {
        found.note(file, format_args!("it has tensors in {location:?}, which is not packed or is too short"));
        return None;
    }
    (!graph.is_incomplete).then_some((header, graph))
}

impl Graph {
    fn add(&mut self, tensor: &Tensor<'_>) {
        self.is_incomplete |= self.tensors.len() == MAX_NOTED;
        if !self.is_incomplete {
            self.tensors.push(Noted { name: hash(tensor.name), kind: tensor.kind, elements: tensor.elements, bytes: tensor.bytes });
        }
    }

    fn note(&mut self, node: &Node<'_>) {
        let Some((_, scheme, weights, scales)) = OPERATORS.iter().find(|(name, ..)| *name == node.operator) else { return };
        self.scheme = Some(self.scheme.map_or(*scheme, |other| other.min(*scheme)));
        let number = |key: &str| node.numbers.iter().find(|(name, _)| name == key).map(|(_, number)| *number);
        let role = match node.operator {
            "MatMulNBits" | "MatMulBnb4" => Role::Declared(number("K").zip(number("N")).and_then(|(k, n)| k.checked_mul(n))),
            "GatherBlockQuantized" => Role::Packed(number("bits").unwrap_or(4)),
            _ => Role::Weights,
        };
        let inputs = |numbers: &'static [usize]| numbers.iter().filter_map(|at| node.inputs.get(*at)).filter(|name| !name.is_empty());
        let roles = inputs(weights).map(|name| (name, role)).chain(inputs(scales).map(|name| (name, Role::Scale)));
        for (name, role) in roles {
            self.is_incomplete |= self.roles.len() == MAX_NOTED;
            if !self.is_incomplete {
                self.roles.insert(hash(name), role);
            }
        }
    }

    fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::default();
        for tensor in &self.tensors {
            let (kind, bits) = tensor.kind.map_or(("", 0), |kind| (kind.name, kind.bits));
            match self.roles.get(&tensor.name) {
                Some(Role::Scale) => continue,
                Some(Role::Declared(count)) => {
                    parameters.add(*count);
                    continue;
                }
                Some(Role::Packed(packed)) if kind == "UINT8" => {
                    parameters.add(tensor.elements.checked_mul(8).and_then(|bits| bits.checked_div(*packed)));
                    continue;
                }
                Some(Role::Packed(_) | Role::Weights) => {}
                // Integers that no operation converts are positions, shapes and masks.
                None if !is_float(kind) => continue,
                None => {}
            }
            parameters.add((bits > 0).then_some(tensor.elements));
            if let Some(precision) = precision(kind) {
                parameters.add_bytes(precision, tensor.bytes);
            }
        }
        parameters
    }
}

fn is_float(kind: &str) -> bool {
    kind.contains("FLOAT") || kind == "DOUBLE" || kind.starts_with("COMPLEX") || kind.is_empty()
}

/// The specification's name for a type.
fn precision(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "FLOAT" => "float32",
        "DOUBLE" => "float64",
        "FLOAT16" => "float16",
        "BFLOAT16" => "bfloat16",
        "FLOAT8E4M3FN" => "float8_e4m3",
        "FLOAT8E5M2" => "float8_e5m2",
        "COMPLEX64" => "complex64",
        "COMPLEX128" => "complex128",
        "INT8" => "int8",
        "UINT8" => "uint8",
        "INT16" => "int16",
        "UINT16" => "uint16",
        "INT32" => "int32",
        _ => return None,
    })
}

/// Names may have any length; their hashes do not.
fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}
