//! A GGUF model in one or several files, counted.

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

/// The specification's words for the types that are plain numbers.
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

/// Merged models have a handful.
const MAX_BASES: usize = 16;

/// What the header of its first file says, and the tensors of all.
#[derive(Default)]
pub(super) struct Model {
    pub(super) header: Header,
    pub(super) parameters: Parameters,
    /// Bytes by the name of the tensors' type.
    types: BTreeMap<&'static str, u64>,
    /// Some tensor is of blocks of quantized numbers, for which the specification has no word.
    is_quantized: bool,
    /// Some tensor is of a type that is not known here.
    has_unknown_types: bool,
}

impl Model {
    /// Counts the tensors of another file; the metadata is that of the first. Fails when its header is not to be believed, and says
    /// besides why llama.cpp refuses the file, if it does.
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

    /// Whether it is a model, not an adapter to one or the projector of another sense.
    pub(super) fn is_model(&self) -> bool {
        self.header.kind.as_deref().is_none_or(|kind| kind == "model") && self.header.architecture.as_deref() != Some("clip")
    }

    /// The models that it was made from, by their names on a hub, else by the names that they are given.
    pub(super) fn bases(&self) -> Option<String> {
        let text = |at: usize, key: &str| self.header.general.get(&format!("base_model.{at}.{key}")).map(String::as_str);
        let base = |at: usize| {
            let by_url = text(at, "repo_url").and_then(hub::id_of_url).map(str::to_owned);
            by_url.or_else(|| text(at, "name").filter(|name| !name.contains(',')).map(str::to_owned))
        };
        let bases: Vec<String> = (0..MAX_BASES).map_while(base).collect();
        (!bases.is_empty()).then(|| bases.join(","))
    }

    /// The precision of a model that is not quantized.
    pub(super) fn precision(&self) -> Option<String> {
        if self.is_quantized || self.has_unknown_types { None } else { self.parameters.precision() }
    }

    /// The mix that the file says it is, if some tensor is of its type; else the type of most bytes, if all are known, unless that is a
    /// plain number.
    pub(super) fn quantization(&self) -> Option<String> {
        let mix = self.header.file_type.and_then(mix).filter(|mix| self.types.keys().any(|name| family(name) == family(mix)));
        let dominant = || self.types.iter().max_by_key(|(_, bytes)| **bytes).map(|(name, _)| *name);
        mix.or_else(|| dominant().filter(|_| self.is_quantized && !self.has_unknown_types)).map(str::to_owned)
    }
}

/// What a mix and its tensors' types have in common: the mix IQ3_M is mostly of the type IQ3_S.
fn family(name: &str) -> &str {
    name.split('_').next().unwrap_or(name)
}
