//! PyTorch: parameters and precision, from the tensors of the state dictionaries in all shards. The
//! pickles are walked, not executed.

use super::{
    findings::{Findings, field},
    folder::Folder,
    parameters::Parameters,
    quantization::Quantization,
    safetensors::count,
    transformers::TransformersConfig,
    weights::{self, Shards},
};
use modelpack_formats::{
    pickle::{Ending, Event, Pickles, Step, Value},
    safetensors::Tensor,
    zip::Archive,
};
use std::{
    collections::{HashMap, HashSet},
    io::{Read, Seek, SeekFrom},
};

/// The largest number of tensors.
const MAX_TENSORS: usize = 1 << 20;
/// The beginning of files that `torch.save` wrote before it wrote archives: a pickle of a unique
/// magic number.
const LEGACY: [u8; 14] = [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// The pickles before the state dictionary in such files: the magic number, a version, and system
/// information.
const LEGACY_PREFACE: usize = 3;

/// PyTorch's names for numeric types, with those of the specification and of safetensors, and the
/// bits per element.
const DTYPES: [(&str, &str, &str, u64); 14] = [
    ("DoubleStorage", "float64", "F64", 64),
    ("FloatStorage", "float32", "F32", 32),
    ("HalfStorage", "float16", "F16", 16),
    ("BFloat16Storage", "bfloat16", "BF16", 16),
    ("", "float8_e4m3fn", "F8_E4M3", 8),
    ("", "float8_e5m2", "F8_E5M2", 8),
    ("ComplexFloatStorage", "complex64", "C64", 64),
    ("LongStorage", "int64", "I64", 64),
    ("IntStorage", "int32", "I32", 32),
    ("ShortStorage", "int16", "I16", 16),
    ("CharStorage", "int8", "I8", 8),
    ("ByteStorage", "uint8", "U8", 8),
    ("BoolStorage", "bool", "BOOL", 8),
    ("", "uint32", "U32", 32),
];

/// Records the metadata of the state dictionaries of all shards.
pub(super) fn describe(folder: &Folder<'_>, config: Option<&TransformersConfig>, found: &mut Findings) {
    let counted = weights::count(folder, "pt", |directory, shards| {
        // The parts of a pipeline have their own configs.
        let own = folder.is_pipeline().then(|| TransformersConfig::read_in(folder, directory)).flatten();
        count_shards(shards, own.as_ref().or(config).and_then(TransformersConfig::quantization).as_ref(), found)
    });
    let Some((parameters, source)) = counted else { return };
    found.say(field::PARAM_SIZE, parameters.size(), format!("{source}: tensor shapes"));
    found.say(field::PRECISION, parameters.precision(), format!("{source}: tensor types"));
}

/// The parameters of one model; `None` if some shard is not a state dictionary.
fn count_shards(shards: &Shards<'_>, quantization: Option<&Quantization>, found: &mut Findings) -> Option<Parameters> {
    let mut parameters = Parameters::default();
    for shard in &shards.files {
        let Some(views) = state_dictionary(shard.open()?, shard.size) else {
            found.note(shard, "its pickle is not a dictionary of plain tensors only");
            return None;
        };
        count_views(&views, quantization, &mut parameters);
    }
    Some(parameters)
}

/// A tensor, which is a view of a storage.
struct View {
    name: String,
    /// The name of the storage in the file.
    storage: String,
    /// The size of the storage in bytes.
    storage_bytes: u64,
    dtype: &'static str,
    bits: u64,
    offset: u64,
    elements: u64,
}

/// The tensors of a file that is a state dictionary; `None` if it is anything else or contains
/// more.
fn state_dictionary(mut file: impl Read + Seek, size: u64) -> Option<Vec<View>> {
    let mut start = [0; LEGACY.len()];
    file.read_exact(&mut start).ok()?;
    file.seek(SeekFrom::Start(0)).ok()?;
    if start == LEGACY {
        let mut pickles = Pickles::new(file);
        for _ in 0..LEGACY_PREFACE {
            pickles.walk(&mut |_| {}).is_whole().then_some(())?;
        }
        return views(&mut pickles);
    }
    let archive = Archive::read(&mut file, size).ok().filter(|archive| archive.problems.is_empty())?;
    let is_pickle = |name: &str| name.strip_suffix("data.pkl").is_some_and(|directory| directory.is_empty() || directory.ends_with('/'));
    let entry = archive.entries.iter().find(|entry| is_pickle(&entry.name))?;
    let views = views(&mut Pickles::new(entry.open(&mut file).ok()?))?;
    let directory = entry.name.strip_suffix("data.pkl")?;
    let sizes: HashMap<&str, u64> = archive.entries.iter().map(|entry| (entry.name.as_str(), entry.size)).collect();
    let is_there = |view: &View| sizes.get(format!("{directory}data/{}", view.storage).as_str()) == Some(&view.storage_bytes);
    views.iter().all(is_there).then_some(views)
}

/// The tensors of the next pickle, if it is a dictionary whose items are exactly its tensors.
fn views(pickles: &mut Pickles<impl Read + Seek>) -> Option<Vec<View>> {
    let mut views: Vec<(Option<u64>, View)> = Vec::new();
    let (mut made, mut kept, mut is_plain) = (0, HashSet::new(), true);
    let walk = pickles.walk(&mut |step: Step<'_>| match step.event {
        Event::Call { callable, .. } => {
            match callable.global().filter(|global| global.module == "torch._utils").map(|global| global.name.as_str()) {
                Some("_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3") => made += 1,
                Some("_rebuild_parameter") | None => {}
                // The pickle does not contain the number of parameters of sparse and quantized
                // tensors.
                Some(_) => is_plain = false,
            }
        }
        Event::Item { mapping, key, value } => {
            let Some((id, view)) = view(key, value) else { return };
            kept.insert(id);
            if views.len() < MAX_TENSORS { views.push((mapping, view)) } else { is_plain = false }
        }
        _ => {}
    });
    let Ending::Stop(Some(root)) = walk.ending else { return None };
    let is_whole = walk.is_sound && is_plain && made == kept.len() && views.iter().all(|(mapping, _)| *mapping == Some(root));
    is_whole.then(|| views.into_iter().map(|(_, view)| view).collect())
}

/// The tensor in an item, and the id of its object.
fn view(key: &Value, value: &Value) -> Option<(u64, View)> {
    let object = value.object()?;
    let function = object.callable.global().filter(|global| global.module == "torch._utils")?;
    let arguments = object.arguments.tuple()?;
    let number = |value: &Value| value.int().and_then(|number| u64::try_from(number).ok());
    if function.name == "_rebuild_parameter" {
        return view(key, arguments.first()?);
    }
    let [storage, offset, sizes, strides, rest @ ..] = arguments else { return None };
    let [kind, class, storage, _, length, ..] = storage.persistent()?.tuple()? else { return None };
    if kind.text() != Some("storage") {
        return None;
    }
    let class = class.global()?.name.as_str();
    // From the third version on, the type is given explicitly, and the storage is one of bytes.
    let named = rest.get(2).and_then(Value::global).filter(|_| function.name == "_rebuild_tensor_v3").map(|dtype| dtype.name.as_str());
    let is_named = |of_class: &str, of_dtype: &str| match named {
        Some(dtype) => dtype == of_dtype,
        None => !class.is_empty() && class == of_class,
    };
    let &(_, _, dtype, bits) = DTYPES.iter().find(|(of_class, of_dtype, ..)| is_named(of_class, of_dtype))?;
    let unit = if named.is_some() { 1 } else { bits / 8 };
    let storage_bytes = number(length)?.checked_mul(unit)?;
    let (offset, sizes, strides) = (number(offset)?, sizes.tuple()?, strides.tuple()?);
    let mut elements = 1u64;
    let mut last = offset;
    for (size, stride) in sizes.iter().zip(strides) {
        let (size, stride) = (number(size)?, number(stride)?);
        elements = elements.checked_mul(size)?;
        last = last.checked_add(size.saturating_sub(1).checked_mul(stride)?)?;
    }
    let is_within = elements == 0 || last.checked_add(1)?.checked_mul(bits / 8)? <= storage_bytes;
    let name = key.text()?.to_owned();
    let storage = storage.text()?.to_owned();
    (is_within && sizes.len() == strides.len()).then_some((object.id, View { name, storage, storage_bytes, dtype, bits, offset, elements }))
}

/// Counts tensors, but each element of a storage only once: tied weights are two tensors of one
/// storage.
fn count_views(views: &[View], quantization: Option<&Quantization>, parameters: &mut Parameters) {
    let mut seen = HashSet::new();
    let mut storages: HashMap<&str, u64> = HashMap::new();
    for view in views {
        if !seen.insert((&view.storage, view.offset, view.elements)) {
            continue;
        }
        let counted = storages.entry(&view.storage).or_default();
        let left = (view.storage_bytes / (view.bits / 8)).saturating_sub(*counted);
        let elements = view.elements.min(left);
        *counted += elements;
        let bytes = elements.saturating_mul(view.bits / 8);
        let tensor = Tensor { name: &view.name, dtype: view.dtype, bits: Some(view.bits), elements, bytes };
        count(&tensor, quantization, parameters);
    }
}
