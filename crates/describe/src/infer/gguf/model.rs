//! The metadata and tensor counts of a GGUF model in one or several files.

use super::{
    super::{hub, parameters::Parameters},
    mix::mix,
};
use modelpack_formats::{
    Malformed,
    gguf::{Header, Tensor},
};
use std::{
    collections::BTreeMap,
    io::{Read, Seek},
};

/// The specification's names for the types of plain numbers.
const PRECISIONS: [(&str, &str); 8] = [
    ("F32", "float32"),
    ("F16", "float16"),
    ("BF16", "bfloat16"),
    ("F64", "float64"),
    ("I8", "int8"),
    ("I16", "int16"),
    ("I32", "int32"),
    ("I64", "int64"),
];

/// Merged models have a handful of base models.
const MAX_BASES: usize = 16;

/// The header of the first file, and the counts of the tensors of all files.
#[derive(Default)]
pub(super) struct Model {
    pub(super) header: Header,
    pub(super) parameters: Parameters,
    /// The number of bytes for each tensor type.
    types: BTreeMap<&'static str, u64>,
    /// Whether some tensor has blocks of quantized numbers, for which the specification has no
    /// name.
    is_quantized: bool,
    /// Whether some tensor has an unknown type.
    has_unknown_types: bool,
}

impl Model {
    /// Counts the tensors of another file. The metadata comes from the first file. Fails if the
    /// header is malformed. Returns the reason if llama.cpp refuses the file.
    pub(super) fn add_file(&mut self, file: impl Read + Seek, size: u64, is_first: bool) -> Result<Option<String>, Malformed> {
        let mut header = Header::read(file, size, |tensor| self.add(tensor))?;
        let refused = header.refused_by_llama_cpp.take();
        if is_first {
            self.header = header;
        }
        Ok(refused)
    }

    fn add(&mut self, tensor: Tensor) {
        self.parameters.add(Some(tensor.elements));
        let Some(kind) = tensor.kind else {
            self.has_unknown_types = true;
            return;
        };
        let sum = self.types.entry(kind.name).or_default();
        *sum = sum.saturating_add(tensor.bytes);
        match PRECISIONS.iter().find(|(name, _)| *name == kind.name) {
            Some((_, precision)) => self.parameters.add_bytes(precision, tensor.bytes),
            None => self.is_quantized = true,
        }
    }

    /// Whether it is a model, and not an adapter or a projector of another modality.
    pub(super) fn is_model(&self) -> bool {
        self.header.kind.as_deref().is_none_or(|kind| kind == "model") && self.header.architecture.as_deref() != Some("clip")
    }

    /// The base models, by their names on a hub or else by their given names.
    pub(super) fn bases(&self) -> Option<String> {
        let text = |at: usize, key: &str| self.header.general.get(&format!("base_model.{at}.{key}")).map(String::as_str);
        let base = |at: usize| {
            let by_url = text(at, "repo_url").and_then(hub::id_of_url).map(str::to_owned);
            by_url.or_else(|| text(at, "name").filter(|name| !name.contains(',')).map(str::to_owned))
        };
        let bases: Vec<String> = (0..MAX_BASES).map_while(base).collect();
        (!bases.is_empty()).then(|| bases.join(","))
    }

    /// The precision of an unquantized model.
    pub(super) fn precision(&self) -> Option<String> {
        if self.is_quantized || self.has_unknown_types { None } else { self.parameters.precision() }
    }

    /// The mix that the file declares, if some tensor has its type. Otherwise the type with the
    /// most bytes, if all types are known and it is not a plain number.
    pub(super) fn quantization(&self) -> Option<String> {
        let mix = self.header.file_type.and_then(mix).filter(|mix| self.types.keys().any(|name| family(name) == family(mix)));
        let dominant = || self.types.iter().max_by_key(|(_, bytes)| **bytes).map(|(name, _)| *name);
        mix.or_else(|| dominant().filter(|_| self.is_quantized && !self.has_unknown_types)).map(str::to_owned)
    }
}

/// The common part of a mix's and its tensor types' names: the mix IQ3_M mostly has the type IQ3_S.
fn family(name: &str) -> &str {
    name.split('_').next().unwrap_or(name)
}
